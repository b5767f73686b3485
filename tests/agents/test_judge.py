from __future__ import annotations

import signal
from pathlib import Path

import pytest

from meshfleet.agents.judge import Verdict, judge, plain_text
from meshfleet.agents.launch import read_exit, read_stderr
from meshfleet.agents.stream import RunReport
from meshfleet.model import Reason
from tests.agents.agents_helpers import end_of, report_of, run_dir, start

Event = dict[str, object]

COLOURED = "\x1b[93m\x1b[1m! \x1b[0m"
NOT_FOUND = f'{COLOURED} agent "critic" not found. Falling back to default agent\n'
SUBAGENT = f'{COLOURED} agent "critic" is a subagent, not a primary agent. Falling back to default agent\n'
FAILING: Event = {"type": "error", "error": {"name": "APIError", "data": {"message": "boom", "statusCode": 500}}}


def step(reason: str = "stop") -> Event:
    return {"type": "step_finish", "part": {"reason": reason}}


def words(text: str = "my answer") -> Event:
    return {"type": "text", "part": {"text": text}}


def run(*events: Event) -> RunReport:
    report = RunReport()
    for event in events:
        report.take_in(event)
    return report


def failed(verdict: Verdict) -> tuple[Reason | None, str]:
    assert not verdict.ok
    return verdict.reason, verdict.error or ""


def test_an_answer_a_proper_end_and_status_0_are_a_success() -> None:
    verdict = judge(0, run(words(), step()), "", agent_file=None)
    assert verdict == Verdict(ok=True, reason=None, error=None, output="my answer")


def test_noise_on_stderr_is_no_failure() -> None:
    assert judge(0, run(words(), step()), "warning: deprecated\nError: of a plugin\n", agent_file="critic").ok


def test_a_failed_tool_call_is_no_failed_run() -> None:
    call: Event = {"type": "tool_use", "part": {"tool": "read", "state": {"status": "error"}}}
    assert judge(0, run(call, words(), step()), "", agent_file=None).ok


@pytest.mark.parametrize("status", [0, 1])
def test_an_error_event_is_a_failure_also_with_status_0(status: int) -> None:
    verdict = judge(status, run(words("half"), FAILING), "", agent_file=None)
    assert failed(verdict) == (Reason.PROVIDER, "boom (HTTP 500)")
    assert verdict.output == "half"


def test_an_error_after_the_answer_is_a_failure() -> None:
    assert failed(judge(0, run(words(), step(), FAILING), "", agent_file=None))[0] == Reason.PROVIDER


@pytest.mark.parametrize("status", [0, 1])
def test_an_error_the_run_got_over_is_none_though_opencode_exits_with_1(status: int) -> None:
    assert judge(status, run(FAILING, words(), step()), "", agent_file=None).ok


def test_status_1_without_an_error_to_get_over_is_a_failure() -> None:
    verdict = judge(1, run(words(), step()), "\x1b[91m\x1b[1mError: \x1b[0mSession not found\n", agent_file=None)
    assert failed(verdict) == (Reason.EXIT, "opencode exited with status 1: Error: Session not found")


def test_another_status_is_a_failure_whatever_was_recovered() -> None:
    assert failed(judge(2, run(FAILING, words(), step()), "", agent_file=None))[0] == Reason.EXIT


def test_the_last_error_and_what_explains_it_are_quoted() -> None:
    stderr = "loading\nError: an old one\n" + "noise\n" * 50 + "Error: Configuration is invalid\n\u21b3 Missing key\n"
    assert failed(judge(1, run(), stderr, agent_file=None))[1] == (
        "opencode exited with status 1: Error: Configuration is invalid; \u21b3 Missing key"
    )


def test_a_silent_failure_says_that_it_is_silent() -> None:
    assert failed(judge(3, run(), " \n", agent_file=None))[1] == (
        "opencode exited with status 3: it said nothing on stderr"
    )


def test_a_complaint_without_end_is_cut() -> None:
    assert len(failed(judge(1, run(), "x" * 50_000, agent_file=None))[1]) < 1_200


@pytest.mark.parametrize("status", [126, 127])
def test_a_program_that_could_not_be_run_is_a_spawn_failure(status: int) -> None:
    verdict = judge(status, run(), "meshfleet-run: 1: /bin/opencode: not found\n", agent_file=None)
    assert failed(verdict) == (Reason.SPAWN, "opencode could not be run: meshfleet-run: 1: /bin/opencode: not found")


