"""How agents are to go on: what they are told, and whether in a new session."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Checkbox, Input, Static

from meshfleet.dashboard.widgets.fields import Field
from meshfleet.mesh.briefing import GO_ON


class ResumeDialog(ModalScreen[tuple[str, bool] | None]):
    """Asks how to resume; gives what is to be said, which may be nothing, and whether to begin a new session.

    Args:
        name: Who is to go on.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave")]

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name_of_subject = name

    def compose(self) -> ComposeResult:
        """Put what is asked into a box."""
        with Vertical(classes="dialog"):
            yield Static(f"Resume {self._name_of_subject}: what is to be said to it?", markup=False)
            yield Field(placeholder=GO_ON, id="prompt", compact=True)
            yield Checkbox("in a new session, from its own prompt on", id="fresh", compact=True)
            with Horizontal(classes="buttons"):
                yield Button("Resume", id="yes", variant="success", compact=True)
                yield Button("Leave it (esc)", id="no", compact=True)

    def action_leave(self) -> None:
        """Leave it as it is."""
        self.dismiss(None)

    @on(Button.Pressed, "#no")
    def left(self) -> None:
        """Leave it as it is."""
        self.dismiss(None)

    @on(Button.Pressed, "#yes")
    @on(Input.Submitted)
    def agreed(self) -> None:
        """Say how."""
        self.dismiss((self.query_one("#prompt", Input).value, self.query_one("#fresh", Checkbox).value))
