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
from functools import partial
from pathlib import Path
from typing import Final

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
from meshfleet.agents.opencode import child_environment, find_opencode, run_arguments
from meshfleet.agents.process import boot_id, current_identity
from meshfleet.agents.stopping import stop_attempt
from meshfleet.agents.stream import EventStream
from meshfleet.errors import MeshfleetError
from meshfleet.ledger import Ledger
from meshfleet.mesh.lifecycle import Outcome, begin_next_attempt, record_process, settle_attempt
from meshfleet.model import Reason, Row, SupervisorRow, attempt_key
from meshfleet.settings import Settings

log = logging.getLogger(__name__)

LOOK_INTERVAL_S: Final = 0.1
"""How often the running attempts are looked at."""


@dataclass(slots=True)
class Attempt:
    """An attempt this supervisor watches."""

    agent: Row
    number: int
    run_dir: Path
    launched: Launched
    stream: EventStream
    recorded: bool = False

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
        self._troubles: dict[str, str] = {}
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

    async def run(self) -> None:
        """Supervise until cancelled; the agents go on running then."""
        while True:
            await self.look()
            with anyio.move_on_after(LOOK_INTERVAL_S):
                await self._woken.wait()
            self._woken = anyio.Event()

    async def look(self) -> None:
        """Start what is due, and settle what has ended."""
        if self._clock() >= self._next_start:
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

    async def _start_next(self) -> None:
        started = await to_thread.run_sync(begin_next_attempt, self._ledger, self.row)
        if started is None:
            return
        agent, number = started
        self._next_start = self._clock() + self._settings.start_stagger_ms / 1000
        run_dir = self._settings.runs_dir / agent["id"] / str(number)
        try:
            launched = await to_thread.run_sync(self._launch, agent, number, run_dir)
        except Exception as error:
            log.warning("could not start %s", attempt_key(agent["id"], number), exc_info=True)
            outcome = Outcome(ok=False, reason=Reason.SPAWN, error=f"the agent could not be started: {error}")
            await self._settle(agent, number, outcome)
            return
        attempt = Attempt(agent, number, run_dir, launched, EventStream(run_dir / EVENTS_NAME))
        self._attempts[attempt.marker] = attempt
        await self._record(attempt)

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

    async def _record(self, attempt: Attempt) -> None:
        process = attempt.launched.identity
        about = (attempt.agent["id"], attempt.number, process.pid, process.start_time, self.row["boot_id"])
        await to_thread.run_sync(record_process, self._ledger, *about)
        attempt.recorded = True

    async def _watch(self, attempt: Attempt) -> None:
        if not attempt.recorded:
            await self._record(attempt)
        ended = reap(attempt.launched.popen) is not None
        while attempt.stream.advance():
            await anyio.lowlevel.checkpoint()
        if not ended:
            return
        exit_code = read_exit(attempt.run_dir)
        if exit_code is None:
            # the shell itself was killed, so that the run may still be there, with nobody to write how it ends
            await stop_attempt(attempt.marker, attempt.launched.identity)
        while attempt.stream.advance():
            await anyio.lowlevel.checkpoint()
        await self._settle(attempt.agent, attempt.number, self._outcome(attempt, exit_code))
        del self._attempts[attempt.marker]
        clear_scratch(attempt.run_dir)

    def _outcome(self, attempt: Attempt, exit_code: int | None) -> Outcome:
        report = attempt.stream.report
        verdict = judge(exit_code, report, read_stderr(attempt.run_dir), agent_file=attempt.agent.get("agent_file"))
        return Outcome(
            ok=verdict.ok,
            output=verdict.output,
            reason=verdict.reason,
            error=verdict.error,
            exit_code=exit_code,
            session_id=report.session_id,
            tokens=report.tokens,
            cost=report.cost,
        )

    async def _settle(self, agent: Row, number: int, outcome: Outcome) -> None:
        await to_thread.run_sync(settle_attempt, self._ledger, agent["id"], number, outcome)


def server_command() -> list[str]:
    """How an agent's own meshfleet server is started: this very installation, whatever lies in the agent's folder."""
    return [sys.executable, "-P", "-m", "meshfleet", "serve"]
