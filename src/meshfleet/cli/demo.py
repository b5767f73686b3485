"""`meshfleet demo` and the examples: hand the options on, and make an exit code of a missing OpenCode."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from meshfleet.agents.opencode import find_opencode
from meshfleet.cli.output import complain
from meshfleet.errors import MeshfleetError, Unavailable

if TYPE_CHECKING:
    from meshfleet.demo.patterns import Pattern

FAILED: Final = 1
NO_OPENCODE: Final = 2


def demo(environ: Mapping[str, str], *, live: bool, as_json: bool, keep: bool, pattern: Pattern | None = None) -> int:
    """Run a pattern, or the demo's; returns its exit code, 2 when there is no OpenCode to run it with."""
    try:
        opencode = find_opencode(environ)
    except Unavailable as error:
        complain(error)
        return NO_OPENCODE
    # an MCP client and all it needs, which is not loaded for nothing
    from meshfleet.demo.pipeline import DEMO
    from meshfleet.demo.run import Options, run_demo

    options = Options(pattern=pattern or DEMO, live=live, as_json=as_json, keep=keep)
    return run_demo(options, {**environ, "MESHFLEET_OPENCODE": str(opencode)})


def show(pattern: Pattern) -> int:
    """Run one of the examples as a command of its own, with the user's own model unless a scripted one is asked for."""
    usage = argparse.ArgumentParser(description=f"Have a fleet of {len(pattern.agents)} agents run a {pattern.name}.")
    usage.add_argument("--scripted", action="store_true", help="with a scripted model: no key, no network")
    usage.add_argument("--keep", action="store_true", help="keep the folder with the ledger also when all went well")
    usage.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = usage.parse_args()
    try:
        return demo(os.environ, live=not chosen.scripted, as_json=chosen.json, keep=chosen.keep, pattern=pattern)
    except MeshfleetError as error:
        complain(error)
        return FAILED
