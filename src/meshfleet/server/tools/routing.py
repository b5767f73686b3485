"""The tools that find the agent for a piece of work, and learn from how it went."""

from __future__ import annotations

from typing import Annotated, Final
from weakref import WeakKeyDictionary

from pydantic import Field

from meshfleet.ledger import Ledger
from meshfleet.mesh.identity import agent_called
from meshfleet.mesh.routing import LARGEST_TOP_N, Router, record_routing_outcome, register_capability, route_work
from meshfleet.server.tool import Arguments, Context, JsonObject, Tool
from meshfleet.server.tools.fleets import FleetId
from meshfleet.server.tools.schemas import FLAG, TEXT, array, record

_ROUTERS: Final[WeakKeyDictionary[Ledger, Router]] = WeakKeyDictionary()


class RegisterCapability(Arguments):
    """Arguments of register_capability."""

    agent_id: Annotated[str, Field(description="Id of the agent")]
    fleet_id: FleetId
    role: Annotated[str, Field(description="What it is called, e.g. 'React expert'", min_length=1)]
    skills: Annotated[list[str], Field(description="Names of what it can do, e.g. ['react', 'css']")]
    model: Annotated[str | None, Field(description="The model it runs")] = None
    context_window: Annotated[int | None, Field(description="Tokens that model takes", ge=1)] = None


class RegisterOwnCapability(Arguments):
    """Arguments of register_capability as an agent has it."""

    skills: Annotated[list[str], Field(description="E.g. ['react', 'css']")]
    role: str | None = None
    model: str | None = None
    context_window: Annotated[int | None, Field(ge=1)] = None
    agent_id: str | None = None
    fleet_id: str | None = None


class RouteWork(Arguments):
    """Arguments of route_work."""

    description: Annotated[str, Field(description="The work, in words, e.g. 'ui bug'", min_length=1)]
    top_n: Annotated[int, Field(description="How many agents at most", ge=1, le=LARGEST_TOP_N)] = 1
    include_ended: Annotated[bool, Field(description="Also agents that have ended, after all others")] = True
    fleet_id: Annotated[
        str | None, Field(description="Only agents of this fleet; left out, of yours if you are an agent, else of all")
    ] = None


class RecordRoutingOutcome(Arguments):
    """Arguments of record_routing_outcome."""

    agent_id: Annotated[str, Field(description="Id of the agent that did the work")]
    capability_key: Annotated[
        str, Field(description="The skill it was about, e.g. 'sql', or '*' for the agent as a whole", min_length=1)
    ]
    success: Annotated[bool, Field(description="Whether it did the work")]


def _register_capability(context: Context, arguments: RegisterCapability) -> JsonObject:
    fleet_id, named = arguments.fleet_id, arguments.agent_id
    agent_id = context.ledger.read(lambda view: agent_called(view, fleet_id, "agent_id", named))
    return register_capability(context.ledger, **arguments.model_dump() | {"agent_id": agent_id})


def _register_own_capability(context: Context, arguments: RegisterOwnCapability) -> JsonObject:
    caller = context.caller
    own = {
        "agent_id": caller.acting_as("agent_id", arguments.agent_id),
        "fleet_id": caller.in_fleet(arguments.fleet_id),
        "role": arguments.role if arguments.role is not None else caller.role,
    }
    return register_capability(context.ledger, **arguments.model_dump() | own)


def _route_work(context: Context, arguments: RouteWork) -> JsonObject:
    asked, caller = arguments.model_dump(), context.caller
    if arguments.fleet_id is None:
        # an agent can hand work to nobody else
        asked["fleet_id"] = caller.fleet_id
    return route_work(context.ledger, router_of(context), **asked, asker=caller.agent_id)


def router_of(context: Context) -> Router:
    """The index over a context's ledger, made when it is first asked for.

    Raises:
        Invalid: The user's own words can't be read; the text names their variable.
    """
    router = _ROUTERS.get(context.ledger)
    if router is None:
        environ = context.environ
        router = Router(environ.get("MESHFLEET_TAXONOMY") or None, environ.get("MESHFLEET_SYNONYMS") or None)
        _ROUTERS[context.ledger] = router
    return router


REGISTER_CAPABILITY = Tool(
    name="register_capability",
    description=(
        "Say what an agent can do, for route_work, where its role does not name it. Replaces what was registered "
        "for it before."
    ),
    arguments=RegisterCapability,
    result=record({"ok": FLAG}),
    call=_register_capability,
    idempotent=True,
)

REGISTER_OWN_CAPABILITY = Tool(
    name="register_capability",
    description="Say what you can do, for route_work, where your role does not name it.",
    arguments=RegisterOwnCapability,
    result=REGISTER_CAPABILITY.result,
    call=_register_own_capability,
    idempotent=True,
)

ROUTE_WORK = Tool(
    name="route_work",
    description=(
        "Which agents fit a piece of work best: matches its words, synonyms and related skills against roles and "
        "skills. Best first, never yourself; empty when nobody fits. It starts nothing: hand the work on with "
        "send_message."
    ),
    arguments=RouteWork,
    result=record(
        {
            "matches": array(
                record(
                    {
                        "agent_id": TEXT,
                        "score": {"type": "number"},
                        "role": TEXT,
                        "weight": {"type": "number", "description": "score x feedback"},
                        "fleet_id": TEXT,
                        "matched": array(
                            record(
                                {
                                    "term": TEXT,
                                    "how": {"enum": ["literal", "synonym", "relative"]},
                                    "weight": {"type": "number"},
                                }
                            )
                        ),
                    }
                )
            )
        }
    ),
    call=_route_work,
    read_only=True,
)

RECORD_ROUTING_OUTCOME = Tool(
    name="record_routing_outcome",
    description=(
        "Say how work that route_work led to turned out: later rankings for that skill weigh the agent up or down, "
        "other skills stay as they are."
    ),
    arguments=RecordRoutingOutcome,
    result=record({"ok": FLAG, "agent_id": TEXT, "capability_key": TEXT, "success": FLAG}),
    call=lambda context, arguments: record_routing_outcome(context.ledger, **arguments.model_dump()),
)
