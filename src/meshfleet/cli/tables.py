"""Tables and facts on standard output: rich and fitted on a terminal, plain columns of whole values in a pipe.

In a pipe the columns are parted by two blanks or more, which no value holds, their names come first, nothing is `-`,
ids are whole, times are in UTC and durations in ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from meshfleet.cli import figures
from meshfleet.cli.figures import NOTHING
from meshfleet.cli.output import printable, say
from meshfleet.cli.wording import terminal_width

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table as RichTable

WIDE: Final = 120
"""Columns from which on a terminal has room for all there is to tell."""
SHORT_ID: Final = 8
"""Characters of an id that a terminal shows."""
PIPE: Final = "pipe"
TERMINAL: Final = "terminal"
_GAP: Final = "  "
_LEAST: Final = 8
"""Characters that a column keeps which gives room to the others."""
_STYLES: Final[Mapping[str, str]] = {
    "pending": "dim",
    "queued": "dim",
    "dormant": "dim",
    "running": "yellow",
    "retrying": "yellow",
    "stopping": "yellow",
    "stalled": "bold yellow",
    "complete": "green",
    "acked": "green",
    "seen": "cyan",
    "delivered": "cyan",
    "sent": "yellow",
    "cancelled": "magenta",
    "failed": "bold red",
    "interrupted": "bold red",
    "unsupervised": "bold red",
    "over_budget": "bold red",
    "undeliverable": "bold yellow",
}


class Value(Protocol):
    """What stands in a table; a pipe asks only for what is plain, and a terminal only for the rest."""

    @property
    def plain(self) -> str:
        """As it stands in a pipe."""

    @property
    def shown(self) -> str:
        """As a terminal shows it."""

    @property
    def style(self) -> str:
        """Its colour there."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A value.

    Attributes:
        plain: As it stands in a pipe.
        shown: As a terminal shows it.
        style: Its colour there.
    """

    plain: str
    shown: str
    style: str = ""


EMPTY: Final = Cell(NOTHING, "")


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        name: Its name in a pipe, and on a terminal unless it has another there.
        shown: Its name on a terminal.
        only: Where it is shown, if not in both: `PIPE` or `TERMINAL`.
        right: Whether it is one of figures.
        gives: Whether it takes what room the others leave; only such a one is cut to the terminal's width.
        most: How many characters of it a terminal shows, and twice as many where it is wide; 0 is all.
        folds: Whether it is broken into lines instead of being cut.
        wide: Whether only a wide terminal has room for it.
        optional: Whether a terminal leaves it out where it has nothing to tell.
    """

    name: str
    shown: str = ""
    only: str = ""
    right: bool = False
    gives: bool = False
    most: int = 0
    folds: bool = False
    wide: bool = False
    optional: bool = False

    @property
    def heading(self) -> str:
        """Its name on a terminal."""
        return (self.shown or self.name).upper()


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of values, as many as there are columns."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Value]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Facts:
    """Names, each with its value; those of which there is nothing to tell are left out on a terminal."""

    told: list[tuple[str, Cell]]


@dataclass(frozen=True, slots=True)
class Note:
    """A line for a person, which a pipe does not get."""

    text: str


Part = Table | Facts | Note


def words(text: str | None, style: str = "") -> Cell:
    """Somebody's words, on a line."""
    if not text:
        return EMPTY
    line = figures.one_line(text)
    return Cell(line or NOTHING, line if len(text) <= figures.LONGEST_LINE else figures.beginning(text), style)


def state(status: str, beyond: str | None = None) -> Cell:
    """How something stands: a terminal shows the word that tells more."""
    told = figures.one_line(beyond or status)
    return Cell(figures.one_line(status) or NOTHING, told, _STYLES.get(told, ""))


def style_of(word: str) -> str:
    """The colour of a status, a condition or the like."""
    return _STYLES.get(word, "")


def identity(of: str | None) -> Cell:
    """An id, of which a terminal shows the beginning that will do."""
    return Cell(figures.one_line(of) or NOTHING, figures.one_line(of)[:SHORT_ID], "bold") if of else EMPTY


