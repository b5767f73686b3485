"""`make bench` runs, and what it writes has its form; how fast anything was is not looked at."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import pytest

from benchmark.in_process.operations import OPERATIONS
from benchmark.over_stdio.rows import ROWS
from benchmark.report.goals import GATES, GOALS
from benchmark.report.page import TEMPLATE

ROOT: Final = Path(__file__).parent.parent.parent
WRITTEN: Final = "<!-- by hand: profiles -->\nMost of it is imports.\n\n| a | b |\n<!-- by hand: end -->\n"
ABOUT: Final = {
    *("cores", "date", "filesystem", "load", "load_at_end", "mcp", "memory_gb", "meshfleet", "processor", "python"),
    *("quick", "seconds", "system"),
}
_HEADING: Final = re.compile(r"^#+ .*$", re.MULTILINE)

Written = tuple[str, dict[str, list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The page and the JSON of one quick run, which found something written by hand."""
    folder = tmp_path_factory.mktemp("bench")
    page = folder / "benchmarks.md"
    page.write_text(f"# Before\n\n{WRITTEN}")
    subprocess.run(
        [sys.executable, "-m", "benchmark", "--quick", "--out", str(folder)], cwd=ROOT, check=True, capture_output=True
    )
    return page.read_text(), json.loads(page.with_suffix(".json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_quick_run_measures_all_there_is(written: Written) -> None:
    _, figures = written
    assert {record["operation"] for record in figures["operations"]} == set(OPERATIONS)
    assert {(record["processes"], record["durability"]) for record in figures["operations"]} == {
        (count, durability) for count in (1, 4) for durability in ("power", "process")
    }
    over_stdio = [record for record in figures["stdio"] if record["server"] == "meshfleet"]
    assert [record["figure"] for record in over_stdio] == [row.key for row in ROWS]
    assert [record["word"] for record in over_stdio if "word" in record] == []
    assert all(record["rounds"] for record in over_stdio)
    lost = [record["median"] for record in over_stdio if record["figure"] in {"together_refused", "together_lost"}]
    assert lost + [record["lost"] for record in figures["bursts"]] == [0, 0, 0, 0]
    assert all(figures[name] for name in ("machine", "large", "routing", "supervision"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_page_of_a_run_has_all_its_tables_and_keeps_what_was_written_by_hand(written: Written) -> None:
    page, _ = written
    assert _HEADING.findall(page) == _HEADING.findall(TEMPLATE.read_text())
    assert WRITTEN in page
    assert "# Before" not in page
    assert [goal.text for goal in (*GOALS, *GATES) if f"| {goal.text} |" not in page] == []
    assert page.count("| quick |") == len(GOALS) + len(GATES)
    assert "None" not in page


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_is_written_names_neither_the_machine_nor_a_folder_of_it(written: Written) -> None:
    page, figures = written
    told = page + json.dumps(figures)
    assert [folder for folder in (str(ROOT), sys.prefix, tempfile.gettempdir()) if folder in told] == []
    assert [sorted(record) for record in figures["machine"]] == [sorted(ABOUT)]
