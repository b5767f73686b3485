"""`meshfleet inspect`: a look at a mesh from outside, at its fleets, agents, messages, figures, problems and events."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, Annotated, Final

import typer

from meshfleet.cli.completion import known
from meshfleet.errors import Invalid
from meshfleet.settings import Settings

if TYPE_CHECKING:
    from meshfleet.cli.looking import Sight
    from meshfleet.ledger import Ledger

EVENTS_SHOWN: Final = 20


def inspect(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="ID",
            help="A fleet, an agent or a message, by its id or a unique beginning of it; else all fleets.",
            autocompletion=known.anything,
        ),
    ] = None,
    metrics: Annotated[bool, typer.Option("--metrics", help="The mesh in figures.")] = False,
    problems: Annotated[bool, typer.Option("--problems", help="What is wrong, the newest first.")] = False,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Of the fleet ID: messages, receipts and attempts in order.")
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="The event log's last lines, as many as ID says (20), oldest first.")
    ] = False,
    last: Annotated[
        int | None, typer.Option("--last", metavar="N", min=0, help="How many messages (20), or moments (all).")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Events: go on until a Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; events: one a line.")] = False,
) -> None:
    """Look at fleets, agents and messages.

    Exit code: 0, 1 where there is no such thing or it can't be read, 2 for bad use, 130 after a Ctrl-C.
    """
    asked = {"--metrics": metrics, "--problems": problems, "--timeline": timeline, "--events": events}
    chosen = [option for option, given in asked.items() if given]
    _check(chosen, what, last=last, follow=follow)
    settings = Settings.from_environ(os.environ)
    if events:
        from meshfleet.cli.events import print_events

        raise typer.Exit(print_events(settings.events_file, _count(what), follow=follow, as_json=as_json))
    # a hundred thousand rows are looked at once; nothing is to be found among them that is garbage
    gc.disable()
    from meshfleet.cli.looking import show
    from meshfleet.ledger import Ledger

    ledger = Ledger.from_settings(settings, briefly=True)
    try:
        show(sight_of(ledger, what, chosen, last), as_json=as_json)
    finally:
        ledger.close()


def sight_of(ledger: Ledger, what: str | None, chosen: list[str], last: int | None) -> Sight:
    """What is to be shown of a ledger.

    Raises:
        Invalid: Several have the name, or `last` makes no sense of what has it.
        NotFound: Nothing has it.
    """
    from meshfleet.cli import looking

    match chosen, what:
        case ["--metrics"], _:
            return looking.look_at_metrics(ledger)
        case ["--problems"], _:
            return looking.look_at_problems(ledger)
        case ["--timeline"], str():
            return looking.look_at_timeline(ledger, what, last)
        case _, str():
            return looking.look_at_one(ledger, what, last)
        case _:
            return looking.look_at_all(ledger)


def _check(chosen: list[str], what: str | None, *, last: int | None, follow: bool) -> None:
    """Refuse what does not go together.

    Raises:
        Invalid: It does not.
    """
    if len(chosen) > 1:
        raise Invalid(f"{' and '.join(chosen)} show different things; say one of them")
    if follow and chosen != ["--events"]:
        raise Invalid("--follow goes with --events only; say inspect --events --follow")
    if chosen == ["--timeline"] and what is None:
        raise Invalid("--timeline is that of a fleet; say which: inspect --timeline FLEET")
    if chosen[:1] in (["--metrics"], ["--problems"]) and what is not None:
        raise Invalid(f"{chosen[0]} is of all fleets and takes no id; leave it out")
    if last is not None and (what is None or chosen == ["--events"]):
        raise Invalid("--last goes with a fleet; of events say how many after --events")


def _count(what: str | None) -> int:
    """How many events are asked for."""
    if what is None:
        return EVENTS_SHOWN
    if not (what.isascii() and what.isdigit()):
        raise Invalid(f"{what!r} is no number of events; say one, such as inspect --events 50")
    return int(what)
