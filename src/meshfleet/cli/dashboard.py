"""`meshfleet dashboard`: opens the ledger, and shows it on the terminal or, where there is none, once as text."""

from __future__ import annotations

import gc
import io
import os
import sys
from contextlib import closing

from meshfleet.cli.output import printable, say
from meshfleet.cli.wording import terminal_width
from meshfleet.ledger import Ledger
from meshfleet.settings import Settings


def dashboard(*, interval_ms: int, read_only: bool, as_text: bool) -> int:
    """Show the mesh until somebody leaves, or once; the exit code, 128 and its number where a signal ended it."""
    settings = Settings.from_environ(os.environ)
    if as_text or not _has_terminal():
        _print_once(settings)
        return 0
    from meshfleet.dashboard.app import Dashboard, Options

    _keep_to_one_sign()
    with closing(Ledger.from_settings(settings)) as ledger:
        shown = Dashboard(ledger, settings, Options(interval_ms=interval_ms, read_only=read_only))
        shown.run()
    return shown.return_code or 0


def _print_once(settings: Settings) -> None:
    # as with inspect: a hundred thousand rows are looked at once, and none of them is garbage
    gc.disable()
    from meshfleet.dashboard.plain import once

    with closing(Ledger.from_settings(settings, briefly=True)) as ledger:
        say(printable(once(ledger, terminal_width())))


def _has_terminal() -> bool:
    """Whether there is a terminal that can be drawn on."""
    # it is standard error that Textual draws on
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return os.environ.get("TERM") != "dumb" and all(stream is not None and stream.isatty() for stream in streams)


def _keep_to_one_sign() -> None:
    """Have a question mark drawn for what the terminal's encoding has not: an escape would move all that follows."""
    if isinstance(sys.__stderr__, io.TextIOWrapper):
        sys.__stderr__.reconfigure(errors="replace")
