"""Whenever the power fails, what was acknowledged is there when it is back, and nobody calls the ledger damaged.

The disk is a model (see power): it keeps what was synced, and of the rest anything a file system might.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from meshfleet.ledger import Ledger
from meshfleet.ledger.files import Files
from meshfleet.settings import Durability
from tests.ledger.harnesses import ReportOf
from tests.ledger.journals import written_in
from tests.ledger.power_harness import TORN_AT_EVERY_BYTE
from tests.ledger.power_scenarios import POWER_SCENARIOS, REPAIRS
from tests.ledger.rows import quiet_ledger, send, waiting

WHAT_A_CUT_SHOWS: Final = {
    "a_write_is_acknowledged_before_it_is_synced": "write",
    "the_new_snapshot_is_not_synced": "compaction",
    "the_next_journal_is_not_synced": "compaction",
    "the_next_journals_name_is_not_synced": "compaction",
    "the_old_journal_goes_before_the_rename_is_durable": "compaction",
    "a_rename_of_somebody_who_died_is_trusted": "compaction",
    "what_another_wrote_is_taken_for_durable": "write",
    "a_damaged_journal_goes_before_its_repair_stands": "repair of a row",
    "a_copy_of_what_is_damaged_is_not_synced": "repair of a missing snapshot",
    "an_export_is_not_synced": "export to a new file",
}


@pytest.mark.parametrize(
    "scenario",
    [pytest.param(name, marks=pytest.mark.slow if name in TORN_AT_EVERY_BYTE else ()) for name in POWER_SCENARIOS],
)
def test_what_was_acknowledged_is_there_whenever_the_power_fails(
    report_of: ReportOf, tmp_path: Path, scenario: str
) -> None:
    report = report_of("power_harness", tmp_path, scenario)
    assert report["failures"] == []
    assert report["remains"] > 50
    assert report["torn"] > 50
    assert report["repaired"] > 10 or scenario not in REPAIRS


@pytest.mark.parametrize("protocol", WHAT_A_CUT_SHOWS)
def test_a_protocol_that_trusts_what_was_not_synced_is_caught(
    report_of: ReportOf, tmp_path: Path, protocol: str
) -> None:
    assert report_of("power_harness", tmp_path, WHAT_A_CUT_SHOWS[protocol], protocol)["failures"]


@pytest.mark.parametrize("missing", [0, 1, 30])
def test_zeros_at_the_end_of_a_journal_are_no_damage(ledger_file: Path, missing: int) -> None:
    ledger = quiet_ledger(ledger_file)
    for message_id in ("m1", "m2"):
        send(ledger, message_id)
    (journal,) = ledger_file.parent.glob("*.ndjson")
    whole = written_in(journal)
    journal.write_bytes(whole[: len(whole) - missing] + bytes(4_000))
    fresh = quiet_ledger(ledger_file)
    send(fresh, "m3")
    assert waiting(fresh) == (["m1", "m3"] if missing else ["m1", "m2", "m3"])


# -- the order of steps, where the disk's model does not reach: other folders, and what others wrote ------------------


class Noting(Files):
    """Notes the steps whose order matters."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self._names: dict[int, str] = {}

    def open_existing(self, path: Path) -> int:
        fd = super().open_existing(path)
        self._names[fd] = path.name
        return fd

    def create(self, path: Path) -> int:
        fd = super().create(path)
        self._names[fd] = path.name
        return fd

    def write(self, fd: int, data: bytes, offset: int) -> int:
        self.steps.append("write")
        return super().write(fd, data, offset)

    def rename(self, source: Path, target: Path) -> None:
        self.steps.append(f"rename to {target.name.partition('-17')[0]}")
        super().rename(source, target)

    def sync(self, fd: int) -> None:
        self.steps.append(f"sync {self._names[fd]}")

    def sync_folder(self, folder: Path) -> None:
        self.steps.append(f"sync_folder {folder.name}")


def noted_ledger(file: Path) -> tuple[Ledger, list[str]]:
    """A ledger, and the steps it takes."""
    files = Noting()
    return quiet_ledger(file, files, Durability.POWER), files.steps


def test_the_name_of_a_new_folder_is_synced_like_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(Files, "sync_folder", lambda _self, folder: synced.append(folder))
    send(quiet_ledger(tmp_path / "new" / "newer" / "agent-mesh.json", durability=Durability.POWER), "m1")
    order = [synced.index(folder) for folder in (tmp_path, tmp_path / "new", tmp_path / "new" / "newer")]
    assert order == sorted(order)


@pytest.mark.parametrize("made", ["", "new", "new/newer"])
def test_the_name_of_a_folder_is_synced_too_that_somebody_made_who_died_before_doing_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    tmp_path.joinpath(made).mkdir(parents=True, exist_ok=True)
    synced: list[Path] = []
    monkeypatch.setattr(Files, "sync_folder", lambda _self, folder: synced.append(folder))
    send(quiet_ledger(tmp_path / "new" / "newer" / "agent-mesh.json", durability=Durability.POWER), "m1")
    parents = {tmp_path.joinpath(made).parent, tmp_path / "new", tmp_path / "new" / "newer"}
    assert parents <= set(synced)


def test_whoever_follows_a_snapshot_syncs_its_name_before_writing_behind_it(ledger_file: Path) -> None:
    one = quiet_ledger(ledger_file)
    two, steps = noted_ledger(ledger_file)
    send(one, "m1")
    send(two, "m2")
    assert one.compact()
    send(two, "m3")
    send(two, "m4")
    folder, journal = "sync_folder ledger", "sync agent-mesh.journal.{}.ndjson"
    assert steps == [folder, "write", journal.format(1), folder, "write", journal.format(2), "write", journal.format(2)]


def test_a_journal_is_put_aside_once_what_v090_wrote_instead_is_on_the_disk(ledger_file: Path) -> None:
    ledger, steps = noted_ledger(ledger_file)
    send(ledger, "m1")
    replaced = ledger_file.with_name("written-by-v090")
    replaced.write_text('{"schema_version": 2, "messages": {}, "inboxes": {}}')
    replaced.rename(ledger_file)
    steps.clear()
    send(ledger, "m2")
    aside = steps.index("rename to agent-mesh.journal.1.ndjson.kept")
    assert steps[:aside][-2:] == ["sync agent-mesh.json", "sync_folder ledger"]


def test_a_call_that_finds_all_done_waits_until_what_another_did_is_on_the_disk(ledger_file: Path) -> None:
    one = quiet_ledger(ledger_file)
    two, steps = noted_ledger(ledger_file)
    send(one, "m1")
    assert two.transact(lambda transaction: list(transaction.inbox("b"))) == ["m1"]
    assert steps == ["sync_folder ledger", "sync agent-mesh.journal.1.ndjson"]
    steps.clear()
    two.transact(lambda transaction: list(transaction.inbox("b")))
    assert steps == []
