"""What tests of supervisors share: a clock that may leap, fleets to supervise, and looking until something is so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import anyio

from meshfleet.agents.admission import Admission
from meshfleet.agents.supervisor import Supervisor
from meshfleet.ledger import Ledger
from meshfleet.mesh.fleets import create_fleet, fleet_status
from meshfleet.mesh.specs import AgentSpec, FleetOptions
from meshfleet.model import Row, now_ms
from meshfleet.settings import Settings
from tests.ledgers import ledger_at

WAIT_S: Final = 40.0

#: A supervisor in a process of its own, which kills itself when it comes to the function it is told of, if any.
SERVER: Final = """
import os, signal, sys
import anyio
from meshfleet.agents import starting, supervisor
from meshfleet.ledger import Ledger
from meshfleet.settings import Settings

where = sys.argv[1]
launch = starting.launch

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def launch_and_die(order):
    launch(order)
    die()

if where == "before the launch":
    starting.launch = die
elif where == "before the record":
    starting.launch = launch_and_die
elif where == "before the settlement":
    supervisor.settle_attempt = die
settings = Settings.from_environ(os.environ)
looker = supervisor.Supervisor(Ledger.from_settings(settings), settings, os.environ)
print("ready", flush=True)
sys.stdin.readline()
anyio.run(looker.run)
"""


class Clock:
    """Time as it goes, and as far ahead as a test says."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def leap(self, seconds: float) -> None:
        self._ahead_s += seconds

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead_s

    def wall(self) -> int:
        return now_ms() + round(self._ahead_s * 1000)


def supervisor_with(
    ledger: Ledger, settings: Settings, program: Path, clock: Clock, admission: Admission | None = None
) -> Supervisor:
    """A supervisor whose OpenCode is the fake runtime."""
    environ = {**os.environ, "MESHFLEET_OPENCODE": str(program)}
    return Supervisor(ledger, settings, environ, clock.monotonic, clock.wall, admission)


def ledger_of(settings: Settings) -> Ledger:
    """The ledger that these settings name, which the end of the test closes."""
    return ledger_at(settings.data_file, durability=settings.durability, lock_timeout_ms=settings.lock_timeout_ms)


def spawn(ledger: Ledger, cwd: Path, *prompts: str, **options: object) -> tuple[str, list[str]]:
    """Write a fleet of one agent for each prompt."""
    specs = [AgentSpec(f"Worker {number}", prompt) for number, prompt in enumerate(prompts)]
    return create_fleet(ledger, specs, cwd=str(cwd), options=FleetOptions(**options))  # type: ignore[arg-type]


def agent_row(ledger: Ledger, agent_id: str) -> Row:
    """The agent as it stands."""
    row = ledger.read(lambda view: view.get("agents", agent_id))
    assert row is not None
    return row


def attempt_row(ledger: Ledger, agent_id: str, number: int = 1) -> Row:
    """One of the agent's attempts; empty where there is none yet."""
    return ledger.read(lambda view: view.get("attempts", f"{agent_id}/{number}")) or {}


def status_of(ledger: Ledger, agent_id: str) -> str:
    return str(agent_row(ledger, agent_id)["status"])


def waits_for_retry(ledger: Ledger, agent_id: str) -> bool:
    return "retry_at" in agent_row(ledger, agent_id)


def has_said(settings: Settings, agent_id: str, words: str, number: int = 1) -> bool:
    """Whether an attempt has printed something."""
    events = settings.runs_dir / agent_id / str(number) / "events.ndjson"
    return events.exists() and words in events.read_text()


async def look_until(happened: Callable[[], bool], *supervisors: Supervisor) -> None:
    """Have supervisors look again and again, all at the same time, until something is so."""
    with anyio.fail_after(WAIT_S):
        while not happened():
            async with anyio.create_task_group() as all_of_them:
                for supervisor in supervisors:
                    all_of_them.start_soon(supervisor.look)
            await anyio.sleep(0.005)


async def settled(ledger: Ledger, fleet_id: str, *supervisors: Supervisor) -> str:
    """Look until the fleet has ended; returns its status."""

    def status() -> str:
        return str(fleet_status(ledger, fleet_id)["fleet"]["status"])

    await look_until(lambda: status() in {"complete", "failed"}, *supervisors)
    return status()


@contextmanager
def server(settings: Settings, program: Path, dies: str = "never", **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run a supervisor in a process of its own until the block is left, or it was killed."""
    environ = {
        **os.environ,
        "MESHFLEET_OPENCODE": str(program),
        "MESHFLEET_DATA_FILE": str(settings.data_file),
        "MESHFLEET_START_STAGGER_MS": "0",
        **variables,
    }
    command = [sys.executable, "-c", SERVER, dies]
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.stdin.write("go\n")
        running.stdin.flush()
        try:
            yield running
        finally:
            kill(running)


def kill(running: subprocess.Popen[str]) -> None:
    """Kill a server, as a crash would, and wait until it is gone."""
    running.send_signal(signal.SIGKILL)
    running.wait(WAIT_S)
