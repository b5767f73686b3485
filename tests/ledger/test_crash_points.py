"""A process that ends at any step of what it does to the files leaves a ledger that all others agree on.

Every step is tried, not a sample: what is there at each is looked at in play, and where it is something else than was
there at any step before (see sameness) the process is forked, ends there for real and has to leave just that. From it a
process that had the ledger open and one that opens it afterwards go on in three different ways (see crash_aftermath).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from tests.ledger.broken_protocols import BROKEN_PROTOCOLS
from tests.ledger.crash_aftermath import AFTERMATHS
from tests.ledger.crash_scenarios import CRASHED_BEFORE, SCENARIOS
from tests.ledger.harnesses import ReportOf
from tests.ledger.interleavings import INTRUSIONS
from tests.ledger.test_power_cuts import WHAT_A_CUT_SHOWS

LONG: Final = ("compaction", "repair", "take-over", "the end")
"""What the scenarios with many steps have in their names."""

CAUGHT_BY: Final = {
    "no_identity_check_under_the_lock": ("crash", "write after a compaction"),
    "the_old_journal_goes_before_the_rename": ("crash", "compaction"),
    "one_journal_name_for_ever_and_no_filter": ("crash", "compaction"),
    "the_renamed_file_is_the_lock": ("interrupt", "write after others wrote"),
    "nobody_takes_the_lock": ("interrupt", "write"),
    "records_that_arrived_meanwhile_stay_behind": ("interrupt", "compaction"),
    "the_rename_comes_before_the_next_journal": ("crash", "compaction"),
    "a_torn_tail_is_written_behind": ("crash", "write"),
    "leftovers_are_in_the_way": ("crash", "compaction"),
    "leftovers_stay": ("crash", "compaction"),
    "the_snapshot_is_written_in_place": ("crash", "compaction"),
    "a_follower_does_not_look_where_the_journal_starts": ("interrupt", "write"),
    "an_edit_is_not_looked_for_before_the_rename": ("interrupt", "compaction"),
    "a_write_is_acknowledged_before_it_is_written": ("crash", "write"),
    "a_compaction_takes_no_lock": ("interrupt", "compaction"),
}


def _scenarios() -> list[Any]:
    return [
        pytest.param(name, marks=pytest.mark.slow if any(word in name for word in LONG) else ()) for name in SCENARIOS
    ]


@pytest.mark.parametrize("scenario", _scenarios())
def test_a_process_that_ends_at_any_step_loses_and_doubles_nothing(
    report_of: ReportOf, tmp_path: Path, scenario: str
) -> None:
    report = report_of("crash_harness", tmp_path, "crash", scenario)
    assert report["failures"] == []
    # before and after each step, and at three places within each write
    assert report["points"] == 2 * sum(report["steps"].values()) + 3 * report["steps"].get("write", 0)
    assert report["killed"] == report["deaths"] // 3
    assert report["deaths"] >= report["states"]
    # a write cut short at each of these places leaves something else, and the whole one does
    assert report["states"] > 4 * report["steps"].get("write", 0)
    assert report["runs"] == (report["states"] + 1) * len(AFTERMATHS)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", CRASHED_BEFORE)
def test_a_process_that_ends_at_any_step_after_another_did_loses_and_doubles_nothing(
    report_of: ReportOf, tmp_path: Path, scenario: str
) -> None:
    report = report_of("crash_harness", tmp_path, "twice", scenario)
    assert report["failures"] == []
    assert report["points"] > 50


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_whatever_others_do_between_any_two_steps_nothing_is_lost_and_no_reader_waits(
    report_of: ReportOf, tmp_path: Path, scenario: str
) -> None:
    report = report_of("crash_harness", tmp_path, "interrupt", scenario)
    assert report["failures"] == []
    assert report["points"] == (sum(report["steps"].values()) + report["steps"].get("write", 0)) * len(INTRUSIONS)


@pytest.mark.parametrize("protocol", CAUGHT_BY)
def test_a_protocol_with_one_thing_wrong_is_caught(report_of: ReportOf, tmp_path: Path, protocol: str) -> None:
    mode, scenario = CAUGHT_BY[protocol]
    failures = report_of("crash_harness", tmp_path, mode, scenario, protocol)["failures"]
    assert failures
    # one that can't be carried out at all shows nothing
    assert not any("the scenario itself fails" in failure for failure in failures)


def test_every_broken_protocol_is_tried() -> None:
    assert CAUGHT_BY.keys() | WHAT_A_CUT_SHOWS.keys() == BROKEN_PROTOCOLS.keys()
