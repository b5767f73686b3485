"""A process that stopped (SIGSTOP) with a lock in its hands: others are told within the deadline, and nobody loses."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshfleet.errors import Busy, MeshfleetError
from tests.ledger.confined import start_confined
from tests.ledger.rows import bytes_of, quiet_ledger, send, waiting
from tests.ledgers import ledger_at


@contextmanager
def stopped_inside(ledger_file: Path, what: str) -> Iterator[subprocess.Popen[str]]:
    """A process that stopped (SIGSTOP) while it did something; it goes on, and ends well, when it is told to."""
    code = f"""
    def stop(*_):
        print("stopping", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)

    class Stopping(Files):
        def create(self, path):
            if path.name == "agent-mesh.snapshot.tmp":
                stop()
            return super().create(path)

    ledger = quiet_ledger(FILE, Stopping())

    def rule(transaction):
        stop()
        transaction.deliver("b", "stopped")

    {what}
    print("went on", flush=True)
    """
    process = start_confined(ledger_file.parent, code)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "stopping\n"
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)


def goes_on(process: subprocess.Popen[str]) -> None:
    """Let a stopped process go on, and wait until it has ended well."""
    process.send_signal(signal.SIGCONT)
    said, complaints = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, "went on\n"), complaints


def test_a_process_stopped_inside_a_transaction_makes_others_busy_and_keeps_nobody_from_reading(
    ledger_file: Path,
) -> None:
    one, two = ledger_at(ledger_file, lock_timeout_ms=300), quiet_ledger(ledger_file)
    send(one, "m1")
    with stopped_inside(ledger_file, "ledger.transact(rule)") as process:
        for _ in range(2):
            started = time.monotonic()
            with pytest.raises(Busy, match=r"held .*agent-mesh\.lock for 300 ms; try again.*stopped meshfleet process"):
                send(one, "m2")
            assert 0.3 <= time.monotonic() - started < 1
        started = time.monotonic()
        assert waiting(one) == waiting(two) == waiting(ledger_at(ledger_file)) == ["m1"]
        assert time.monotonic() - started < 0.2
        goes_on(process)
    send(one, "m3")
    send(two, "m4")
    assert waiting(one) == waiting(two) == waiting(ledger_at(ledger_file)) == ["m1", "stopped", "m3", "m4"]


def test_threads_that_wait_for_a_stopped_process_are_all_refused_within_one_deadline_and_readers_are_not_kept(
    ledger_file: Path,
) -> None:
    ledger = ledger_at(ledger_file, lock_timeout_ms=500)
    send(ledger, "m1")
    ended: list[float] = []
    refused: list[MeshfleetError] = []
    with stopped_inside(ledger_file, "ledger.transact(rule)") as process:
        started = time.monotonic()

        def try_to_send() -> None:
            try:
                send(ledger, "m2")
            except MeshfleetError as error:
                refused.append(error)
                ended.append(time.monotonic() - started)

        threads = [threading.Thread(target=try_to_send) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert waiting(ledger) == ["m1"]
        assert time.monotonic() - started < 0.4
        for thread in threads:
            thread.join(20)
        assert [type(error) for error in refused] == [Busy] * 4
        assert max(ended) < 1
        goes_on(process)
    send(ledger, "m3")
    assert waiting(ledger) == waiting(ledger_at(ledger_file)) == ["m1", "stopped", "m3"]


def test_a_process_stopped_inside_a_compaction_keeps_nobody_from_writing(ledger_file: Path) -> None:
    ledger = quiet_ledger(ledger_file)
    send(ledger, "m1")
    with stopped_inside(ledger_file, "assert ledger.compact()") as process:
        send(ledger, "m2")
        assert not ledger.compact()
        assert waiting(ledger) == ["m1", "m2"]
        goes_on(process)
    send(ledger, "m3")
    assert waiting(ledger) == waiting(ledger_at(ledger_file)) == ["m1", "m2", "m3"]
    assert ledger.compact()


def test_what_could_not_be_written_leaves_the_bytes_as_they_were(ledger_file: Path) -> None:
    ledger = quiet_ledger(ledger_file, lock_timeout_ms=50)
    send(ledger, "m1")
    before = bytes_of(ledger_file.parent)
    with stopped_inside(ledger_file, "ledger.transact(rule)"):
        with pytest.raises(Busy):
            send(ledger, "m2")
        assert bytes_of(ledger_file.parent) == before
