"""Every crash point of a scenario: one small process without threads, which forks the one that is to die.

    python -m tests.ledger.crash_harness FOLDER MODE SCENARIO [BROKEN_PROTOCOL]

Prints a JSON object: how many points there are, and what was found wrong. The process that dies writes what was
acknowledged into a pipe before it does; this process is the one that stays and holds the ledger open.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from meshfleet.errors import Corrupt
from meshfleet.ledger import Ledger
from meshfleet.ledger import repair as repairing
from tests.ledger.broken_protocols import BROKEN_PROTOCOLS
from tests.ledger.crash_aftermath import AFTERMATHS, Aftermath, repair_again, settle
from tests.ledger.crash_scenarios import CRASHED_BEFORE, SCENARIOS, Acknowledge, Scenario, Stage, look, opened, stage_at
from tests.ledger.crashes import CrashingFiles, Died, Point, When, died_there, points_of
from tests.ledger.interleavings import (
    BEGIN_WITH_A_WRITE,
    INTRUSIONS,
    InterruptedFiles,
    Interruption,
    Intrusion,
    interruptions_of,
)
from tests.ledger.sameness import state_of

FINISHED: Final = 0
FAILED: Final = 70
MOST_FAILURES: Final = 3
"""After so many the enumeration of a scenario stops."""
CHANGES: Final = frozenset({"create", "write", "truncate", "rename", "unlink"})
"""Steps that leave something else behind them than was there before."""


@dataclass
class Report:
    """What an enumeration found.

    Attributes:
        steps: How many file operations the undisturbed run has, by name.
        points: How many moments there are.
        states: How many different things the process leaves when it ends there.
        deaths: How many processes ended.
        killed: How many of them ended by SIGKILL.
        runs: In how many ways others went on from one; where it was damaged, mostly as they did from another that had
            become the same by its repair.
        unacknowledged: In how many runs a transaction was there that had not been acknowledged.
        kept_out: How many interruptions met a held lock.
        seconds: How long all of it took.
        failures: What was wrong, after which point.
    """

    steps: Counter[str] = field(default_factory=Counter)
    points: int = 0
    states: int = 0
    deaths: int = 0
    killed: int = 0
    runs: int = 0
    unacknowledged: int = 0
    kept_out: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


class Enumeration:
    """The points of one scenario, each tried on a ledger of its own.

    Args:
        folder: Where those ledgers are, one at a time.
        scenario: The one thing a process does.
    """

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        self.report = Report()
        self._folder = folder
        self._scenario = scenario
        self._seen: set[tuple[int, int, str]] = set()
        self._repaired: dict[int, int] = {}
        self._seen_repaired: set[tuple[int, int, str]] = set()

    def crash_everywhere(self) -> None:
        """End the process at every point that leaves something else, and have the others go on in every way."""
        for point, left in self._walk(self._scenario):
            self._crash(self._scenario, point, left, AFTERMATHS, crashes=1)

    def crash_twice(self, first: Scenario) -> None:
        """End one process at every point that leaves something else, and then the scenario's at every such point."""
        seen = set()
        for number, left in enumerate(points_of(self._trace(first))):
            if left.name not in CHANGES or left.when is When.BEFORE:
                continue  # it leaves what the point before it left
            in_play = partial(_crash_first, first, left, in_play=True)
            state = self._state_after(in_play)
            # a number drawn by lot may have a digit more, and then half of a write ends elsewhere
            if left.when is not When.HALF:
                really = self._state_after(partial(_crash_first, first, left))
                assert really == state, f"who dies in play leaves something else: {left}"
            if state in seen:
                continue
            seen.add(state)
            after = replace(self._scenario, prepare=in_play)
            for point, then_left in self._walk(after, CHANGES, crashes=1):
                if point.name in CHANGES and point.when is not When.AFTER:
                    go_on = AFTERMATHS[(number + point.number) % len(AFTERMATHS)]
                    # who died in the middle of a write wrote more or less of it than another did
                    exactly = left.when is not When.HALF
                    self._crash(after, point, then_left, (go_on,), crashes=2, exactly=exactly)

    def interrupt_everywhere(self) -> None:
        """Between any two steps of the process, and in the middle of every write, have another one do something."""
        trace = self._trace(self._scenario)
        kept_out: set[Interruption] = set()
        for intrude in INTRUSIONS:
            for interruption in interruptions_of(trace):
                self.report.points += 1
                if interruption in kept_out and intrude in BEGIN_WITH_A_WRITE:
                    self.report.kept_out += 1
                elif self._interrupt(interruption, intrude) and intrude is BEGIN_WITH_A_WRITE[0]:
                    kept_out.add(interruption)

    def _trace(self, scenario: Scenario, *, crashes: int = 0) -> list[str]:
        """The steps of the process when nothing disturbs it; the others must be able to go on after that, too."""
        traces: list[list[str]] = []
        for go_on in AFTERMATHS:
            self._run(
                CrashingFiles(),
                scenario,
                lambda stage: traces.append(_fork(stage, scenario.act, None)),
                go_on,
                crashes=crashes,
                where="an undisturbed run",
            )
        trace = traces[-1] if traces else []
        if scenario.hinge not in trace:
            self.report.failures.append(f"the undisturbed run has no {scenario.hinge}")
        self.report.steps = Counter(trace)
        return trace

    def _walk(
        self, scenario: Scenario, steps: frozenset[str] | None = None, *, crashes: int = 0
    ) -> list[tuple[Point, int]]:
        """Every point of the process, and what is there when it gets to it; 0 at other steps than these, if any."""
        trace = self._trace(scenario, crashes=crashes)
        if not trace:
            return []
        states: list[int] = []

        def look(name: str) -> None:
            states.append(state_of(stage) if steps is None or name in steps else 0)

        with self._stage(CrashingFiles()) as stage:
            scenario.prepare(stage)
            files = stage.files
            assert isinstance(files, CrashingFiles)
            files.arm(None, look=look)
            scenario.act(stage, stage.acknowledged.append)
            assert files.trace == trace, "it goes another way in this process"
            return list(zip(points_of(trace), states, strict=True))

    @contextmanager
    def _stage(self, files: CrashingFiles) -> Generator[Stage]:
        """A ledger of its own, on which the process is played."""
        self._folder.mkdir()
        stage = stage_at(self._folder / "agent-mesh.json", files)
        try:
            yield stage
        finally:
            stage.victim.close()
            stage.close()
            shutil.rmtree(self._folder)

    def _state_after(self, prepare: Callable[[Stage], None]) -> int:
        with self._stage(CrashingFiles()) as stage:
            prepare(stage)
            return state_of(stage)

    def _crash(
        self,
        scenario: Scenario,
        point: Point,
        left: int,
        ways: Iterable[Aftermath],
        *,
        crashes: int,
        exactly: bool = True,
    ) -> None:
        """End the process at a point; the others go on in these ways, unless they did from what another point left.

        Each time a process ends there for real, one in three by SIGKILL.
        """
        self.report.points += 1
        for go_on in ways:
            if (left, crashes, go_on.__name__) in self._seen:
                return
            if self._is_seen_repaired((left, crashes, go_on.__name__)):
                continue
            self.report.deaths += 1
            death = point._replace(killed=self.report.deaths % 3 == 0)

            def act(stage: Stage, death: Point = death) -> None:
                _fork(stage, scenario.act, death)
                # half of a write ends elsewhere when a number that was drawn by lot has a digit more
                exact = exactly and death.when is not When.HALF
                assert not exact or state_of(stage) == left, "who died left something else than in play"

            if not self._run(CrashingFiles(), scenario, act, go_on, crashes=crashes, where=str(death)):
                return
            self.report.killed += death.killed
        self.report.states += 1

    def _is_seen_repaired(self, state: tuple[int, int, str]) -> bool:
        """Whether it is known what becomes of a damaged ledger when it is repaired, and others went on from that."""
        left, *how = state
        if (self._repaired.get(left), *how) not in self._seen_repaired:
            return False
        self._seen.add(state)
        self.report.runs += 1
        return True

    def _interrupt(self, interruption: Interruption, intrude: Intrusion) -> bool:
        """Have somebody do something at a moment; True when the lock kept them out."""
        files = InterruptedFiles()

        def act(stage: Stage) -> None:
            files.arm(interruption, lambda: intrude(stage))
            self._scenario.act(stage, stage.acknowledged.append)
            stage.victim.close()
            assert files.interrupted, "the scenario did not come to this step"
            self.report.kept_out += files.kept_out

        where = f"{intrude.__name__} {interruption}"
        self._run(files, self._scenario, act, AFTERMATHS[interruption.number % len(AFTERMATHS)], crashes=0, where=where)
        return files.kept_out

    def _run(
        self,
        files: CrashingFiles | InterruptedFiles,
        scenario: Scenario,
        act: Callable[[Stage], object],
        go_on: Aftermath,
        *,
        crashes: int,
        where: str,
    ) -> bool:
        """Have it done and the others go on; False when they have gone on in that way from the same state before."""
        if len(self.report.failures) >= MOST_FAILURES:
            return False
        self._folder.mkdir()
        stage = stage_at(self._folder / "agent-mesh.json", files)
        try:
            scenario.prepare(stage)
            act(stage)
            state = state_of(stage), crashes, go_on.__name__
            if state in self._seen:
                return False
            self._seen.add(state)
            self.report.runs += 1
            if stage.damaged:
                repair_again(stage)
                self._repaired[state[0]] = repaired = state_of(stage, copies=False)
                if (repaired, crashes, go_on.__name__) in self._seen_repaired:
                    return True
                self._seen_repaired.add((repaired, crashes, go_on.__name__))
            self.report.unacknowledged += settle(stage, scenario.attempts, go_on, crashes=crashes)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is what is looked for
            self.report.failures.append(f"{where}, {go_on.__name__}: {_said(error)}")
        finally:
            stage.close()
            shutil.rmtree(self._folder)
        return True


