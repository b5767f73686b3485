"""`meshfleet serve`, which is started for each agent, and so does without what only people need."""

from __future__ import annotations

import os
import sys
from typing import Final

from meshfleet.cli.output import note
from meshfleet.cli.paths import working_folder
from meshfleet.server.start import start
from meshfleet.settings import Settings

TYPED_BY_A_PERSON: Final = (
    "meshfleet serve: waiting for an MCP client on standard input; "
    "OpenCode starts this for you (see README). Ctrl-D ends it."
)


def serve() -> None:
    """Serve MCP over standard input and output; raises what `start` does."""
    settings, folder = Settings.from_environ(os.environ), working_folder()
    if sys.stdin is not None and sys.stdin.isatty():
        note(TYPED_BY_A_PERSON)
    start(settings, dict(os.environ), folder)
