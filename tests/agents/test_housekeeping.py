"""Old run folders: which are removed, and which somebody may still need."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from meshfleet.agents.housekeeping import DAY_MS, prune_runs
from meshfleet.ledger import Ledger
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.resuming import resume
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.specs import AgentSpec
from meshfleet.model import Reason, now_ms
from tests.mesh.fleets import open_ledger, start_all

LATER = 31 * DAY_MS


@pytest.fixture
def ledger(ledger_file: Path) -> Ledger:
    return open_ledger(ledger_file)


def fleet_with_folders(ledger: Ledger, runs: Path, *outcomes: Outcome | None) -> list[str]:
    """A fleet whose agents came to this, None for one that runs, each with a run folder."""
    specs = [AgentSpec(f"R{number}", "go") for number in range(len(outcomes))]
    _, agent_ids = create_fleet(ledger, specs, cwd=str(runs.parent))
    start_all(ledger)
    for agent_id, outcome in zip(agent_ids, outcomes, strict=True):
        if outcome is not None:
            settle_attempt(ledger, agent_id, 1, outcome)
        (runs / agent_id / "1").mkdir(parents=True)
        (runs / agent_id / "1" / "events.ndjson").write_text("{}")
    return agent_ids


def test_folders_of_fleets_that_ended_long_ago_go_and_no_others(ledger: Ledger, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    failed = Outcome(ok=False, reason=Reason.EXIT, session_id="ses")
    old = fleet_with_folders(ledger, runs, Outcome(ok=True), failed)
    at_work = fleet_with_folders(ledger, runs, Outcome(ok=True), None)
    (runs / "a stranger").mkdir()
    assert prune_runs(ledger, runs, 30, now_ms() + LATER - 2 * DAY_MS) == []
    assert prune_runs(ledger, runs, 30, now_ms() + LATER) == old
    assert sorted(path.name for path in runs.iterdir()) == sorted([*at_work, "a stranger"])
    assert prune_runs(ledger, runs, 30, now_ms() + LATER) == []


def test_what_only_a_folder_can_tell_is_kept_for_who_may_be_resumed(ledger: Ledger, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    kept, _ = fleet_with_folders(ledger, runs, Outcome(ok=False, interrupted=True), Outcome(ok=True))
    prune_runs(ledger, runs, 30, now_ms() + LATER)
    assert [path.name for path in runs.iterdir()] == [kept]


def test_one_that_is_resumed_meanwhile_keeps_its_folder(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    failed = Outcome(ok=False, reason=Reason.EXIT, session_id="ses")
    first, second = fleet_with_folders(ledger, runs, Outcome(ok=True), failed)
    remove = shutil.rmtree

    def remove_and_resume(folder: Path) -> None:
        remove(folder)
        resume(ledger, agent_id=second)

    monkeypatch.setattr(shutil, "rmtree", remove_and_resume)
    assert prune_runs(ledger, runs, 30, now_ms() + LATER) == [first]
    assert (runs / second).is_dir()


def test_a_link_in_the_place_of_a_folder_is_not_followed(ledger: Ledger, tmp_path: Path) -> None:
    runs, precious = tmp_path / "runs", tmp_path / "precious"
    precious.mkdir()
    [agent_id] = fleet_with_folders(ledger, runs, Outcome(ok=True))
    (runs / agent_id).rename(tmp_path / "elsewhere")
    (runs / agent_id).symlink_to(precious)
    assert prune_runs(ledger, runs, 30, now_ms() + LATER) == []
    assert precious.is_dir()
