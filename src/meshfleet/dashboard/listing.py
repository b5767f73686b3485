"""A list as data: its columns, what it is ordered and filtered by, and which columns a width has room for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from enum import StrEnum
from typing import Any, Final

from rich.cells import cell_len

from meshfleet.dashboard.wording import NOTHING

GAP: Final = 1
"""Blanks between two columns."""
LEAST: Final = 12
"""Columns that what is of no fixed width gets at least, before other columns make room."""
ENOUGH: Final = 60
"""Columns that what takes the rest keeps before columns of a fixed width become wider."""


class Tone(StrEnum):
    """How a piece of text is meant; each face has its own colours for it."""

    PLAIN = "plain"
    DIM = "dim"
    STRONG = "strong"
    GOOD = "good"
    BUSY = "busy"
    WARN = "warn"
    BAD = "bad"


Piece = tuple[str, Tone]


@dataclass(frozen=True, slots=True)
class Load:
    """What the processes of an agent use.

    Attributes:
        memory: Bytes resident.
        cpu: The part of a core, 1.0 being all of one; None before there are two looks.
        written_at: When the agent said or did something last, ms since the epoch; None where nobody knows.
    """

    memory: int | None = None
    cpu: float | None = None
    written_at: int | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """What a cell may depend on beside its row.

    Attributes:
        now: ms since the epoch.
        loads: What agents' processes use, by the agents' ids, as far as that was looked at.
        names: What fleets are called, by their ids.
        zone: Of the times of day; None is this machine's.
    """

    now: int
    loads: Mapping[str, Load] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    zone: tzinfo | None = None


Shown = str | Piece | Sequence[Piece]
Cell = Callable[[Any, Moment], Shown]
Order = Callable[[Any, Moment], Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: What stands above it.
        width: In columns of the terminal; None takes what is left.
        cell: What a row shows in it.
        order: By what rows are ordered; None where that makes no sense.
        descending: Whether the largest comes first when it is chosen.
        opposite: Whether it shows the less the larger what it is ordered by is, as an age does of a moment.
        right: Whether it is set to the right, as numbers are.
        most: How wide it becomes where the rest of the room is taken by another; 0 is no wider than its width, and for
            one that takes what is left as wide as that is.
        rank: What is left out first where there is no room: the highest; 0 is never left out.
    """

    name: str
    width: int | None
    cell: Cell
    order: Order | None = None
    descending: bool = False
    right: bool = False
    most: int = 0
    rank: int = 0
    opposite: bool = False

    def shows_descending(self, *, reverse: bool) -> bool:
        """Whether the largest of what it shows is on top, where it is ordered by it."""
        return (self.descending != reverse) != self.opposite


def figure(name: str, width: int, cell: Cell, order: Order, rank: int = 0) -> Column:
    """A column of figures: set to the right, the largest first."""
    return Column(name, width, cell, order, descending=True, right=True, rank=rank)


def time_since(name: str, width: int, cell: Cell, moment: Order) -> Column:
    """A column of ages, ordered by the moments that they are since: what is newest first, so with the smallest age."""
    return Column(name, width, cell, moment, descending=True, right=True, opposite=True)


@dataclass(frozen=True, slots=True)
class Listing:
    """A kind of list.

    Attributes:
        name: What it lists, in the plural.
        columns: From left to right.
        key: What tells one row from the others; also what is copied.
        words: What a filter looks in, in small letters.
        first: The column it is ordered by at first; None leaves the rows as they come.
        empty: What is said where there are no rows.
    """

    name: str
    columns: tuple[Column, ...]
    key: Callable[[Any], str]
    words: Callable[[Any], str]
    first: str | None
    empty: str

    def column(self, name: str | None) -> Column | None:
        """The column of a name."""
        return next((column for column in self.columns if column.name == name), None)


def next_order(listing: Listing, by: str | None) -> str | None:
    """The column to order by after this one."""
    names = [column.name for column in listing.columns if column.order is not None]
    if not names:
        return None
    return names[(names.index(by) + 1) % len(names)] if by in names else names[0]


def fitted(columns: Sequence[Column], width: int) -> list[tuple[Column, int]]:
    """The columns there is room for, with their widths."""
    kept = list(columns)
    while True:
        fixed = sum(column.width or 0 for column in kept) + GAP * (len(kept) - 1)
        flexible = [column for column in kept if column.width is None]
        left = width - fixed
        droppable = [column for column in kept if column.rank]
        if left >= LEAST * len(flexible) or not droppable:
            break
        kept.remove(max(droppable, key=lambda column: column.rank))
    takers = [column for column in flexible if not column.most] or flexible
    widths = {}
    for column in flexible:
        if column not in takers:
            widths[column.name] = max(1, min(column.most, left // len(flexible)))
            left -= widths[column.name]
    spare = left - ENOUGH * len(takers)
    for column in kept:
        if column.width is not None:
            more = max(0, min(column.most - column.width, spare))
            widths[column.name] = column.width + more
            spare, left = spare - more, left - more
    for place, column in enumerate(takers):
        widths[column.name] = max(1, left // len(takers) + (1 if place < left % len(takers) else 0))
    return [(column, widths[column.name]) for column in kept]


@dataclass(frozen=True, slots=True)
class Untold:
    """What of a row is cut or left out.

    Attributes:
        text: Of the column that takes what is left, which is what matters most.
        fields: Of the others, each with the name of its column, from left to right.
    """

    text: str = ""
    fields: tuple[str, ...] = ()


def untold(columns: Sequence[Column], shown: Sequence[tuple[Column, int]], row: Any, moment: Moment) -> Untold:
    """What of a row columns of these widths leave out or cut; where there was nothing to say, nothing is missing."""
    widths = {column.name: width for column, width in shown}
    text, fields = "", []
    for column in columns:
        cell = text_of(column.cell(row, moment)).strip()
        if cell in {"", NOTHING} or cell_len(cell) <= widths.get(column.name, 0):
            continue
        if column.width is None and not column.most:
            text = cell
        else:
            fields.append(f"{column.name} {cell}")
    return Untold(text, tuple(fields))


def text_of(cell: Shown) -> str:
    """A cell as text alone."""
    return "".join(text for text, _ in pieces_of(cell))


def pieces_of(cell: Shown) -> Sequence[Piece]:
    """A cell as pieces of text with their tones."""
    match cell:
        case str():
            return ((cell, Tone.PLAIN),)
        case (str() as text, Tone() as tone):
            return ((text, tone),)
        case _:
            return cell
