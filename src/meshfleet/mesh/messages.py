"""Sending messages between the agents of a fleet: who may be written to, and what that sets going."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final
from uuid import UUID, uuid5

from meshfleet.errors import Conflict, Invalid, MeshfleetError
from meshfleet.ledger import Ledger, Transaction, View
from meshfleet.mesh.fleets import require_fleet
from meshfleet.mesh.identity import agent_called
from meshfleet.mesh.texts import LONGEST_PAYLOAD, checked_name, checked_text, shown
from meshfleet.mesh.waking import reach
from meshfleet.model import EVERYONE, ORCHESTRATOR, MessageType, Row, new_id, now_ms, recipients_of

_TYPES: Final = frozenset(MessageType)
MOST_AT_ONCE: Final = 1_000
"""Messages that are sent in one transaction."""
_KEYS: Final = UUID("5f0b9a3e-6f0d-4c4e-9f5e-2f1c8f0a7d31")
"""The namespace of ids that idempotency keys stand for; it never changes."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that is to be sent.

    Attributes:
        from_agent_id: An agent's id, or the name an orchestrator goes by.
        to_agent_id: An agent of the fleet, by its id or a role no other has, `orchestrator`, or `*` for every other
            agent of the fleet.
        fleet_id: The fleet it is sent in.
        type: One of `MessageType`.
        payload: The text, at most 65,536 bytes.
        correlation_id: The message it answers or belongs to.
        idempotency_key: Makes a repeat return the message that is there.
    """

    from_agent_id: str
    to_agent_id: str
    fleet_id: str
    type: str
    payload: str
    correlation_id: str | None = None
    idempotency_key: str | None = None


def send_message(ledger: Ledger, draft: Draft) -> dict[str, Any]:
    """Store a message and put it into the inbox of everyone it is for; returns its id and the recipients.

    Those of them that wait for one start, and those that have completed and may be woken go on. A `warning` says who
    has ended and won't read it. A repeat with an idempotency key that its sender has used in the fleet stores nothing.

    Raises:
        Conflict: The idempotency key was used for another message.
        Invalid: It says what it can't, or is for somebody outside the fleet; nothing is written.
        NotFound: There is no such fleet.
    """
    _check_draft(draft)
    message_id = _id_of(draft)
    return ledger.transact(lambda transaction: _send(transaction, draft, message_id))


def send_messages(ledger: Ledger, drafts: Sequence[Draft]) -> list[dict[str, Any]]:
    """Send several messages in one transaction, all or none; returns for each what `send_message` does.

    Raises:
        Conflict: As for one; the text begins with which of them it is.
        Invalid: So it is for one of them, or there are none, or more than 1,000.
        NotFound: There is no such fleet.
    """
    if not 1 <= len(drafts) <= MOST_AT_ONCE:
        raise Invalid(f"messages has {len(drafts)} entries; 1 to {MOST_AT_ONCE} can be sent at once")
    prepared = []
    for place, draft in enumerate(drafts):
        with _Named(place):
            _check_draft(draft)
            prepared.append((draft, _id_of(draft)))

    def rule(transaction: Transaction) -> list[dict[str, Any]]:
        sent = []
        for place, (draft, message_id) in enumerate(prepared):
            with _Named(place):
                sent.append(_send(transaction, draft, message_id))
        return sent

    return ledger.transact(rule)


class _Named:
    """Has a refusal say which of several messages it is about."""

    __slots__ = ("_place",)

    def __init__(self, place: int) -> None:
        self._place = place

    def __enter__(self) -> None:
        """Nothing is to be done."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, MeshfleetError):
            raise type(error)(f"messages[{self._place}]: {error}") from None


def _send(transaction: Transaction, draft: Draft, message_id: str) -> dict[str, Any]:
    require_fleet(transaction, draft.fleet_id)
    if draft.idempotency_key is not None and (known := transaction.get("messages", message_id)) is not None:
        return _same_message(transaction, known, draft)
    to = _addressee(transaction, draft)
    recipients = _recipients(transaction, draft, to)
    message = _new_message(message_id, draft, to, recipients)
    transaction.put("messages", message_id, message)
    for recipient in recipients:
        transaction.deliver(recipient, message_id)
    transaction.event(
        "message_sent",
        message_id=message_id,
        fleet_id=draft.fleet_id,
        from_agent_id=draft.from_agent_id,
        to_agent_id=to,
        type=draft.type,
    )
    warning = reach(transaction, message, recipients)
    result: dict[str, Any] = {"message_id": message_id, "recipients": recipients}
    return result if warning is None else result | {"warning": warning}


def _id_of(draft: Draft) -> str:
    return new_id() if draft.idempotency_key is None else _id_of_key(draft)


def _id_of_key(draft: Draft) -> str:
    """The id of the message that a sender's idempotency key stands for in a fleet; so it is found without search."""
    named = json.dumps([draft.fleet_id, draft.from_agent_id, draft.idempotency_key])
    return str(uuid5(_KEYS, named))


def _same_message(view: View, known: Row, draft: Draft) -> dict[str, Any]:
    # its role may be that of several by now
    names = {known["to_agent_id"], (view.get("agents", known["to_agent_id"]) or {}).get("role")}
    stored = (known["type"], known["payload"], known.get("correlation_id"))
    if draft.to_agent_id not in names or stored != (draft.type, draft.payload, draft.correlation_id):
        raise Conflict(f"idempotency_key {shown(draft.idempotency_key)} was used for another message; give a new one")
    return {"message_id": known["id"], "recipients": recipients_of(known)}


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
    if draft.idempotency_key is not None:
        checked_name("idempotency_key", draft.idempotency_key)


def _addressee(view: View, draft: Draft) -> str:
    """Whom a message is for: a role stands for the agent of the fleet that has it."""
    named = draft.to_agent_id
    if named in {ORCHESTRATOR, EVERYONE}:
        return named
    return agent_called(view, draft.fleet_id, "to_agent_id", named)


def _recipients(view: View, draft: Draft, to: str) -> list[str]:
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
            f"to_agent_id {shown(to)} is no agent; name one by its id or its role (see fleet_status), or '*', or "
            "'orchestrator'"
        )
    if agent["fleet_id"] != draft.fleet_id:
        raise Invalid(
            f"to_agent_id {shown(to)} is an agent of another fleet, {agent['fleet_id']}; send it in that fleet"
        )
    return [to]


def _new_message(message_id: str, draft: Draft, to: str, recipients: list[str]) -> Row:
    row: Row = {
        "id": message_id,
        "from_agent_id": draft.from_agent_id,
        "to_agent_id": to,
        "fleet_id": draft.fleet_id,
        "type": str(draft.type),
        "payload": draft.payload,
        "timestamp": now_ms(),
        "acknowledged": False,
    }
    if draft.correlation_id is not None:
        row["correlation_id"] = draft.correlation_id
    if to == EVERYONE:
        row["recipients"] = recipients
    if draft.idempotency_key is not None:
        row["idempotency_key"] = draft.idempotency_key
    return row
