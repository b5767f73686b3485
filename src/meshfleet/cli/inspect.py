"""`meshfleet inspect`: a look at a mesh from outside; so far at its event log, which cli/events.py prints."""

from __future__ import annotations

import os
from typing import Annotated, Final

import typer

from meshfleet.errors import Invalid
from meshfleet.settings import Settings

EVENTS_SHOWN: Final = 20


def inspect(
    count: Annotated[int, typer.Argument(metavar="N", min=0, help="How many events.")] = EVENTS_SHOWN,
    events: Annotated[bool, typer.Option("--events", help="What happened last, oldest first.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until a Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the lines of the log: one JSON object each.")] = False,
) -> None:
    """Look at what has happened: `inspect --events 50`.

    Exit code: 0, 1 where there is no log or it can't be read, 2 for bad use, 130 after a Ctrl-C.
    """
    if not events:
        raise Invalid("there is nothing to inspect but events so far; say --events")
    from meshfleet.cli.events import print_events

    raise typer.Exit(print_events(Settings.from_environ(os.environ).events_file, count, follow=follow, as_json=as_json))
