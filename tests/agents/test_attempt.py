"""What an attempt came to, as its files, its process and its survivors tell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshfleet.agents.attempt import Attempt, Remains
from meshfleet.agents.process import ProcessIdentity
from meshfleet.model import Reason

SHELL = ProcessIdentity(2**22 + 1, 1.0)


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    one = Attempt.of({"id": "a"}, 1, tmp_path, 0.0)
    one.run_dir.mkdir(parents=True)
    one.leader = SHELL
    return one


def leave(attempt: Attempt, *, answered: bool, exit_code: int | None) -> None:
    parts = [{"type": "text", "sessionID": "ses", "part": {"text": "words"}}]
    if answered:
        parts.append({"type": "step_finish", "part": {"reason": "stop", "cost": 0.5, "tokens": {"total": 7}}})
    lines = "".join(f"{json.dumps(part)}\n" for part in parts)
    (attempt.run_dir / "events.ndjson").write_text(lines)
    if exit_code is not None:
        (attempt.run_dir / "exit").write_text(f"{exit_code}\n")
    while attempt.stream.advance():
        pass


def test_a_good_run(attempt: Attempt) -> None:
    leave(attempt, answered=True, exit_code=0)
    outcome = attempt.outcome()
    assert (outcome.ok, outcome.output, outcome.exit_code, outcome.error) == (True, "words", 0, None)
    assert (outcome.session_id, outcome.cost, outcome.tokens and outcome.tokens["total"]) == ("ses", 0.5, 7)
    assert (outcome.whole, attempt.marker, attempt.written_bytes() > 0) == (False, "a/1", True)


def test_one_that_could_not_be_started_says_why(attempt: Attempt) -> None:
    attempt.leader, attempt.refusal = None, "no such folder"
    outcome = attempt.outcome()
    assert (outcome.reason, outcome.error) == (Reason.SPAWN, "the agent could not be started: no such folder")
    assert not attempt.is_running


@pytest.mark.parametrize(
    ("was_gone", "this_boot", "exit_code", "interrupted"),
    [
        (True, True, None, True),
        (True, False, None, True),
        (True, False, 143, True),
        (True, False, 3, False),
        (True, True, 143, False),
        (False, True, None, False),
    ],
)
def test_it_is_interrupted_where_nobody_can_say_what_became_of_it(
    attempt: Attempt, was_gone: bool, this_boot: bool, exit_code: int | None, interrupted: bool
) -> None:
    leave(attempt, answered=False, exit_code=exit_code)
    attempt.was_gone, attempt.is_of_this_boot = was_gone, this_boot
    assert attempt.outcome().interrupted is interrupted
    assert attempt.outcome().session_id == "ses"


def test_an_answer_that_was_finished_counts_however_its_process_ended(attempt: Attempt) -> None:
    leave(attempt, answered=True, exit_code=None)
    attempt.was_gone = True
    assert (attempt.outcome().ok, attempt.outcome().interrupted) == (True, False)


def test_survivors_are_named(attempt: Attempt) -> None:
    leave(attempt, answered=False, exit_code=1)
    attempt.survivors, attempt.remains = (SHELL, ProcessIdentity(7, 1.0)), Remains.GONE
    assert (attempt.outcome().survivors, attempt.outcome().whole) == (f"{2**22 + 1}, 7", True)


def test_a_folder_that_is_gone_has_nothing_written(tmp_path: Path) -> None:
    assert Attempt.of({"id": "a"}, 1, tmp_path / "gone", 0.0).written_bytes() == 0
