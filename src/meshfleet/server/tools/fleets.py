"""The tools that start fleets and tell how they stand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field

from meshfleet.agents.definitions import described
from meshfleet.mesh.fleets import AgentSpec, collect_results, create_fleet, fleet_status, list_fleets
from meshfleet.server.tool import Arguments, Context, JsonObject, NoArguments, Tool
from meshfleet.server.tools.schemas import AGENT, FLEET, NUMBER, TEXT, TEXT_OR_NULL, TIME, array, record

FleetId = Annotated[str, Field(description="Id of the fleet, from spawn_fleet or list_fleets")]
Role = Annotated[str, Field(description="Short name its peers know it by, e.g. 'Analyst'", min_length=1)]
Prompt = Annotated[str, Field(description="Its task, complete in itself: it sees nothing else", min_length=1)]
PremadeAgent = Annotated[str | None, Field(description="Name of a premade OpenCode agent to run as")]


class SpawnedAgent(Arguments):
    """One agent of a new fleet."""

    role: Role
    prompt: Prompt
    agent: PremadeAgent = None


class SpawnFleet(Arguments):
    """Arguments of spawn_fleet."""

    agents: Annotated[list[SpawnedAgent], Field(description="The agents to start", min_length=1)]


class OfFleet(Arguments):
    """Arguments of tools about one fleet."""

    fleet_id: FleetId


def specs_of(agents: Iterable[SpawnedAgent]) -> list[AgentSpec]:
    """The agents a caller asked for, as the rules take them."""
    return [AgentSpec(agent.role, agent.prompt, agent.agent) for agent in agents]


def start_fleet(context: Context, specs: Sequence[AgentSpec]) -> JsonObject:
    """Write a fleet and have this server's supervisor start its agents; returns its id and theirs.

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
    )
    if supervisor is not None:
        supervisor.wake()
    return {"fleet_id": fleet_id, "agent_ids": agent_ids}


SPAWN_FLEET = Tool(
    name="spawn_fleet",
    description=(
        "Start a fleet: several independent agents, each an OpenCode process of its own, working in parallel in "
        "this folder. Use it for work that can be split; agents can message each other (they are told how). "
        "Returns at once with fleet_id and agent_ids in the order given; follow with fleet_status, then "
        "collect_results. Not for a question you can answer yourself."
    ),
    arguments=SpawnFleet,
    result=record({"fleet_id": TEXT, "agent_ids": array(TEXT)}),
    call=lambda context, arguments: start_fleet(context, specs_of(arguments.agents)),
    for_agents=False,
    open_world=True,
)

FLEET_STATUS = Tool(
    name="fleet_status",
    description=(
        "How a fleet and each of its agents stand: status (pending, running, complete, failed, interrupted, "
        "cancelled), times, attempt, error. Use it to see whether a fleet has ended, or to look up a peer's id."
    ),
    arguments=OfFleet,
    result=record({"fleet": FLEET, "agents": array(AGENT)}),
    call=lambda context, arguments: fleet_status(context.ledger, arguments.fleet_id),
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
                    {"completed_at": TIME},
                )
            )
        }
    ),
    call=lambda context, _: list_fleets(context.ledger),
    for_agents=False,
    read_only=True,
)

COLLECT_RESULTS = Tool(
    name="collect_results",
    description=(
        "What each agent of a fleet said (output) or why it failed (error), in the order they were spawned. "
        "Call it when fleet_status says the fleet has ended; agents still at work have no output yet."
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
    call=lambda context, arguments: collect_results(context.ledger, arguments.fleet_id),
    read_only=True,
)
