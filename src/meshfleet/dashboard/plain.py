"""The mesh as plain text, once: what the dashboard's lists show, for a pipe or a terminal that is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from rich.cells import cell_len, set_cell_size

from meshfleet.dashboard.arranging import Arrangement, Arranger
from meshfleet.dashboard.collector import Collector
from meshfleet.dashboard.listing import Column, Listing, Moment, fitted, text_of
from meshfleet.dashboard.lists.agents import AGENTS
from meshfleet.dashboard.lists.fleets import FLEETS
from meshfleet.dashboard.lists.messages import MESSAGES
from meshfleet.dashboard.lists.problems import PROBLEMS
from meshfleet.dashboard.picture import Picture, Wanted
from meshfleet.dashboard.processes import Sampler
from meshfleet.errors import Unavailable
from meshfleet.ledger import Ledger
from meshfleet.mesh.overview import FleetSummary
from meshfleet.mesh.texts import counted

MOST_MESSAGES: Final = 20


def _id_beside_a_name(fleet: FleetSummary, _: Moment) -> str:
    """The beginning of a fleet's id, unless it stands in place of its name already."""
    return fleet.id[:8] if fleet.name else ""


_FLEETS: Final = replace(
    FLEETS,
    columns=tuple(replace(one, cell=_id_beside_a_name) if one.name == "ID" else one for one in FLEETS.columns),
)


def once(ledger: Ledger, width: int | None = None) -> str:
    """All lists as text.

    Args:
        ledger: What is looked at.
        width: Columns of the terminal; None cuts nothing.

    Raises:
        MeshfleetError: The ledger can't be read.
    """
    # a collector goes on after that, with what it saw before
    ledger.read(lambda _: None)
    picture = Collector(ledger).look(Wanted(messages=MOST_MESSAGES))
    if picture.trouble is not None:
        raise Unavailable(picture.trouble)
    if not picture.is_there:
        return f"there is no ledger at {ledger.data_file} yet; the first fleet makes it"
    loads = Sampler(ledger.data_file).look(picture.runs)
    return as_text(picture, Moment(picture.at, loads, picture.names), width)


def as_text(picture: Picture, moment: Moment, width: int | None = None) -> str:
    """A picture as text."""
    blocks = [
        _block(PROBLEMS, picture.problems, moment, width),
        _block(_FLEETS, picture.fleets, moment, width),
        _block(AGENTS, picture.agents, moment, width),
        _block(MESSAGES, picture.messages or (), moment, width, picture.message_count),
    ]
    told = [] if picture.why_read_only is None else [picture.why_read_only]
    return "\n\n".join([*told, *blocks])


def _block(listing: Listing, rows: Sequence[Any], moment: Moment, width: int | None, total: int | None = None) -> str:
    if not rows:
        return listing.empty
    count = len(rows) if total is None else total
    heading = counted(count, listing.name)
    if count > len(rows):
        heading += f", the last {len(rows)}"
    ordered = Arranger(listing).arranged(rows, Arrangement(by=listing.first), moment)
    columns = _widths(listing, ordered, moment) if width is None else fitted(listing.columns, width)
    lines = [
        heading,
        " ".join(_cell(column.name, size, right=column.right) for column, size in columns),
        *(
            " ".join(_cell(_text(column, row, moment), size, right=column.right) for column, size in columns)
            for row in ordered
        ),
    ]
    return "\n".join((line if width is None else _cut(line, width)).rstrip() for line in lines)


def _widths(listing: Listing, rows: Sequence[Any], moment: Moment) -> list[tuple[Column, int]]:
    """Every column, as wide as the widest that stands in it."""
    return [
        (column, max(cell_len(column.name), *(cell_len(_text(column, row, moment)) for row in rows)))
        for column in listing.columns
    ]


def _text(column: Column, row: Any, moment: Moment) -> str:
    return text_of(column.cell(row, moment))


def _cut(line: str, width: int) -> str:
    return line if cell_len(line) <= width else set_cell_size(line, width - 1) + "…"


def _cell(text: str, width: int, *, right: bool) -> str:
    text = _cut(text, width)
    blank = " " * (width - cell_len(text))
    return blank + text if right else text + blank
