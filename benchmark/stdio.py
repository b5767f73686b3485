"""Measure any MCP server that has these tools, over stdio; two servers in turn, with their ratio.

    python benchmark/stdio.py --server "meshfleet serve" --server "node other/server.js"

Each has a home and a ledger of its own, in a temporary folder: HOME, MESHFLEET_DATA_FILE and AGENT_MESH_DATA_FILE say
where. The program `opencode` on its PATH is one that sleeps. A client has one request unanswered at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path

if not __package__:
    # started by its path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmark.over_stdio.client import Dead
from benchmark.over_stdio.compare import QUICK, THOROUGH, compare, names_of
from benchmark.over_stdio.session import Subject
from benchmark.over_stdio.table import as_json, as_lines


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        prog="benchmark/stdio.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--server", action="append", required=True, metavar="CMD", help="how to start it; once or twice"
    )
    parser.add_argument("--quick", action="store_true", help="few calls: shows that it runs, not how fast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of all rounds there, too")
    options = parser.parse_args(arguments)
    commands = [tuple(shlex.split(server)) for server in options.server]
    if len(commands) > 2 or not all(commands):
        parser.error("give one or two servers")
    plan = QUICK if options.quick else THOROUGH
    load = os.getloadavg()[0]
    try:
        subjects = [Subject(name, command) for name, command in zip(names_of(commands), commands, strict=True)]
    except Dead as dead:
        parser.exit(1, f"{dead}\n")
    sheets = compare(subjects, plan, lambda text: print(text, file=sys.stderr))
    names = [subject.name for subject in subjects]
    print(f"Medians, the best round in brackets; load at the start {load:.1f} on {os.cpu_count()} cores\n")
    print("\n".join(as_lines(names, sheets, plan)))
    if options.json is not None:
        options.json.write_text(json.dumps(as_json(names, sheets, plan), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
