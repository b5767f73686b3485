"""What a list had no room for of the row under the cursor, in the lines below it."""

from __future__ import annotations

from typing import Final

from rich.cells import set_cell_size
from textual.content import Content
from textual.widgets import Static

from meshfleet.dashboard.listing import Untold

MOST_LINES: Final = 3
"""As many as the style sheet gives it room for."""
_BETWEEN: Final = "  "


class Told(Static):
    """Tells what is not to be read in a row; gone where there is nothing."""

    def __init__(self) -> None:
        super().__init__(id="told", markup=False)

    def tell(self, untold: Untold, width: int) -> None:
        """Tell this from now on, in so many columns."""
        told = in_few_lines(untold, width)
        self.display = bool(told)
        self.update(told)


def in_few_lines(untold: Untold, width: int) -> str:
    """The text and the fields after it; of a text that is too long as much as leaves the fields their room."""
    fields = _BETWEEN.join(untold.fields)
    for text, rest in ((untold.text, fields), (_joined(untold.text, fields), "")):
        if _fits(_joined(text, rest), width):
            return _joined(text, rest)
        # with none of it the rest may be too long by itself
        fitting, too_many = -1, width * MOST_LINES
        while too_many - fitting > 1:
            tried = (fitting + too_many) // 2
            fitting, too_many = (tried, too_many) if _fits(_cut(text, tried, rest), width) else (fitting, tried)
        if fitting > 0:
            return _cut(text, fitting, rest)
    return ""


def _joined(*texts: str) -> str:
    return _BETWEEN.join(text for text in texts if text)


def _cut(text: str, columns: int, rest: str) -> str:
    return _joined(set_cell_size(text, columns).rstrip() + "…", rest)


def _fits(text: str, width: int) -> bool:
    return len(Content(text).wrap(max(1, width))) <= MOST_LINES
