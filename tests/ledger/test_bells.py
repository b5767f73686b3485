"""Bells: who is rung by which commit, what a crash leaves, and that no commit ever pays for any of it."""

from __future__ import annotations

import os
import select
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from meshfleet.ledger import Ledger, Transaction, bells
from meshfleet.ledger.bells import ANYTHING, Belfry, Bell, topics_of
from tests.ledger.confined import run_confined
from tests.ledger.rows import message, quiet_ledger, send

PATIENCE_S: Final = 20
OTHER: Final = """
import sys, time
from pathlib import Path
from meshfleet.ledger.bells import Belfry
for topic in sys.argv[2:]:
    bell = Belfry(Path(sys.argv[1])).hang(topic)
print("hangs", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def ledger(ledger_file: Path) -> Ledger:
    return quiet_ledger(ledger_file)


@pytest.fixture
def hang(ledger_file: Path) -> Iterator[Callable[[str], Bell]]:
    with ExitStack() as stack:

        def hung(topic: str) -> Bell:
            bell = Belfry(ledger_file).hang(topic)
            stack.callback(bell.take_down)
            return bell

        yield hung


def is_rung(bell: Bell, within_s: float = 0) -> bool:
    """Whether somebody rang, or does in time; it is silent afterwards."""
    rung = bool(select.select([bell.fd], [], [], within_s)[0])
    bell.silence()
    return rung


def waiters(ledger_file: Path) -> Path:
    return ledger_file.with_name("agent-mesh.waiters")


def hanging(ledger_file: Path) -> list[Path]:
    return [path for path in waiters(ledger_file).rglob("*") if not path.is_dir()]


def other_process(ledger_file: Path, *topics: str) -> subprocess.Popen[str]:
    """A process that has hung bells, and takes none down."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(ledger_file), *topics],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "hangs\n"
    return process


def put(table: str, key: str, row: dict[str, Any]) -> Callable[[Transaction], None]:
    return lambda transaction: transaction.put(table, key, row)


# -- whom a commit concerns -----------------------------------------------------------------------------------------


def test_a_commit_rings_those_whose_inbox_changed_and_nobody_else(ledger: Ledger, hang: Callable[[str], Bell]) -> None:
    concerned, other, anything = hang("b"), hang("c"), hang(ANYTHING)
    send(ledger, "m1")
    assert [is_rung(concerned), is_rung(other), is_rung(anything)] == [True, False, True]
    ledger.transact(lambda transaction: transaction.take("b", "m1"))
    assert [is_rung(concerned), is_rung(other), is_rung(anything)] == [True, False, True]


def test_a_commit_rings_those_who_wait_for_a_fleet_whose_row_is_another(
    ledger: Ledger, hang: Callable[[str], Bell]
) -> None:
    fleet, other = hang("f"), hang("g")
    ledger.transact(put("fleets", "f", {"id": "f", "status": "running", "created_at": 1}))
    assert [is_rung(fleet), is_rung(other)] == [True, False]
    ledger.transact(put("messages", "f", message("f")))
    assert not is_rung(fleet)


def test_a_broadcast_rings_everybody_in_it(ledger: Ledger, hang: Callable[[str], Bell]) -> None:
    found = [hang(f"agent {number}") for number in range(20)]

    def rule(transaction: Transaction) -> None:
        for number in range(20):
            transaction.deliver(f"agent {number}", "m")

    ledger.transact(rule)
    assert [is_rung(bell) for bell in found] == [True] * 20


def test_what_changes_nothing_rings_nobody(ledger: Ledger, hang: Callable[[str], Bell]) -> None:
    bell = hang(ANYTHING)

    def refuse(transaction: Transaction) -> None:
        transaction.deliver("b", "m1")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        ledger.transact(refuse)
    ledger.transact(lambda _: None)
    ledger.read(lambda view: view.seq)
    assert not is_rung(bell)


def test_who_is_rung_reads_what_was_committed(ledger: Ledger, ledger_file: Path, hang: Callable[[str], Bell]) -> None:
    reader, bell = quiet_ledger(ledger_file), hang("b")
    seen: list[str] = []

    def send_all() -> None:
        for number in range(50):
            send(ledger, f"m{number}")

    sender = threading.Thread(target=send_all)
    sender.start()
    while len(seen) < 50:
        assert is_rung(bell, PATIENCE_S)
        seen = list(reader.read(lambda view: view.inbox("b")))
    sender.join()


