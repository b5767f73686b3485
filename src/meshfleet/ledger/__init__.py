"""The only code that touches the ledger's files; everything above speaks of transactions and reads."""

from __future__ import annotations

from meshfleet.ledger.state import Transaction, View
from meshfleet.ledger.store import Ledger

__all__ = ["Ledger", "Transaction", "View"]
