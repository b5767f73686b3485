"""What it costs a server to look after agents that run and say nothing, beside the same server without any."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from benchmark.over_stdio.session import Session, Subject, housed, used_by
from benchmark.serving import SERVE
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
    subject = Subject("meshfleet", SERVE)
    with housed(subject) as idle, housed(subject) as busy:
        servers = [house.start(MESHFLEET_MAX_RUNNING=str(agents)) for house in (idle, busy)]
        _run_agents(busy.data_file, agents)
        time.sleep(SETTLING_S)
        return Supervising(agents, *_costs(seconds, servers))


def _run_agents(data_file: Path, agents: int) -> None:
    ledger = Ledger(data_file, durability=Durability.PROCESS)
    try:
        create_fleet(ledger, [AgentSpec("Sleeper", "sleep") for _ in range(agents)], cwd=str(data_file.parent))
        deadline = time.monotonic() + PATIENCE_S
        while (running := ledger.read(running_agents)) < agents:
            assert time.monotonic() < deadline, f"only {running} of {agents} agents run after {PATIENCE_S:.0f} s"
            time.sleep(0.1)
    finally:
        ledger.close()


def _costs(seconds: float, servers: Sequence[Session]) -> list[Cost]:
    processes = [psutil.Process(server.client.process.pid) for server in servers]
    before = [used_by([process]) for process in processes]
    began = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    return [
        Cost((used_by([process]) - used) / passed, process.memory_info().rss)
        for process, used in zip(processes, before, strict=True)
    ]
