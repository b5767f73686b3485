"""A process that sends: says when it is ready, begins when it is told to, and tells when it began and ended."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmark.seeding import PAYLOAD, Seeded
from meshfleet.ledger import Ledger
from meshfleet.mesh.messages import Draft, send_message, send_messages
from meshfleet.settings import Durability


def rate_of_sends(seeded: Seeded, durability: Durability, processes: int, sends: int) -> float:
    """How many messages a second that many processes send together, each of them `sends`."""
    command = [sys.executable, "-m", "benchmark.sender", str(seeded.file), durability, str(sends)]
    command += [seeded.fleet_id, seeded.sender, seeded.receiver]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    times = [tuple(map(float, process.communicate()[0].split())) for process in started]
    assert all(process.returncode == 0 for process in started)
    ledger = Ledger(seeded.file)
    arrived = ledger.read(lambda view: len(view.inbox(seeded.receiver)))
    ledger.close()
    assert arrived == processes * sends, f"{arrived} messages arrived of {processes * sends}"
    return processes * sends / (max(end for _, end in times) - min(begin for begin, _ in times))


def seconds_of_batches(seeded: Seeded, durability: Durability, batches: int, size: int) -> float:
    """How long so many calls of `send_messages` take in this process, in seconds."""
    ledger = Ledger(seeded.file, durability=durability)
    drafts = [Draft(seeded.sender, seeded.receiver, seeded.fleet_id, "handoff", PAYLOAD)] * size
    ledger.read(lambda view: view.seq)
    began = time.monotonic()
    for _ in range(batches):
        send_messages(ledger, drafts)
    seconds = time.monotonic() - began
    ledger.close()
    return seconds


def main(file: str, durability: str, sends: str, fleet_id: str, sender: str, receiver: str) -> None:
    """Send when told to; print when it began and ended, in seconds of the system's monotonic clock."""
    ledger = Ledger(Path(file), durability=Durability(durability), lock_timeout_ms=60_000)
    draft = Draft(sender, receiver, fleet_id, "handoff", PAYLOAD)
    ledger.read(lambda view: view.seq)
    print("ready", flush=True)
    sys.stdin.readline()
    begin = time.monotonic()
    for _ in range(int(sends)):
        send_message(ledger, draft)
    print(begin, time.monotonic(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
