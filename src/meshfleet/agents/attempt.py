"""One attempt that a supervisor looks after: what is known of its process, what it says, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Final

from meshfleet.agents.activity import Activity
from meshfleet.agents.judge import SIGNALLED, judge
from meshfleet.agents.launch import EVENTS_NAME, STDERR_NAME, read_exit, read_stderr
from meshfleet.agents.process import ProcessIdentity
from meshfleet.agents.stream import EventStream
from meshfleet.mesh.settlement import Outcome
from meshfleet.model import Reason, Row, attempt_key

LAST_BREATH_S: Final = 5.0
"""How long a shell parent that has written its child's exit status takes to end, at the most."""
CHUNKS_A_LOOK: Final = 2
"""How many chunks of what it prints are read at one look."""


class Remains(Enum):
    """What is known of the processes of an attempt that is to be ended whole."""

    UNKNOWN = auto()
    STOPPING = auto()
    GONE = auto()


@dataclass(slots=True)
class Attempt:
    """An attempt this supervisor looks after.

    Attributes:
        agent: The agent's row as the attempt began, or was adopted.
        number: The attempt's number, from 1.
        run_dir: Where its traces lie.
        started: When, in seconds by the supervisor's clock.
        stream: What it prints.
        activity: What it does, as far as that can be seen from outside.
        leader: Its shell parent; None where there is none.
        refusal: Why it could not be started.
        recorded: Whether the ledger knows its process.
        is_over: Whether its shell parent has ended.
        was_gone: Whether it was found without a process when it was adopted.
        is_of_this_boot: Whether the machine was not started again since it began.
        remains: What is known of its processes, once it is being stopped or its shell was killed.
        survivors: What could not be killed.
        ending_since: When its exit status was seen although it ran, in seconds like `started`.
        noted: What the ledger was told of its progress.
    """

    agent: Row
    number: int
    run_dir: Path
    started: float
    stream: EventStream
    activity: Activity
    leader: ProcessIdentity | None = None
    refusal: str | None = None
    recorded: bool = False
    is_over: bool = False
    was_gone: bool = False
    is_of_this_boot: bool = True
    remains: Remains = Remains.UNKNOWN
    survivors: tuple[ProcessIdentity, ...] = ()
    ending_since: float | None = None
    noted: tuple[object, ...] = field(default=(None, 0, None))

    @classmethod
    def of(cls, agent: Row, number: int, runs_dir: Path, started: float) -> Attempt:
        """The attempt of an agent, of which nothing else is known yet."""
        run_dir = runs_dir / agent["id"] / str(number)
        return cls(agent, number, run_dir, started, EventStream(run_dir / EVENTS_NAME), Activity(started))

    @property
    def marker(self) -> str:
        """What its processes carry in their environment."""
        return attempt_key(self.agent["id"], self.number)

    @property
    def is_running(self) -> bool:
        """True as long as its shell parent lives."""
        return self.leader is not None and not self.is_over

    def is_ending(self, now: float) -> bool:
        """Whether it has left its exit status, and its shell parent, which did, is about to end too.

        Args:
            now: The time, in seconds of the clock that `started` is of.
        """
        if read_exit(self.run_dir) is None:
            self.ending_since = None
            return False
        if self.ending_since is None:
            self.ending_since = now
        # a shell that lives on for longer did not write it: the agent did
        return now - self.ending_since < LAST_BREATH_S

    def written_bytes(self) -> int:
        """How much it has written so far, in bytes."""
        total = 0
        for name in (EVENTS_NAME, STDERR_NAME):
            try:
                total += (self.run_dir / name).stat().st_size
            except OSError:
                continue
        return total

    def read_on(self) -> bool:
        """Take in more of what it prints, so much that no other is kept waiting; True when there is more."""
        return all(self.stream.advance() for _ in range(CHUNKS_A_LOOK))

    def outcome(self) -> Outcome:
        """What it came to, now that it has ended and all it said was read."""
        if self.leader is None and not self.was_gone:
            return Outcome(ok=False, reason=Reason.SPAWN, error=f"the agent could not be started: {self.refusal}")
        exit_code, report = read_exit(self.run_dir), self.stream.report
        verdict = judge(exit_code, report, read_stderr(self.run_dir), agent_file=self.agent.get("agent_file"))
        # what ends a machine asks its processes to end first, so a signal says as little as no status
        interrupted = not verdict.ok and self.was_gone and (exit_code is None or self._ended_with_its_boot(exit_code))
        error = verdict.error
        if interrupted:
            error = "its process was gone when its server was, and left no exit status; resume it to have it go on"
        return Outcome(
            ok=verdict.ok,
            output=verdict.output,
            reason=verdict.reason,
            error=error,
            exit_code=exit_code,
            session_id=report.session_id,
            tokens=report.tokens,
            cost=report.cost,
            interrupted=interrupted,
            survivors=", ".join(str(process.pid) for process in self.survivors) or None,
            whole=self.remains is Remains.GONE,
        )

    def _ended_with_its_boot(self, exit_code: int) -> bool:
        return exit_code > SIGNALLED and not self.is_of_this_boot
