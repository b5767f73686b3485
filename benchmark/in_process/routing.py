"""Ranking agents for a description, when nothing changed since the last time and when one of them just learned more."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from meshfleet.ledger import Ledger
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.routing import Router, record_routing_outcome, register_capability, route_work
from meshfleet.mesh.specs import AgentSpec
from meshfleet.settings import Durability

SIZES = (10, 100, 1_000, 10_000)
SKILLS = (
    ("React expert", ["react", "css", "accessibility"]),
    ("API engineer", ["python", "fastapi", "graphql"]),
    ("Database engineer", ["sql", "postgresql", "migrations"]),
    ("Site reliability", ["kubernetes", "terraform", "monitoring"]),
    ("Tester", ["pytest", "e2e", "ui"]),
    ("Security reviewer", ["oauth", "code review", "encryption"]),
    ("Technical writer", ["documentation", "readme"]),
    ("Mobile developer", ["swift", "kotlin", "react native"]),
)
DESCRIPTIONS = (
    "ui bug",
    "the checkout button does nothing on mobile: find the frontend bug and fix it",
    "slow postgres query behind the orders endpoint",
    "review the login flow for security problems and write tests for it",
)


@dataclass(frozen=True, slots=True)
class RoutingTiming:
    """Medians of one ranking, in microseconds, and what the first one took, which builds the index."""

    agents: int
    first_us: float
    quiet_us: float
    changing_us: float


def measure_routing(agents: int, rankings: int = 200) -> RoutingTiming:
    """Rank that many agents over and over; a tenth of them have outcomes, and each has a name of its own."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "agent-mesh.json", durability=Durability.PROCESS)
        specs = [AgentSpec(f"{SKILLS[n % len(SKILLS)][0]} {n}", "wait") for n in range(agents)]
        fleet_id, agent_ids = create_fleet(ledger, specs, cwd=folder)
        for n, agent_id in enumerate(agent_ids):
            role, skills = SKILLS[n % len(SKILLS)]
            own = [*skills, f"module{n}"]
            register_capability(ledger, agent_id=agent_id, fleet_id=fleet_id, role=role, skills=own)
            if n % 10 == 0:
                record_routing_outcome(ledger, agent_id, skills[0], success=n % 20 == 0)
        router = Router()

        def rank(n: int) -> None:
            assert route_work(ledger, router, DESCRIPTIONS[n % len(DESCRIPTIONS)], top_n=3)["matches"]

        def change(n: int) -> None:
            role, skills = SKILLS[n % len(SKILLS)]
            agent_id, own = agent_ids[n % agents], [*skills, f"part{n}"]
            register_capability(ledger, agent_id=agent_id, fleet_id=fleet_id, role=role, skills=own)

        first = _microseconds(rank, 0)
        quiet = [_microseconds(rank, n) for n in range(rankings)]
        changing = []
        for n in range(rankings):
            change(n)
            changing.append(_microseconds(rank, n))
        ledger.close()
        return RoutingTiming(agents, first, statistics.median(quiet), statistics.median(changing))


def _microseconds(rank: Callable[[int], None], n: int) -> float:
    started = time.perf_counter()
    rank(n)
    return (time.perf_counter() - started) * 1e6
