"""Rows and transactions that many ledger tests write."""

from __future__ import annotations

from pathlib import Path

from meshfleet.ledger import Ledger, Transaction, View
from meshfleet.ledger.files import Files
from meshfleet.model import Row
from meshfleet.settings import Durability
from tests.ledgers import ledger_at


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


def quiet_ledger(
    file: Path,
    files: Files | None = None,
    durability: Durability = Durability.PROCESS,
    lock_timeout_ms: int = 5_000,
) -> Ledger:
    """A ledger that compacts when it is told to and not by itself.

    Its compaction thread is started by the first write, through this one method.
    """
    ledger = ledger_at(file, durability=durability, lock_timeout_ms=lock_timeout_ms, files=files)
    ledger._compactor.written = lambda: None  # type: ignore[method-assign]
    return ledger


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


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
