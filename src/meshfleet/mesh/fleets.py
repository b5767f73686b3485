"""Fleets: creating one, how it stands, and what its agents came to. Starting the agents is a supervisor's work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from meshfleet.errors import Conflict, Invalid, NotFound
from meshfleet.ledger import Ledger, Transaction, View
from meshfleet.mesh.budgets import usage_of_agent
from meshfleet.mesh.dormancy import is_dormant, what_it_waits_for
from meshfleet.mesh.lifecycle import AT_WORK, attempt_of
from meshfleet.mesh.specs import AgentSpec, FleetOptions, check_options, check_spec, check_timeout, order_of
from meshfleet.mesh.texts import checked_name, description_to_keep, shown
from meshfleet.model import AgentStatus, FleetStatus, Row, Start, SupervisorRow, new_id, now_ms

DORMANT: Final = "dormant"
"""The condition of an agent that is not to start before it is called, or before others are complete."""
UNSUPERVISED: Final = "unsupervised"
"""The condition of an agent at work whose supervisor is gone: nobody retries, limits or stops it."""
_OF_AN_OVERVIEW: Final = ("id", "name", "status", "created_at", "completed_at")
# plain texts, which are found among others quicker than the members of an enumeration
_COUNTED: Final = (
    ("agents_complete", str(AgentStatus.COMPLETE)),
    ("agents_failed", str(AgentStatus.FAILED)),
    ("agents_running", str(AgentStatus.RUNNING)),
)


def create_fleet(
    ledger: Ledger,
    specs: Sequence[AgentSpec],
    *,
    cwd: str,
    supervisor: SupervisorRow | None = None,
    options: FleetOptions | None = None,
) -> tuple[str, list[str]]:
    """Write a fleet and its agents, waiting to be started; returns the fleet's id and the agents', in order.

    Args:
        ledger: Where it is written.
        specs: The agents, at least one.
        cwd: The folder the agents work in.
        supervisor: Who is to start them; None leaves them to any.
        options: What holds for the fleet.

    Raises:
        Conflict: The idempotency key was used for another fleet, or there are too many levels of fleets.
        Invalid: There are no agents, or a spec or an option says what it can't; nothing is written.
    """
    options = options or FleetOptions()
    if not specs:
        raise Invalid("agents is empty; a fleet needs at least one agent")
    for place, spec in enumerate(specs):
        check_spec(spec, f"agents[{place}].")
    check_options(options)
    order = order_of(specs)
    fleet_id = new_id()
    agent_ids = [new_id() for _ in specs]

    def rule(transaction: Transaction) -> tuple[str, list[str]]:
        if (known := _fleet_of_key(transaction, options)) is not None:
            return _same_fleet(transaction, known, specs)
        now = now_ms()
        fleet = {"id": fleet_id, "status": str(FleetStatus.RUNNING), "created_at": now}
        keyed = {} if options.idempotency_key is None else {"spawned": len(specs)}
        transaction.put("fleets", fleet_id, fleet | _kept(options) | keyed | _descent(transaction, options))
        for agent_id, spec, before in zip(agent_ids, specs, order, strict=True):
            row = _new_agent(agent_id, fleet_id, spec, _origin(cwd, supervisor), now)
            if before:
                row["after"] = [agent_ids[place] for place in before]
            transaction.put("agents", agent_id, row)
        transaction.event("fleet_created", fleet_id=fleet_id, agent_count=len(specs))
        transaction.event("spawn_fleet_called", fleet_id=fleet_id, agent_ids=agent_ids)
        return fleet_id, agent_ids

    return ledger.transact(rule)


def attach_agent(
    ledger: Ledger,
    fleet_id: str,
    spec: AgentSpec,
    *,
    cwd: str,
    supervisor: SupervisorRow | None = None,
    idempotency_key: str | None = None,
) -> str:
    """Write one more agent of a running fleet, waiting to be started; returns its id.

    A repeat with an idempotency key that the fleet knows returns the agent that is there, whatever became of it.

    Raises:
        Conflict: The fleet is not running, or the idempotency key was used for another agent.
        Invalid: The spec says what it can't; nothing is written.
        NotFound: There is no such fleet.
    """
    check_spec(spec)
    if spec.after or spec.start != Start.NOW:
        raise Invalid("an agent that is attached starts at once; only spawn_fleet takes start and after")
    if idempotency_key is not None:
        checked_name("idempotency_key", idempotency_key)
    agent_id = new_id()

    def rule(transaction: Transaction) -> str:
        fleet = require_fleet(transaction, fleet_id)
        for agent in transaction.agents_of(fleet_id) if idempotency_key is not None else ():
            if agent.get("idempotency_key") == idempotency_key:
                _require_same(agent, spec)
                return str(agent["id"])
        _require_open(fleet)
        row = _new_agent(agent_id, fleet_id, spec, _origin(cwd, supervisor), now_ms())
        if idempotency_key is not None:
            row["idempotency_key"] = idempotency_key
        transaction.put("agents", agent_id, row)
        transaction.event("agent_attached", fleet_id=fleet_id, agent_id=agent_id, role=spec.role)
        return agent_id

    return ledger.transact(rule)


def set_fleet_timeout(ledger: Ledger, fleet_id: str, timeout_ms: int) -> None:
    """Set how long an attempt of each of a fleet's agents may run, those running now included.

    Raises:
        Invalid: It is not a positive number of ms, or is more than can be kept.
        NotFound: There is no such fleet.
    """
    check_timeout(timeout_ms)

    def rule(transaction: Transaction) -> None:
        fleet = require_fleet(transaction, fleet_id)
        transaction.put("fleets", fleet_id, {**fleet, "timeout_ms": timeout_ms})
        transaction.event("fleet_timeout_set", fleet_id=fleet_id, timeout_ms=timeout_ms)

    ledger.transact(rule)


def fleet_status(ledger: Ledger, fleet_id: str) -> dict[str, Any]:
    """The fleet's row and its agents', as they may be shown.

    Raises:
        NotFound: There is no such fleet.
    """

    def query(view: View) -> dict[str, Any]:
        fleet = require_fleet(view, fleet_id)
        return {"fleet": fleet, "agents": [shown_agent(view, agent) for agent in view.agents_of(fleet_id)]}

    return ledger.read(query)


def shown_agent(view: View, agent: Row) -> Row:
    """An agent's row as it may be shown: without its variables, with what its running attempt has used so far.

    `condition` says of one at work what its status does not: `dormant`, `retrying`, `queued`, `stopping` or `stalled`.
    """
    row = {key: value for key, value in agent.items() if key != "env"}
    if agent["status"] not in AT_WORK:
        return row
    attempt = attempt_of(view, agent)
    if attempt is not None and "ended_at" not in attempt:
        used = usage_of_agent(view, agent)
        row["used"] = {"tokens": used.tokens, "cost": used.cost}
    condition = condition_of(view, agent, attempt)
    if condition is not None:
        row["condition"] = condition
    if condition == DORMANT:
        row["waiting_for"] = what_it_waits_for(view, agent)
    if attempt is not None and "silent_since" in attempt:
        row["silent_since"] = attempt["silent_since"]
    return row


def condition_of(view: View, agent: Row, attempt: Row | None) -> str | None:
    """What there is to say of an agent beyond its status; None where there is nothing."""
    if is_dormant(view, agent):
        return DORMANT
    if agent["status"] == AgentStatus.PENDING:
        if "retry_at" in agent:
            return "retrying"
        return "queued" if "waiting_for" in agent else None
    if attempt is None or agent["status"] != AgentStatus.RUNNING:
        return None
    if "stopping" in attempt:
        return "stopping"
    return "stalled" if "silent_since" in attempt else None


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


def _kept(options: FleetOptions) -> Row:
    """What of the options is written into the fleet's row."""
    names = ("name", "timeout_ms", "max_attempts", "max_cost_usd", "max_tokens", "idempotency_key")
    kept = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return kept | ({"allow_all": True} if options.allow_all else {})


