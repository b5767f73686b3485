"""A list on the screen: a heading and rows of which only the visible ones are drawn, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from meshfleet.dashboard.arranging import Arrangement, Arranger
from meshfleet.dashboard.listing import GAP, Column, Listing, Moment, Tone, Untold, fitted, pieces_of, untold

LOOKING: Final = "looking"
"""What is said in place of rows before anybody knows whether there are any."""

_DESCENDING: Final = "▼"
_ASCENDING: Final = "▲"
_CUT: Final = "…"


class Lines(ScrollView, can_focus=True):
    """The rows of a listing, with a cursor that stays on its row while others come and go.

    Args:
        listing: What is listed.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"lines--heading", "lines--cursor", *(f"lines--{tone}" for tone in Tone)}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "end(0)", "First", show=False),
        Binding("end,G", "end(-1)", "Last", show=False),
        Binding("enter", "choose", "Go in", show=False),
    ]

    class Chosen(Message):
        """Somebody went into a row."""

        def __init__(self, row: Any) -> None:
            super().__init__()
            self.row = row

    class Moved(Message):
        """The cursor is on another row."""

    class Refitted(Message):
        """There is room for more, or for less."""

    class Reordered(Message):
        """Somebody clicked on a heading to have the rows ordered by it."""

        def __init__(self, column: str) -> None:
            super().__init__()
            self.column = column

    def __init__(self, listing: Listing) -> None:
        super().__init__()
        self.listing = listing
        self.arrangement = Arrangement(by=listing.first)
        self._arranger = Arranger(listing)
        self._rows: Sequence[Any] = ()
        self._coming = LOOKING
        self._cursor = 0
        self._key: str | None = None
        self._stays_last = False
        self._moment = Moment(0)
        self._places: list[tuple[Column, int]] = []
        self._styles: dict[str, Style] = {}

    @property
    def current(self) -> Any | None:
        """The row under the cursor."""
        return self._rows[self._cursor] if self._rows else None

    @property
    def untold(self) -> Untold:
        """What there is no room for of the row under the cursor."""
        width = self.size.width
        if self.current is None or not width:
            return Untold()
        return untold(self.listing.columns, self._columns(width), self.current, self._moment)

    @property
    def visible_rows(self) -> Sequence[Any]:
        """The rows on the screen."""
        top = self.scroll_offset.y
        return self._rows[top : top + max(0, self.size.height - 1)]

    def show_rows(self, rows: Sequence[Any], moment: Moment, coming: str = "") -> None:
        """Show these from now on, filtered and ordered as is wanted.

        Args:
            rows: The rows; of many the same object while they are the same.
            moment: What cells may depend on beside them.
            coming: What is said where more of them are still to come.
        """
        before, was_in_sight = self._rows, self._is_cursor_in_sight
        self._moment, self._coming = moment, coming
        self._rows = self._arranger.arranged(rows, self.arrangement, moment)
        self._resize()
        if self._rows is not before:
            place = self._cursor
            self._find_cursor()
            if was_in_sight and self._cursor != place:
                self._keep_cursor_in_sight()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw one line of the screen."""
        width = self.size.width
        if y == 0:
            return self._heading(width)
        place = y - 1 + self.scroll_offset.y
        if not self._rows and y == 1 + self.size.height // 3:
            return self._words(self._coming or self._emptiness(), width)
        if self._rows and self._coming and place == len(self._rows):
            return self._words(self._coming, width)
        if place >= len(self._rows):
            return Strip.blank(width, self._style(Tone.PLAIN))
        return self._row(place, width)

    def notify_style_update(self) -> None:
        """Forget the colours of the theme that was."""
        super().notify_style_update()
        self._styles.clear()

    def on_resize(self) -> None:
        """Fit the columns in again."""
        self._places = []
        self._resize()
        self._keep_cursor_in_sight()
        self.post_message(self.Refitted())

    def on_click(self, event: events.Click) -> None:
        """Order by a heading, or put the cursor on a row; a second click goes in."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y == 0:
            column = self._column_at(offset.x)
            if column is not None and column.order is not None:
                self.post_message(self.Reordered(column.name))
            return
        place = offset.y - 1 + self.scroll_offset.y
        if place < len(self._rows):
            self._put_cursor(place)
            if event.chain > 1:
                self.action_choose()

    def action_move(self, by: int) -> None:
        """Move the cursor by so many rows."""
        self._put_cursor(self._cursor + by)

    def action_page(self, by: int) -> None:
        """Move the cursor by so many pages."""
        self._put_cursor(self._cursor + by * max(1, self.size.height - 2))

    def action_end(self, place: int) -> None:
        """Move the cursor to the first row, or to the last, which may still be to come."""
        self._put_cursor(place if place >= 0 else len(self._rows) - 1)
        self._stays_last = place < 0 and bool(self._coming)

    def action_choose(self) -> None:
        """Go into the row under the cursor."""
        if self.current is not None:
            self.post_message(self.Chosen(self.current))

    def _put_cursor(self, place: int) -> None:
        place = max(0, min(place, len(self._rows) - 1))
        self._cursor = place
        self._key = self.listing.key(self._rows[place]) if self._rows else None
        self._stays_last = False
        self._keep_cursor_in_sight()
        self.refresh()
        self.post_message(self.Moved())

    def _find_cursor(self) -> None:
        """Put the cursor on the row it was on; where that is gone it stays at its place."""
        if self._stays_last:
            self._key = None
            self._cursor = len(self._rows)
            self._stays_last = bool(self._coming)
        if self._key is not None:
            for place, row in enumerate(self._rows):
                if self.listing.key(row) == self._key:
                    self._cursor = place
                    return
        self._cursor = max(0, min(self._cursor, len(self._rows) - 1))
        if self._rows and self._key is None and self._cursor:
            self._key = self.listing.key(self._rows[self._cursor])

    def _keep_cursor_in_sight(self) -> None:
        # the heading covers the first line of what is scrolled
        self.scroll_to_region(Region(0, self._cursor, 1, 2), animate=False, force=True)

    def _resize(self) -> None:
        heading, coming = 1, 1 if self._coming and self._rows else 0
        self.virtual_size = Size(self.size.width, heading + len(self._rows) + coming)

    @property
    def _is_cursor_in_sight(self) -> bool:
        return 0 <= self._cursor - self.scroll_offset.y < self.size.height - 1

    def _emptiness(self) -> str:
        return f"nothing here has “{self.arrangement.needle}”" if self.arrangement.needle else self.listing.empty

    def _columns(self, width: int) -> list[tuple[Column, int]]:
        if not self._places:
            self._places = fitted(self.listing.columns, max(1, width - 2))
        return self._places

    def _column_at(self, x: int) -> Column | None:
        left = 1
        for column, width in self._columns(self.size.width):
            if x < left + width + GAP:
                return column
            left += width + GAP
        return None

    def _heading(self, width: int) -> Strip:
        style = self._style("heading")
        segments = [Segment(" ", style)]
        for column, columns in self._columns(width):
            name = column.name
            if name == self.arrangement.by:
                name += _DESCENDING if column.shows_descending(reverse=self.arrangement.reverse) else _ASCENDING
            text = set_cell_size(name, columns)
            if column.right:
                text = name.rjust(columns)[-columns:]
            segments.append(Segment(text + " " * GAP, style))
        return Strip(segments).adjust_cell_length(width, style)

    def _row(self, place: int, width: int) -> Strip:
        row = self._rows[place]
        on_cursor = place == self._cursor
        base = self._style("cursor") if on_cursor else None
        gap = Segment(" " * GAP, base or self._style(Tone.PLAIN))
        segments = [gap if GAP == 1 else Segment(" ", gap.style)]
        for column, columns in self._columns(width):
            segments += self._cell(column, columns, row, base)
            segments.append(gap)
        return Strip(segments).adjust_cell_length(width, gap.style)

    def _cell(self, column: Column, width: int, row: Any, base: Style | None) -> list[Segment]:
        left = width
        segments: list[Segment] = []
        plain = base or self._style(Tone.PLAIN)
        for text, tone in pieces_of(column.cell(row, self._moment)):
            style = self._style(tone)
            if base is not None:
                style += Style(bgcolor=base.bgcolor, bold=True)
            length = cell_len(text)
            if length > left:
                text = set_cell_size(text, left - 1) + _CUT if left > 0 else ""  # noqa: PLW2901
                length = left
            if text:
                segments.append(Segment(text, style))
            left -= length
            if not left:
                break
        blank = [Segment(" " * left, plain)] if left else []
        return [*blank, *segments] if column.right else [*segments, *blank]

    def _words(self, text: str, width: int) -> Strip:
        style = self._style(Tone.DIM)
        return Strip([Segment(text.center(width), style)]).adjust_cell_length(width, style)

    def _style(self, name: str) -> Style:
        style = self._styles.get(name)
        if style is None:
            style = self._styles[name] = self.get_component_rich_style(f"lines--{name}")
        return style
