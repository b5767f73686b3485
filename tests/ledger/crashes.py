"""Ending a process at a chosen step of its file operations, for real: with `_exit` or with SIGKILL.

To fork one costs more than what it does until then. Where another process than the one that is looked at dies first, it
may do so in play: nothing it does from then on is carried out.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, Final, NamedTuple

from tests.ledger.watched_files import Step, WatchedFiles

DIED: Final = 42
"""The exit status of a process that ended where it was told to."""
NOT_CARRIED_OUT: Final = frozenset({"begin_sync", "sync", "sync_folder"})
"""Steps that count and are not waited for: what they change, no other process can see (test_power_cuts can)."""


class When(StrEnum):
    """Where a process ends: beside a step, or within a write of which only a part is written."""

    BEFORE = "before"
    AFTER = "after"
    FIRST_BYTE = "after the first byte of"
    HALF = "after half of"
    ALL_BUT_LAST_BYTE = "before the last byte of"


WITHIN_A_WRITE: Final = (When.FIRST_BYTE, When.HALF, When.ALL_BUT_LAST_BYTE)


class Died(BaseException):
    """The process is dead: nothing it would do in passing happens any more."""


class Point(NamedTuple):
    """A moment at which a process ends.

    Attributes:
        number: Which of the process's steps it is, from 1.
        name: What the step does.
        when: Where in that step.
        killed: By SIGKILL, not by `_exit`.
    """

    number: int
    name: str
    when: When
    killed: bool = False

    def __str__(self) -> str:
        return f"{'SIGKILL' if self.killed else '_exit'} {self.when} step {self.number} ({self.name})"


def points_of(trace: list[str]) -> Iterator[Point]:
    """Every point of an undisturbed run's steps."""
    for number, name in enumerate(trace, start=1):
        for when in (When.BEFORE, *(WITHIN_A_WRITE if name == "write" else ()), When.AFTER):
            yield Point(number, name, when)


class CrashingFiles(WatchedFiles):
    """File operations of a process that is to end at a point; before it is armed it does as it should.

    Attributes:
        trace: The steps since it was armed.
    """

    def __init__(self) -> None:
        self.trace: list[str] = []
        self._armed = self._in_play = self._dead = False
        self._point: Point | None = None
        self._look: Callable[[str], None] | None = None

    def arm(self, point: Point | None, *, in_play: bool = False, look: Callable[[str], None] | None = None) -> None:
        """Count from now on, and end the process at the point if there is one; in play that raises `Died`.

        Without a point, `look` is called at every point in turn, with the name of the step.
        """
        self._armed, self._point, self._in_play, self._look = True, point, in_play, look

    def around(self, name: str, step: Step, *args: Any) -> Any:
        if self._dead:
            if name != "close":
                raise Died
            return step(*args)
        if not self._armed:
            return None if name in NOT_CARRIED_OUT else step(*args)
        self.trace.append(name)
        if self._look is not None:
            return _carry_out_and_look(self._look, name, step, args)
        point = self._point
        if point is None or point.number != len(self.trace):
            return None if name in NOT_CARRIED_OUT else step(*args)
        try:
            if point.when is not When.BEFORE:
                _carry_out(point.when, name, step, args)
        finally:
            if self._in_play:
                self._dead = True
                raise Died
            _end(point)


def _carry_out(when: When, name: str, step: Step, args: tuple[Any, ...]) -> None:
    if name == "write":
        fd, data, offset = args
        step(fd, data[: _written_by(when, data)], offset)
    elif name not in NOT_CARRIED_OUT:
        step(*args)


def _carry_out_and_look(look: Callable[[str], None], name: str, step: Step, args: tuple[Any, ...]) -> Any:
    look(name)
    try:
        if name != "write":
            return None if name in NOT_CARRIED_OUT else step(*args)
        fd, data, offset = args
        done = 0
        for when in WITHIN_A_WRITE:
            done += step(fd, data[done : _written_by(when, data)], offset + done)
            look(name)
        return done + step(fd, data[done:], offset + done)
    finally:
        look(name)


def _written_by(when: When, data: bytes) -> int:
    """How much of a write is there at a point, in bytes."""
    part = {When.FIRST_BYTE: 1, When.HALF: len(data) // 2, When.ALL_BUT_LAST_BYTE: len(data) - 1}
    return part.get(when, len(data))


def _end(point: Point) -> None:
    if point.killed:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(DIED)


def died_there(status: int, point: Point) -> bool:
    """True when a process's wait status says that it ended at its point and nowhere else."""
    if point.killed:
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return os.WIFEXITED(status) and os.WEXITSTATUS(status) == DIED
