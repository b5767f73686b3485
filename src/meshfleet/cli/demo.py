"""`meshfleet demo`: hands the options on, and makes an exit code of a missing OpenCode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meshfleet.agents.opencode import find_opencode
from meshfleet.cli.output import complain
from meshfleet.errors import Unavailable

NO_OPENCODE: Final = 2


def demo(environ: Mapping[str, str], *, live: bool, as_json: bool, keep: bool) -> int:
    """Run the demo; returns its exit code, 2 when there is no OpenCode to run it with."""
    try:
        opencode = find_opencode(environ)
    except Unavailable as error:
        complain(error)
        return NO_OPENCODE
    # an MCP client and all it needs, which is not loaded for nothing
    from meshfleet.demo.run import Options, run_demo

    options = Options(live=live, as_json=as_json, keep=keep)
    return run_demo(options, {**environ, "MESHFLEET_OPENCODE": str(opencode)})