def test_topics_are_told_by_what_a_transaction_does() -> None:
    operations: list[list[Any]] = [
        ["put", "fleets", "fleet", {}],
        ["put", "agents", "agent", {}],
        ["drop", "capabilities", "dropped"],
        ["append", "one", "m"],
        ["take", "other", "m"],
    ]
    assert topics_of(operations) == {ANYTHING, "fleet", "one", "other"}


@pytest.mark.parametrize("topic", ["../../etc", "a/b", "\ud800", "ä 🦊", "x" * 100_000, "\0"])
def test_any_id_can_be_a_topic(ledger: Ledger, hang: Callable[[str], Bell], topic: str) -> None:
    bell = hang(topic)
    Belfry(ledger.data_file).ring_for([["append", topic, "m"]])
    assert is_rung(bell)


def test_a_ledger_with_a_long_path_has_bells_too(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["x" * 200] * 4)
    folder.mkdir(parents=True)
    ledger = quiet_ledger(folder / "agent-mesh.json")
    bell = Belfry(ledger.data_file).hang("b")
    send(ledger, "m1")
    assert is_rung(bell)
    bell.take_down()


# -- several of them, and what is left ------------------------------------------------------------------------------


def test_all_who_wait_for_the_same_are_rung_and_one_that_leaves_takes_nobody_else_s_bell(
    ledger: Ledger, ledger_file: Path
) -> None:
    one, other = (Belfry(ledger_file).hang("b") for _ in range(2))
    send(ledger, "m1")
    assert [is_rung(one), is_rung(other)] == [True, True]
    one.take_down()
    assert len(hanging(ledger_file)) == 1
    send(ledger, "m2")
    assert is_rung(other)
    other.take_down()
    assert not waiters(ledger_file).exists()


def test_a_bell_and_its_folders_are_its_owner_s_alone(ledger_file: Path, hang: Callable[[str], Bell]) -> None:
    before = os.umask(0)
    try:
        hang("b")
    finally:
        os.umask(before)
    [bell] = hanging(ledger_file)
    assert stat.S_ISFIFO(bell.stat().st_mode)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (bell, bell.parent, bell.parent.parent)]
    assert modes == [0o600, 0o700, 0o700]
    assert bell.name.startswith(f"{os.getpid()}.")


def test_what_a_killed_process_left_is_removed_by_the_next_commit_that_concerns_it(
    ledger: Ledger, ledger_file: Path
) -> None:
    with other_process(ledger_file, "b") as process:
        send(ledger, "m1")
        assert len(hanging(ledger_file)) == 1
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        send(ledger, "m2")
    assert not waiters(ledger_file).exists()


def test_sweeping_removes_what_killed_processes_left_and_nothing_that_is_heard(
    ledger: Ledger, ledger_file: Path, hang: Callable[[str], Bell]
) -> None:
    bell = hang("b")
    with other_process(ledger_file, "a", "b", "c") as process:
        unheard = next(path for path in hanging(ledger_file) if path.name.startswith(f"{process.pid}."))
        unheard.rename(unheard.with_name(f".{unheard.name}"))
        Belfry(ledger_file).sweep()
        assert len(hanging(ledger_file)) == 4
        process.kill()
        process.wait(PATIENCE_S)
        Belfry(ledger_file).sweep()
    assert len(hanging(ledger_file)) == 1
    send(ledger, "m1")
    assert is_rung(bell)


def test_a_bell_that_hangs_is_never_taken_for_one_that_nobody_hears(ledger: Ledger, ledger_file: Path) -> None:
    belfry, over = Belfry(ledger_file), threading.Event()

    def storm() -> None:
        while not over.is_set():
            send(ledger, "m1")
            belfry.sweep()

    ringing = threading.Thread(target=storm)
    ringing.start()
    try:
        for _ in range(100):
            # the last one that is taken down takes the folders along, and at the same time the next one hangs
            bell = belfry.hang("b")
            rung = is_rung(bell, PATIENCE_S)
            bell.take_down()
            assert rung
    finally:
        over.set()
        ringing.join()
    assert not waiters(ledger_file).exists()


# -- what may go wrong ----------------------------------------------------------------------------------------------


