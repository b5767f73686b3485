"""The tools about single agents: adding one to a fleet, holding a fleet's agents to a time, listing premade ones."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from meshfleet.agents.definitions import described, find_agent_files
from meshfleet.mesh.fleets import AgentSpec, attach_agent, set_fleet_timeout
from meshfleet.server.tool import Arguments, Context, JsonObject, NoArguments, Tool
from meshfleet.server.tools.fleets import FleetId, PremadeAgent, Prompt, Role
from meshfleet.server.tools.schemas import FLAG, NUMBER, TEXT, TEXT_OR_NULL, array, record


class AttachAgent(Arguments):
    """Arguments of attach_agent."""

    fleet_id: FleetId
    role: Role
    prompt: Prompt
    agent: PremadeAgent = None


class SetFleetTimeout(Arguments):
    """Arguments of set_fleet_timeout."""

    fleet_id: FleetId
    timeout_ms: Annotated[int, Field(description="Longest time an agent may run, in milliseconds", ge=1)]


def _attach_agent(context: Context, arguments: AttachAgent) -> JsonObject:
    supervisor = context.supervisor
    if supervisor is not None:
        supervisor.require_opencode()
    (spec,) = described([AgentSpec(arguments.role, arguments.prompt, arguments.agent)], context.cwd, context.environ)
    agent_id = attach_agent(
        context.ledger,
        arguments.fleet_id,
        spec,
        cwd=str(context.cwd),
        supervisor=supervisor.row if supervisor else None,
    )
    if supervisor is not None:
        supervisor.wake()
    return {
        "agent_id": agent_id,
        "fleet_id": arguments.fleet_id,
        "role": spec.role,
        "agent_file": spec.agent,
        "message": f"agent {spec.role} is attached and starts as soon as there is room",
    }


def _set_fleet_timeout(context: Context, arguments: SetFleetTimeout) -> JsonObject:
    set_fleet_timeout(context.ledger, arguments.fleet_id, arguments.timeout_ms)
    return {"ok": True, "timeout_ms": arguments.timeout_ms}


def _list_agents(context: Context, _: NoArguments) -> JsonObject:
    found = find_agent_files(context.cwd, context.environ)
    agents = [
        {"filename": one.filename, "name": one.name, "description": one.description, "mode": one.mode} for one in found
    ]
    return {"count": len(agents), "agents": agents}


ATTACH_AGENT = Tool(
    name="attach_agent",
    description=(
        "Add one more agent to a fleet that is still running; it starts at once and its peers can message it. "
        "Refused once the fleet has ended: spawn_fleet a new one then."
    ),
    arguments=AttachAgent,
    result=record({"agent_id": TEXT, "fleet_id": TEXT, "role": TEXT, "agent_file": TEXT_OR_NULL, "message": TEXT}),
    call=_attach_agent,
    for_agents=False,
    open_world=True,
)

SET_FLEET_TIMEOUT = Tool(
    name="set_fleet_timeout",
    description=(
        "Limit how long each agent of a fleet may run, those running now included; one that runs longer is stopped "
        "and fails with reason 'timeout'. Without it there is no limit."
    ),
    arguments=SetFleetTimeout,
    result=record({"ok": FLAG, "timeout_ms": NUMBER}),
    call=_set_fleet_timeout,
    for_agents=False,
    idempotent=True,
)

LIST_AGENTS = Tool(
    name="list_agents",
    description=(
        "The premade OpenCode agents of this project and user (Markdown files), whose name or filename can be given "
        "as 'agent' when spawning. The project's come before the user's."
    ),
    arguments=NoArguments,
    result=record(
        {"count": NUMBER, "agents": array(record({"filename": TEXT, "name": TEXT, "description": TEXT, "mode": TEXT}))}
    ),
    call=_list_agents,
    for_agents=False,
    read_only=True,
)
