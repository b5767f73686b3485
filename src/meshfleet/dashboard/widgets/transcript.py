"""Words that come line by line, such as an agent's output: wrapped to the width, searched, followed or held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Final

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from meshfleet.dashboard.listing import Piece, Tone

MOST_LINES: Final = 10_000
"""Lines that are kept; older ones go, and the run's files have them."""
SPARE_LINES: Final = 1_000
"""How many there may be beyond that, so that they are not wrapped anew for each one that goes."""


class Transcript(ScrollView, can_focus=True):
    """Lines of text with tones, the newest at the end."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"transcript--found", *(f"transcript--{tone}" for tone in Tone)}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_by_lines(-1)", "Up", show=False),
        Binding("down,j", "scroll_by_lines(1)", "Down", show=False),
        Binding("pageup", "scroll_by_pages(-1)", "Page up", show=False),
        Binding("pagedown", "scroll_by_pages(1)", "Page down", show=False),
        Binding("home,g", "scroll_to_beginning", "Beginning", show=False),
        Binding("end,G", "scroll_to_end", "End", show=False),
    ]

    class Left(Message):
        """Somebody scrolled away from the end."""

    def __init__(self) -> None:
        super().__init__()
        self.follows = True
        self.needle = ""
        self._lines: list[Piece] = []
        self._wrapped: list[tuple[int, Piece]] = []
        self._width = 0
        self._found: int | None = None
        self._styles: dict[str, Style] = {}

    @property
    def line_count(self) -> int:
        """How many lines there are, as they came."""
        return len(self._lines)

    @property
    def matches(self) -> list[int]:
        """Which lines have what is searched for, as they came."""
        return [place for place, (text, _) in enumerate(self._lines) if self.needle and self.needle in text.lower()]

    def clear(self) -> None:
        """Have no lines."""
        self._lines, self._wrapped, self._found = [], [], None
        self._resize()

    def add(self, lines: Iterable[Piece]) -> None:
        """Add lines at the end."""
        new = list(lines)
        if not new:
            return
        first = len(self._lines)
        self._lines += new
        if len(self._lines) > MOST_LINES + SPARE_LINES:
            self._lines = self._lines[-MOST_LINES:]
            self._rewrap()
        else:
            self._wrapped += self._wrap(new, first)
        self._resize()
        if self.follows:
            self._go_to_end()

    def search(self, needle: str) -> int:
        """Search for a text, small and capital letters being one; returns how many lines have it."""
        self.needle = needle.lower()
        self._found = None
        self.refresh()
        return len(self.matches)

    def go_to_match(self, step: int) -> tuple[int, int] | None:
        """Go to the next match, or the one before; returns its number and how many there are."""
        matches = self.matches
        if not matches:
            return None
        if self._found is None:
            number = len(matches) - 1 if step < 0 else 0
        else:
            number = (matches.index(self._found) + step) % len(matches) if self._found in matches else 0
        self._found = matches[number]
        row = next(place for place, (line, _) in enumerate(self._wrapped) if line == self._found)
        self.scroll_to(y=max(0, row - self.size.height // 2), animate=False, immediate=True)
        self.refresh()
        return number + 1, len(matches)

    def follow(self, wanted: bool) -> None:  # noqa: FBT001
        """Stay at the end as lines come, or stay where one is."""
        self.follows = wanted
        if wanted:
            self._go_to_end()

    def render_line(self, y: int) -> Strip:
        """Draw one line of the screen."""
        place = y + self.scroll_offset.y
        width = self.size.width
        if place >= len(self._wrapped):
            return Strip.blank(width, self._style(Tone.PLAIN))
        line, (text, tone) = self._wrapped[place]
        style = self._style(tone)
        segments = list(self._marked(text, style, here=line == self._found))
        return Strip(segments).adjust_cell_length(width, style)

    def notify_style_update(self) -> None:
        """Forget the colours of the theme that was."""
        super().notify_style_update()
        self._styles.clear()

    def on_resize(self) -> None:
        """Wrap all of it to the new width."""
        if self.size.width != self._width:
            self._width = self.size.width
            self._rewrap()
        self._resize()
        if self.follows:
            self._go_to_end()

    def action_scroll_by_lines(self, by: int) -> None:
        """Scroll by so many lines."""
        self._scroll(self.scroll_offset.y + by)

    def action_scroll_by_pages(self, by: int) -> None:
        """Scroll by so many pages."""
        self._scroll(self.scroll_offset.y + by * max(1, self.size.height - 1))

    def action_scroll_to_beginning(self) -> None:
        """Go to the first line."""
        self._scroll(0)

    def action_scroll_to_end(self) -> None:
        """Go to the last line."""
        self._go_to_end()

    def on_mouse_scroll_up(self) -> None:
        """Stop following once somebody scrolls back."""
        if self.follows:
            self.post_message(self.Left())

    def _scroll(self, y: int) -> None:
        if self.follows and y < self.scroll_offset.y:
            self.post_message(self.Left())
        self.scroll_to(y=y, animate=False, immediate=True)

    def _go_to_end(self) -> None:
        self.scroll_to(y=max(0, len(self._wrapped) - self.size.height), animate=False, immediate=True)

    def _resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self._wrapped))
        self.refresh()

    def _rewrap(self) -> None:
        self._wrapped = list(self._wrap(self._lines, 0))

    def _wrap(self, lines: Sequence[Piece], first: int) -> Iterator[tuple[int, Piece]]:
        width = max(1, (self._width or self.size.width) - 1)
        for place, (text, tone) in enumerate(lines, first):
            for row in wrapped(text, width):
                yield place, (row, tone)

    def _marked(self, text: str, style: Style, *, here: bool) -> Iterator[Segment]:
        """The text in segments, with what is searched for standing out."""
        found = self._style("found")
        start = 0
        low = text.lower()
        while self.needle and (place := low.find(self.needle, start)) >= 0:
            yield Segment(text[start:place], style)
            start = place + len(self.needle)
            yield Segment(text[place:start], found + Style(underline=True) if here else found)
        yield Segment(text[start:], style)

    def _style(self, name: str) -> Style:
        style = self._styles.get(name)
        if style is None:
            style = self._styles[name] = self.get_component_rich_style(f"transcript--{name}")
        return style


def wrapped(text: str, width: int) -> list[str]:
    """A line broken at blanks where it can be, and within words where it has to be."""
    rows = []
    while cell_len(text) > width:
        head = chop_cells(text, width)[0]
        blank = head.rfind(" ")
        cut = blank if blank > width // 2 else len(head)
        rows.append(text[:cut].rstrip())
        text = text[cut:].lstrip(" ")
    return [*rows, text]
