"""Fleets: creating one, how it stands, and what its agents came to. Starting the agents is a supervisor's work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from meshfleet.errors import Conflict, Invalid, NotFound
from meshfleet.ledger import Ledger, Transaction, View
from meshfleet.mesh.lifecycle import LONGEST_TIMEOUT_MS
from meshfleet.mesh.texts import LONGEST_PROMPT, checked_name, checked_text, description_to_keep, shown
from meshfleet.model import AgentStatus, FleetStatus, Row, SupervisorRow, new_id, now_ms


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """What an agent of a fleet is to be.

    Attributes:
        role: What it is called among its peers.
        prompt: What it is asked to do.
        agent: The name of a premade OpenCode agent, if it is to be one.
        description: What that premade agent is for, so that work can be routed to it.
    """

    role: str
    prompt: str
    agent: str | None = None
    description: str = ""


def create_fleet(
    ledger: Ledger, specs: Sequence[AgentSpec], *, cwd: str, supervisor: SupervisorRow | None = None
) -> tuple[str, list[str]]:
    """Write a fleet and its agents, waiting to be started; returns the fleet's id and the agents', in order.

    Args:
        ledger: Where it is written.
        specs: The agents, at least one.
        cwd: The folder the agents work in.
        supervisor: Who is to start them; None leaves them to any.

    Raises:
        Invalid: There are no agents, or a spec says what it can't; nothing is written.
    """
    if not specs:
        raise Invalid("agents is empty; a fleet needs at least one agent")
    for place, spec in enumerate(specs):
        check_spec(spec, f"agents[{place}].")
    fleet_id = new_id()
    agent_ids = [new_id() for _ in specs]
    origin = _origin(cwd, supervisor)

    def rule(transaction: Transaction) -> None:
        now = now_ms()
        transaction.put("fleets", fleet_id, {"id": fleet_id, "status": str(FleetStatus.RUNNING), "created_at": now})
        for agent_id, spec in zip(agent_ids, specs, strict=True):
            transaction.put("agents", agent_id, _new_agent(agent_id, fleet_id, spec, origin, now))
        transaction.event("fleet_created", fleet_id=fleet_id, agent_count=len(specs))
        transaction.event("spawn_fleet_called", fleet_id=fleet_id, agent_ids=agent_ids)

    ledger.transact(rule)
    return fleet_id, agent_ids


def attach_agent(
    ledger: Ledger, fleet_id: str, spec: AgentSpec, *, cwd: str, supervisor: SupervisorRow | None = None
) -> str:
    """Write one more agent of a running fleet, waiting to be started; returns its id.

    Raises:
        Conflict: The fleet is not running.
        Invalid: The spec says what it can't; nothing is written.
        NotFound: There is no such fleet.
    """
    check_spec(spec)
    agent_id = new_id()
    origin = _origin(cwd, supervisor)

    def rule(transaction: Transaction) -> None:
        fleet = require_fleet(transaction, fleet_id)
        if fleet["status"] != FleetStatus.RUNNING:
            raise Conflict(
                f"fleet {fleet_id} is {fleet['status']}, and only a running one takes another agent; spawn one"
            )
        transaction.put("agents", agent_id, _new_agent(agent_id, fleet_id, spec, origin, now_ms()))
        transaction.event("agent_attached", fleet_id=fleet_id, agent_id=agent_id, role=spec.role)

    ledger.transact(rule)
    return agent_id


def set_fleet_timeout(ledger: Ledger, fleet_id: str, timeout_ms: int) -> None:
    """Set how long an attempt of each of a fleet's agents may run, those running now included.

    Raises:
        Invalid: It is not a positive number of ms, or is more than can be kept.
        NotFound: There is no such fleet.
    """
    if not 1 <= timeout_ms <= LONGEST_TIMEOUT_MS:
        raise Invalid(
            f"timeout_ms is {shown(timeout_ms)}; it has to be a number of milliseconds from 1 to {LONGEST_TIMEOUT_MS}"
        )

    def rule(transaction: Transaction) -> None:
        fleet = require_fleet(transaction, fleet_id)
        transaction.put("fleets", fleet_id, {**fleet, "timeout_ms": timeout_ms})
        transaction.event("fleet_timeout_set", fleet_id=fleet_id, timeout_ms=timeout_ms)

    ledger.transact(rule)


def fleet_status(ledger: Ledger, fleet_id: str) -> dict[str, Any]:
    """The fleet's row and its agents'.

    Raises:
        NotFound: There is no such fleet.
    """
    return ledger.read(lambda view: {"fleet": require_fleet(view, fleet_id), "agents": view.agents_of(fleet_id)})


def list_fleets(ledger: Ledger) -> dict[str, Any]:
    """Every fleet with the number of its agents by status, oldest first."""
    return ledger.read(lambda view: {"fleets": [_overview(view, fleet) for fleet in view.rows("fleets")]})


def collect_results(ledger: Ledger, fleet_id: str) -> dict[str, Any]:
    """What each agent of a fleet came to so far, in the order they were spawned.

    Raises:
        NotFound: There is no such fleet.
    """

    def query(view: View) -> dict[str, Any]:
        require_fleet(view, fleet_id)
        return {"fleet_id": fleet_id, "results": [_result(agent) for agent in view.agents_of(fleet_id)]}

    return ledger.read(query)


def require_fleet(view: View, fleet_id: str) -> Row:
    """The fleet's row.

    Raises:
        NotFound: There is no such fleet.
    """
    fleet = view.get("fleets", fleet_id)
    if fleet is None:
        raise NotFound(f"fleet_id {shown(fleet_id)} is no fleet; list_fleets lists them")
    return fleet


def check_spec(spec: AgentSpec, place: str = "") -> None:
    """Refuse what an agent can't be; `place` is what the caller's argument names begin with.

    Raises:
        Invalid: The role or prompt is blank, or a text can't be stored.
    """
    checked_name(f"{place}role", spec.role)
    if not spec.prompt.strip():
        raise Invalid(f"{place}prompt is blank; it has to say what the agent is to do")
    checked_text(f"{place}prompt", spec.prompt, LONGEST_PROMPT)
    if spec.agent is not None:
        checked_name(f"{place}agent", spec.agent)
        if spec.agent.startswith("-"):
            raise Invalid(f"{place}agent is {shown(spec.agent)}; the name of an agent does not start with a dash")


def _origin(cwd: str, supervisor: SupervisorRow | None) -> Row:
    return {"cwd": cwd} if supervisor is None else {"cwd": cwd, "supervisor": dict(supervisor)}


def _new_agent(agent_id: str, fleet_id: str, spec: AgentSpec, origin: Row, now: int) -> Row:
    row: Row = {
        "id": agent_id,
        "fleet_id": fleet_id,
        "role": spec.role,
        "prompt": spec.prompt,
        "status": str(AgentStatus.PENDING),
        "created_at": now,
        **origin,
    }
    if spec.agent is not None:
        row["agent_file"] = spec.agent
    if description := description_to_keep(spec.description):
        row["agent_description"] = description
    return row


def _overview(view: View, fleet: Row) -> Row:
    counts = Counter(agent["status"] for agent in view.agents_of(fleet["id"]))
    completed = {"completed_at": fleet["completed_at"]} if "completed_at" in fleet else {}
    return {
        "id": fleet["id"],
        "status": fleet["status"],
        "created_at": fleet["created_at"],
        **completed,
        "agent_count": counts.total(),
        "agents_complete": counts[AgentStatus.COMPLETE],
        "agents_failed": counts[AgentStatus.FAILED],
        "agents_running": counts[AgentStatus.RUNNING],
    }


def _result(agent: Row) -> Row:
    return {
        "agent_id": agent["id"],
        "role": agent["role"],
        "status": agent["status"],
        "output": agent.get("output"),
        "error": agent.get("error"),
    }
