"""The supervisor: starts the agents it is responsible for, watches their processes and settles what they came to.

Only a top-level server runs one. It keeps nothing that it could not read again from the ledger and the run folders,
so that another can go on where it stops; agents outlive it.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import anyio
from anyio import to_thread

from meshfleet.agents.definitions import find_agent_files, needs_mode_override, runtime_name
from meshfleet.agents.judge import judge
from meshfleet.agents.launch import (
    EVENTS_NAME,
    Launched,
    LaunchOrder,
    clear_scratch,
    launch,
    read_exit,
    read_stderr,
    reap,
)
from meshfleet.agents.opencode import child_environment, find_opencode, has_run_before, run_arguments
from meshfleet.agents.process import ProcessIdentity, boot_id, current_identity
from meshfleet.agents.stopping import stop_attempt
from meshfleet.agents.stream import EventStream
from meshfleet.errors import MeshfleetError
from meshfleet.ledger import Ledger
from meshfleet.mesh.lifecycle import (
    Outcome,
    begin_next_attempt,
    begun_without_process,
    note_stop,
    record_process,
    settle_attempt,
    time_limit_ms,
)
from meshfleet.model import Reason, Row, SupervisorRow, attempt_key
from meshfleet.settings import Settings

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

log = logging.getLogger(__name__)

LOOK_INTERVAL_S: Final = 0.1
"""How often the running attempts are looked at."""
CHUNKS_A_LOOK: Final = 2
"""How many chunks of an agent's event stream are read at one look."""
FIRST_RUN_S: Final = 30.0
"""How long the others wait for the very first run of OpenCode, which makes its database, to show a sign of life."""


class Remains(Enum):
    """What is left of a run whose shell was killed before it could write how the run ended."""

    UNKNOWN = auto()
    STOPPING = auto()
    GONE = auto()


@dataclass(slots=True)
class Attempt:
    """An attempt this supervisor looks after.

    Attributes:
        agent: The agent's row as the attempt began.
        number: The attempt's number, from 1.
        run_dir: Where its traces lie.
        started: When, by the supervisor's clock.
        launched: Its process; None where it could not be started.
        stream: What it prints.
        refusal: Why it could not be started.
        recorded: Whether the ledger knows its process.
        stopped_for: Why it was stopped, and the same for a person, once that is decided.
        remains: What is known of the processes of a run whose shell was killed.
    """

    agent: Row
    number: int
    run_dir: Path
    started: float
    launched: Launched | None
    stream: EventStream
    refusal: str | None = None
    recorded: bool = False
    stopped_for: tuple[Reason, str] | None = None
    remains: Remains = Remains.UNKNOWN

    @property
    def marker(self) -> str:
        """What its processes carry in their environment."""
        return attempt_key(self.agent["id"], self.number)