@pytest.mark.parametrize(
    ("status", "name"), [(128 + signal.SIGKILL, "SIGKILL"), (128 + signal.SIGTERM, "SIGTERM"), (255, "signal 127")]
)
def test_a_death_by_signal_names_the_signal(status: int, name: str) -> None:
    assert failed(judge(status, run(words("half")), "Killed\n", agent_file=None)) == (
        Reason.KILLED,
        f"it was killed by {name}",
    )


def test_no_status_at_all_is_a_death_together_with_the_shell_or_a_run_folder_that_could_not_hold_it() -> None:
    reason, error = failed(judge(None, run(words("half")), "", agent_file=None))
    assert reason == Reason.KILLED
    assert error.startswith("it left no exit status: ")
    assert error.endswith("its run folder was full or removed meanwhile")


@pytest.mark.parametrize("status", [None, 128 + signal.SIGKILL])
def test_a_run_killed_after_its_answer_has_answered(status: int | None) -> None:
    assert judge(status, run(words(), step()), "", agent_file=None).ok


@pytest.mark.parametrize("status", [0, 1, 143])
def test_a_fallback_to_another_agent_is_a_failure_that_says_what_to_do(status: int) -> None:
    missing = failed(judge(status, run(words(), step()), NOT_FOUND, agent_file="critic"))
    assert missing[0] == Reason.WRONG_AGENT
    assert 'agent "critic" not found' in missing[1]
    assert "list_agents" in missing[1]
    helper = failed(judge(status, run(words(), step()), SUBAGENT, agent_file="critic"))
    assert helper[0] == Reason.WRONG_AGENT
    assert "mode: all" in helper[1]


def test_words_about_a_fallback_are_none_where_no_agent_was_asked_for() -> None:
    assert judge(0, run(words(), step()), NOT_FOUND, agent_file=None).ok
    assert judge(0, run(words(), step()), f"quoted: {plain_text(NOT_FOUND)}", agent_file="critic").ok


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([step()], "it ended without a word of an answer"),
        ([], "it ended before it had finished: no step of it ended"),
        ([words()], "it ended before it had finished: no step of it ended"),
        ([words(), step("tool-calls")], "it ended before it had finished: its last step ended with 'tool-calls'"),
        ([words(), step("length")], "its answer was cut off: the model reached the most tokens it may write at once"),
    ],
)
def test_status_0_without_an_answer_is_a_failure(events: list[Event], text: str) -> None:
    assert failed(judge(0, run(*events), "", agent_file=None)) == (Reason.NO_ANSWER, text)


def test_a_refused_permission_that_ended_the_run_is_named() -> None:
    stderr = f"{COLOURED}permission requested: external_directory (/etc/*); auto-rejecting\n"
    reason, error = failed(judge(0, run(words(), step("tool-calls")), stderr, agent_file=None))
    assert reason == Reason.NO_ANSWER
    assert "external_directory (/etc/*)" in error
    assert judge(0, run(words(), step()), stderr, agent_file=None).ok


@pytest.mark.parametrize(
    ("coloured", "plain"),
    [
        ("\x1b[93m\x1b[1m! \x1b[0mx", "! x"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b[38;5;12mred\x1b[K", "red"),
        ("a\rb", "a\nb"),
    ],
)
def test_colours_are_stripped(coloured: str, plain: str) -> None:
    assert plain_text(coloured) == plain


@pytest.mark.parametrize(
    ("deeds", "reason"),
    [
        (["answer done"], None),
        (["begin", "fail read", "say done", "finish stop"], None),
        (["error overflow", "answer done", "exit 1"], None),
        (["error boom", "exit 0"], Reason.PROVIDER),
        (["exit 0"], Reason.NO_ANSWER),
        (["exit 3"], Reason.EXIT),
        (["say half", "die SIGSEGV"], Reason.KILLED),
        ([f"complain {plain_text(NOT_FOUND).strip()}", "answer done"], Reason.WRONG_AGENT),
    ],
)
def test_runs_of_a_real_process_are_judged_by_their_traces(
    deeds: list[str], reason: Reason | None, fake_opencode: Path, tmp_path: Path
) -> None:
    end_of(start(fake_opencode, tmp_path, *deeds))
    folder = run_dir(tmp_path)
    verdict = judge(read_exit(folder), report_of(tmp_path), read_stderr(folder), agent_file="critic")
    assert (verdict.ok, verdict.reason) == (reason is None, reason)
