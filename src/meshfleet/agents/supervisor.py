"""The supervisor: starts the agents it is responsible for, has them watched and settles what they came to.

Only a top-level server runs one, and a command that starts agents where no server does. It keeps nothing that it
could not read again from the ledger and the run folders, so that another can go on where it stops; agents outlive it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import anyio
from anyio import to_thread

from meshfleet.agents.admission import Admission
from meshfleet.agents.adoption import take_up
from meshfleet.agents.attempt import Attempt, Remains
from meshfleet.agents.census import Registry
from meshfleet.agents.housekeeping import prune_runs
from meshfleet.agents.launch import clear_scratch
from meshfleet.agents.opencode import find_opencode
from meshfleet.agents.process import boot_id, current_identity
from meshfleet.agents.standing import is_alive
from meshfleet.agents.starting import Starter
from meshfleet.agents.stopping import ended, stop_attempt
from meshfleet.agents.v090 import gone_agents
from meshfleet.agents.watchdog import Finding, Watchdog
from meshfleet.errors import Conflict, MeshfleetError, NotFound
from meshfleet.ledger import Ledger
from meshfleet.mesh.budgets import over_budget
from meshfleet.mesh.cancelling import stop_over_budget
from meshfleet.mesh.lifecycle import AT_WORK, note_stop
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.supervision import (
    adopt,
    attempts_of,
    interrupt,
    running_agents,
    stops_of,
    supervisors_at_work,
    unsupervised,
)
from meshfleet.model import AgentStatus, SupervisorRow, attempt_key, now_ms
from meshfleet.settings import Settings

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

log = logging.getLogger(__name__)

LOOK_INTERVAL_S: Final = 0.1
"""How often it is looked for what is to be started or stopped."""
READ_INTERVAL_S: Final = 1.0
"""How often what running agents print is read, and their limits are checked."""
CHECK_INTERVAL_S: Final = 5.0
"""The watchdog's: how often processes are looked at, and agents whose supervisor is gone are adopted."""
HEARTBEAT_INTERVAL_S: Final = 60.0
"""How often the event log is told how many agents are at work, as long as that changes."""
TIDY_INTERVAL_S: Final = 60 * 60.0
NEWBORN_MS: Final = 2_000
"""How long an attempt of a dead supervisor may have no process before it is taken to have none."""


