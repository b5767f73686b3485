"""What is aimed at, and whether a run got there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final

from benchmark.in_process.rates import Burst
from benchmark.report.results import Results
from meshfleet.settings import Durability

Reading = Callable[[Results], float | None]


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that is to be reached.

    Attributes:
        text: Of what.
        read: The figure.
        limit: What it has to stay below, or to reach.
        unit: Of both.
        digits: Behind the point.
        at_least: Whether more is better.
        inclusive: Whether the limit itself is met.
    """

    text: str
    read: Reading
    limit: float
    unit: str
    digits: int = 0
    at_least: bool = False
    inclusive: bool = False

    def is_met(self, results: Results) -> bool:
        """False too where there is no figure."""
        figure = self.read(results)
        if figure is None:
            return False
        if self.at_least:
            return figure >= self.limit
        return figure < self.limit or (self.inclusive and figure == self.limit)

    def row(self, results: Results) -> str:
        """The line of its table; a quick run is none to be judged by."""
        figure = self.read(results)
        told = "none" if figure is None else f"{figure:,.{self.digits}f} {self.unit}".strip()
        word = "at least" if self.at_least else "at most" if self.inclusive else "under"
        met = "quick" if results.quick else "met" if self.is_met(results) else "**not met**"
        return f"| {self.text} | {f'{word} {self.limit:,g} {self.unit}'.strip()} | {told} | {met} |"


def _burst(results: Results, durability: Durability) -> Burst:
    return next(burst for burst in results.bursts if burst.durability is durability)


def _sends_s(durability: Durability) -> Reading:
    return lambda results: median(_burst(results, durability).sends)


def _times_the_floor(durability: Durability) -> Reading:
    def read(results: Results) -> float:
        burst = _burst(results, durability)
        return median(own / floor for own, floor in zip(burst.sends, burst.floors, strict=True))

    return read


def _batches_ms(durability: Durability) -> Reading:
    return lambda results: median(_burst(results, durability).batches) * 1000


def _mesh(key: str) -> Reading:
    return lambda results: results.mesh.figure(key)


def _above_the_sdk(key: str) -> Reading:
    def read(results: Results) -> float | None:
        own, floor = results.mesh.figure(key), results.sdk.figure("idle_resident_mb")
        return None if own is None or floor is None else own - floor

    return read


def _spawn_ms(results: Results) -> float | None:
    rate = results.rate("spawn", Durability.POWER, 1, results.sizes[0])
    return None if rate is None else rate.us / 1000


def _dropped(results: Results) -> float:
    return sum(burst.lost for burst in results.bursts)


GOALS: Final = (
    Goal("10,000 sends in process, synced", _sends_s(Durability.POWER), 2, "s", 2),
    Goal("10,000 sends in process, not synced", _sends_s(Durability.PROCESS), 0.5, "s", 2),
    Goal("10,000 sends in process, synced, beside the floor", _times_the_floor(Durability.POWER), 2, "x", 2),
    Goal("10,000 sends in process, not synced, beside the floor", _times_the_floor(Durability.PROCESS), 2, "x", 1),
    Goal("10,000 messages in ten calls in process, synced", _batches_ms(Durability.POWER), 250, "ms"),
    Goal("10,000 messages in ten calls in process, not synced", _batches_ms(Durability.PROCESS), 250, "ms"),
    Goal("sends over stdio", _mesh("sends_per_s"), 2_500, "a second", at_least=True),
    Goal("one in 100 sends over stdio exceeds", _mesh("send_p99_ms"), 2, "ms", 2),
    Goal("inbox reads over stdio", _mesh("reads_per_s"), 2_500, "a second", at_least=True),
    Goal("one in 100 reads over stdio exceeds", _mesh("read_p99_ms"), 2, "ms", 2),
    Goal("sends with 100,000 messages there", _mesh("large_sends_per_s"), 2_500, "a second", at_least=True),
    Goal("one in 100 such sends exceeds", _mesh("large_send_p99_ms"), 2, "ms", 2),
    Goal("inbox reads with 100,000 messages there", _mesh("large_reads_per_s"), 2_500, "a second", at_least=True),
    Goal("one in 100 such reads exceeds", _mesh("large_read_p99_ms"), 2, "ms", 2),
    Goal("four servers x 500 sends", _mesh("together_s"), 1.5, "s", 2),
    Goal("lost of those", _mesh("together_lost"), 0, "", inclusive=True),
    Goal("start to `initialize` answered", _mesh("initialize_ms"), 150, "ms"),
    Goal("start to the first answered call", _mesh("first_call_ms"), 1_000, "ms"),
    Goal(
        "idle memory above that of the SDK alone, resident",
        _above_the_sdk("idle_resident_mb"),
        8,
        "MB",
        1,
        inclusive=True,
    ),
    Goal(
        "the same once resources were asked for",
        _above_the_sdk("resources_resident_mb"),
        8,
        "MB",
        1,
        inclusive=True,
    ),
    Goal("`list_fleets` of 1,000 over stdio, median", _mesh("list_fleets_ms"), 5, "ms", 1),
    Goal("`spawn_fleet` of 100 agents over stdio returns", _mesh("spawn_ms"), 100, "ms", 1),
    Goal(
        "`meshfleet inspect` of 100,000 messages from the shell",
        lambda results: median(results.large[-1].inspecting_s),
        1,
        "s",
        2,
    ),
)
GATES: Final = (
    Goal("spawn bookkeeping of 100 agents, synced, median", _spawn_ms, 100, "ms", 1),
    Goal("10,000 messages: dropped", _dropped, 0, "", inclusive=True),
    Goal("10,000 messages, synced, one by one", _sends_s(Durability.POWER), 5, "s", 2),
)
