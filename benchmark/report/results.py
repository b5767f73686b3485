"""All that one run has found out, and its JSON: one record a line, so that two runs can be compared with diff."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmark.in_process.large import Large
from benchmark.in_process.rates import Burst, Rate
from benchmark.in_process.routing import RoutingTiming
from benchmark.over_stdio.compare import Plan
from benchmark.over_stdio.sheet import Sheet
from benchmark.over_stdio.table import as_json
from benchmark.supervision import Supervising
from meshfleet.settings import Durability

MESHFLEET, SDK = "meshfleet", "the SDK alone"


@dataclass(frozen=True, slots=True)
class Results:
    """The figures of a run.

    Attributes:
        quick: Whether it was one that only shows that all of it runs.
        machine: What it ran on, with the load at the start.
        load_at_end: The load when it was over.
        seconds: How long it took.
        rates: Operations in process.
        bursts: Many sends in process.
        large: Opening, looking and compacting by size.
        routing: Rankings, by round.
        plan: How much was measured over stdio.
        mesh: Over stdio, of our server.
        sdk: Over stdio, of the SDK with one tool.
        supervising: What agents that run cost a server.
        watched_s: For how long that was looked at.
    """

    quick: bool
    machine: Mapping[str, Any]
    load_at_end: float
    seconds: float
    rates: list[Rate]
    bursts: list[Burst]
    large: list[Large]
    routing: list[list[RoutingTiming]]
    plan: Plan
    mesh: Sheet
    sdk: Sheet
    supervising: Supervising
    watched_s: float

    def rate(self, operation: str, durability: Durability, processes: int, messages: int) -> Rate | None:
        """That one, if it was taken."""
        wanted = (operation, durability, processes, messages)
        return next(
            (one for one in self.rates if (one.operation, one.durability, one.processes, one.messages) == wanted), None
        )

    @property
    def sizes(self) -> list[int]:
        """How many messages the ledgers had, from the smallest to the largest."""
        return [each.messages for each in self.large]


def json_of(results: Results) -> str:
    """The whole as JSON."""
    sections: dict[str, Iterable[Mapping[str, Any]]] = {
        "machine": [
            {
                **results.machine,
                "quick": results.quick,
                "load_at_end": results.load_at_end,
                "seconds": round(results.seconds),
            }
        ],
        "operations": (
            asdict(rate) | {"us": rate.us, "floor_us": rate.floor_us, "times_the_floor": rate.times_the_floor}
            for rate in results.rates
        ),
        "bursts": map(asdict, results.bursts),
        "large": map(asdict, results.large),
        "routing": (asdict(timing) for timings in results.routing for timing in timings),
        "supervision": [asdict(results.supervising) | {"seconds": results.watched_s}],
        "stdio": as_json((MESHFLEET, SDK), (results.mesh, results.sdk), results.plan),
    }
    parts = []
    for name, records in sections.items():
        lines = ",\n".join(f"  {json.dumps(_rounded(record))}" for record in records)
        parts.append(f' "{name}": [\n{lines}\n ]')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.4g}")
        case Mapping():
            return {key: _rounded(each) for key, each in value.items()}
        case list() | tuple():
            return [_rounded(each) for each in value]
        case _:
            return value
