"""The bottom line: the keys that apply now; one that does not says why when it is pressed or pointed at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget


@dataclass(frozen=True, slots=True)
class Key:
    """A key that is shown.

    Attributes:
        key: As a person writes it.
        label: What it does.
        deed: What is to be done.
        why_not: Why it can't be done now; None where it can.
    """

    key: str
    label: str
    deed: str
    why_not: str | None = None


class KeyBar(Widget):
    """Shows as many keys as there is room for, the first ones first."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"keybar--key", "keybar--label", "keybar--off"}

    class Pressed(Message):
        """Somebody clicked on a key."""

        def __init__(self, deed: str) -> None:
            super().__init__()
            self.deed = deed

    def __init__(self) -> None:
        super().__init__()
        self._keys: Sequence[Key] = ()
        self._ends: list[tuple[int, Key]] = []

    def show_keys(self, keys: Sequence[Key]) -> None:
        """Show these from now on."""
        if list(keys) != list(self._keys):
            self._keys = keys
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw the line."""
        del y
        width = self.size.width
        styles = {name: self.get_component_rich_style(f"keybar--{name}") for name in ("key", "label", "off")}
        segments: list[Segment] = []
        self._ends = []
        used = 0
        for key in self._keys:
            length = cell_len(key.key) + cell_len(key.label) + 3
            if used + length > width:
                continue
            off = key.why_not is not None
            segments.append(Segment(f" {key.key}", styles["off" if off else "key"]))
            segments.append(Segment(f" {key.label} ", styles["off" if off else "label"]))
            used += length
            self._ends.append((used, key))
        return Strip(segments).adjust_cell_length(width, styles["label"])

    def on_click(self, event: events.Click) -> None:
        """Do what the key does that was clicked on."""
        key = self._key_at(event.x)
        if key is not None:
            self.post_message(self.Pressed(key.deed))

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Tell why a key does nothing that is pointed at."""
        key = self._key_at(event.x)
        self.tooltip = None if key is None else key.why_not

    def _key_at(self, x: int) -> Key | None:
        return next((key for end, key in self._ends if x < end), None)
