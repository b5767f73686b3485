"""What has become of an attempt whose supervisor is gone: it runs, it has ended, or it never began."""

from __future__ import annotations

from pathlib import Path

from meshfleet.agents.attempt import Attempt, Remains
from meshfleet.agents.census import take_census
from meshfleet.agents.launch import EVENTS_NAME, read_exit
from meshfleet.agents.process import ProcessIdentity, boot_id, is_same_process
from meshfleet.model import Row


def take_up(agent: Row, row: Row, runs_dir: Path, started: float) -> Attempt:
    """Look after an attempt that another process began, as far as it has come.

    Args:
        agent: Its agent's row.
        row: Its own.
        runs_dir: Where run folders lie.
        started: When it began, in seconds of the supervisor's clock.
    """
    attempt = Attempt.of(agent, row["number"], runs_dir, started)
    same_boot = row.get("boot_id", boot_id()) == boot_id()
    if "pid" in row:
        attempt.recorded = True
        attempt.leader = ProcessIdentity(row["pid"], row["start_time"])
        if not (same_boot and is_same_process(attempt.leader)):
            _take_up_ended(attempt, same_boot=same_boot)
        return attempt
    # whoever began it died before it could say which process that is, or before there was one
    attempt.leader = take_census().leader(attempt.marker, attempt.run_dir)
    if attempt.leader is None and (attempt.run_dir / EVENTS_NAME).exists():
        attempt.recorded = True
        _take_up_ended(attempt, same_boot=same_boot)
        attempt.was_gone = read_exit(attempt.run_dir) is not None or bool(attempt.written_bytes())
    if attempt.leader is None and not attempt.was_gone:
        attempt.refusal = "the server that was to start it ended before it could"
    return attempt


def _take_up_ended(attempt: Attempt, *, same_boot: bool) -> None:
    attempt.is_over = True
    attempt.was_gone = True
    if not same_boot:
        # nothing of another boot runs, and its pids are others' now
        attempt.is_of_this_boot = False
        attempt.leader = None
        attempt.remains = Remains.GONE
