"""The watchdog: takes in what running attempts print and use, and finds those that may not go on.

It stops nobody: that is the supervisor's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from meshfleet.agents.attempt import Attempt, Remains
from meshfleet.agents.census import take_census
from meshfleet.agents.process import is_same_process
from meshfleet.ledger import Ledger, View
from meshfleet.mesh.supervision import Progress, note_progress, time_limit_ms
from meshfleet.model import Reason
from meshfleet.settings import Settings


class Finding(NamedTuple):
    """An attempt that is to be stopped, and why.

    Attributes:
        attempt: Which one.
        reason: Why, for programs.
        why: The same for a person.
    """

    attempt: Attempt
    reason: Reason
    why: str


class Watchdog:
    """Watches attempts for a supervisor. Its methods touch files and the ledger, so they are for a worker thread.

    Args:
        ledger: Where attempts are rows, and fleets have limits.
        settings: What agents may write, how long they may run, and how long they may do nothing.
        clock: Seconds that never run backwards.
        wall: The time of day, in ms since the epoch.
    """

    def __init__(self, ledger: Ledger, settings: Settings, clock: Callable[[], float], wall: Callable[[], int]) -> None:
        self._ledger = ledger
        self._settings = settings
        self._clock = clock
        self._wall = wall

    def read(self, attempts: Collection[Attempt]) -> list[Finding]:
        """Take in what attempts print, tell the ledger how far they have come, and find what is beyond its limits.

        Args:
            attempts: Those the supervisor looks after.

        Returns:
            Those that ran too long, or wrote too much.

        Raises:
            MeshfleetError: The ledger refused.
        """
        now = self._clock()
        for attempt in [one for one in attempts if one.is_running]:
            attempt.activity.see_written(now, attempt.written_bytes())
            attempt.read_on()
        self._note_progress(attempts)
        return list(self._beyond_limits(attempts))

    def look(self, attempts: Collection[Attempt]) -> list[Finding]:
        """Look at the processes of attempts; one whose process is gone is over.

        Args:
            attempts: Those the supervisor looks after.

        Returns:
            Those that have neither said nor done anything for too long.
        """
        self._see_processes([one for one in attempts if one.is_running])
        stall_s = self._settings.agent_stall_ms / 1000
        now = self._clock()
        why = f"it said and did nothing for {stall_s:.0f} s, and was stopped (MESHFLEET_AGENT_STALL_MS)"
        return [
            Finding(attempt, Reason.STALL, why)
            for attempt in (_at_work(attempts) if stall_s else ())
            if attempt.activity.was_idle_for(stall_s, now)
        ]

    def _note_progress(self, attempts: Collection[Attempt]) -> None:
        """Have the ledger say how far attempts have come, where that has changed."""
        changed, marks = [], []
        for attempt in _at_work(attempts):
            report = attempt.stream.report
            since = attempt.activity.silent_since(self._clock())
            silent_since = None if since is None else self._wall() - round((self._clock() - since) * 1000)
            # what is compared is since when by the clock, for the time of day is rounded
            mark = (report.session_id, report.tokens["total"], since)
            if mark != attempt.noted:
                tokens = report.tokens.copy()
                about = (attempt.agent["id"], attempt.number, report.session_id)
                changed.append(Progress(*about, tokens, report.cost, silent_since))
                marks.append((attempt, mark))
        note_progress(self._ledger, changed)
        for attempt, mark in marks:
            attempt.noted = mark

    def _beyond_limits(self, attempts: Collection[Attempt]) -> Iterator[Finding]:
        at_work = _at_work(attempts)
        limits = self._ledger.read(lambda view: self._limits(view, at_work))
        most = self._settings.max_output_bytes
        for attempt in at_work:
            limit_ms = limits[attempt.agent["fleet_id"]]
            if limit_ms is not None and self._clock() >= attempt.started + limit_ms / 1000:
                why = f"it ran longer than the {limit_ms} ms it may, and was stopped"
                yield Finding(attempt, Reason.TIMEOUT, why)
            elif attempt.written_bytes() > most:
                why = f"it wrote more than {most} bytes, and was stopped (MESHFLEET_MAX_OUTPUT_BYTES)"
                yield Finding(attempt, Reason.BUDGET, why)

    def _limits(self, view: View, attempts: Collection[Attempt]) -> dict[str, int | None]:
        fleets = {attempt.agent["fleet_id"] for attempt in attempts}
        return {fleet_id: time_limit_ms(view, fleet_id, self._settings.agent_timeout_ms) for fleet_id in fleets}

    def _see_processes(self, running: Collection[Attempt]) -> None:
        if not running:
            return
        census, now = take_census(with_markers=False), self._clock()
        for attempt in running:
            if attempt.leader is None:
                continue
            if not is_same_process(attempt.leader):
                # whatever was to tell that it has ended did not
                attempt.is_over = True
                continue
            # one that was just adopted may have written all the time
            attempt.activity.see_written(now, attempt.written_bytes())
            entries = census.entries_below(attempt.leader)
            attempt.activity.see_processes(now, entries, self._settings.agent_stall_ms / 1000)


def _at_work(attempts: Collection[Attempt]) -> list[Attempt]:
    """Those that run and are not being stopped."""
    return [one for one in attempts if one.is_running and one.remains is Remains.UNKNOWN]
