"""docs/benchmarks.md: written anew by each run, but for what people have written between its markers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from benchmark.over_stdio.table import as_lines
from benchmark.report import tables
from benchmark.report.goals import GATES, GOALS
from benchmark.report.results import MESHFLEET, SDK, Results
from meshfleet.settings import Durability

TEMPLATE: Final = Path(__file__).with_name("page.template.md")
_WORTH: Final = {
    False: "Figures are medians of all rounds.",
    True: "It was a quick one: few of everything, which shows that it runs, and nothing else.",
}
_BY_HAND: Final = re.compile(r"(<!-- by hand: (?!end)(\w+) -->\n)(.*?)(<!-- by hand: end -->)", re.DOTALL)


def page_of(results: Results, before: str = "") -> str:
    """The page of a run.

    Args:
        results: Its figures.
        before: The page as it stands; what is between its markers stays.
    """
    page = TEMPLATE.read_text().format(
        machine=_machine(results),
        goals=tables.goals("goal of this project", GOALS, results),
        gates=tables.goals("gate of the original's 1.0", GATES, results),
        synced=tables.operations(results, Durability.POWER),
        unsynced=tables.operations(results, Durability.PROCESS),
        bursts=tables.bursts(results),
        large=tables.large(results),
        routing=tables.routing(results),
        stdio="\n".join(as_lines((MESHFLEET, SDK), (results.mesh, results.sdk), results.plan)),
        watched=f"{results.watched_s:.0f}",
        supervision=tables.supervision(results),
        elsewhere=tables.elsewhere(results),
    )
    kept = {name: text for _, name, text, _ in _BY_HAND.findall(before)}
    return _BY_HAND.sub(lambda found: f"{found[1]}{kept.get(found[2], found[3])}{found[4]}", page)


def _machine(results: Results) -> str:
    about = results.machine
    return (
        f"{about['date']}: {about['processor']}, {about['cores']} cores, {about['memory_gb']} GB, ledgers on "
        f"{about['filesystem']}; {about['system']}, Python {about['python']}, mcp {about['mcp']}, meshfleet "
        f"{about['meshfleet']}.\nLoad {about['load']} at the start and {results.load_at_end} at the end; the run took "
        f"{results.seconds:.0f} s. {_WORTH[results.quick]}"
    )
