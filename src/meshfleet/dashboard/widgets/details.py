"""A few lines of text with tones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.widgets import Static

from meshfleet.dashboard.listing import Piece, Tone


class Details(Static):
    """Shows lines of pieces."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"details--{tone}" for tone in Tone}

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._lines: list[Sequence[Piece]] = []

    def show_lines(self, lines: Iterable[Sequence[Piece]]) -> None:
        """Show these from now on."""
        new = list(lines)
        if new != self._lines:
            self._lines = new
            self._draw()

    def notify_style_update(self) -> None:
        """Draw in the colours of the new theme."""
        super().notify_style_update()
        self._draw()

    def _draw(self) -> None:
        text = Text()
        for place, line in enumerate(self._lines):
            if place:
                text.append("\n")
            for words, tone in line:
                text.append(words, style=self.get_component_rich_style(f"details--{tone}"))
        self.update(text)
