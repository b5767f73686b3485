"""The top line: where one is, and how the ledger stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

_BETWEEN = " › "
_LEAST_CRUMBS = 20


class Title(Widget):
    """Breadcrumbs on the left, of which a click goes back to one, and the state of things on the right."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"title--crumb", "title--here", "title--state"}

    class Back(Message):
        """Somebody wants to go back by so many places."""

        def __init__(self, places: int) -> None:
            super().__init__()
            self.places = places

    def __init__(self) -> None:
        super().__init__()
        self._crumbs: Sequence[str] = ()
        self._state = ""
        self._ends: list[int] = []

    def show_place(self, crumbs: Sequence[str], state: str) -> None:
        """Show the way here, and how things stand."""
        if (list(crumbs), state) != (list(self._crumbs), self._state):
            self._crumbs, self._state = crumbs, state
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw the line."""
        del y
        width = self.size.width
        crumb, here, state = (self.get_component_rich_style(f"title--{name}") for name in ("crumb", "here", "state"))
        told = self._state if cell_len(self._state) + _LEAST_CRUMBS < width else ""
        room = width - cell_len(told) - 3
        segments = [Segment(" ", crumb)]
        self._ends = []
        used = 1
        for place, text in enumerate(self._fitting(room)):
            last = place == len(self._crumbs) - 1
            if place:
                segments.append(Segment(_BETWEEN, crumb))
                used += len(_BETWEEN)
            segments.append(Segment(text, here if last else crumb))
            used += cell_len(text)
            self._ends.append(used)
        if told:
            segments += [Segment(" " * max(1, width - used - cell_len(told) - 1), crumb), Segment(f"{told} ", state)]
        return Strip(segments).adjust_cell_length(width, crumb)

    def on_click(self, event: events.Click) -> None:
        """Go back to the place that was clicked on."""
        place = next((place for place, end in enumerate(self._ends) if event.x < end), None)
        if place is not None and place < len(self._crumbs) - 1:
            self.post_message(self.Back(len(self._crumbs) - 1 - place))

    def _fitting(self, room: int) -> list[str]:
        """The crumbs, the longest ones shortened where there is no room for all."""
        crumbs = [set_cell_size(crumb, room) if cell_len(crumb) > room > 0 else crumb for crumb in self._crumbs]
        while crumbs and sum(map(cell_len, crumbs)) + len(_BETWEEN) * (len(crumbs) - 1) > room:
            longest = max(range(len(crumbs)), key=lambda place: cell_len(crumbs[place]))
            if cell_len(crumbs[longest]) <= 2:  # noqa: PLR2004
                break
            crumbs[longest] = set_cell_size(crumbs[longest], cell_len(crumbs[longest]) - 2).rstrip("…") + "…"
        return crumbs
