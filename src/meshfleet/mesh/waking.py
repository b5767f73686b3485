"""What a message does to the agents it is for that are not running: start, wake, or nothing that anyone would see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from meshfleet.ledger import Transaction, View
from meshfleet.mesh.dormancy import is_dormant, was_never_called
from meshfleet.mesh.lifecycle import AT_WORK, settle_fleet
from meshfleet.mesh.receipts import was_put_before
from meshfleet.mesh.resuming import waiting_again
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
    unreached = []
    for agent_id in recipients:
        agent = transaction.get("agents", agent_id)
        if agent is None:
            continue
        if _starts(transaction, agent):
            _call(transaction, agent, message)
        elif agent["status"] in AT_WORK:
            continue
        elif message["type"] in CALLS and (agent["status"] == AgentStatus.COMPLETE and may_wake(transaction, agent)):
            wake(transaction, agent, message["id"])
        else:
            unreached.append(f"{agent['role']} ({agent_id}) {_why_not(agent, message)}")
    return f"nobody reads this: {'; '.join(unreached)}" if unreached else None


def may_wake(view: View, agent: Row) -> bool:
    """Tell whether a message may wake an agent once it has completed."""
    return (
        agent.get("wake") is True
        and int(agent.get("wakes", 0)) < MOST_WAKES
        and "cwd" in agent
        and _may_start_more(view, agent["fleet_id"])
    )


def wake(transaction: Transaction, agent: Row, message_id: str) -> None:
    """Have an agent that has done its work go on in its session, and reopen its fleet."""
    row = waiting_again(agent) | {"wakes": int(agent.get("wakes", 0)) + 1}
    row.pop("supervisor", None)
    _reopened(transaction, row, "agent_woken", message_id)


def unread_call(view: View, agent: Row) -> str | None:
    """The first message that would have woken an agent, had it ended before; one it was shown has been of no avail."""
    for message_id in view.inbox(agent["id"]):
        message = view.get("messages", message_id)
        if message is not None and message["type"] in CALLS and not was_put_before(view, message_id, agent["id"]):
            return message_id
    return None


def _starts(view: View, agent: Row) -> bool:
    if agent.get("start") != Start.ON_MESSAGE:
        return False
    return is_dormant(view, agent) or (was_never_called(agent) and _may_start_more(view, agent["fleet_id"]))


def _call(transaction: Transaction, agent: Row, message: Row) -> None:
    if agent["status"] == AgentStatus.PENDING:
        row = {**agent, "called": True}
    else:
        row = waiting_again(agent) | {"called": True}
        row.pop("supervisor", None)
    _reopened(transaction, row, "agent_called", message["id"])


def _reopened(transaction: Transaction, row: Row, event: str, message_id: str) -> None:
    transaction.put("agents", row["id"], row)
    about = {"fleet_id": row["fleet_id"], "agent_id": row["id"], "role": row["role"]}
    transaction.event(event, **about, message_id=message_id)
    settle_fleet(transaction, row["fleet_id"], now_ms())


def _may_start_more(view: View, fleet_id: str) -> bool:
    return not (view.get("fleets", fleet_id) or {}).keys() & {"cancelled_at", "over_budget"}


def _why_not(agent: Row, message: Row) -> str:
    if agent["status"] != AgentStatus.COMPLETE:
        return f"is {agent['status']}; resume starts it again"
    if agent.get("wake") is not True:
        return "has completed, and was not spawned with wake"
    if message["type"] not in CALLS:
        return f"has completed, and no {message['type']} wakes it"
    if int(agent.get("wakes", 0)) >= MOST_WAKES:
        return f"has completed, and was woken {MOST_WAKES} times already"
    return "has completed, and its fleet starts nothing more"
