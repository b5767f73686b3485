"""`make bench`: prints what the ledger costs, beside its floor, what routing does, supervising and waiting."""

from __future__ import annotations

import argparse
import itertools
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmark.floor import append_lines
from benchmark.ledgers import Folding, measure_folding, seconds_to_open
from benchmark.routing import SIZES, measure_routing
from benchmark.seeding import Seeded, seed
from benchmark.sender import rate_of_sends, seconds_of_batches
from benchmark.supervision import measure_supervision
from benchmark.waiting import A_SECOND, Delays, measure_waiting
from meshfleet.settings import Durability

LINE = b"x" * 560 + b"\n"
"""About as long as the record of a send."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        sizes: How many messages are there already.
        rounds: How often each figure is taken; the median is printed, the best in brackets.
        sends: By each process in each round, by durability.
        agents: How many run while it is measured what looking after them costs.
        watch_s: For how many seconds that is measured, and what waiting costs.
        waits: How often somebody waits until another process commits.
        waiters: How many processes wait while it is measured what that costs.
        burst: How many messages one process sends one after the other, and in ten batches.
    """

    sizes: tuple[int, ...]
    rounds: int
    sends: dict[Durability, int]
    agents: int
    watch_s: float
    waits: int
    waiters: int
    burst: int


THOROUGH = Plan(
    (1_000, 10_000, 100_000), 7, {Durability.PROCESS: 2_000, Durability.POWER: 500}, 300, 30, 300, 100, 10_000
)
QUICK = Plan((100, 1_000), 1, {Durability.PROCESS: 100, Durability.POWER: 20}, 10, 5, 20, 5, 100)

numbers = itertools.count()


