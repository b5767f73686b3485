"""What a ledger costs that holds many messages: opening it, folding it, and sending while it is folded."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from benchmark.seeding import PAYLOAD, Seeded
from meshfleet.ledger import Ledger
from meshfleet.mesh.messages import Draft, send_message
from meshfleet.settings import Durability

OPEN = """
import resource, sys, time
from pathlib import Path
from meshfleet.ledger import Ledger
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begin = time.perf_counter()
count = Ledger(Path(sys.argv[1])).read(lambda view: view.count("messages"))
print(time.perf_counter() - begin, count)
"""


def seconds_to_open(seeded: Seeded) -> float:
    """How long a fresh process takes until it can answer, its own start left out."""
    said = subprocess.run([sys.executable, "-c", OPEN, str(seeded.file)], check=True, capture_output=True, text=True)
    seconds, count = said.stdout.split()
    assert int(count) == seeded.messages
    return float(seconds)


@dataclass(frozen=True, slots=True)
class Folding:
    """How long a compaction took, and what sends cost before it and while it went on.

    Attributes:
        seconds: Of the compaction with nobody else at work.
        seconds_beside_sends: Of the compaction with a thread that sends.
        usual_us: A send, as a median.
        beside_us: A send while the ledger is compacted, as a median.
        slow_us: One in a hundred of those takes longer.
    """

    seconds: float
    seconds_beside_sends: float
    usual_us: float
    beside_us: float
    slow_us: float


def measure_folding(seeded: Seeded) -> Folding:
    """Compact a ledger alone, and once more while it is written to."""
    ledger = Ledger(seeded.file, durability=Durability.PROCESS)
    draft = Draft(seeded.sender, seeded.receiver, seeded.fleet_id, "handoff", PAYLOAD)
    ledger.read(lambda view: view.seq)
    usual = [_timed_send(ledger, draft) for _ in range(1_000)]
    seconds = _timed_compaction(ledger, gently=False)
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
    return Folding(seconds, took[0], median(usual) * 1e6, median(beside) * 1e6, quantiles(beside, n=100)[-1] * 1e6)


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


def copy_into(folder: Path, seeded: Seeded, number: int) -> Seeded:
    """A copy under a name of its own."""
    return seeded.copied(folder / f"{seeded.messages}-{number}")
