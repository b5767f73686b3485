"""The line of views: which there are, with their keys and how much is in each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from meshfleet.dashboard.deeds import VIEWS

_ALARMING: Final = "problems"


class Views(Widget):
    """The views, of which a click chooses one."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"views--view", "views--here", "views--alarm"}

    class Chosen(Message):
        """Somebody wants to go to a view."""

        def __init__(self, place: int) -> None:
            super().__init__()
            self.place = place

    def __init__(self) -> None:
        super().__init__()
        self._here = ""
        self._counts: Mapping[str, int] = {}
        self._ends: list[int] = []

    def show_counts(self, here: str, counts: Mapping[str, int]) -> None:
        """Show which view this is, and how much is in which."""
        if (here, counts) != (self._here, self._counts):
            self._here, self._counts = here, dict(counts)
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw the line."""
        del y
        styles = {name: self.get_component_rich_style(f"views--{name}") for name in ("view", "here", "alarm")}
        segments: list[Segment] = []
        self._ends = []
        used = 0
        for number, name in enumerate(VIEWS, 1):
            count = self._counts.get(name)
            text = f" {number} {name}{'' if count is None else f' {count}'} "
            style = styles["here" if name == self._here else "alarm" if name == _ALARMING and count else "view"]
            segments.append(Segment(text, style))
            used += cell_len(text)
            self._ends.append(used)
        return Strip(segments).adjust_cell_length(self.size.width, styles["view"])

    def on_click(self, event: events.Click) -> None:
        """Go to the view that was clicked on."""
        place = next((place for place, end in enumerate(self._ends) if event.x < end), None)
        if place is not None:
            self.post_message(self.Chosen(place))
