"""Waiting for changes of a ledger: who wakes, how often, and what happens where no bell rings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio
import pytest
from anyio import to_thread

from meshfleet.ledger import Ledger, View
from meshfleet.ledger.bells import ANYTHING, Belfry
from meshfleet.ledger.watching import PAUSE_S, Listening, Sight, Watch
from tests.ledger.rows import message, quiet_ledger, send

pytestmark = pytest.mark.anyio

PATIENCE_S: Final = 20
NEVER_S: Final = 3600.0
OTHER: Final = """
import sys
from pathlib import Path
import anyio
from meshfleet.ledger import Ledger
from meshfleet.ledger.watching import Sight, Watch

async def main():
    ledger = Ledger(Path(sys.argv[1]))
    sight = Sight(ledger, lambda view: list(view.inbox("b")))
    with Watch(3600).listening(ledger.data_file, "b") as news:
        print(sight.take(), flush=True)
        while True:
            await news.next()
            print(sight.take(), flush=True)

anyio.run(main)
"""


@pytest.fixture
def ledger(ledger_file: Path) -> Ledger:
    return quiet_ledger(ledger_file)


@pytest.fixture
def watch() -> Watch:
    """One to whom everything has to be rung."""
    return Watch(NEVER_S)


def waiters(ledger_file: Path) -> Path:
    return ledger_file.with_name("agent-mesh.waiters")


def kill_one_who_waits(ledger_file: Path) -> None:
    command = [sys.executable, "-c", OTHER, str(ledger_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "[]\n"
        process.kill()


async def woken(news: Listening) -> None:
    with anyio.fail_after(PATIENCE_S):
        await news.next()


def rings(watch: Watch, ledger: Ledger, topic: str) -> int:
    """How often those who wait for a topic were woken."""
    return watch._topics[ledger.data_file, topic].rings


# -- who wakes ------------------------------------------------------------------------------------------------------


async def test_a_commit_of_this_process_wakes_who_waits_for_it(ledger: Ledger, watch: Watch) -> None:
    with watch.listening(ledger.data_file, "b") as news:
        for number in range(3):
            await to_thread.run_sync(send, ledger, f"m{number}")
            await woken(news)


def test_a_commit_here_wakes_who_waits_in_another_process(ledger: Ledger, ledger_file: Path) -> None:
    command = [sys.executable, "-c", OTHER, str(ledger_file)]
    send(ledger, "m0")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "['m0']\n"
        send(ledger, "m1")
        assert process.stdout.readline() == "['m0', 'm1']\n"
        send(ledger, "m2")
        assert process.stdout.readline() == "['m0', 'm1', 'm2']\n"
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
    assert len(list(waiters(ledger_file).glob("*/*"))) == 1
    send(ledger, "m3")
    assert not waiters(ledger_file).exists()


async def test_a_commit_that_concerns_others_wakes_nobody(ledger: Ledger, watch: Watch) -> None:
    with (
        watch.listening(ledger.data_file, "a") as mine,
        watch.listening(ledger.data_file, "b") as theirs,
    ):
        before = rings(watch, ledger, "a")
        for number in range(10):
            send(ledger, f"m{number}")
            await woken(theirs)
        assert rings(watch, ledger, "a") == before
        watch.wake()
        await woken(mine)


async def test_all_who_wait_for_the_same_wake_and_share_a_bell(ledger: Ledger, watch: Watch, ledger_file: Path) -> None:
    awake = 0

    async def wait(started: anyio.Event) -> None:
        nonlocal awake
        with watch.listening(ledger.data_file, "b") as news:
            started.set()
            await woken(news)
        awake += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            started = anyio.Event()
            tasks.start_soon(wait, started)
            await started.wait()
        assert len(list(waiters(ledger_file).glob("*/*"))) == 1
        send(ledger, "m1")
    assert awake == 5
    assert not waiters(ledger_file).exists()


async def test_what_is_rung_while_one_looks_is_heard_afterwards(ledger: Ledger, watch: Watch) -> None:
    with watch.listening(ledger.data_file, "b") as busy, watch.listening(ledger.data_file, "b") as idle:
        send(ledger, "m1")
        await woken(idle)
        # as who has been at something else meanwhile
        await woken(busy)
        for _ in range(3):
            send(ledger, "m2")
        await woken(busy)


async def test_a_storm_of_commits_wakes_nobody_oftener_than_the_pause_allows(ledger: Ledger, watch: Watch) -> None:
    def storm() -> None:
        for number in range(500):
            send(ledger, f"m{number}")

    sight = Sight(ledger, lambda view: len(view.inbox("b")))
    looks, began = 0, time.monotonic()
    with (
        watch.listening(ledger.data_file, "b") as news,
        watch.listening(ledger.data_file, ANYTHING) as all_of_it,
    ):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(to_thread.run_sync, storm)
            while sight.take() < 500:
                await woken(news)
                looks += 1
        assert looks <= (time.monotonic() - began) / PAUSE_S + 2
        assert rings(watch, ledger, "b") <= (time.monotonic() - began) / PAUSE_S + 3
        await woken(all_of_it)


async def test_waking_all_wakes_those_of_every_topic(ledger: Ledger, watch: Watch) -> None:
    with watch.listening(ledger.data_file, "a") as one, watch.listening(ledger.data_file) as other:
        watch.wake()
        await woken(one)
        await woken(other)


# -- what is left ---------------------------------------------------------------------------------------------------


async def test_nothing_is_left_of_who_was_cancelled(ledger: Ledger, watch: Watch, ledger_file: Path) -> None:
    async def wait(started: anyio.Event) -> None:
        with watch.listening(ledger.data_file, "b") as news:
            started.set()
            await news.next()

    async with anyio.create_task_group() as tasks:
        started = anyio.Event()
        tasks.start_soon(wait, started)
        await started.wait()
        assert waiters(ledger_file).exists()
        tasks.cancel_scope.cancel()
    assert not waiters(ledger_file).exists()
    assert watch._topics == {}


async def test_who_begins_to_wait_removes_what_killed_processes_left(
    ledger: Ledger, watch: Watch, ledger_file: Path
) -> None:
    kill_one_who_waits(ledger_file)
    assert waiters(ledger_file).exists()
    with watch.listening(ledger.data_file, "somebody else"):
        assert [path.name.split(".")[0] for path in waiters(ledger_file).glob("*/*")] == [str(os.getpid())]


# -- where no bell rings --------------------------------------------------------------------------------------------


async def test_a_commit_that_rings_nobody_is_seen_by_looking(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Belfry, "ring_for", lambda *_: None)
    sight = Sight(ledger, lambda view: list(view.inbox("b")))
    with Watch(0.01).listening(ledger.data_file, "b") as news:
        assert sight.take() == []
        send(ledger, "m1")
        await woken(news)
        assert sight.take() == ["m1"]


async def test_where_no_bell_can_hang_it_is_looked_oftener_until_one_can(
    ledger: Ledger, watch: Watch, ledger_file: Path
) -> None:
    in_the_way = waiters(ledger_file)
    in_the_way.touch()
    sight = Sight(ledger, lambda view: list(view.inbox("b")))
    with watch.listening(ledger.data_file, "b") as news:
        send(ledger, "m1")
        await woken(news)
        assert sight.take() == ["m1"]
        in_the_way.unlink()
        await woken(news)
        assert len(list(waiters(ledger_file).glob("*/*"))) == 1
        send(ledger, "m2")
        await woken(news)
        assert sight.take() == ["m1", "m2"]
    assert not waiters(ledger_file).exists()


async def test_a_ledger_may_come_to_be_while_somebody_waits_for_it(tmp_path: Path, watch: Watch) -> None:
    ledger = quiet_ledger(tmp_path / "not" / "there" / "agent-mesh.json")
    sight = Sight(ledger, lambda view: list(view.inbox("b")))
    with watch.listening(ledger.data_file, "b") as news:
        assert sight.take() == []
        send(ledger, "m1")
        while not sight.take():
            await woken(news)
        send(ledger, "m2")
        while len(sight.take()) < 2:
            await woken(news)


async def test_a_bell_that_somebody_removed_is_hung_again(ledger: Ledger, ledger_file: Path) -> None:
    with Watch(0.01).listening(ledger.data_file, "b") as news:
        [bell] = waiters(ledger_file).glob("*/*")
        bell.unlink()
        with anyio.fail_after(PATIENCE_S):
            while not list(waiters(ledger_file).glob("*/*")):
                await news.next()
    assert not waiters(ledger_file).exists()


# -- what is asked --------------------------------------------------------------------------------------------------


def counting(query: Callable[[View], object]) -> tuple[Callable[[View], object], list[object]]:
    answers: list[object] = []

    def count(view: View) -> object:
        answers.append(query(view))
        return answers[-1]

    return count, answers


def test_a_query_is_asked_again_only_when_something_has_changed(ledger: Ledger, ledger_file: Path) -> None:
    query, answers = counting(lambda view: len(view.inbox("b")))
    sight = Sight(ledger, query)
    assert [sight.take() for _ in range(3)] == [0, 0, 0]
    send(quiet_ledger(ledger_file), "m1")
    assert [sight.take() for _ in range(3)] == [1, 1, 1]
    ledger.compact()
    assert sight.take() == 1
    assert answers == [0, 1]


def test_what_another_program_rewrote_without_our_numbers_is_asked_again(ledger: Ledger, ledger_file: Path) -> None:
    sight = Sight(ledger, lambda view: view.count("messages"))
    assert sight.take() == 0
    for count in (1, 2, 1):
        rows = {f"m{number}": message(f"m{number}") for number in range(count)}
        tables = ("fleets", "agents", "inboxes", "capabilities", "receipts")
        document = {"schema_version": 2, **{table: {} for table in tables}, "messages": rows}
        replacement = ledger_file.with_suffix(".new")
        replacement.write_text(json.dumps(document))
        replacement.rename(ledger_file)
        assert sight.take() == count


def test_a_query_that_refuses_refuses_every_time(ledger: Ledger) -> None:
    def refuse(_: View) -> None:
        raise ValueError("no")

    sight = Sight(ledger, refuse)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            sight.take()