class Supervisor:
    """Starts, watches and settles attempts of agents.

    Args:
        ledger: Where agents and attempts are rows.
        settings: How far apart starts are, and where the run folders lie.
        environ: What the agents' environment is made from.
        clock: Seconds that never run backwards.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._environ = environ
        self._clock = clock
        self._woken = anyio.Event()
        self._next_start = 0.0
        self._attempts: dict[str, Attempt] = {}
        self._begin_failed = False
        self._first_run: Attempt | None = None
        self._troubles: dict[str, str] = {}
        self._background: TaskGroup
        own = current_identity()
        self.row: SupervisorRow = {"pid": own.pid, "start_time": own.start_time, "boot_id": boot_id()}

    def require_opencode(self) -> Path:
        """The OpenCode program agents run.

        Raises:
            Unavailable: There is none.
        """
        return find_opencode(self._environ)

    def wake(self) -> None:
        """Have the supervisor look at once, from any thread: somebody left work for it."""
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
        async with self:
            while True:
                await self.look()
                with anyio.move_on_after(LOOK_INTERVAL_S):
                    await self._woken.wait()
                self._woken = anyio.Event()

    async def look(self) -> None:
        """Start what is due, stop what has run too long, and settle what has ended."""
        if self._clock() >= self._next_start and not self._first_run_begins():
            await self._going_on("start an agent", self._start_next)
        for attempt in list(self._attempts.values()):
            await self._going_on(f"look after {attempt.marker}", partial(self._watch, attempt))

    async def _going_on(self, deed: str, act: Callable[[], Awaitable[None]]) -> None:
        """Try something that is tried again at the next look; what fails there must not stop the rest."""
        trouble = None
        try:
            await act()
        except MeshfleetError as error:
            trouble = str(error)
            if trouble != self._troubles.get(deed):
                log.warning("could not %s yet: %s", deed, error)
        except Exception as error:
            trouble = repr(error)
            if trouble != self._troubles.get(deed):
                log.exception("could not %s", deed)
        self._troubles.pop(deed, None)
        if trouble is not None:
            self._troubles[deed] = trouble

    def _first_run_begins(self) -> bool:
        """True while OpenCode runs for the first time here and has not got as far as a session."""
        first = self._first_run
        if first is None or first.marker not in self._attempts or first.stream.report.session_id is not None:
            return False
        return self._clock() < first.started + FIRST_RUN_S

    async def _start_next(self) -> None:
        # in one piece, so that a server that ends meanwhile leaves no process the ledger does not know
        attempt = await to_thread.run_sync(self._begin_and_launch)
        if attempt is not None:
            self._attempts[attempt.marker] = attempt
            self._first_run = None if has_run_before(self._environ) else attempt
            self._next_start = self._clock() + self._settings.start_stagger_ms / 1000

    def _begin_and_launch(self) -> Attempt | None:
        begun = self._begin()
        if begun is None:
            return None
        agent, number = begun
        run_dir = self._settings.runs_dir / agent["id"] / str(number)
        attempt = Attempt(agent, number, run_dir, self._clock(), None, EventStream(run_dir / EVENTS_NAME))
        try:
            attempt.launched = self._launch(agent, number, run_dir)
            self._record(attempt, attempt.launched.identity)
        except MeshfleetError as error:
            log.warning("%s: %s", attempt.marker, error)
            attempt.refusal = str(error)
        except Exception as error:
            log.exception("could not start %s", attempt.marker)
            attempt.refusal = repr(error)
        return attempt

    def _begin(self) -> tuple[Row, int] | None:
        if self._begin_failed:
            # it may be written all the same: an attempt of ours that nobody started is started now
            begun = begun_without_process(self._ledger, self.row, set(self._attempts))
            if begun is not None:
                return begun
        self._begin_failed = True
        begun = begin_next_attempt(self._ledger, self.row)
        self._begin_failed = False
        return begun

    def _launch(self, agent: Row, number: int, run_dir: Path) -> Launched:
        opencode = self.require_opencode()
        cwd, name, override = Path(agent["cwd"]), agent.get("agent_file"), False
        if name is not None:
            definitions = find_agent_files(cwd, self._environ)
            override = needs_mode_override(name, definitions)
            name = runtime_name(name, definitions)
        environment = child_environment(
            self._environ,
            agent_id=agent["id"],
            fleet_id=agent["fleet_id"],
            attempt=attempt_key(agent["id"], number),
            data_file=self._settings.data_file,
            server_command=server_command(),
            agent_file=name,
            mode_override=override,
        )
        return launch(
            LaunchOrder(
                agent_id=agent["id"],
                fleet_id=agent["fleet_id"],
                attempt=number,
                prompt=agent["prompt"],
                run_dir=run_dir,
                cwd=cwd,
                argv=run_arguments(opencode, agent_file=name, title=agent["role"]),
                env=environment,
            )
        )

    def _record(self, attempt: Attempt, process: ProcessIdentity) -> None:
        about = (attempt.number, process.pid, process.start_time, self.row["boot_id"])
        record_process(self._ledger, attempt.agent["id"], *about)
        attempt.recorded = True

    async def _watch(self, attempt: Attempt) -> None:
        if attempt.launched is None:
            error = f"the agent could not be started: {attempt.refusal}"
            await self._settle(attempt, Outcome(ok=False, reason=Reason.SPAWN, error=error))
            return
        if not attempt.recorded:
            await to_thread.run_sync(self._record, attempt, attempt.launched.identity)
        ended = reap(attempt.launched.popen) is not None
        more = await to_thread.run_sync(_read_on, attempt.stream)
        if not ended:
            await self._hold_to_its_time(attempt, attempt.launched.identity)
            return
        exit_code = read_exit(attempt.run_dir)
        if exit_code is None and attempt.remains is not Remains.GONE:
            # the shell itself was killed, so that the run may still be there, with nobody to write how it ends
            self._end_remains(attempt, attempt.launched.identity)
        elif not more:
            await self._settle(attempt, _outcome(attempt, exit_code))

    def _end_remains(self, attempt: Attempt, leader: ProcessIdentity) -> None:
        async def end() -> None:
            await stop_attempt(attempt.marker, leader)
            attempt.remains = Remains.GONE

        if attempt.remains is Remains.UNKNOWN:
            attempt.remains = Remains.STOPPING
            self._background.start_soon(end)

    async def _hold_to_its_time(self, attempt: Attempt, leader: ProcessIdentity) -> None:
        limit_ms = time_limit_ms(self._ledger, attempt.agent["fleet_id"], self._settings.agent_timeout_ms)
        if attempt.stopped_for or limit_ms is None or self._clock() < attempt.started + limit_ms / 1000:
            return
        why = f"it ran longer than the {limit_ms} ms it may, and was stopped"
        await to_thread.run_sync(note_stop, self._ledger, attempt.agent["id"], attempt.number, Reason.TIMEOUT)
        attempt.stopped_for = (Reason.TIMEOUT, why)
        self._background.start_soon(stop_attempt, attempt.marker, leader)

    async def _settle(self, attempt: Attempt, outcome: Outcome) -> None:
        await to_thread.run_sync(settle_attempt, self._ledger, attempt.agent["id"], attempt.number, outcome)
        del self._attempts[attempt.marker]
        clear_scratch(attempt.run_dir)


def _read_on(stream: EventStream) -> bool:
    """Read on, so much at a time that no agent keeps the others waiting; True when there is more."""
    return all(stream.advance() for _ in range(CHUNKS_A_LOOK))


def _outcome(attempt: Attempt, exit_code: int | None) -> Outcome:
    report = attempt.stream.report
    verdict = judge(exit_code, report, read_stderr(attempt.run_dir), agent_file=attempt.agent.get("agent_file"))
    ok, (reason, error) = verdict.ok, (verdict.reason, verdict.error)
    if attempt.stopped_for:
        ok, (reason, error) = False, attempt.stopped_for
    return Outcome(
        ok=ok,
        output=verdict.output,
        reason=reason,
        error=error,
        exit_code=exit_code,
        session_id=report.session_id,
        tokens=report.tokens,
        cost=report.cost,
    )


def server_command() -> list[str]:
    """How an agent's own meshfleet server is started: this very installation, whatever lies in the agent's folder."""
    return [sys.executable, "-P", "-m", "meshfleet", "serve"]
