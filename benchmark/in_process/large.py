"""What a ledger costs that holds many messages: opening it, folding it, and sending while it is folded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from benchmark.seeding import PAYLOAD, Seeded
from benchmark.serving import PROGRAM, environment
from meshfleet.ledger import Ledger
from meshfleet.mesh.messages import Draft, send_message
from meshfleet.settings import Durability

OPEN: Final = """
import sys, time
from pathlib import Path
from meshfleet.ledger import Ledger
begin = time.perf_counter()
count = Ledger(Path(sys.argv[1])).read(lambda view: view.count("messages"))
print(time.perf_counter() - begin, count)
"""


@dataclass(frozen=True, slots=True)
class Large:
    """What ledgers of one size cost, by round.

    Attributes:
        messages: How many each holds.
        opening_s: Until a process that has just started can answer, its own start left out.
        inspecting_s: `meshfleet inspect` from the shell, its start included.
        foldings: Of each round.
    """

    messages: int
    opening_s: list[float] = field(default_factory=list)
    inspecting_s: list[float] = field(default_factory=list)
    foldings: list[Folding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Folding:
    """How long a compaction took, and what sends cost before it and while it went on.

    Attributes:
        seconds: Of the compaction with nobody else at work.
        seconds_beside_sends: Of the compaction with a thread that sends.
        floor_s: The snapshot's bytes written to a file by one write, and synced.
        usual_us: A send, as a median.
        beside_us: A send while the ledger is compacted, as a median.
        slow_us: One in a hundred of those takes longer.
    """

    seconds: float
    seconds_beside_sends: float
    floor_s: float
    usual_us: float
    beside_us: float
    slow_us: float


def measure_large(ledgers: Sequence[Seeded], rounds: int) -> list[Large]:
    """Take ledgers in turn."""
    found = [Large(ledger.messages) for ledger in ledgers]
    for _ in range(rounds):
        for ledger, large in zip(ledgers, found, strict=True):
            large.opening_s.append(_seconds_to_open(ledger))
            with _copy_of(ledger) as copy:
                large.inspecting_s.append(_seconds_to_inspect(copy))
                large.foldings.append(_measure_folding(copy))
    return found


def _seconds_to_open(seeded: Seeded) -> float:
    said = subprocess.run([sys.executable, "-c", OPEN, str(seeded.file)], check=True, capture_output=True, text=True)
    seconds, count = said.stdout.split()
    assert int(count) == seeded.messages
    return float(seconds)


def _seconds_to_inspect(seeded: Seeded) -> float:
    environ = environment(seeded.folder.parent, Path("/bin/false"), seeded.file)
    began = time.perf_counter()
    subprocess.run([*PROGRAM, "inspect"], check=True, capture_output=True, env=environ)
    return time.perf_counter() - began


def _measure_folding(seeded: Seeded) -> Folding:
    """Compact a ledger alone, and once more while it is written to."""
    ledger = Ledger(seeded.file, durability=Durability.PROCESS)
    draft = Draft(seeded.sender, seeded.receiver, seeded.fleet_id, "handoff", PAYLOAD)
    ledger.read(lambda view: view.seq)
    usual = [_timed_send(ledger, draft) for _ in range(1_000)]
    seconds = _timed_compaction(ledger, gently=False)
    floor_s = _seconds_to_write(seeded.folder.with_name("floor"), seeded.file.read_bytes())
    send_message(ledger, draft)
    took: list[float] = []

    def fold() -> None:
        took.append(_timed_compaction(ledger, gently=True))

    thread = threading.Thread(target=fold)
    thread.start()
    beside: list[float] = []
    while thread.is_alive() or len(beside) < 2:
        beside.append(_timed_send(ledger, draft))
    thread.join()
    ledger.close()
    slow = quantiles(beside, n=100)[-1]
    return Folding(seconds, took[0], floor_s, median(usual) * 1e6, median(beside) * 1e6, slow * 1e6)


def _timed_compaction(ledger: Ledger, *, gently: bool) -> float:
    begin = time.perf_counter()
    while not ledger.compact(gently=gently):
        # the ledger's own thread was at it
        ledger.transact(lambda transaction: transaction.drop("agents", "nobody"))
        begin = time.perf_counter()
    return time.perf_counter() - begin


def _timed_send(ledger: Ledger, draft: Draft) -> float:
    begin = time.perf_counter()
    send_message(ledger, draft)
    return time.perf_counter() - begin


def _seconds_to_write(path: Path, content: bytes) -> float:
    begin = time.perf_counter()
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - begin
    path.unlink()
    return seconds


@contextmanager
def _copy_of(ledger: Seeded) -> Iterator[Seeded]:
    copy = ledger.copied(ledger.folder.with_name(f"{ledger.folder.name}-copy"))
    yield copy
    shutil.rmtree(copy.folder)
