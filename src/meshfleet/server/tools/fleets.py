"""The tools that start fleets and tell how they stand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from meshfleet.agents.definitions import described
from meshfleet.agents.standing import fleet_status
from meshfleet.mesh.fleets import collect_results, create_fleet, list_fleets
from meshfleet.mesh.specs import MOST_TRIES, AgentSpec, FleetOptions
from meshfleet.server.tool import Arguments, Context, JsonObject, NoArguments, Tool
from meshfleet.server.tools.schemas import AGENT, FLEET, NUMBER, TEXT, TEXT_OR_NULL, TIME, array, record

FleetId = Annotated[str, Field(description="Id of the fleet")]
Role = Annotated[str, Field(description="What its peers know it by, e.g. 'Analyst'", min_length=1)]
Prompt = Annotated[str, Field(description="Its task, complete in itself: it sees nothing else", min_length=1)]
PremadeAgent = Annotated[str | None, Field(description="Premade OpenCode agent to run as")]
Model = Annotated[str | None, Field(description="provider/model, if not the configured one")]
Folder = Annotated[str | None, Field(description="Absolute path of the folder it works in, if not this one")]
Variables = Annotated[dict[str, str] | None, Field(description="Environment variables it gets; shown nowhere")]
When = Literal["now", "on_message"]
Roles = list[str]
FleetName = Annotated[str | None, Field(description="What to call the fleet")]
TimeLimit = Annotated[int | None, Field(description="Longest time an attempt may run, in milliseconds", ge=1)]
Tries = Annotated[int | None, Field(description="How often each agent is tried; 3 if left out", ge=1, le=MOST_TRIES)]
TokenLimit = Annotated[int | None, Field(description="Stop the fleet once it has used more than this", ge=1)]
IdempotencyKey = Annotated[
    str | None, Field(description="A name for this call: a repeat with it starts nothing and returns the same")
]


class SpawnedAgent(Arguments):
    """One agent of a new fleet, as an agent spawns it."""

    role: str
    prompt: str
    agent: PremadeAgent = None
    start: When = "now"
    after: Annotated[Roles, Field(description="Roles to be complete first")] = []  # noqa: RUF012 - frozen
    wake: bool = False


class DescribedAgent(Arguments):
    """One agent of a new fleet, or of a template."""

    role: Role
    prompt: Prompt
    agent: PremadeAgent = None
    start: Annotated[
        When, Field(description="on_message: dormant until a message comes, which its prompt then has")
    ] = "now"
    after: Annotated[
        Roles, Field(description="Roles of this fleet to be complete first; its prompt has their results")
    ] = []  # noqa: RUF012 - frozen
    wake: Annotated[bool, Field(description="Once complete, a handoff, question or request_help has it go on")] = False


class EquippedAgent(DescribedAgent):
    """One agent of a new fleet, with what it is to work with."""

    model: Model = None
    cwd: Folder = None
    env: Variables = None


class SpawnSubfleet(Arguments):
    """Arguments of spawn_fleet as an agent has it, whose fleet may do no more than the agent itself."""

    agents: Annotated[list[SpawnedAgent], Field(description="The agents to start", min_length=1)]
    max_tokens: TokenLimit = None


class SpawnFleet(Arguments):
    """Arguments of spawn_fleet."""

    agents: Annotated[list[EquippedAgent], Field(description="The agents to start", min_length=1)]
    name: FleetName = None
    timeout_ms: TimeLimit = None
    max_attempts: Tries = None
    max_cost_usd: Annotated[float | None, Field(description="Stop the fleet once it has cost more than this")] = None
    max_tokens: TokenLimit = None
    allow_all: Annotated[
        bool,
        Field(description="Let agents do what OpenCode would ask the user about; only if the user has agreed"),
    ] = False
    idempotency_key: IdempotencyKey = None


class OfFleet(Arguments):
    """Arguments of tools about one fleet."""

    fleet_id: FleetId


class OfOwnFleet(Arguments):
    """The same as an agent has them."""

    fleet_id: Annotated[str | None, Field(description="Yours if left out")] = None


def specs_of(agents: Iterable[SpawnedAgent | DescribedAgent]) -> list[AgentSpec]:
    """The agents a caller asked for, as the rules take them."""
    return [
        AgentSpec(
            **{name: value for name, value in agent.model_dump().items() if value is not None}
            | {"after": tuple(agent.after)}
        )
        for agent in agents
    ]


def start_fleet(context: Context, specs: Sequence[AgentSpec], options: FleetOptions | None = None) -> JsonObject:
    """Write a fleet and have this server's supervisor start its agents; returns its id and theirs.

    What an agent spawns waits for a top-level server.

    Raises:
        Invalid: A spec says what it can't; nothing is written.
        Unavailable: There is no OpenCode to start.
    """
    supervisor = context.supervisor
    if supervisor is not None:
        supervisor.require_opencode()
    fleet_id, agent_ids = create_fleet(
        context.ledger,
        described(specs, context.cwd, context.environ),
        cwd=str(context.cwd),
        supervisor=supervisor.row if supervisor else None,
        options=replace(
            options or FleetOptions(), parent_agent_id=context.caller.agent_id, max_depth=context.max_depth
        ),
    )
    if supervisor is not None:
        supervisor.wake()
    return {"fleet_id": fleet_id, "agent_ids": agent_ids}


def options_of(arguments: SpawnFleet | SpawnSubfleet) -> FleetOptions:
    """What a caller wants to hold for a fleet, as the rules take it."""
    return FleetOptions(**arguments.model_dump(exclude={"agents"}))


def _spawn_fleet(context: Context, arguments: SpawnFleet | SpawnSubfleet) -> JsonObject:
    return start_fleet(context, specs_of(arguments.agents), options_of(arguments))


SPAWN_FLEET = Tool(
    name="spawn_fleet",
    description=(
        "Start a fleet: several independent agents, each an OpenCode process of its own, working in parallel in "
        "this folder. Use it for work that can be split; agents can message each other (they are told how). "
        "Returns at once with fleet_id and agent_ids in the order given; follow with wait, then collect_results. "
        "Not for a question you can answer yourself."
    ),
    arguments=SpawnFleet,
    result=record({"fleet_id": TEXT, "agent_ids": array(TEXT)}),
    call=_spawn_fleet,
    open_world=True,
)

SPAWN_SUBFLEET = Tool(
    name="spawn_fleet",
    description=(
        "Start a fleet of your own, working in parallel in your folder; only for work too large for you and your "
        "peers. Returns at once; then wait."
    ),
    arguments=SpawnSubfleet,
    result=SPAWN_FLEET.result,
    call=_spawn_fleet,
    open_world=True,
)


def _fleet_status(context: Context, arguments: OfFleet | OfOwnFleet) -> JsonObject:
    return fleet_status(context.ledger, context.caller.in_fleet(arguments.fleet_id))


def _collect_results(context: Context, arguments: OfFleet | OfOwnFleet) -> JsonObject:
    return collect_results(context.ledger, context.caller.in_fleet(arguments.fleet_id))


FLEET_STATUS = Tool(
    name="fleet_status",
    description=(
        "How a fleet and each of its agents stand: status (pending, running, complete, failed, interrupted, "
        "cancelled), condition (such as retrying or stalled), times, error. To wait for the end use wait."
    ),
    arguments=OfFleet,
    result=record({"fleet": FLEET, "agents": array(AGENT)}),
    call=_fleet_status,
    read_only=True,
)

PEERS_FLEET_STATUS = Tool(
    name="fleet_status",
    description="How a fleet and each of its agents stand.",
    arguments=OfOwnFleet,
    result=FLEET_STATUS.result,
    call=_fleet_status,
    read_only=True,
)

LIST_FLEETS = Tool(
    name="list_fleets",
    description="Every fleet there is, oldest first, with its status and how many of its agents stand how.",
    arguments=NoArguments,
    result=record(
        {
            "fleets": array(
                record(
                    {
                        "id": TEXT,
                        "status": TEXT,
                        "created_at": TIME,
                        "agent_count": NUMBER,
                        "agents_complete": NUMBER,
                        "agents_failed": NUMBER,
                        "agents_running": NUMBER,
                    },
                    {"completed_at": TIME, "name": TEXT},
                )
            )
        }
    ),
    call=lambda context, _: list_fleets(context.ledger),
    read_only=True,
)

COLLECT_RESULTS = Tool(
    name="collect_results",
    description=(
        "What each agent of a fleet said (output) or why it failed (error), in the order spawned. "
        "Agents still at work have no output yet."
    ),
    arguments=OfFleet,
    result=record(
        {
            "fleet_id": TEXT,
            "results": array(
                record(
                    {
                        "agent_id": TEXT,
                        "role": TEXT,
                        "status": TEXT,
                        "output": TEXT_OR_NULL,
                        "error": TEXT_OR_NULL,
                    }
                )
            ),
        }
    ),
    call=_collect_results,
    read_only=True,
)

PEERS_COLLECT_RESULTS = Tool(
    name="collect_results",
    description="What each agent of a fleet said (output) or why it failed (error).",
    arguments=OfOwnFleet,
    result=COLLECT_RESULTS.result,
    call=_collect_results,
    read_only=True,
)