def _descent(view: View, options: FleetOptions) -> Row:
    """Which agent spawns the fleet, and how deep it is."""
    if options.parent_agent_id is None:
        return {}
    parent = view.get("agents", options.parent_agent_id)
    above = None if parent is None else view.get("fleets", parent["fleet_id"])
    if above is None:
        raise NotFound(f"you are agent {shown(options.parent_agent_id)}, which is not in the ledger any more")
    if "cancelled_at" in above or "over_budget" in above:
        raise Conflict("your own fleet is being stopped, so it starts nothing more")
    if parent is not None and is_being_ended(view, parent):
        raise Conflict("you have been cancelled or have ended, so you start nothing more")
    depth = int(above.get("depth", 1)) + 1
    if depth > options.max_depth:
        raise Conflict(
            f"your fleet is at level {depth - 1} of {options.max_depth}, so you can't spawn another below it; do the "
            "work yourself or hand it to a peer (MESHFLEET_MAX_DEPTH sets how many levels there may be)"
        )
    return {"parent_agent_id": options.parent_agent_id, "depth": depth}


def is_being_ended(view: View, agent: Row) -> bool:
    """Tell whether an agent has ended, or is being stopped."""
    if agent["status"] not in AT_WORK:
        return True
    return agent["status"] == AgentStatus.RUNNING and "stopping" in (attempt_of(view, agent) or {})


