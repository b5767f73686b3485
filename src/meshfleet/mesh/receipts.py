"""Receipts: the witnessed trail of who saw a message and who acted on it; the first one of its kind stands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from meshfleet.errors import Invalid, NotFound
from meshfleet.ledger import Ledger, Transaction, View
from meshfleet.mesh.texts import LONGEST_PAYLOAD, checked_name, checked_text, shown
from meshfleet.model import Row, now_ms, receipt_key, recipients_of

ACK: Final = "ack"
SEEN: Final = "seen"
"""An agent has asked for the message and got it."""
DELIVERED: Final = "delivered"
"""The message stood in the prompt of an attempt that was started."""


def ack_message(ledger: Ledger, agent_id: str, message_id: str) -> dict[str, Any]:
    """Note that an agent acted on a message and take it out of its inbox; `ok` is false, with a reason, if it can't.

    The message counts as acknowledged once everyone it was sent to has done so. A repeat is fine.
    """
    checked_name("agent_id", agent_id)

    def rule(transaction: Transaction) -> dict[str, Any]:
        message = transaction.get("messages", message_id)
        if message is None:
            return {
                "ok": False,
                "reason": f"message_id {shown(message_id)} is no message; get_inbox shows what waits",
            }
        if agent_id not in recipients_of(message):
            return {
                "ok": False,
                "reason": f"the message was not sent to {shown(agent_id)}; only a recipient can ack it",
            }
        _write_receipt(transaction, message, agent_id, ACK, None)
        return {"ok": True}

    return ledger.transact(rule)


def write_receipt(
    ledger: Ledger, agent_id: str, message_id: str, action: str, note: str | None = None
) -> dict[str, Any]:
    """Annotate a message without taking it out of the inbox; a repeat returns the receipt that stands.

    Raises:
        Invalid: The action is `ack`, which `ack_message` writes, or an argument can't be stored.
        NotFound: There is no such message.
    """
    checked_name("agent_id", agent_id)
    checked_name("action", action)
    if action.strip().lower() == ACK:
        raise Invalid(f"action is {shown(action)}, which takes the message out of the inbox too; use ack_message")
    if ":" in action:
        raise Invalid(f"action is {shown(action)}; it can't hold a colon")
    if note is not None:
        checked_text("note", note, LONGEST_PAYLOAD)

    def rule(transaction: Transaction) -> dict[str, Any]:
        message = require_message(transaction, message_id)
        return {"receipt": _write_receipt(transaction, message, agent_id, action, note)}

    return ledger.transact(rule)


def get_receipts(ledger: Ledger, message_id: str) -> dict[str, Any]:
    """A message's trail: its receipts, oldest first, then by agent id.

    Raises:
        NotFound: There is no such message.
    """

    def query(view: View) -> dict[str, Any]:
        require_message(view, message_id)
        receipts = view.receipts_of(message_id)
        return {"receipts": sorted(receipts, key=lambda receipt: (receipt["timestamp"], receipt["agent_id"]))}

    return ledger.read(query)


def note_shown(transaction: Transaction, agent_id: str, message_ids: Iterable[str], action: str) -> None:
    """Note that messages were put before an agent (`SEEN` or `DELIVERED`), where that is news."""
    for message_id in message_ids:
        message = transaction.get("messages", message_id)
        if message is not None:
            _write_receipt(transaction, message, agent_id, action, None)


def was_put_before(view: View, message_id: str, agent_id: str) -> bool:
    """Tell whether an agent has had a message before it, in its prompt or because it asked for it."""
    return any(view.get("receipts", receipt_key(message_id, agent_id, done)) for done in (SEEN, DELIVERED, ACK))


def require_message(view: View, message_id: str) -> Row:
    """The message's row.

    Raises:
        NotFound: There is no such message.
    """
    message = view.get("messages", message_id)
    if message is None:
        raise NotFound(f"message_id {shown(message_id)} is no message; send_message returns the id of one")
    return message


def _write_receipt(transaction: Transaction, message: Row, agent_id: str, action: str, note: str | None) -> Row:
    key = receipt_key(message["id"], agent_id, action)
    standing = transaction.get("receipts", key)
    if standing is not None:
        return standing
    row: Row = {"message_id": message["id"], "agent_id": agent_id, "action": action, "timestamp": now_ms()}
    if note is not None:
        row["note"] = note
    transaction.put("receipts", key, row)
    if action == ACK:
        transaction.take(agent_id, message["id"])
        _note_acknowledged(transaction, message)
    transaction.event(
        "receipt_written",
        message_id=message["id"],
        agent_id=agent_id,
        action=action,
        fleet_id=message["fleet_id"],
    )
    return row


def _note_acknowledged(transaction: Transaction, message: Row) -> None:
    message_id = message["id"]
    if all(transaction.get("receipts", receipt_key(message_id, other, ACK)) for other in recipients_of(message)):
        transaction.put("messages", message_id, {**message, "acknowledged": True})
