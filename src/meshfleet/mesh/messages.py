"""Messages between the agents of a fleet: who may be written to, and what waits in an inbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from meshfleet.errors import Invalid
from meshfleet.ledger import Ledger, Transaction, View
from meshfleet.mesh.fleets import require_fleet
from meshfleet.mesh.texts import LONGEST_PAYLOAD, checked_name, checked_text, shown
from meshfleet.model import EVERYONE, ORCHESTRATOR, MessageType, Row, new_id, now_ms

_TYPES: Final = frozenset(MessageType)


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that is to be sent.

    Attributes:
        from_agent_id: An agent's id, or the name an orchestrator goes by.
        to_agent_id: An agent of the fleet, `orchestrator`, or `*` for every other agent of the fleet.
        fleet_id: The fleet it is sent in.
        type: One of `MessageType`.
        payload: The text, at most 65,536 bytes.
        correlation_id: The message it answers or belongs to.
    """

    from_agent_id: str
    to_agent_id: str
    fleet_id: str
    type: str
    payload: str
    correlation_id: str | None = None


def send_message(ledger: Ledger, draft: Draft) -> dict[str, Any]:
    """Store a message and put it into the inbox of everyone it is for; returns its id and the recipients.

    Raises:
        Invalid: It says what it can't, or is for somebody outside the fleet; nothing is written.
        NotFound: There is no such fleet.
    """
    _check_draft(draft)
    message_id = new_id()

    def rule(transaction: Transaction) -> list[str]:
        recipients = _recipients(transaction, draft)
        transaction.put("messages", message_id, _new_message(message_id, draft, recipients))
        for recipient in recipients:
            transaction.deliver(recipient, message_id)
        transaction.event(
            "message_sent",
            message_id=message_id,
            fleet_id=draft.fleet_id,
            from_agent_id=draft.from_agent_id,
            to_agent_id=draft.to_agent_id,
            type=draft.type,
        )
        return recipients

    return {"message_id": message_id, "recipients": ledger.transact(rule)}


def get_inbox(ledger: Ledger, agent_id: str, since: int | None = None) -> dict[str, Any]:
    """The messages that wait for an agent, oldest first; with `since`, those sent after that time in ms.

    Raises:
        Invalid: The agent's id is none anybody can have.
    """
    checked_name("agent_id", agent_id)

    def query(view: View) -> dict[str, Any]:
        waiting = (view.get("messages", message_id) for message_id in view.inbox(agent_id))
        return {
            "messages": [
                message
                for message in waiting
                if message is not None and (since is None or message["timestamp"] > since)
            ]
        }

    return ledger.read(query)


def _check_draft(draft: Draft) -> None:
    checked_name("from_agent_id", draft.from_agent_id)
    checked_name("to_agent_id", draft.to_agent_id)
    if draft.type not in _TYPES:
        raise Invalid(f"type is {shown(draft.type)}; it has to be one of {', '.join(MessageType)}")
    checked_text("payload", draft.payload, LONGEST_PAYLOAD)
    if draft.from_agent_id == EVERYONE:
        raise Invalid("from_agent_id is '*'; a message comes from somebody")
    if draft.correlation_id is not None:
        checked_name("correlation_id", draft.correlation_id)


def _recipients(view: View, draft: Draft) -> list[str]:
    require_fleet(view, draft.fleet_id)
    to = draft.to_agent_id
    sender = view.get("agents", draft.from_agent_id)
    if sender is not None and sender["fleet_id"] != draft.fleet_id:
        raise Invalid(f"fleet_id is not the fleet of from_agent_id, which is {sender['fleet_id']}; send it in that one")
    if to == ORCHESTRATOR:
        return [ORCHESTRATOR]
    if to == EVERYONE:
        others = [agent["id"] for agent in view.agents_of(draft.fleet_id) if agent["id"] != draft.from_agent_id]
        if not others:
            raise Invalid("to_agent_id is '*', but the fleet has no other agent to send to")
        return others
    agent = view.get("agents", to)
    if agent is None:
        raise Invalid(
            f"to_agent_id {shown(to)} is no agent; name one by its id (see fleet_status), or '*', or 'orchestrator'"
        )
    if agent["fleet_id"] != draft.fleet_id:
        raise Invalid(
            f"to_agent_id {shown(to)} is an agent of another fleet, {agent['fleet_id']}; send it in that fleet"
        )
    return [to]


def _new_message(message_id: str, draft: Draft, recipients: list[str]) -> Row:
    row: Row = {
        "id": message_id,
        "from_agent_id": draft.from_agent_id,
        "to_agent_id": draft.to_agent_id,
        "fleet_id": draft.fleet_id,
        "type": str(draft.type),
        "payload": draft.payload,
        "timestamp": now_ms(),
        "acknowledged": False,
    }
    if draft.correlation_id is not None:
        row["correlation_id"] = draft.correlation_id
    if draft.to_agent_id == EVERYONE:
        row["recipients"] = recipients
    return row
