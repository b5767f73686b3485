"""Starting the next attempt: whose turn it is, whether there is room, and with what OpenCode is run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from meshfleet.agents.admission import LEAST_DISK, Admission
from meshfleet.agents.attempt import Attempt
from meshfleet.agents.definitions import find_agent_files, needs_mode_override, runtime_name
from meshfleet.agents.launch import Launched, LaunchOrder, launch
from meshfleet.agents.opencode import child_environment, find_opencode, has_run_before, run_arguments
from meshfleet.agents.process import ProcessIdentity
from meshfleet.errors import MeshfleetError
from meshfleet.ledger import Ledger
from meshfleet.mesh.briefing import Briefing, next_briefing
from meshfleet.mesh.lifecycle import record_process
from meshfleet.mesh.supervision import (
    ITS_TURN,
    begin_next_attempt,
    begun_without_process,
    next_to_start,
    note_waiting,
    running_agents,
)
from meshfleet.model import Row, SupervisorRow, attempt_key
from meshfleet.settings import Settings

log = logging.getLogger(__name__)

FIRST_RUN_S: Final = 30.0
"""How long the others wait for the very first run of OpenCode, which makes its database, to show a sign of life."""

Attempts = Mapping[str, Attempt]


class Starter:
    """Starts one attempt after the other for a supervisor.

    Args:
        ledger: Where agents and attempts are rows.
        settings: How far apart starts are, how many may run, and where the run folders lie.
        environ: What the agents' environment is made from.
        supervisor: For whom it starts them.
        admission: Says whether memory and the disk hold one more agent.
        clock: Seconds that never run backwards.
        wall: The time of day, in ms since the epoch.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        environ: Mapping[str, str],
        supervisor: SupervisorRow,
        admission: Admission,
        clock: Callable[[], float],
        wall: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._environ = environ
        self._supervisor = supervisor
        self._admission = admission
        self._clock = clock
        self._wall = wall
        self._next_start = 0.0
        self._turns_seq = -1
        self._first_run: Attempt | None = None
        self.is_unsure = False
        """Whether an attempt may be in the ledger although the disk refused to write that it was begun."""

    def is_time(self, attempts: Attempts) -> bool:
        """Tell whether enough time has passed since the last start.

        Args:
            attempts: Those the supervisor looks after, by their markers.
        """
        return self._clock() >= self._next_start and not self._first_run_begins(attempts)

    def start_next(self, attempts: Attempts) -> Attempt | None:
        """Begin and start the next attempt; None when nobody waits, or there is no room.

        Args:
            attempts: Those the supervisor looks after already, by their markers.

        Raises:
            MeshfleetError: The ledger refused.
        """
        begun = self._begin(attempts)
        if begun is None:
            return None
        agent, number = begun
        attempt = Attempt.of(agent, number, self._settings.runs_dir, self._clock())
        try:
            briefing = self._ledger.read(lambda view: next_briefing(view, agent))
            launched = self._launch(agent, number, attempt.run_dir, briefing)
            attempt.leader = launched.identity
            self.record(attempt, launched.identity)
        except MeshfleetError as error:
            log.warning("%s: %s", attempt.marker, error)
            attempt.refusal = str(error)
        except Exception as error:
            log.exception("could not start %s", attempt.marker)
            attempt.refusal = repr(error)
        self._first_run = None if has_run_before(self._environ) else attempt
        self._next_start = self._clock() + self._settings.start_stagger_ms / 1000
        return attempt

    def note_turns(self) -> None:
        """Have those that are left to anyone know that somebody will come to them, should that take a while.

        Raises:
            MeshfleetError: The ledger refused.
        """
        seq = self._ledger.read(lambda view: view.seq)
        if seq != self._turns_seq and self._somebody_waits(of_anyone=True) and self.is_able():
            note_waiting(self._ledger, self._supervisor, ITS_TURN)
        self._turns_seq = seq

    def record(self, attempt: Attempt, process: ProcessIdentity) -> None:
        """Have the ledger know which process carries out an attempt.

        Raises:
            MeshfleetError: The ledger refused.
        """
        about = (attempt.number, process.pid, process.start_time, self._supervisor["boot_id"])
        record_process(self._ledger, attempt.agent["id"], *about)
        attempt.recorded = True

    def is_able(self) -> bool:
        """Tell whether there is an OpenCode to start; who has none leaves the agents that wait to others."""
        try:
            find_opencode(self._environ)
        except MeshfleetError:
            return False
        return True

    def _first_run_begins(self, attempts: Attempts) -> bool:
        """True while OpenCode runs for the first time here and has not got as far as a session."""
        first = self._first_run
        if first is None or first.marker not in attempts or first.stream.report.session_id is not None:
            return False
        return self._clock() < first.started + FIRST_RUN_S

    def _begin(self, attempts: Attempts) -> tuple[Row, int] | None:
        if self.is_unsure:
            # it may be written all the same: an attempt of ours that nobody started is started now
            begun = begun_without_process(self._ledger, self._supervisor, set(attempts))
            if begun is not None:
                return begun
        if not self._may_start(attempts):
            return None
        self.is_unsure = True
        most = self._settings.max_running
        begun = begin_next_attempt(
            self._ledger, self._supervisor, now=self._wall(), most_running=most, of_anyone=self.is_able()
        )
        self.is_unsure = False
        return begun

    def _may_start(self, attempts: Attempts) -> bool:
        """Whether there is somebody to start, and room; what is missing is noted on those that wait."""
        if not self._somebody_waits(of_anyone=True) or not (self.is_able() or self._somebody_waits(of_anyone=False)):
            return False
        most = self._settings.max_running
        if most is not None and self._ledger.read(running_agents) >= most:
            why = f"others to end: {most} may run at once (MESHFLEET_MAX_RUNNING)"
        elif most is None and not self._has_memory(attempts):
            why = "memory that other agents use"
        elif not self._admission.has_disk(self._settings.runs_dir):
            why = f"free space where {self._settings.runs_dir} is: less than {LEAST_DISK // 2**20} MiB are left"
        else:
            return True
        note_waiting(self._ledger, self._supervisor, why)
        return False

    def _somebody_waits(self, *, of_anyone: bool) -> bool:
        now = self._wall()
        return (
            self._ledger.read(lambda view: next_to_start(view, self._supervisor, now, of_anyone=of_anyone)) is not None
        )

    def _has_memory(self, attempts: Attempts) -> bool:
        running = [attempt.activity for attempt in attempts.values() if attempt.is_running]
        return self._admission.has_room(running, self._clock())

    def _launch(self, agent: Row, number: int, run_dir: Path, briefing: Briefing) -> Launched:
        opencode = find_opencode(self._environ)
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
            extra=agent.get("env"),
        )
        fleet = self._ledger.read(lambda view: view.get("fleets", agent["fleet_id"])) or {}
        return launch(
            LaunchOrder(
                agent_id=agent["id"],
                fleet_id=agent["fleet_id"],
                attempt=number,
                prompt=briefing.prompt,
                run_dir=run_dir,
                cwd=cwd,
                argv=run_arguments(
                    opencode,
                    agent_file=name,
                    model=agent.get("model"),
                    session_id=briefing.session_id,
                    title=agent["role"],
                    allow_all=fleet.get("allow_all") is True,
                ),
                env=environment,
            )
        )


def server_command() -> list[str]:
    """How an agent's own meshfleet server is started: this very installation, whatever lies in the agent's folder."""
    return [sys.executable, "-P", "-m", "meshfleet", "serve"]
