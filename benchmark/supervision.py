"""What it costs a server to look after agents that run and say nothing, beside the same server without any."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from benchmark.serving import SLEEPER, Server, environment, kill_all_of
from meshfleet.ledger import Ledger
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.supervision import running_agents
from meshfleet.settings import Durability

PATIENCE_S: Final = 120.0
SETTLING_S: Final = 6.0
"""How long after the last start it is waited, in seconds, so that every look of the watchdog has been taken once."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a server used.

    Attributes:
        core: Which part of a processor core.
        memory: What it has resident, in bytes.
    """

    core: float
    memory: int


@dataclass(frozen=True, slots=True)
class Supervising:
    """Two servers, measured over the same time.

    Attributes:
        agents: How many agents ran under the one.
        idle: What the other used, which had none.
        busy: What the one used.
    """

    agents: int
    idle: Cost
    busy: Cost


def measure_supervision(agents: int, seconds: float) -> Supervising:
    """Start two servers, have one of them run so many sleeping agents, and see what both use."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        idle, busy = (_serve(folder / which, agents) for which in ("idle", "busy"))
        try:
            _run_agents(folder / "busy" / "agent-mesh.json", agents, folder)
            time.sleep(SETTLING_S)
            return Supervising(agents, *_costs(seconds, idle, busy))
        finally:
            for which, server in (("idle", idle), ("busy", busy)):
                server.kill()
                kill_all_of(folder / which / "agent-mesh.json")


def _serve(folder: Path, most_running: int) -> Server:
    folder.mkdir()
    program = folder / "opencode"
    program.write_text(SLEEPER)
    program.chmod(0o755)
    limits = {
        "MESHFLEET_MAX_RUNNING": str(most_running),
        "MESHFLEET_START_STAGGER_MS": "0",
        "MESHFLEET_SSE_PORT": "0",
    }
    server = Server(
        environment(folder, program, folder / "agent-mesh.json", **limits), folder, folder / "complaints.log"
    )
    server.greet()
    return server


def _run_agents(data_file: Path, agents: int, cwd: Path) -> None:
    ledger = Ledger(data_file, durability=Durability.PROCESS)
    try:
        create_fleet(ledger, [AgentSpec("Sleeper", "sleep") for _ in range(agents)], cwd=str(cwd))
        deadline = time.monotonic() + PATIENCE_S
        while (running := ledger.read(running_agents)) < agents:
            assert time.monotonic() < deadline, f"only {running} of {agents} agents run after {PATIENCE_S:.0f} s"
            time.sleep(0.1)
    finally:
        ledger.close()


def _costs(seconds: float, *servers: Server) -> list[Cost]:
    processes = [psutil.Process(server.process.pid) for server in servers]
    before = [_used(process) for process in processes]
    began = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    return [
        Cost((_used(process) - used) / passed, process.memory_info().rss)
        for process, used in zip(processes, before, strict=True)
    ]


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
