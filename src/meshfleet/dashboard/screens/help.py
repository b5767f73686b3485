"""What can be done in a place, and with which keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from meshfleet.dashboard.deeds import VIEWS, Deed

_MOVING: Final = (
    ("↑ ↓ k j", "move by a line"),
    ("PgUp PgDn", "move by a page"),
    ("Home End g G", "the first, the last"),
    ("ctrl+p", "a palette of every deed, fleet and agent by name"),
    ("ctrl+z", "stop it; fg in the shell has it go on"),
    ("click", "rows, headings, views, crumbs and keys take it"),
    ("double-click", "go into a row"),
)


class Help(ModalScreen[None]):
    """Shows the deeds of a place.

    Args:
        deeds: What can be done there.
        view: What the place is called.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,enter", "leave", "Leave")]

    def __init__(self, deeds: Sequence[Deed], view: str) -> None:
        super().__init__()
        self._deeds, self._view = deeds, view

    def compose(self) -> ComposeResult:
        """List the keys."""
        text = Text()
        text.append(f"Keys in {self._view}\n\n", style="bold")
        for key, told in (*((deed.shown_key, deed.told) for deed in self._deeds), self._views(), *_MOVING):
            text.append(f"  {key:<13}", style="bold")
            text.append(f"{told}\n")
        text.append("\nA key that is dim can't be used now; press it, and it says why.", style="italic")
        with VerticalScroll(classes="dialog"):
            yield Static(text)

    def action_leave(self) -> None:
        """Go back to the place."""
        self.dismiss(None)

    def _views(self) -> tuple[str, str]:
        return f"1 to {len(VIEWS)}", f"go to {', '.join(VIEWS)}"
