"""Whenever the power fails, what was acknowledged is there when it is back, and nobody calls the ledger damaged.

The disk is a model (see power): it keeps what was synced, and of the rest anything a file system might.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from meshfleet.ledger.files import Files
from tests.ledger.crash_scenarios import SCENARIOS, opened
from tests.ledger.harnesses import report_of
from tests.ledger.power_harness import TORN_AT_EVERY_BYTE
from tests.ledger.rows import send, waiting

WHAT_A_CUT_SHOWS: Final = {
    "a_write_is_acknowledged_before_it_is_synced": "write",
    "the_new_snapshot_is_not_synced": "compaction",
    "the_next_journal_is_not_synced": "compaction",
    "the_next_journals_name_is_not_synced": "compaction",
    "the_old_journal_goes_before_the_rename_is_durable": "compaction",
    "a_rename_of_somebody_who_died_is_trusted": "compaction",
}


@pytest.mark.parametrize(
    "scenario",
    [pytest.param(name, marks=pytest.mark.slow if name in TORN_AT_EVERY_BYTE else ()) for name in SCENARIOS],
)
def test_what_was_acknowledged_is_there_whenever_the_power_fails(tmp_path: Path, scenario: str) -> None:
    report = report_of("power_harness", tmp_path, scenario)
    assert report["failures"] == []
    assert report["remains"] > 100
    assert report["torn"] > 100 or "repair" in scenario


@pytest.mark.parametrize("protocol", WHAT_A_CUT_SHOWS)
def test_a_protocol_that_trusts_what_was_not_synced_is_caught(tmp_path: Path, protocol: str) -> None:
    assert report_of("power_harness", tmp_path, WHAT_A_CUT_SHOWS[protocol], protocol)["failures"]


@pytest.mark.parametrize("missing", [0, 1, 30])
def test_zeros_at_the_end_of_a_journal_are_no_damage(ledger_file: Path, missing: int) -> None:
    ledger = opened(ledger_file)
    for message_id in ("m1", "m2"):
        send(ledger, message_id)
    (journal,) = ledger_file.parent.glob("*.ndjson")
    whole = journal.read_bytes()
    journal.write_bytes(whole[: len(whole) - missing] + bytes(4_000))
    fresh = opened(ledger_file)
    send(fresh, "m3")
    assert waiting(fresh) == (["m1", "m3"] if missing else ["m1", "m2", "m3"])


def test_the_name_of_a_new_folder_is_synced_like_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(Files, "sync_folder", lambda _self, folder: synced.append(folder))
    send(opened(tmp_path / "new" / "newer" / "agent-mesh.json", Files()), "m1")
    assert synced[:3] == [tmp_path, tmp_path / "new", tmp_path / "new" / "newer"]


def test_whoever_follows_a_snapshot_syncs_its_name_before_writing_behind_it(ledger_file: Path) -> None:
    steps: list[str] = []

    class Noting(Files):
        def append(self, fd: int, data: bytes) -> int:
            steps.append("append")
            return super().append(fd, data)

        def sync_folder(self, folder: Path) -> None:
            steps.append("sync_folder")
            super().sync_folder(folder)

    one, two = opened(ledger_file), opened(ledger_file, Noting())
    send(one, "m1")
    send(two, "m2")
    assert one.compact()
    send(two, "m3")
    send(two, "m4")
    assert steps == ["sync_folder", "append"] * 2 + ["append"]
