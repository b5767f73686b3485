"""`meshfleet dashboard`: opens the ledger, and shows it on the terminal or, where there is none, once as text."""

from __future__ import annotations

import sys

from meshfleet.cli.agents import opened
from meshfleet.cli.output import printable, say
from meshfleet.cli.wording import terminal_width
from meshfleet.dashboard.plain import once


def dashboard(*, interval_ms: int, read_only: bool, as_text: bool) -> int:
    """Show the mesh until somebody leaves, or once; the exit code: 1 where the ledger could not be read."""
    with opened() as (ledger, settings):
        if as_text or not _has_terminal():
            told, trouble = once(ledger, terminal_width())
            say(printable(told))
            return 0 if trouble is None else 1
        from meshfleet.dashboard.app import Dashboard, Options

        Dashboard(ledger, settings, Options(interval_ms=interval_ms, read_only=read_only)).run()
    return 0


def _has_terminal() -> bool:
    # it is standard error that Textual draws on
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
