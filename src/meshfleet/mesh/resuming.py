"""Having agents that were interrupted, failed or were cancelled go on, in the session they had or afresh."""

from __future__ import annotations

from pathlib import Path

from meshfleet.errors import Conflict, Invalid
from meshfleet.ledger import Ledger, Transaction, View
from meshfleet.mesh.budgets import excess_of
from meshfleet.mesh.dormancy import is_dormant, left_behind
from meshfleet.mesh.fleets import require_fleet
from meshfleet.mesh.lifecycle import AT_WORK, moved, require_agent, settle_fleet
from meshfleet.mesh.texts import LONGEST_PROMPT, checked_text, listed
from meshfleet.model import AgentStatus, Row, Start, SupervisorRow, now_ms

RESUMABLE = frozenset({AgentStatus.INTERRUPTED, AgentStatus.FAILED, AgentStatus.CANCELLED})


def resume(
    ledger: Ledger,
    *,
    fleet_id: str | None = None,
    agent_id: str | None = None,
    prompt: str | None = None,
    fresh: bool = False,
    supervisor: SupervisorRow | None = None,
) -> list[str]:
    """Have agents wait to be started again, and reopen their fleet; returns their ids.

    Args:
        ledger: Where it is written.
        fleet_id: The fleet of which every agent that did not complete is to go on; dormant ones are dormant again.
        agent_id: The one agent that is to, and with it, dormant again, those never called that come after it.
        prompt: What it is told; by default to go on, and after a fresh start nothing beyond its own prompt.
        fresh: Begin a new session instead of continuing the old one.
        supervisor: Who is to start them; None leaves them to any.

    Raises:
        Conflict: An agent runs, waits or has completed, the fleet is over its budget, or nothing would start.
        Invalid: Neither or both are named, the prompt is none, or the folder an agent worked in is gone.
        NotFound: There is no such fleet, or agent.
    """
    if (fleet_id is None) == (agent_id is None):
        raise Invalid("name either fleet_id or agent_id: the fleet, or the one agent, that is to go on")
    if prompt is not None:
        if not prompt.strip():
            raise Invalid("prompt is blank; leave it out, or say what the agent is to do")
        checked_text("prompt", prompt, LONGEST_PROMPT)

    # not in the rule, which has everybody else wait: a folder may lie on a disk that does not answer
    for agent in ledger.read(lambda view: _to_resume(view, fleet_id, agent_id)):
        _check_folder(agent)

    def rule(transaction: Transaction) -> list[str]:
        agents = _to_resume(transaction, fleet_id, agent_id)
        _reopen(transaction, agents[0]["fleet_id"])
        for agent in agents:
            row = waiting_again(agent, prompt, fresh=fresh)
            if "attempt" not in agent and (agent["id"] == agent_id or _was_written_to(transaction, agent)):
                row["called"] = True
            row.pop("supervisor", None)
            if supervisor is not None:
                row["supervisor"] = dict(supervisor)
            transaction.put("agents", agent["id"], row)
            about = {"fleet_id": agent["fleet_id"], "agent_id": agent["id"], "role": agent["role"]}
            transaction.event("agent_resumed", **about, fresh="session_id" not in row["continues"])
        _require_somebody_to_start(transaction, agents[0]["fleet_id"])
        settle_fleet(transaction, agents[0]["fleet_id"], now_ms())
        return [agent["id"] for agent in agents]

    return ledger.transact(rule)


def _to_resume(view: View, fleet_id: str | None, agent_id: str | None) -> list[Row]:
    if agent_id is not None:
        agent = require_agent(view, agent_id)
        if agent["status"] not in RESUMABLE:
            raise Conflict(
                f"agent {agent_id} is {agent['status']}; only one that was interrupted, failed or was cancelled goes on"
            )
        agents = [agent, *left_behind(view, agent)]
    else:
        fleet = require_fleet(view, fleet_id or "")
        agents = [agent for agent in view.agents_of(fleet["id"]) if agent["status"] in RESUMABLE]
        if not agents:
            raise Conflict(f"fleet {fleet_id} has no agent that was interrupted, failed or was cancelled")
    for agent in agents:
        if "cwd" not in agent:
            raise Conflict(f"agent {agent['id']} was run by v0.9.0, which kept no session to go on in; spawn it again")
    return agents


def _was_written_to(view: View, agent: Row) -> bool:
    """Whether a message waits for one that starts when a message comes: it came while nothing could start."""
    return agent.get("start") == Start.ON_MESSAGE and bool(view.inbox(agent["id"]))


def _require_somebody_to_start(view: View, fleet_id: str) -> None:
    at_work = [agent for agent in view.agents_of(fleet_id) if agent["status"] in AT_WORK]
    if all(is_dormant(view, agent) for agent in at_work):
        waiting = listed([f"{agent['role']} ({agent['id']})" for agent in at_work])
        raise Conflict(f"all that could go on waits to be called: {waiting}; resume one by its agent_id to start it")


def _check_folder(agent: Row) -> None:
    if not Path(agent["cwd"]).is_dir():
        raise Invalid(f"the folder agent {agent['id']} worked in, {agent['cwd']}, is gone; create it again")


def _reopen(transaction: Transaction, fleet_id: str) -> None:
    fleet = require_fleet(transaction, fleet_id)
    # one that ended before its supervisor looked is so too
    excess = fleet.get("over_budget") or excess_of(transaction, fleet_id)
    if excess is not None:
        raise Conflict(f"fleet {fleet_id} is over its budget: {excess}; spawn another with a larger one")
    if "cancelled_at" in fleet:
        transaction.put("fleets", fleet_id, {key: value for key, value in fleet.items() if key != "cancelled_at"})


def waiting_again(agent: Row, prompt: str | None = None, *, fresh: bool = False) -> Row:
    """The row of an agent that has ended, or ends right now, and is to be started again."""
    row = moved(agent, AgentStatus.PENDING) | {"attempts_before": int(agent.get("attempt", 0))}
    # it begins anew
    for key in ("started_at", "pid", *(("session_id",) if fresh else ())):
        row.pop(key, None)
    continues: Row = {} if prompt is None else {"prompt": prompt}
    if row.get("session_id"):
        continues["session_id"] = row["session_id"]
    return row | {"continues": continues}
