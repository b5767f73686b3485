"""What a message does to the agents it is for that are not running: start, wake, or nothing that anyone would see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from meshfleet.ledger import Transaction, View
from meshfleet.mesh.budgets import may_start_more
from meshfleet.mesh.dormancy import is_dormant, left_behind, was_never_called
from meshfleet.mesh.lifecycle import AT_WORK, settle_fleet
from meshfleet.mesh.receipts import was_put_before
from meshfleet.mesh.resuming import waiting_again
from meshfleet.mesh.texts import listed
from meshfleet.model import AgentStatus, MessageType, Row, Start, now_ms

MOST_WAKES: Final = 10
"""How often messages may wake an agent, so that two can't keep each other awake for ever."""
CALLS: Final = frozenset({MessageType.HANDOFF, MessageType.QUESTION, MessageType.REQUEST_HELP})
"""The types that wake an agent which has completed; the others only tell it something."""


def reach(transaction: Transaction, message: Row, recipients: Sequence[str]) -> str | None:
    """Start or wake those a message is for, as their specs have it; says who won't read it, None where all may.

    Args:
        transaction: Where it is written; the message is in their inboxes already.
        message: Its row.
        recipients: Their ids.
    """
    idle = [agent for agent in _those_at(transaction, recipients) if _is_idle(transaction, agent)]
    if not idle:
        return None
    opens = may_start_more(transaction, message["fleet_id"])
    for agent in idle:
        if agent["status"] == AgentStatus.PENDING or (opens and _is_to_start(agent)):
            _call(transaction, agent, message)
        elif opens and agent["status"] == AgentStatus.COMPLETE and _is_call(agent, message) and _may_wake(agent):
            wake(transaction, agent, message["id"])
    # by now, since those that come after one that was called wait again
    left = [agent for agent in _those_at(transaction, [one["id"] for one in idle]) if agent["status"] not in AT_WORK]
    if len(left) < len(idle):
        settle_fleet(transaction, message["fleet_id"], now_ms())
    told = [f"{agent['role']} ({agent['id']}) {_why_not(agent, message)}" for agent in left]
    return f"nobody reads this: {listed(told, '; ')}" if told else None


def wake(transaction: Transaction, agent: Row, message_id: str) -> None:
    """Have an agent that has done its work go on in its session; to settle its fleet is left to the caller."""
    row = _left_to_anyone(agent) | {"wakes": _wakes_of(agent) + 1}
    _put_reached(transaction, row, "agent_woken", message_id)


def call_left_unread(transaction: Transaction, agent: Row) -> str | None:
    """The message for which an agent that is about to complete has to go on; None where it may end.

    Args:
        transaction: Where it ends.
        agent: Its row, with what it has used.
    """
    if not _may_wake(agent):
        return None
    call = _unread_call(transaction, agent)
    if call is not None:
        # what it has used counts
        transaction.put("agents", agent["id"], agent)
    return call if call is not None and may_start_more(transaction, agent["fleet_id"]) else None


def _unread_call(view: View, agent: Row) -> str | None:
    """The first message that would have woken an agent, had it ended before; one it was shown has been of no avail."""
    for message_id in view.inbox(agent["id"]):
        message = view.get("messages", message_id)
        if message is not None and _is_call(agent, message) and not was_put_before(view, message_id, agent["id"]):
            return message_id
    return None


def _those_at(view: View, agent_ids: Sequence[str]) -> list[Row]:
    found = (view.get("agents", agent_id) for agent_id in agent_ids)
    return [agent for agent in found if agent is not None]


def _is_idle(view: View, agent: Row) -> bool:
    """Whether an agent reads nothing unless it is started."""
    if agent["status"] not in AT_WORK:
        return True
    return agent.get("start") == Start.ON_MESSAGE and is_dormant(view, agent)


def _is_to_start(agent: Row) -> bool:
    return agent.get("start") == Start.ON_MESSAGE and was_never_called(agent)


def _is_call(agent: Row, message: Row) -> bool:
    """Whether a message asks something of an agent, and somebody else does."""
    return message["type"] in CALLS and message["from_agent_id"] != agent["id"]


def _may_wake(agent: Row) -> bool:
    return agent.get("wake") is True and _wakes_of(agent) < MOST_WAKES and "cwd" in agent


def _wakes_of(agent: Row) -> int:
    """How often an agent was woken; where somebody wrote something else by hand, often enough."""
    wakes = agent.get("wakes", 0)
    return wakes if type(wakes) is int else MOST_WAKES


def _call(transaction: Transaction, agent: Row, message: Row) -> None:
    if agent["status"] == AgentStatus.PENDING:
        _put_reached(transaction, {**agent, "called": True}, "agent_called", message["id"])
        return
    _put_reached(transaction, _left_to_anyone(agent) | {"called": True}, "agent_called", message["id"])
    for other in left_behind(transaction, agent):
        transaction.put("agents", other["id"], _left_to_anyone(other))


def _left_to_anyone(agent: Row) -> Row:
    """The row of an agent that has ended, waiting again: whoever looked after it may be gone."""
    return {key: value for key, value in waiting_again(agent).items() if key != "supervisor"}


def _put_reached(transaction: Transaction, row: Row, event: str, message_id: str) -> None:
    transaction.put("agents", row["id"], row)
    about = {"fleet_id": row["fleet_id"], "agent_id": row["id"], "role": row["role"]}
    transaction.event(event, **about, message_id=message_id)


def _why_not(agent: Row, message: Row) -> str:
    if agent["status"] != AgentStatus.COMPLETE:
        return f"is {agent['status']}; resume starts it again"
    if agent.get("wake") is not True:
        return "has completed, and was not spawned with wake"
    if message["type"] not in CALLS:
        return f"has completed, and no {message['type']} wakes it"
    if message["from_agent_id"] == agent["id"]:
        return "has completed, and does not wake itself"
    if _wakes_of(agent) >= MOST_WAKES:
        return f"has completed, and was woken {MOST_WAKES} times already"
    return "has completed, and its fleet starts nothing more"
