"""Ledgers that a test opens without closing them: the end of the test does, or that of the module whose fixture did."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from meshfleet.ledger import Ledger
from meshfleet.ledger.files import Files
from meshfleet.settings import Durability

# the innermost last; the first is for a process that is no test, whose end gives everything back
_scopes: Final[list[list[Ledger]]] = [[]]


def ledger_at(
    file: Path,
    *,
    durability: Durability = Durability.POWER,
    lock_timeout_ms: int = 5_000,
    files: Files | None = None,
) -> Ledger:
    """A ledger that is closed at the end of what it was opened in; it may be closed before, too."""
    ledger = Ledger(file, durability=durability, lock_timeout_ms=lock_timeout_ms, files=files)
    _scopes[-1].append(ledger)
    return ledger


@contextmanager
def closing_ledgers() -> Generator[None]:
    """Close at the end what `ledger_at` opened inside: for one turn of a loop, or one example of hypothesis'."""
    scope: list[Ledger] = []
    _scopes.append(scope)
    try:
        yield
    finally:
        # by identity: two that opened nothing are equal
        _scopes[:] = [other for other in _scopes if other is not scope]
        with ExitStack() as closing:
            for ledger in scope:
                closing.callback(ledger.close)


def folders_in_use() -> list[Path]:
    """Where the ledgers lie that are still to be closed: each may follow somebody's compaction at any moment."""
    return [ledger.data_file.parent.resolve() for scope in _scopes for ledger in scope]
