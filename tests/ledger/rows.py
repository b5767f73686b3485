"""Rows and transactions that many ledger tests write."""

from __future__ import annotations

from meshfleet.ledger import Ledger, Transaction, View
from meshfleet.model import Row


def message(message_id: str, payload: str = "hello") -> Row:
    """A message row, complete."""
    return {
        "id": message_id,
        "from_agent_id": "a",
        "to_agent_id": "b",
        "fleet_id": "f",
        "type": "result",
        "payload": payload,
        "timestamp": 1,
        "acknowledged": False,
    }


def send(ledger: Ledger, message_id: str, payload: str = "hello") -> None:
    """Write a message and deliver it to b, in one transaction."""

    def rule(transaction: Transaction) -> None:
        transaction.put("messages", message_id, message(message_id, payload))
        transaction.deliver("b", message_id)

    ledger.transact(rule)


def waiting(ledger: Ledger) -> list[str]:
    """What waits in b's inbox."""

    def query(view: View) -> list[str]:
        return list(view.inbox("b"))

    return ledger.read(query)