def main() -> int:
    """Run the benchmarks and print their tables."""
    parser = argparse.ArgumentParser(prog="benchmark", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few messages: shows that it runs, not how fast")
    plan = QUICK if parser.parse_args().quick else THOROUGH
    print(f"{platform.platform()}, Python {platform.python_version()}; medians of {plan.rounds}, the best in brackets")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ledgers = [seed(folder / f"seed-{size}", size) for size in plan.sizes]
        for durability in Durability:
            _print_sends(plan, ledgers, durability)
        _print_burst(plan, ledgers[0])
        _print_large(plan, ledgers)
    _print_routing(plan)
    _print_supervision(plan)
    _print_waiting(plan)
    return 0


def _print_sends(plan: Plan, ledgers: list[Seeded], durability: Durability) -> None:
    """Sends by one process and by four; the rounds of all of them take turns, so that a slow minute hits all."""
    rates: dict[tuple[int, int], list[float]] = {(count, each.messages): [] for count in (1, 4) for each in ledgers}
    floors = []
    for _ in range(plan.rounds):
        floors.append(_floor(ledgers[0].folder, plan.sends[durability], durability))
        for ledger in ledgers:
            for count in (1, 4):
                with _copy_of(ledger) as copy:
                    rates[count, ledger.messages].append(rate_of_sends(copy, durability, count, plan.sends[durability]))
    print(f"\nMicroseconds a send, durability {durability}, with so many messages there")
    print(f"{'':<16}" + "".join(f"{size:>16,}" for size in plan.sizes) + f"{'last : first':>16}")
    for count in (1, 4):
        costs = [_costs(rates[count, size]) for size in plan.sizes]
        ratio = _ratio(rates[count, plan.sizes[0]], rates[count, plan.sizes[-1]])
        print(
            f"{count} process{'es' if count > 1 else '':<8}" + "".join(f"{cost:>16}" for cost in costs) + f"{ratio:>16}"
        )
    speeds = [_ratio(rates[4, size], rates[1, size]) for size in plan.sizes]
    print(f"{'four : one':<16}" + "".join(f"{speed:>16}" for speed in speeds) + "   messages a second")
    print(f"{'the floor':<16}{_costs(floors):>16}   the same bytes, appended" + " and synced" * (durability == "power"))


def _print_burst(plan: Plan, ledger: Seeded) -> None:
    """A burst by one process, with its floor beside it in each round."""
    print(f"\nSeconds for {plan.burst:,} sends by one process")
    print(f"{'':<16}{'one by one':>24}{'in ten batches':>24}{'the floor':>24}")
    for durability in Durability:
        rows: tuple[list[float], list[float], list[float]] = ([], [], [])
        for _ in range(min(plan.rounds, 3)):
            with _copy_of(ledger) as copy:
                rows[0].append(plan.burst / rate_of_sends(copy, durability, 1, plan.burst))
            with _copy_of(ledger) as copy:
                rows[1].append(seconds_of_batches(copy, durability, 10, plan.burst // 10))
            rows[2].append(plan.burst / _floor(ledger.folder, plan.burst, durability))
        told = "".join(f"{f'{median(row):.3f} ({min(row):.3f})':>24}" for row in rows)
        print(f"{durability:<16}{told}")


def _print_large(plan: Plan, ledgers: list[Seeded]) -> None:
    print("\nSeconds")
    print(f"{'':<16}" + "".join(f"{size:>16,}" for size in plan.sizes))
    opening: dict[int, list[float]] = {size: [] for size in plan.sizes}
    foldings: dict[int, list[Folding]] = {size: [] for size in plan.sizes}
    for _ in range(plan.rounds):
        for ledger in ledgers:
            opening[ledger.messages].append(seconds_to_open(ledger))
            with _copy_of(ledger) as copy:
                foldings[ledger.messages].append(measure_folding(copy))
    rows = {
        "opening": opening,
        "compacting": {size: [each.seconds for each in foldings[size]] for size in plan.sizes},
        "  beside sends": {size: [each.seconds_beside_sends for each in foldings[size]] for size in plan.sizes},
    }
    for name, figures in rows.items():
        print(
            f"{name:<16}" + "".join(f"{median(figures[size]):>8.3f} ({min(figures[size]):.3f})" for size in plan.sizes)
        )
    print("\nMicroseconds a send in the process that compacts")
    for name, field in (("before", "usual_us"), ("meanwhile", "beside_us"), ("  one in 100", "slow_us")):
        values = [median(getattr(each, field) for each in foldings[size]) for size in plan.sizes]
        print(f"{name:<16}" + "".join(f"{value:>16.0f}" for value in values))


def _print_routing(plan: Plan) -> None:
    print("\nMicroseconds a ranking, of so many agents")
    print(f"{'':<16}{'nothing changed':>24}{'one changed':>24}{'the first':>24}")
    for agents in SIZES if plan is THOROUGH else SIZES[:2]:
        timings = [measure_routing(agents) for _ in range(plan.rounds)]
        columns = [
            [one.quiet_us for one in timings],
            [one.changing_us for one in timings],
            [t.first_us for t in timings],
        ]
        print(f"{agents:<16,}" + "".join(f"{f'{median(each):.0f} ({min(each):.0f})':>24}" for each in columns))


def _print_supervision(plan: Plan) -> None:
    found = measure_supervision(plan.agents, plan.watch_s)
    print(f"\nA server and {found.agents} agents that run, silent and idle, over {plan.watch_s:.0f} s")
    print(f"{'':<16}{'no agents':>16}{f'{found.agents} agents':>16}{'more':>16}")
    more = found.busy.core - found.idle.core
    print(f"{'% of a core':<16}{found.idle.core:>16.2%}{found.busy.core:>16.2%}{more:>16.2%}")
    sizes = [found.idle.memory, found.busy.memory, found.busy.memory - found.idle.memory]
    print(f"{'resident MB':<16}" + "".join(f"{size / 1024**2:>16.1f}" for size in sizes))


def _print_waiting(plan: Plan) -> None:
    def row(name: str, delays: Delays) -> str:
        return f"{name:<32}{delays.median:>16.1f}{delays.p99:>16.1f}"

    found = measure_waiting(plan.waits, plan.waiters, plan.watch_s)
    print(f"\nMilliseconds from another process's send to the answer of who waits for it, of {plan.waits}")
    print(f"{'':<32}{'median':>16}{'1 in 100':>16}")
    print(row("in a process", found.in_process))
    print(row("over stdio", found.over_stdio))
    print(f"\n{found.processes} processes that wait, together, over {plan.watch_s:.0f} s")
    print(f"{'':<32}{'nothing happens':>16}{f'{A_SECOND} sends a second':>24}")
    print(f"{'% of a core':<32}{found.idle:>16.2%}{found.beside:>24.2%}")


@contextmanager
def _copy_of(ledger: Seeded) -> Iterator[Seeded]:
    folder = ledger.folder.with_name(f"copy-{next(numbers)}")
    yield ledger.copied(folder)
    shutil.rmtree(folder)


def _floor(folder: Path, sends: int, durability: Durability) -> float:
    path = folder.with_name("floor")
    seconds = append_lines(path, [LINE] * sends, sync=durability is Durability.POWER)
    path.unlink()
    return sends / seconds


def _costs(rates: list[float]) -> str:
    return f"{1e6 / median(rates):.1f} ({1e6 / max(rates):.1f})"


def _ratio(rates: list[float], others: list[float]) -> str:
    return f"{median(rates) / median(others):.2f} ({max(rates) / max(others):.2f})"


if __name__ == "__main__":
    sys.exit(main())
