"""A process that does what it is told: prepares, says so, begins on a word, and tells when it began and ended.

Each line of its input is a command, a JSON object whose `do` names one of `COMMANDS`; `Workers` is the other end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmark.floor import append_lines
from benchmark.in_process.operations import OPERATIONS, Desk
from meshfleet.settings import Durability, beside


@dataclass(frozen=True, slots=True)
class Done:
    """What several processes did at the same time.

    Attributes:
        seconds: From the moment the first began until the last had ended.
        values: What each of them has to tell.
    """

    seconds: float
    values: list[Any]


class Workers:
    """Processes that do the same at the same time."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def first(self, count: int) -> Workers:
        """That many of them."""
        return Workers(self._processes[:count])

    def __len__(self) -> int:
        return len(self._processes)

    def do(self, command: str, **arguments: Any) -> Done:
        """Have all of them prepare a command, then do it."""
        self._tell(json.dumps({"do": command, **arguments}))
        for process in self._processes:
            said = self._hear(process)
            assert said == "ready\n", f"a worker said {said!r}"
        self._tell("go")
        told = [json.loads(self._hear(process)) for process in self._processes]
        return Done(
            max(one["ended"] for one in told) - min(one["began"] for one in told), [one["value"] for one in told]
        )

    def _tell(self, line: str) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{line}\n")
            process.stdin.flush()

    @staticmethod
    def _hear(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline()


@contextmanager
def workers(count: int) -> Iterator[Workers]:
    """That many processes, which end with the block."""
    command = [sys.executable, "-m", "benchmark.in_process.worker"]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    try:
        yield Workers(started)
    finally:
        for process in started:
            process.communicate()


class _Worker:
    """The process itself, and the ledger it has open."""

    def __init__(self) -> None:
        self._desk: Desk | None = None

    def open(self, file: str, durability: str) -> Callable[[], None]:
        """Open a ledger, and make a fleet in it."""

        def deed() -> None:
            self._desk = Desk(Path(file), Durability(durability))

        return deed

    def close(self) -> Callable[[], None]:
        """Give it back."""
        return self._own.ledger.close

    def run(self, operation: str, count: int) -> Callable[[], None]:
        """Do something so often."""
        deed = OPERATIONS[operation](self._own, count)

        def deeds() -> None:
            for _ in range(count):
                deed()

        return deeds

    def weigh(self, operation: str) -> Callable[[], int]:
        """Do something once; tells how many bytes that has added to the journal."""
        deed, before = OPERATIONS[operation](self._own, 1), self._journal_bytes()

        def weighed() -> int:
            deed()
            return self._journal_bytes() - before

        return weighed

    def received(self) -> Callable[[], int]:
        """Tell how many of its sends lie in the ledger."""
        return self._own.received

    def floor(self, file: str, size: int, count: int, sync: bool) -> Callable[[], None]:  # noqa: FBT001 - from JSON
        """Append so many lines of so many bytes."""
        lines = [b"x" * (size - 1) + b"\n"] * count

        def deed() -> None:
            append_lines(Path(file), lines, sync=sync)

        return deed

    @property
    def _own(self) -> Desk:
        assert self._desk is not None
        return self._desk

    def _journal_bytes(self) -> int:
        file = self._own.ledger.data_file
        return sum(journal.stat().st_size for journal in file.parent.glob(beside(file, "journal.*").name))


COMMANDS: Final = ("open", "close", "run", "weigh", "received", "floor")


def main() -> None:
    """Do what standard input says, line by line."""
    worker = _Worker()
    for line in iter(sys.stdin.readline, ""):
        command = json.loads(line)
        name = command.pop("do")
        assert name in COMMANDS
        deed = getattr(worker, name)(**command)
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.monotonic()
        value = deed()
        print(json.dumps({"began": began, "ended": time.monotonic(), "value": value}), flush=True)


if __name__ == "__main__":
    main()
