"""The tools about single agents: adding one to a fleet, holding a fleet's agents to a time, listing premade ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from meshfleet.agents.definitions import described, find_agent_files
from meshfleet.mesh.cancelling import require_own_fleet
from meshfleet.mesh.fleets import attach_agent, set_fleet_timeout
from meshfleet.mesh.specs import AgentSpec
from meshfleet.server.tool import Arguments, Context, JsonObject, NoArguments, Tool
from meshfleet.server.tools.fleets import FleetId, Folder, IdempotencyKey, Model, PremadeAgent, Prompt, Role, Variables
from meshfleet.server.tools.schemas import FLAG, NUMBER, TEXT, TEXT_OR_NULL, array, record


class AttachPeer(Arguments):
    """Arguments of attach_agent as an agent has it."""

    role: str
    prompt: str
    agent: PremadeAgent = None
    fleet_id: Annotated[str | None, Field(description="Yours if left out")] = None


class AttachAgent(Arguments):
    """Arguments of attach_agent."""

    fleet_id: FleetId
    role: Role
    prompt: Prompt
    agent: PremadeAgent = None
    model: Model = None
    cwd: Folder = None
    env: Variables = None
    idempotency_key: IdempotencyKey = None


class SetFleetTimeout(Arguments):
    """Arguments of set_fleet_timeout."""

    fleet_id: FleetId
    timeout_ms: Annotated[int, Field(description="Longest time an agent may run, in milliseconds", ge=1)]


def _attach_agent(context: Context, arguments: AttachAgent) -> JsonObject:
    spec = AgentSpec(arguments.role, arguments.prompt, arguments.agent)
    equipped = replace(spec, model=arguments.model, cwd=arguments.cwd, env=arguments.env or {})
    return _attach(context, arguments.fleet_id, equipped, arguments.idempotency_key)


def _attach_peer(context: Context, arguments: AttachPeer) -> JsonObject:
    caller_id, fleet_id = context.caller.agent_id, context.caller.in_fleet(arguments.fleet_id)
    if caller_id is not None:
        context.ledger.read(lambda view: require_own_fleet(view, caller_id, fleet_id))
    spec = AgentSpec(arguments.role, arguments.prompt, arguments.agent)
    return _attach(context, fleet_id, spec)


def _attach(context: Context, fleet_id: str, spec: AgentSpec, idempotency_key: str | None = None) -> JsonObject:
    supervisor = context.supervisor
    if supervisor is not None:
        supervisor.require_opencode()
    (spec,) = described([spec], context.cwd, context.environ)
    agent_id = attach_agent(
        context.ledger,
        fleet_id,
        spec,
        cwd=str(context.cwd),
        supervisor=supervisor.row if supervisor else None,
        idempotency_key=idempotency_key,
    )
    if supervisor is not None:
        supervisor.wake()
    return {
        "agent_id": agent_id,
        "fleet_id": fleet_id,
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
    open_world=True,
)

ATTACH_PEER = Tool(
    name="attach_agent",
    description=("Add one more agent to your own running fleet, or to one you spawned."),
    arguments=AttachPeer,
    result=ATTACH_AGENT.result,
    call=_attach_peer,
    open_world=True,
)

SET_FLEET_TIMEOUT = Tool(
    name="set_fleet_timeout",
    description=(
        "Limit how long each agent of a fleet may run, those running now included; one that runs longer is stopped "
        "and tried again like any that failed (reason 'timeout'). Without it there is no limit."
    ),
    arguments=SetFleetTimeout,
    result=record({"ok": FLAG, "timeout_ms": NUMBER}),
    call=_set_fleet_timeout,
    idempotent=True,
)

LIST_AGENTS = Tool(
    name="list_agents",
    description=("The premade OpenCode agents of this project and user: names or filenames for 'agent' when spawning."),
    arguments=NoArguments,
    result=record(
        {"count": NUMBER, "agents": array(record({"filename": TEXT, "name": TEXT, "description": TEXT, "mode": TEXT}))}
    ),
    call=_list_agents,
    read_only=True,
)
