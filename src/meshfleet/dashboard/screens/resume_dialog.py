"""How agents are to go on: what they are told, and whether in a new session."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Checkbox, Input

from meshfleet.dashboard.screens.dialog import Dialog
from meshfleet.dashboard.widgets.fields import Field, Tick
from meshfleet.mesh.briefing import GO_ON


class ResumeDialog(Dialog[tuple[str, bool]]):
    """Asks how to resume; gives what is to be said, which may be nothing, and whether to begin a new session.

    Args:
        name: Who is to go on.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"Resume {name}: what is to be said to it?", yes="Resume")

    def fields(self) -> ComposeResult:
        """What is said, and where."""
        yield Field(placeholder=GO_ON, id="prompt", compact=True)
        yield Tick("in a new session, from its own prompt on", id="fresh", compact=True)

    def answer(self) -> tuple[str, bool]:
        """Both."""
        return self.query_one("#prompt", Input).value, self.query_one("#fresh", Checkbox).value
