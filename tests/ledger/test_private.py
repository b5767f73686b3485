"""Whatever belongs to the ledger is its owner's alone, and no symlink leads the ledger to somebody else's file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from meshfleet.agents.launch import launch
from meshfleet.errors import Invalid, MeshfleetError, Unavailable
from meshfleet.ledger import Transaction
from meshfleet.ledger.files import Files
from meshfleet.ledger.repair import repair
from tests.agents.agents_helpers import end_of, order, run_dir
from tests.ledger.journals import write_behind
from tests.ledger.rows import message, quiet_ledger, send, waiting
from tests.ledgers import ledger_at

PRECIOUS: Final = b"not the ledger's\n"


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """A process that lets others do everything, that lets them look, and that lets them do nothing."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes_in(folder: Path) -> dict[str, int]:
    """The permissions of everything below a folder."""
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in sorted(folder.rglob("*"))}


def wrong_modes_in(folder: Path) -> dict[str, str]:
    """What others may do something with."""
    wanted = {True: 0o700, False: 0o600}
    return {name: oct(mode) for name, mode in modes_in(folder).items() if mode != wanted[(folder / name).is_dir()]}


class Noting(Files):
    """Notes the modes at each step in between."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wrong: dict[str, str] = {}
        self.seen: set[str] = set()

    def sync(self, fd: int) -> None:
        self.seen |= {path.name for path in self.folder.rglob("*")}
        self.wrong |= wrong_modes_in(self.folder)
        super().sync(fd)


def test_every_file_and_folder_is_its_owners_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    home = tmp_path / "fresh home"
    home.mkdir()
    home_mode = stat.S_IMODE(home.stat().st_mode)
    files = Noting(home)
    file = home / ".config" / "deep" / "opencode" / "agent-mesh.json"
    ledger = quiet_ledger(file, files)

    def rule(transaction: Transaction) -> None:
        transaction.put("messages", "m1", message("m1"))
        transaction.event("message_sent")

    ledger.transact(rule)
    assert ledger.compact()
    send(ledger, "m2")
    file.write_text('{"schema_version": 2}')
    send(ledger, "m3")
    write_behind(next(iter(file.parent.glob("*.ndjson"))), b"damage\n")
    repair(file)
    assert files.wrong == {}
    assert wrong_modes_in(home) == {}
    assert {"agent-mesh.first.tmp", "agent-mesh.snapshot.tmp", "agent-mesh.journal.2.ndjson"} <= files.seen
    kinds = ("json", "lock", "compact.lock", "events.log", "kept-", "corrupt-", ".ndjson")
    assert [kind for kind in kinds if not any(kind in name for name in modes_in(home))] == []
    assert stat.S_IMODE(home.stat().st_mode) == home_mode, f"the umask {umask:o} is somebody else's business"


def test_run_folders_are_their_owners_alone_whatever_the_umask(
    tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_MARK", "none")
    end_of(launch(order(Path("/bin/true"), tmp_path, "hello")))
    runs = run_dir(tmp_path).parents[1]
    assert {path.name for path in runs.rglob("*")} >= {"prompt.txt", "events.ndjson", "stderr.log", "exit"}
    assert wrong_modes_in(runs) == {}
    assert stat.S_IMODE(runs.stat().st_mode) == 0o700, f"with the umask {umask:o}"


# -- symlinks -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["a file", "nothing", "a folder"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What a symlink leads to: somebody's file, nowhere, or somebody's folder."""
    path = tmp_path / "elsewhere"
    if request.param == "a file":
        path.write_bytes(PRECIOUS)
    elif request.param == "a folder":
        path.mkdir()
    return path


def unharmed(target: Path) -> bool:
    """True while nothing was written through the link; a dangling one leads nowhere still."""
    if target.is_dir():
        return list(target.iterdir()) == []
    return not target.exists() or target.read_bytes() == PRECIOUS


def every_deed(ledger_file: Path) -> list[str]:
    """Do everything a process does with a ledger; what is refused is returned, and nothing else may be raised."""
    refusals = []
    ledger = quiet_ledger(ledger_file)

    def rule(transaction: Transaction) -> None:
        transaction.put("messages", "new", message("new"))
        transaction.event("message_sent")

    for deed in (lambda: waiting(ledger), lambda: ledger.transact(rule), ledger.compact, ledger.close):
        try:
            deed()
        except MeshfleetError as error:
            refusals.append(str(error))
    return refusals


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("agent-mesh.json", True),
        ("agent-mesh.lock", True),
        ("agent-mesh.compact.lock", True),
        ("agent-mesh.journal.2.ndjson", True),
        # the next journal's place: only a compaction needs it
        ("agent-mesh.journal.3.ndjson", True),
        # a log is no reason to fail what has happened
        ("agent-mesh.events.log", False),
        # a temporary name is cleared first: the link goes, not what it leads to
        ("agent-mesh.snapshot.tmp", False),
        ("agent-mesh.first.tmp", False),
    ],
)
def test_a_symlink_in_place_of_a_file_is_refused_or_replaced_and_its_target_never_written(
    ledger_file: Path, target: Path, name: str, refused: bool
) -> None:
    before = quiet_ledger(ledger_file)
    send(before, "m1")
    assert before.compact()
    send(before, "m2")
    link = ledger_file.with_name(name)
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    refusals = every_deed(ledger_file)
    assert unharmed(target)
    if refused:
        assert refusals
        assert all(f"{name} is a symlink, which the ledger does not follow" in refusal for refusal in refusals)
    else:
        assert refusals == []
        assert waiting(quiet_ledger(ledger_file)) == ["m1", "m2"]


@pytest.mark.parametrize("name", ["agent-mesh.journal.1.ndjson", "agent-mesh.first.tmp", "agent-mesh.lock"])
def test_a_symlink_that_waits_for_the_first_write_gets_nothing(ledger_file: Path, target: Path, name: str) -> None:
    ledger_file.with_name(name).symlink_to(target)
    every_deed(ledger_file)
    assert unharmed(target)


def test_a_file_that_was_a_symlink_works_once_the_file_itself_is_there(ledger_file: Path, tmp_path: Path) -> None:
    ledger = quiet_ledger(ledger_file)
    send(ledger, "m1")
    moved = ledger_file.rename(tmp_path / "moved.json")
    ledger_file.symlink_to(moved)
    with pytest.raises(Invalid, match="symlink"):
        send(ledger, "m2")
    ledger_file.unlink()
    moved.rename(ledger_file)
    send(ledger, "m3")
    assert waiting(ledger) == waiting(ledger_at(ledger_file)) == ["m1", "m3"]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("name", ["agent-mesh.json", "agent-mesh.journal.1.ndjson", "agent-mesh.events.log"])
def test_what_is_no_file_is_refused_and_nobody_waits_for_it(ledger_file: Path, name: str, make: type) -> None:
    if "journal" in name:
        send(quiet_ledger(ledger_file), "m1")
        ledger_file.with_name(name).unlink()
    make(ledger_file.with_name(name))
    refusals = every_deed(ledger_file)
    assert bool(refusals) == ("events" not in name)
    assert all(name in refusal for refusal in refusals)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_symlink_in_place_of_a_run_folder_is_refused(
    tmp_path: Path, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_MARK", "none")
    target = tmp_path / "elsewhere"
    target.mkdir()
    folder = run_dir(tmp_path)
    link = [folder.parents[1], folder.parent, folder][depth]
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    with pytest.raises(Unavailable, match=f"{link.name}.*symlink|symlink.*{link.name}"):
        launch(order(Path("/bin/true"), tmp_path, "hello"))
    assert list(target.iterdir()) == []
