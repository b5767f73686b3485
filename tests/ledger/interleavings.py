"""What others do between any two steps of a process: the races that a crash can't show, one after the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from meshfleet.errors import Busy, Corrupt
from meshfleet.ledger import Ledger
from meshfleet.ledger.lock import LedgerLock
from meshfleet.settings import beside
from tests.ledger.crash_scenarios import EDITED, Stage
from tests.ledger.crashes import NOT_CARRIED_OUT
from tests.ledger.watched_files import Step, WatchedFiles

Intrusion = Callable[[Stage], None]


class Interruption(NamedTuple):
    """A moment at which somebody else does something: before a step of the process, or in the middle of a write."""

    number: int
    name: str
    half_done: bool

    def __str__(self) -> str:
        return f"{'in the middle of' if self.half_done else 'before'} step {self.number} ({self.name})"


def interruptions_of(trace: list[str]) -> Iterator[Interruption]:
    """Every such moment of an undisturbed run's steps."""
    for number, name in enumerate(trace, start=1):
        yield Interruption(number, name, half_done=False)
        if name == "write":
            yield Interruption(number, name, half_done=True)


class InterruptedFiles(WatchedFiles):
    """File operations of a process that is interrupted once it is armed.

    Attributes:
        interrupted: Whether it has been.
        kept_out: Whether the intruder found the lock held.
    """

    def __init__(self) -> None:
        self.interrupted = False
        self.kept_out = False
        self._steps = 0
        self._interruption: Interruption | None = None
        self._intrude: Callable[[], None] = lambda: None

    def arm(self, interruption: Interruption, intrude: Callable[[], None]) -> None:
        """Count from now on, and call the intruder at that moment."""
        self._interruption, self._intrude = interruption, intrude

    def around(self, name: str, step: Step, *args: Any) -> Any:
        if self._interruption is not None:
            self._steps += 1
            if self._steps == self._interruption.number:
                return self._interrupted(name, step, *args)
        return None if name in NOT_CARRIED_OUT else step(*args)

    def _interrupted(self, name: str, step: Step, *args: Any) -> Any:
        self.interrupted = True
        done: int = 0
        if self._interruption is not None and self._interruption.half_done:
            fd, data, offset = args
            done = step(fd, data[: len(data) // 2], offset)
            args = (fd, data[done:], offset + done)
        try:
            self._intrude()
        except Busy:
            self.kept_out = True
        if done:
            rest: int = step(*args)
            return done + rest
        return None if name in NOT_CARRIED_OUT else step(*args)


def somebody_reads(stage: Stage) -> None:
    """The one that stayed reads: without the lock, and what was acknowledged until now."""
    stage.keeper._lock_timeout_ms = 0
    try:
        arrived = stage.keeper.read(lambda view: list(view.inbox("b")))
        known = [each for each in arrived if each in stage.acknowledged]
        assert stage.damaged or known == stage.acknowledged, f"a reader saw {arrived}"
    except Corrupt:
        assert stage.damaged
    except Busy as busy:
        raise AssertionError(f"a reader had to wait: {busy}") from None
    finally:
        stage.keeper._lock_timeout_ms = 5_000


def _somebody_else(stage: Stage, does: Callable[[Ledger], None]) -> None:
    ledger = stage.open()
    ledger._lock_timeout_ms = 0
    try:
        does(ledger)
    except Corrupt:
        assert stage.damaged


def somebody_writes(stage: Stage) -> None:
    """Somebody who opens the ledger now writes."""
    _somebody_else(stage, lambda ledger: stage.by(ledger, "i1"))


def somebody_writes_and_compacts(stage: Stage) -> None:
    """Somebody writes, compacts, and writes again."""

    def does(ledger: Ledger) -> None:
        stage.by(ledger, "i1")
        ledger.compact()
        stage.by(ledger, "i2")

    _somebody_else(stage, does)


def somebody_compacts_twice(stage: Stage) -> None:
    """Somebody compacts beyond what the process can continue from."""

    def does(ledger: Ledger) -> None:
        for message_id in ("i1", "i2", "i3"):
            stage.by(ledger, message_id)
            ledger.compact()

    _somebody_else(stage, does)


def somebody_edits(stage: Stage) -> None:
    """Somebody who knows of the lock adds a table of their own to the snapshot."""
    if stage.damaged or not stage.file.exists():
        return
    lock = LedgerLock(beside(stage.file, "lock"))
    try:
        with lock.held(0):
            copy = stage.file.with_name("editors-copy")
            copy.write_text(json.dumps({**json.loads(stage.file.read_text()), EDITED: True}))
            copy.rename(stage.file)
            stage.edited = True
    finally:
        lock.close()


INTRUSIONS: Final[tuple[Intrusion, ...]] = (
    somebody_reads,
    somebody_writes,
    somebody_writes_and_compacts,
    somebody_compacts_twice,
    somebody_edits,
)
BEGIN_WITH_A_WRITE: Final = (somebody_writes, somebody_writes_and_compacts, somebody_compacts_twice)
"""Of these the first does what the others begin with: where the lock keeps it out, it keeps out all of them."""
