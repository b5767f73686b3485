"""Whether a run that ended was a success: exit status, events and stderr together, for each alone has lied.

What follows from a failure, another attempt for one, is the supervisor's.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import Final

from meshfleet.agents.stream import RunReport
from meshfleet.model import Reason

SIGNALLED: Final = 128  # a shell's status for a child that died of signal n is 128 + n
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
STDERR_LINES: Final = 6
STDERR_CHARACTERS: Final = 1_000

ANSI: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
FALLBACK: Final = re.compile(
    r'^!\s+agent "(?P<name>.*)" (?P<why>not found|is a subagent)\b.*Falling back to default agent', re.MULTILINE
)
REFUSED_PERMISSION: Final = re.compile(r"^!\s+permission requested: (?P<what>.+); auto-rejecting", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run comes to.

    Attributes:
        ok: It did what it was asked, as far as anybody but the asker can tell.
        reason: Why not.
        error: The same for a person: what went wrong, and what to do where that is known.
        output: The agent's words, also of a run that failed.
    """

    ok: bool
    reason: Reason | None
    error: str | None
    output: str


def judge(exit_code: int | None, report: RunReport, stderr_tail: str, *, agent_file: str | None) -> Verdict:
    """Judge a run that has ended.

    A failed tool call is no failed run: the model is told of it. Nor is an error the run recovered from, after which
    OpenCode exits with 1 although its model went on to the end (a context that had to be compacted is the usual one).
    And a run that had finished its answer before it was killed has answered.

    Args:
        exit_code: The run's status, 128 + n for a death by signal n; None where nobody could say.
        report: Its events.
        stderr_tail: What it complained of, its beginning included where that can be had.
        agent_file: The agent it was asked to run, if any.
    """
    said = plain_text(stderr_tail)
    failure = (
        _wrong_agent(said, agent_file)
        or _death(exit_code, report)
        or _provider_error(report)
        or _bad_exit(exit_code, report, said)
        or _missing_answer(report, said)
    )
    if failure is None:
        return Verdict(ok=True, reason=None, error=None, output=report.words)
    reason, error = failure
    return Verdict(ok=False, reason=reason, error=error, output=report.words)


def plain_text(terminal_output: str) -> str:
    """Strip what colours a terminal."""
    return ANSI.sub("", terminal_output).replace("\r", "\n")


def _wrong_agent(said: str, agent_file: str | None) -> tuple[Reason, str] | None:
    found = None if agent_file is None else FALLBACK.search(said)
    if found is None:
        return None
    if found["why"] == "not found":
        advice = "give one that list_agents shows, or none for OpenCode's default agent"
    else:
        advice = "give it mode: all (or primary) where it is defined"
    return Reason.WRONG_AGENT, (
        f'agent "{found["name"]}" {found["why"]}, so OpenCode ran its default agent instead; {advice}'
    )


def _death(exit_code: int | None, report: RunReport) -> tuple[Reason, str] | None:
    if report.finished and report.words:
        return None
    if exit_code is None:
        return Reason.KILLED, (
            "it left no exit status: it was killed together with the shell that watched it, or its run folder was full "
            "or removed meanwhile"
        )
    if exit_code > SIGNALLED:
        return Reason.KILLED, f"it was killed by {_signal_name(exit_code - SIGNALLED)}"
    return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _provider_error(report: RunReport) -> tuple[Reason, str] | None:
    if report.error_events == 0 or report.recovered:
        return None
    return Reason.PROVIDER, report.error or "OpenCode reported an error without saying which"


def _bad_exit(exit_code: int | None, report: RunReport, said: str) -> tuple[Reason, str] | None:
    # 1 is how OpenCode ends after any error event, one it got over included
    if exit_code in (None, 0) or exit_code > SIGNALLED or (exit_code == 1 and report.recovered):
        return None
    complaint = _last_complaint(said)
    if exit_code in (NOT_EXECUTABLE, NOT_FOUND):
        return Reason.SPAWN, f"opencode could not be run: {complaint or f'status {exit_code}'}"
    return Reason.EXIT, f"opencode exited with status {exit_code}: {complaint or 'it said nothing on stderr'}"


def _last_complaint(said: str) -> str:
    """Give what stderr ends with, from its last "Error:" on where there is one: what follows explains it."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [at for at, line in enumerate(lines) if line.startswith("Error:")]
    told = lines[errors[-1] :][:STDERR_LINES] if errors else lines[-STDERR_LINES:]
    return "; ".join(told)[:STDERR_CHARACTERS]


def _missing_answer(report: RunReport, said: str) -> tuple[Reason, str] | None:
    if report.finished and report.words:
        return None
    if report.finished:
        return Reason.NO_ANSWER, "it ended without a word of an answer"
    refused = REFUSED_PERMISSION.findall(said)
    if refused:
        return Reason.NO_ANSWER, (
            f"it ended when OpenCode refused it a permission: {refused[-1]}; "
            "allow that in OpenCode's configuration (nobody is there to be asked)"
        )
    if report.finish_reason == "length":
        return Reason.NO_ANSWER, "its answer was cut off: the model reached the most tokens it may write at once"
    how = f"its last step ended with {report.finish_reason!r}" if report.finish_reason else "no step of it ended"
    return Reason.NO_ANSWER, f"it ended before it had finished: {how}"