def _said(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} ({Path(frame.filename).name}:{frame.lineno}): {error}"


def _crash_first(first: Scenario, point: Point, stage: Stage, *, in_play: bool = False) -> None:
    """Have a process of another scenario end at its point; the next one had the ledger open before that."""
    first.prepare(stage)
    files = CrashingFiles()
    second = opened(stage.file, files)
    with suppress(Corrupt):
        look(second)
    if in_play:
        assert isinstance(stage.files, CrashingFiles)
        stage.files.arm(point, in_play=True)
        with suppress(Died):
            first.act(stage, stage.acknowledged.append)
        _release(stage.victim)
    else:
        _fork(stage, first.act, point)
    stage.victim, stage.files = second, files


def _release(victim: Ledger) -> None:
    """Give back what another process has open of a ledger: a lock is held for as long as anybody has its descriptor."""
    victim._lock.close()
    victim._replica.release()


def _fork(stage: Stage, act: Callable[[Stage, Acknowledge], None], point: Point | None) -> list[str]:
    """Fork a process that does the one thing and ends at the point; returns its steps if it was to get to the end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _act_and_exit(stage, act, point, writing)
    os.close(writing)
    _release(stage.victim)
    with open(reading, "rb") as pipe:  # noqa: PTH123 - a descriptor
        *told, rest = pipe.read().split(b"\n")
    _, status = os.waitpid(pid, 0)
    assert rest == b""
    stage.acknowledged += [line.decode() for line in told if not line.startswith(b"[")]
    if point is None:
        assert os.waitstatus_to_exitcode(status) == FINISHED, "the scenario itself fails"
        trace: list[str] = json.loads(told[-1])
        return trace
    assert died_there(status, point), f"the process did not end there: {status}"
    return []


def _act_and_exit(stage: Stage, act: Callable[[Stage, Acknowledge], None], point: Point | None, pipe: int) -> None:
    try:
        files = stage.files
        assert isinstance(files, CrashingFiles)
        files.arm(point)
        act(stage, lambda message_id: _tell(pipe, message_id))
        _tell(pipe, json.dumps(files.trace))
        os._exit(FINISHED)
    except BaseException:  # noqa: BLE001 - the copy of this process must never go on as it
        traceback.print_exc()
        os._exit(FAILED)


def _tell(pipe: int, line: str) -> None:
    os.write(pipe, line.encode() + b"\n")


def main(arguments: list[str]) -> int:
    """Enumerate one scenario."""
    logging.disable()
    # how many names a repair tries for a copy depends on the clock
    repairing.now_ms = lambda: 1_700_000_000_000  # type: ignore[attr-defined]
    folder, mode, name, *broken = arguments
    for protocol in broken:
        BROKEN_PROTOCOLS[protocol]()
    started = time.perf_counter()
    if mode == "twice":
        first, second = CRASHED_BEFORE[name]
        enumeration = Enumeration(Path(folder) / "points", second)
        enumeration.crash_twice(first)
    else:
        enumeration = Enumeration(Path(folder) / "points", SCENARIOS[name])
        {"crash": enumeration.crash_everywhere, "interrupt": enumeration.interrupt_everywhere}[mode]()
    enumeration.report.seconds = time.perf_counter() - started
    sys.stdout.write(json.dumps(vars(enumeration.report)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
