"""Several processes on one ledger, some of them killed: nothing acknowledged is lost, nothing is there twice."""

from __future__ import annotations

import random
from pathlib import Path

from tests.ledger.processes import start_writer
from tests.ledger.rows import waiting
from tests.ledgers import ledger_at


def test_four_processes_write_at_once_and_lose_nothing(ledger_file: Path) -> None:
    writers = [start_writer(ledger_file, f"w{number}", 200) for number in range(4)]
    acknowledged = [line for writer in writers for line in writer.communicate(timeout=60)[0].split()]
    assert all(writer.returncode == 0 for writer in writers)
    arrived = waiting(ledger_at(ledger_file))
    assert sorted(arrived) == sorted(line for line in acknowledged if line != "closing")
    for number in range(4):
        own = [message_id for message_id in arrived if message_id.startswith(f"w{number}-")]
        assert own == [f"w{number}-{count}" for count in range(200)]


def test_writers_killed_at_random_lose_nothing_they_acknowledged(ledger_file: Path) -> None:
    chance = random.Random(20_261_121)
    acknowledged: list[str] = []
    for round_number in range(6):
        writers = [start_writer(ledger_file, f"r{round_number}w{number}", 100_000) for number in range(3)]
        for writer in writers:
            assert writer.stdout is not None
            acknowledged += [next(writer.stdout).strip() for _ in range(chance.randrange(1, 120))]
            writer.kill()
        for writer in writers:
            assert writer.stdout is not None
            acknowledged += [line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
            writer.stdout.close()
            writer.wait(60)
    wanted = {line.strip() for line in acknowledged}
    arrived = waiting(ledger_at(ledger_file))
    assert len(arrived) == len(set(arrived))
    assert wanted <= set(arrived)
    assert len(wanted) > 18