def test_a_pipe_that_is_full_holds_up_no_commit(ledger: Ledger, hang: Callable[[str], Bell]) -> None:
    bell = hang("b")
    with suppress(BlockingIOError):
        while True:
            os.write(bell._own_end, b"!")
    send(ledger, "m1")
    assert is_rung(bell)
    send(ledger, "m2")
    assert is_rung(bell)


def test_what_is_no_pipe_is_left_as_it_is(ledger: Ledger, ledger_file: Path, hang: Callable[[str], Bell]) -> None:
    bell = hang("b")
    folder = hanging(ledger_file)[0].parent
    (folder / "file").write_text("somebody's")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(folder / "file")
    (waiters(ledger_file) / "another file").touch()
    send(ledger, "m1")
    Belfry(ledger_file).sweep()
    assert is_rung(bell)
    assert (folder / "file").read_text() == "somebody's"
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("level", ["all", "one topic"])
def test_a_symlink_in_place_of_the_folder_is_not_followed(ledger: Ledger, ledger_file: Path, level: str) -> None:
    elsewhere = Belfry(ledger_file.with_name("other.json")).hang("b")
    theirs = ledger_file.with_name("other.waiters")
    link = waiters(ledger_file)
    if level != "all":
        link.mkdir()
        theirs, link = next(theirs.iterdir()), link / next(theirs.iterdir()).name
    link.symlink_to(theirs)
    send(ledger, "m1")
    assert not is_rung(elsewhere)
    with pytest.raises(NotADirectoryError):
        Belfry(ledger_file).hang("b")
    elsewhere.take_down()
    assert link.is_symlink()


def test_no_bell_hangs_where_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Belfry(tmp_path / "nowhere" / "agent-mesh.json").hang("b")
    Belfry(tmp_path / "nowhere" / "agent-mesh.json").sweep()


def test_where_no_pipe_can_be_made_nothing_is_left(ledger_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "mkfifo", refuse)
    with pytest.raises(PermissionError):
        Belfry(ledger_file).hang("b")
    assert not waiters(ledger_file).exists()


def test_folders_that_may_not_be_written_or_searched_fail_no_commit(ledger_file: Path) -> None:
    run_confined(
        ledger_file.parent,
        """
        from meshfleet.ledger.bells import Belfry
        ledger = quiet_ledger(FILE)
        send(ledger, "m1")
        FOLDER.chmod(0o500)
        with pytest.raises(PermissionError):
            Belfry(FILE).hang("b")
        send(ledger, "m2")
        FOLDER.chmod(0o700)
        bell = Belfry(FILE).hang("b")
        waiters = FOLDER / "agent-mesh.waiters"
        for each in (next(waiters.iterdir()), waiters):
            each.chmod(0o000)
            send(ledger, f"m3 {each}")
            Belfry(FILE).sweep()
            each.chmod(0o700)
        bell.take_down()
        assert not waiters.exists()
        """,
        unprivileged=True,
    )


def test_a_process_that_can_open_no_file_more_commits_all_the_same(ledger_file: Path) -> None:
    run_confined(
        ledger_file.parent,
        """
        from meshfleet.ledger.bells import Belfry
        ledger = quiet_ledger(FILE)
        bell = Belfry(FILE).hang("b")
        send(ledger, "m1")
        bell.silence()
        opened = [os.open(FOLDER, os.O_RDONLY)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (opened[0] + 1, opened[0] + 1))
        send(ledger, "m2")
        assert waiting(ledger) == ["m1", "m2"]
        """,
    )


def test_a_ring_that_fails_as_nobody_foresaw_fails_no_commit(
    ledger: Ledger, hang: Callable[[str], Bell], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hang("b")
    monkeypatch.setattr(bells, "topics_of", lambda _: 1 / 0)
    send(ledger, "m1")
    assert list(ledger.read(lambda view: view.inbox("b"))) == ["m1"]
    assert caplog.messages == ["could not ring for those who wait"]


def test_who_closes_between_being_found_and_being_rung_fails_no_commit(
    ledger: Ledger, ledger_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bell, write = Belfry(ledger_file).hang("b"), os.write

    def leave_before(fd: int, data: bytes) -> int:
        bell.take_down()
        return write(fd, data)

    monkeypatch.setattr(os, "write", leave_before)
    send(ledger, "m1")
    assert not waiters(ledger_file).exists()