class Supervisor:
    """Starts, stops and settles attempts of agents, and adopts those whose supervisor is gone.

    Args:
        ledger: Where agents and attempts are rows.
        settings: How far apart starts are, what holds for all agents, and where the run folders lie.
        environ: What the agents' environment is made from.
        clock: Seconds that never run backwards.
        wall: The time of day, in ms since the epoch.
        admission: Says whether memory holds one more agent.
        starts: Whether it starts agents, rather than only looking after those that run.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], int] = now_ms,
        admission: Admission | None = None,
        *,
        starts: bool = True,
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._environ = environ
        self._clock = clock
        self._wall = wall
        self._starts = starts
        self._registry = Registry()
        self._woken = anyio.Event()
        self._thread: int | None = None
        self._attempts: dict[str, Attempt] = {}
        self._seen_seq = -1
        self._next_read = self._next_check = self._next_heartbeat = self._next_tidying = 0.0
        self._told: tuple[int, int] = (0, 0)
        self._troubles: dict[str, str] = {}
        self._background: TaskGroup
        own = current_identity()
        self.row: SupervisorRow = {"pid": own.pid, "start_time": own.start_time, "boot_id": boot_id()}
        self._admission = admission or Admission()
        self._starter = Starter(ledger, settings, environ, self.row, self._admission, clock, wall)
        self._watchdog = Watchdog(ledger, settings, clock, wall)

    def require_opencode(self) -> Path:
        """The OpenCode program agents run.

        Raises:
            Unavailable: There is none.
        """
        return find_opencode(self._environ)

    def wake(self) -> None:
        """Have the supervisor look at once, from its own thread or a worker's: somebody left work for it."""
        if threading.get_ident() == self._thread:
            self._woken.set()
            return
        with contextlib.suppress(RuntimeError):
            anyio.from_thread.run_sync(self._woken.set)

    async def __aenter__(self) -> Self:
        """Begin; what takes its time, such as stopping an agent, is done in the background until the end."""
        self._background = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """End; the agents go on running."""
        self._background.cancel_scope.cancel()
        return await self._background.__aexit__(kind, error, trace)

    async def run(self) -> None:
        """Supervise until cancelled."""
        self._thread = threading.get_ident()
        async with self:
            while True:
                await self.look()
                with anyio.move_on_after(LOOK_INTERVAL_S):
                    await self._woken.wait()
                self._woken = anyio.Event()

    async def look(self) -> None:
        """Adopt, start, stop and settle what is to be adopted, started, stopped and settled now."""
        now = self._clock()
        if now >= self._next_check:
            self._next_check = now + CHECK_INTERVAL_S
            await self._going_on("adopt agents", self._adopt)
            await self._going_on("look at the processes of agents", self._check)
        if self._starts and self._starter.is_time(self._attempts):
            await self._going_on("start an agent", self._start_next)
        if self._starts:
            await self._going_on("note whose turn is to come", partial(to_thread.run_sync, self._starter.note_turns))
        await self._going_on("see which agents are to be stopped", self._stop_those_to_be_stopped)
        if now >= self._next_read:
            self._next_read = now + READ_INTERVAL_S
            await self._going_on("read what agents say", self._read)
        for attempt in [one for one in self._attempts.values() if not one.is_running or not one.recorded]:
            await self._going_on(f"look after {attempt.marker}", partial(self._conclude, attempt))
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + HEARTBEAT_INTERVAL_S
            await self._going_on("tell that it is alive", self._beat)
        if now >= self._next_tidying:
            self._next_tidying = now + TIDY_INTERVAL_S
            self._background.start_soon(self._going_on, "remove old run folders", self._tidy)

    async def _going_on(self, deed: str, act: Callable[[], Awaitable[None]]) -> None:
        """Try something that is tried again at the next look; what fails there must not stop the rest."""
        trouble = None
        try:
            await act()
        except MeshfleetError as error:
            trouble = str(error)
            if trouble not in self._troubles.values():
                log.warning("could not %s yet: %s", deed, error)
        except Exception as error:
            trouble = repr(error)
            if trouble not in self._troubles.values():
                log.exception("could not %s", deed)
        self._troubles.pop(deed, None)
        if trouble is not None:
            self._troubles[deed] = trouble

    # -- starting ---------------------------------------------------------------------------------------------------

    async def _start_next(self) -> None:
        # in one piece, so that a server that ends meanwhile leaves no process the ledger does not know
        attempt = await to_thread.run_sync(self._starter.start_next, self._attempts)
        if attempt is not None:
            self._look_after(attempt)

    def _look_after(self, attempt: Attempt) -> None:
        self._attempts[attempt.marker] = attempt
        # it may have been cancelled before it was known here
        self._seen_seq = -1
        if attempt.is_running:
            self._background.start_soon(self._await_end, attempt)

    async def _await_end(self, attempt: Attempt) -> None:
        if attempt.leader is not None:
            try:
                await ended(attempt.leader)
            except OSError as error:
                # the watchdog sees it end all the same
                log.warning("could not wait for %s to end: %s", attempt.marker, error)
                return
        attempt.is_over = True
        self._woken.set()

    # -- adopting ---------------------------------------------------------------------------------------------------

    async def _adopt(self) -> None:
        """Make those agents ours whose supervisor is gone, and look after every one of ours."""
        for attempt in await to_thread.run_sync(self._adopted):
            self._look_after(attempt)

    def _adopted(self) -> list[Attempt]:
        others = [each for each in supervisors_at_work(self._ledger) if each != self.row]
        gone = [each for each in others if not is_alive(each)]
        if gone:
            # who can't start an agent leaves those that wait to others
            statuses = AT_WORK if self._starts and self._starter.is_able() else (AgentStatus.RUNNING,)
            adopt(self._ledger, self.row, gone, statuses=statuses)
        interrupt(self._ledger, gone_agents(unsupervised(self._ledger)))
        found = []
        for agent, row in attempts_of(self._ledger, self.row):
            age_ms = max(0, self._wall() - row["started_at"])
            if attempt_key(agent["id"], row["number"]) in self._attempts or "ended_at" in row:
                continue
            if "pid" not in row and (age_ms < NEWBORN_MS or self._starter.is_unsure):
                continue
            found.append(take_up(agent, row, self._settings.runs_dir, self._clock() - age_ms / 1000))
        return found

    # -- watching ---------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Read what running agents print, and stop those that ran too long, wrote too much or used too much."""
        for finding in await to_thread.run_sync(self._watchdog.read, list(self._attempts.values())):
            await self._stop(finding)
        for fleet_id, excess in await to_thread.run_sync(over_budget, self._ledger):
            await to_thread.run_sync(stop_over_budget, self._ledger, fleet_id, excess)

    async def _check(self) -> None:
        """Look at the processes of running agents, and stop those that do nothing any more."""
        for finding in await to_thread.run_sync(self._watchdog.look, list(self._attempts.values())):
            await self._stop(finding)

    # -- stopping and settling --------------------------------------------------------------------------------------

    async def _stop_those_to_be_stopped(self) -> None:
        seq = self._ledger.read(lambda view: view.seq)
        if seq == self._seen_seq:
            return
        for marker in await to_thread.run_sync(stops_of, self._ledger, self.row):
            attempt = self._attempts.get(marker)
            if attempt is not None:
                self._end_whole(attempt)
        self._seen_seq = seq

    async def _stop(self, finding: Finding) -> None:
        if not finding.attempt.is_ending(self._clock()):
            # what has ended meanwhile is settled as what it came to
            await self._going_on(f"stop {finding.attempt.marker}", partial(self._stop_noted, finding))

    async def _stop_noted(self, finding: Finding) -> None:
        attempt, reason, why = finding
        await to_thread.run_sync(note_stop, self._ledger, attempt.agent["id"], attempt.number, reason, why)
        self._end_whole(attempt)

    def _end_whole(self, attempt: Attempt) -> None:
        """End every process of an attempt; it is settled once none is left."""
        if attempt.remains is Remains.UNKNOWN:
            attempt.remains = Remains.STOPPING
            self._background.start_soon(self._end, attempt)

    async def _end(self, attempt: Attempt) -> None:
        while True:
            try:
                report = await stop_attempt(attempt.marker, attempt.leader, registry=self._registry)
                break
            except Exception:
                log.exception("could not end all of %s yet", attempt.marker)
                await anyio.sleep(CHECK_INTERVAL_S)
        attempt.survivors = report.survivors
        attempt.is_over = True
        attempt.remains = Remains.GONE
        self._woken.set()

    async def _conclude(self, attempt: Attempt) -> None:
        """Settle an attempt that has ended, once all it said was read and nothing it left behind is in the way."""
        if attempt.leader is not None and not attempt.recorded:
            await to_thread.run_sync(self._starter.record, attempt, attempt.leader)
        if attempt.is_running or attempt.remains is Remains.STOPPING:
            return
        if await to_thread.run_sync(attempt.read_on):
            self._woken.set()
            return
        outcome = await to_thread.run_sync(attempt.outcome)
        if attempt.remains is Remains.UNKNOWN and not outcome.ok:
            # what it started may be left, or all of it where the shell itself was killed; another attempt would meet it
            self._end_whole(attempt)
        else:
            await self._settle(attempt, outcome)

    async def _settle(self, attempt: Attempt, outcome: Outcome) -> None:
        settle = partial(settle_attempt, retry_base_ms=self._settings.retry_base_ms)
        try:
            await to_thread.run_sync(settle, self._ledger, attempt.agent["id"], attempt.number, outcome)
        except Conflict:
            self._end_whole(attempt)
            return
        except NotFound:
            log.warning("%s has ended, and the ledger knows nothing of it any more", attempt.marker)
        del self._attempts[attempt.marker]
        self._troubles.pop(f"stop {attempt.marker}", None)
        self._admission.remember(attempt.activity, self._clock())
        await to_thread.run_sync(clear_scratch, attempt.run_dir)

    async def _beat(self) -> None:
        at_work = self._ledger.read(lambda view: (running_agents(view), len(view.agents_that_are(AgentStatus.PENDING))))
        if at_work != self._told:
            self._told = at_work
            about = {"supervisor_pid": self.row["pid"], "agents_running": at_work[0], "agents_pending": at_work[1]}
            await to_thread.run_sync(partial(self._ledger.events.append, "heartbeat", **about))

    async def _tidy(self) -> None:
        settings = self._settings
        await to_thread.run_sync(prune_runs, self._ledger, settings.runs_dir, settings.keep_runs_days, self._wall())