def number(value: int | None) -> Cell:
    """How many; a terminal shows nothing for none."""
    return EMPTY if value is None else Cell(str(value), f"{value:,}" if value else "")


def tokens(value: int) -> Cell:
    """Tokens."""
    return Cell(str(value), figures.tokens(value) if value else "")


def money(value: float) -> Cell:
    """US dollars."""
    return Cell(f"{value:.6f}", figures.money(value) if value else "")


def span(ms: int | None) -> Cell:
    """A duration."""
    return EMPTY if ms is None else Cell(str(ms), figures.duration(ms))


def moment(ms: int | None, now: int) -> Cell:
    """A time."""
    return EMPTY if ms is None else Cell(figures.iso_time(ms), figures.clock(ms, now))


def print_parts(parts: Iterable[Part]) -> None:
    """Print tables and facts with a blank line between them, as standard output would have them."""
    width = terminal_width()
    say("\n\n".join(_plain(parts)) if width is None else _on_a_terminal(parts, width))


def _plain(parts: Iterable[Part]) -> Iterable[str]:
    for part in parts:
        match part:
            case Table():
                places = [place for place, column in enumerate(part.columns) if column.only != TERMINAL]
                names = [part.columns[place].name for place in places]
                yield _aligned([names, *([row[place].plain for place in places] for row in part.rows)])
            case Facts():
                yield _aligned([[name, cell.plain] for name, cell in part.told])
            case Note():
                pass


def _aligned(rows: list[list[str]]) -> str:
    """Rows as lines; the last column is not filled up."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    return "\n".join(
        _GAP.join([*(value.ljust(width) for value, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    )


def _on_a_terminal(parts: Iterable[Part], width: int) -> str:
    from rich.console import Console

    console = Console(width=width, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        for place, part in enumerate(parts):
            if place:
                console.print()
            console.print(renderable(part, width))
    return captured.get().rstrip("\n")


def renderable(part: Part, width: int) -> RenderableType:
    """A part as rich draws it on a terminal of so many columns."""
    from rich.text import Text

    match part:
        case Table():
            return _rich_table(part, width)
        case Facts():
            return _rich_facts(part)
        case Note():
            return Text(printable(part.text), style="dim")


def _rich_table(table: Table, width: int) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    rich = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    places = [place for place in range(len(table.columns)) if _has_room(table, place, width)]
    for place, taken in zip(places, _widths(table, places, width), strict=True):
        column = table.columns[place]
        rich.add_column(
            column.heading,
            justify="right" if column.right else "left",
            no_wrap=not column.folds,
            overflow="fold" if column.folds else "ellipsis",
            width=taken,
        )
    for row in table.rows:
        rich.add_row(*(Text(row[place].shown, style=row[place].style) for place in places))
    return rich


def _widths(table: Table, places: Sequence[int], width: int) -> list[int]:
    """How many characters each column gets: what it needs, but one that gives no more than the others leave."""
    from rich.cells import cell_len

    needed = []
    for place in places:
        column = table.columns[place]
        most = column.most * 2 if width >= WIDE else column.most
        all_of_it = max(len(column.heading), *(cell_len(row[place].shown) for row in table.rows), 1)
        needed.append(min(all_of_it, most or all_of_it))
    gives = [table.columns[place].gives for place in places]
    fixed = sum(taken for taken, may_give in zip(needed, gives, strict=True) if not may_give)
    left = max(width - fixed - len(_GAP) * (len(places) - 1), _LEAST)
    return [min(taken, left) if may_give else taken for taken, may_give in zip(needed, gives, strict=True)]


def _has_room(table: Table, place: int, width: int) -> bool:
    column = table.columns[place]
    if column.only == PIPE or (column.wide and width < WIDE):
        return False
    return not column.optional or any(row[place].shown for row in table.rows)


def _rich_facts(facts: Facts) -> RichTable:
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, cell in facts.told:
        if cell.shown:
            grid.add_row(Text(_in_words(name), style="dim"), Text(cell.shown, style=cell.style))
    return grid


def _in_words(name: str) -> str:
    """A fact's name as a terminal shows it, where its value has a unit."""
    return name.removesuffix("_ms").removesuffix("_usd").replace("_", " ")
