"""What each operation takes, by size of the ledger, number of processes and durability, each beside its floor."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

from benchmark.in_process.operations import BATCH, OPERATIONS, READING
from benchmark.in_process.worker import Workers, workers
from benchmark.seeding import Seeded
from meshfleet.settings import Durability

PROCESSES = (1, 4)


@dataclass(frozen=True, slots=True)
class Counts:
    """How often an operation is done by each process in each round, unsynced and synced."""

    process: int
    power: int

    def of(self, durability: Durability) -> int:
        return self.power if durability is Durability.POWER else self.process


@dataclass(frozen=True, slots=True)
class Rate:
    """What one operation takes.

    Attributes:
        operation: Its name in `OPERATIONS`.
        durability: Whether each was synced; reads are only taken without.
        processes: How many did it at once.
        messages: How many there were when they began.
        rounds_us: Microseconds from one to the next, all processes together, by round.
        floors_us: The same of the same bytes appended by ten lines of Python; empty for what writes nothing.
    """

    operation: str
    durability: Durability
    processes: int
    messages: int
    rounds_us: list[float] = field(default_factory=list)
    floors_us: list[float] = field(default_factory=list)

    @property
    def us(self) -> float:
        return median(self.rounds_us)

    @property
    def floor_us(self) -> float | None:
        return median(self.floors_us) if self.floors_us else None

    @property
    def times_the_floor(self) -> float | None:
        """The median of what each round came to, since the disk's own speed changes from one to the next."""
        if not self.floors_us:
            return None
        return median(own / floor for own, floor in zip(self.rounds_us, self.floors_us, strict=True))


@dataclass(frozen=True, slots=True)
class Burst:
    """Many messages at once, in seconds by round.

    Attributes:
        messages: How many.
        durability: Whether each write was synced.
        sends: One process, one send after the other.
        batches: The same number in calls of `send_messages`.
        calls: How many of those there were.
        floors: The bytes of the sends appended, and synced where they were.
        lost: Messages that did not lie in the ledger afterwards.
    """

    messages: int
    durability: Durability
    calls: int
    lost: int
    sends: list[float] = field(default_factory=list)
    batches: list[float] = field(default_factory=list)
    floors: list[float] = field(default_factory=list)


def measure_rates(ledgers: Sequence[Seeded], rounds: int, counts: dict[str, Counts]) -> list[Rate]:
    """Take all of them in turn, round by round, so that a slow minute hits all."""
    rates: dict[tuple[str, Durability, int, int], Rate] = {}
    with workers(max(PROCESSES)) as everybody:
        sizes = _sizes(everybody.first(1), ledgers[0])
        cases = list(itertools.product(ledgers, Durability, PROCESSES))
        for _ in range(rounds):
            for ledger, durability, processes in cases:
                for name, us, floor_us in _round(everybody.first(processes), ledger, durability, counts, sizes):
                    key = (name, durability, processes, ledger.messages)
                    rate = rates.setdefault(key, Rate(*key))
                    rate.rounds_us.append(us)
                    if floor_us is not None:
                        rate.floors_us.append(floor_us)
    return list(rates.values())


def measure_burst(ledger: Seeded, rounds: int, messages: int) -> list[Burst]:
    """Have one process send that many, one by one and in batches, beside the floor."""
    bursts = []
    with workers(1) as one:
        size = _sizes(one, ledger)["send"]
        for durability in Durability:
            calls = max(1, messages // BATCH)
            rows: tuple[list[float], list[float], list[float]] = ([], [], [])
            lost = 0
            for _ in range(rounds):
                for row, operation, count in ((rows[0], "send", messages), (rows[1], "batch", calls)):
                    with _opened(one, ledger, durability):
                        row.append(one.do("run", operation=operation, count=count).seconds)
                        if operation == "send":
                            lost += messages - one.do("received").values[0]
                rows[2].append(_floor(one, ledger, durability, size, messages))
            bursts.append(Burst(messages, durability, calls, lost, *rows))
    return bursts


def _round(
    some: Workers, ledger: Seeded, durability: Durability, counts: dict[str, Counts], sizes: dict[str, int]
) -> Iterator[tuple[str, float, float | None]]:
    """Each operation: its name, what it took, and what the floor did."""
    with _opened(some, ledger, durability):
        for name, count in counts.items():
            if name in READING and durability is Durability.POWER:
                continue
            each = count.of(durability)
            us = some.do("run", operation=name, count=each).seconds / (each * len(some)) * 1e6
            if name in READING:
                yield name, us, None
            else:
                floor = _floor(some, ledger, durability, sizes[name], each)
                yield name, us, floor / (each * len(some)) * 1e6


def _floor(some: Workers, ledger: Seeded, durability: Durability, size: int, count: int) -> float:
    path = ledger.folder.with_name("floor")
    sync = durability is Durability.POWER
    seconds = some.do("floor", file=str(path), size=size, count=count, sync=sync).seconds
    path.unlink()
    return seconds


def _sizes(one: Workers, ledger: Seeded) -> dict[str, int]:
    """How many bytes each operation adds to the journal."""
    with _opened(one, ledger, Durability.PROCESS):
        return {name: one.do("weigh", operation=name).values[0] for name in OPERATIONS}


@contextmanager
def _opened(some: Workers, ledger: Seeded, durability: Durability) -> Iterator[None]:
    """A copy of a ledger that each of them has open."""
    copy = ledger.copied(ledger.folder.with_name(f"{ledger.folder.name}-copy"))
    some.do("open", file=str(copy.file), durability=durability)
    try:
        yield
    finally:
        some.do("close")
        shutil.rmtree(copy.folder)