def _fleet_of_key(view: View, options: FleetOptions) -> Row | None:
    """The fleet that the same caller spawned with this key before."""
    key, parent = options.idempotency_key, options.parent_agent_id
    if key is None:
        return None
    wanted = (key, parent)
    of_key = (one for one in view.rows("fleets") if (one.get("idempotency_key"), one.get("parent_agent_id")) == wanted)
    return next(of_key, None)


def _same_fleet(view: View, fleet: Row, specs: Sequence[AgentSpec]) -> tuple[str, list[str]]:
    """The fleet an idempotency key stands for, if it is the one that is asked for."""
    agents = view.agents_of(fleet["id"])[: len(specs)]
    if len(agents) < len(specs) or fleet.get("spawned", len(specs)) != len(specs):
        raise _used_otherwise(fleet["idempotency_key"])
    for agent, spec, before in zip(agents, specs, order_of(specs), strict=True):
        _require_same(agent, spec, fleet["idempotency_key"])
        if agent.get("after", []) != [agents[place]["id"] for place in before]:
            raise _used_otherwise(fleet["idempotency_key"])
    return fleet["id"], [agent["id"] for agent in agents]


def _require_same(agent: Row, spec: AgentSpec, key: str | None = None) -> None:
    known = (agent["role"], agent["prompt"], agent.get("agent_file"), agent.get("model"), agent.get("env") or {})
    asked = (spec.role, spec.prompt, spec.agent, spec.model, dict(spec.env))
    same_folder = spec.cwd is None or spec.cwd == agent.get("cwd")
    same_calls = (agent.get("start", Start.NOW), agent.get("wake", False)) == (spec.start, spec.wake)
    if known != asked or not same_folder or not same_calls:
        raise _used_otherwise(key or agent["idempotency_key"])


def _used_otherwise(key: str) -> Conflict:
    return Conflict(f"idempotency_key {shown(key)} was used for something else before; give another one")


def _require_open(fleet: Row) -> None:
    if fleet["status"] != FleetStatus.RUNNING:
        raise Conflict(
            f"fleet {fleet['id']} is {fleet['status']}, and only a running one takes another agent; spawn one"
        )
    if "cancelled_at" in fleet:
        raise Conflict(f"fleet {fleet['id']} is being cancelled; spawn another")
    if "over_budget" in fleet:
        raise Conflict(f"fleet {fleet['id']} is over its budget: {fleet['over_budget']}; spawn another")


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
    if spec.cwd is not None:
        row["cwd"] = spec.cwd
    if spec.model is not None:
        row["model"] = spec.model
    if spec.env:
        row["env"] = dict(spec.env)
    if spec.agent is not None:
        row["agent_file"] = spec.agent
    if spec.start != Start.NOW:
        row["start"] = str(spec.start)
    if spec.wake:
        row["wake"] = True
    if description := description_to_keep(spec.description):
        row["agent_description"] = description
    return row


def _overview(view: View, fleet: Row) -> Row:
    statuses = [agent["status"] for agent in view.agents_of(fleet["id"])]
    told: Row = {name: fleet[name] for name in _OF_AN_OVERVIEW if name in fleet}
    told["agent_count"] = len(statuses)
    for counted, status in _COUNTED:
        told[counted] = statuses.count(status)
    return told


def _result(agent: Row) -> Row:
    return {
        "agent_id": agent["id"],
        "role": agent["role"],
        "status": agent["status"],
        "output": agent.get("output"),
        "error": agent.get("error"),
    }
