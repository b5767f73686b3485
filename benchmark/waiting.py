"""How long after another process's commit who waits for it has its answer, and what those use who only wait."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import psutil

from benchmark.seeding import PAYLOAD, Seeded, seed
from benchmark.serving import Server, environment
from benchmark.waiter import PATIENCE_MS
from meshfleet.ledger import Ledger
from meshfleet.mesh.messages import Draft, send_message
from meshfleet.mesh.receipts import ack_message
from meshfleet.settings import Durability

SETTLING_S: Final = 2.0
"""How long after the last waiter began it is waited, in seconds, before it is measured what they use."""
BETWEEN_S: Final = (0.02, 0.04)
"""The least and the longest time between an answer and the next commit, in seconds, by chance."""
A_SECOND: Final = 50
"""How many messages are sent to somebody else meanwhile."""


@dataclass(frozen=True, slots=True)
class Delays:
    """Times from a commit to the answer of who waited for it, in ms."""

    median: float
    p99: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waiting takes.

    Attributes:
        processes: How many waited while it was measured what they use.
        in_process: From a send until a process that waits has what it asks.
        over_stdio: From a send until a client of a server has read the answer to its `wait_for_messages`.
        idle: What part of a core all of them used while nothing happened.
        beside: The same while others sent to each other.
    """

    processes: int
    in_process: Delays
    over_stdio: Delays
    idle: float
    beside: float


def measure_waiting(rounds: int, processes: int, seconds: float) -> Waiting:
    """Commit so often for one who waits; then have so many processes wait for so many seconds, twice."""
    with tempfile.TemporaryDirectory() as name:
        seeded = seed(Path(name) / "ledger", 1_000)
        ledger = Ledger(seeded.file, durability=Durability.PROCESS)
        try:
            return Waiting(
                processes,
                _delays_of(_in_process(ledger, seeded, rounds)),
                _delays_of(_over_stdio(ledger, Path(name), seeded, rounds)),
                *_used_by(ledger, seeded, processes, seconds),
            )
        finally:
            ledger.close()


def _in_process(ledger: Ledger, seeded: Seeded, rounds: int) -> Iterator[float]:
    draft = Draft(seeded.sender, seeded.receiver, seeded.fleet_id, "handoff", PAYLOAD)
    with _waiters(seeded, [seeded.receiver]) as [process]:
        assert process.stdout is not None
        for number in range(1, rounds + 1):
            began = _after_a_while()
            send_message(ledger, draft)
            found, woke = process.stdout.readline().split()
            assert int(found) == number
            yield float(woke) - began


def _over_stdio(ledger: Ledger, folder: Path, seeded: Seeded, rounds: int) -> Iterator[float]:
    # the other way round: what was sent before waits in the receiver's inbox
    draft = Draft(seeded.receiver, seeded.sender, seeded.fleet_id, "handoff", PAYLOAD)
    environ = environment(folder, Path("/bin/false"), seeded.file, MESHFLEET_AGENT_ID=seeded.sender)
    server = Server(environ, folder, folder / "complaints.log")
    try:
        server.greet()
        for number in range(rounds):
            server.ask(f"{number}", "wait_for_messages", timeout_ms=PATIENCE_MS)
            began = _after_a_while()
            message_id = send_message(ledger, draft)["message_id"]
            answer = server.answer(f"{number}")
            yield time.monotonic() - began
            assert [one["id"] for one in answer["result"]["structuredContent"]["messages"]] == [message_id], answer
            assert ack_message(ledger, seeded.sender, message_id)["ok"]
    finally:
        server.leave()


def _used_by(ledger: Ledger, seeded: Seeded, processes: int, seconds: float) -> tuple[float, float]:
    draft = Draft(seeded.receiver, seeded.sender, seeded.fleet_id, "handoff", PAYLOAD)

    def send_so_often() -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            send_message(ledger, draft)
            time.sleep(1 / A_SECOND)

    with _waiters(seeded, [f"agent {number}" for number in range(processes)]) as started:
        time.sleep(SETTLING_S)
        idle, beside = (_share(started, deed) for deed in (lambda: time.sleep(seconds), send_so_often))
    return idle, beside


@contextmanager
def _waiters(seeded: Seeded, agent_ids: list[str]) -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    try:
        for agent_id in agent_ids:
            command = [sys.executable, "-m", "benchmark.waiter", str(seeded.file), agent_id]
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def _after_a_while() -> float:
    time.sleep(random.uniform(*BETWEEN_S))
    return time.monotonic()


def _delays_of(seconds: Iterator[float]) -> Delays:
    found = sorted(each * 1000 for each in seconds)
    return Delays(median(found), found[len(found) * 99 // 100])


def _share(started: list[subprocess.Popen[str]], deed: Callable[[], None]) -> float:
    processes = [psutil.Process(process.pid) for process in started]
    before, began = _used(processes), time.monotonic()
    deed()
    return (_used(processes) - before) / (time.monotonic() - began)


def _used(processes: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return float(sum(each.user + each.system for each in times))
