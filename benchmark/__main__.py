"""`make bench`: measures everything in one run, and writes docs/benchmarks.md and docs/benchmarks.json."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmark.in_process import routing
from benchmark.in_process.large import measure_large
from benchmark.in_process.rates import Counts, measure_burst, measure_rates
from benchmark.over_stdio import compare
from benchmark.over_stdio.session import Subject
from benchmark.report.machine import describe, load
from benchmark.report.page import page_of
from benchmark.report.results import MESHFLEET, SDK, Results, json_of
from benchmark.seeding import seed
from benchmark.serving import SERVE
from benchmark.supervision import measure_supervision

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
SUBJECTS: Final = (
    Subject(MESHFLEET, SERVE),
    # -P, or Python would look for modules beside it first
    Subject(SDK, (sys.executable, "-P", str(Path(__file__).with_name("sdk_server.py")))),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        sizes: How many messages are there already.
        rounds: How often each figure in process is taken.
        counts: How often each operation is done in a round.
        burst: How many messages one process sends one after the other.
        ranked: How many agents are ranked.
        agents: How many run while it is measured what looking after them costs.
        watch_s: For how many seconds that is.
        stdio: How much is measured over stdio.
    """

    sizes: tuple[int, ...]
    rounds: int
    counts: dict[str, Counts]
    burst: int
    ranked: tuple[int, ...]
    agents: int
    watch_s: float
    stdio: compare.Plan


THOROUGH: Final = Plan(
    sizes=(1_000, 10_000, 100_000),
    rounds=3,
    counts={
        "get_inbox": Counts(1_000, 0),
        "ack": Counts(1_000, 300),
        "send": Counts(1_000, 300),
        "spawn": Counts(20, 20),
        "broadcast": Counts(50, 50),
        "batch": Counts(3, 3),
    },
    burst=10_000,
    ranked=routing.SIZES,
    agents=300,
    watch_s=10,
    stdio=compare.THOROUGH,
)
QUICK: Final = Plan(
    sizes=(100, 200),
    rounds=1,
    counts=dict.fromkeys(THOROUGH.counts, Counts(2, 1)),
    burst=20,
    ranked=routing.SIZES[:2],
    agents=2,
    watch_s=0.5,
    stdio=compare.QUICK,
)


def main(arguments: list[str] | None = None) -> int:
    """Run all of them, and write the page."""
    parser = argparse.ArgumentParser(prog="benchmark", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few of everything: shows that it runs, not how fast")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to write it; --quick prints it otherwise")
    options = parser.parse_args(arguments)
    folder = options.out or (None if options.quick else DOCS)
    results = measure(QUICK if options.quick else THOROUGH, _Progress())
    if folder is None:
        print(page_of(results))
    else:
        page = folder / "benchmarks.md"
        page.write_text(page_of(results, page.read_text() if page.exists() else ""))
        page.with_suffix(".json").write_text(json_of(results))
    return 0


def measure(plan: Plan, say: Callable[[str], None]) -> Results:
    """Take all figures; `say` is told what comes next."""
    machine, began = describe(), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        say("in process: making ledgers")
        ledgers = [seed(Path(name) / f"seed-{size}", size) for size in plan.sizes]
        say("in process: operations")
        rates = measure_rates(ledgers, plan.rounds, plan.counts)
        say("in process: many sends")
        bursts = measure_burst(ledgers[0], plan.rounds, plan.burst)
        say("in process: large ledgers")
        large = measure_large(ledgers, plan.rounds)
    say("in process: routing")
    rankings = [[routing.measure_routing(agents) for _ in range(plan.rounds)] for agents in plan.ranked]
    mesh, sdk = compare.compare(SUBJECTS, plan.stdio, say)
    say("over stdio: agents at work")
    supervising = measure_supervision(plan.agents, plan.watch_s)
    return Results(
        quick=plan is QUICK,
        machine=machine,
        load_at_end=load(),
        seconds=time.monotonic() - began,
        rates=rates,
        bursts=bursts,
        large=large,
        routing=rankings,
        plan=plan.stdio,
        mesh=mesh,
        sdk=sdk,
        supervising=supervising,
        watched_s=plan.watch_s,
    )


class _Progress:
    """Says what is measured next, and how many seconds have passed."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:5.0f} s  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
