"""Writing a message to an agent, or to everyone in a fleet."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, RadioButton, RadioSet, Static

from meshfleet.dashboard.widgets.fields import Area
from meshfleet.model import MessageType


class Choice(RadioButton):
    """One of several, of which a sign tells the chosen one, for those who see no colours."""

    def render(self) -> Content:
        """The sign, and what can be chosen."""
        self.BUTTON_INNER = "●" if self.value else "○"
        return super().render()


class MessageDialog(ModalScreen[tuple[str, str] | None]):
    """Asks what to send; gives the message's type and its text.

    Args:
        to: Whom it goes to.
    """

    AUTO_FOCUS: ClassVar[str | None] = "Area"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", priority=True),
        Binding("ctrl+s", "send", "Send", priority=True),
    ]

    def __init__(self, to: str) -> None:
        super().__init__()
        self._to = to

    def compose(self) -> ComposeResult:
        """Put what is asked into a box."""
        with Vertical(classes="dialog"):
            yield Static(f"A message to {self._to}; it can't be taken back", markup=False)
            yield Area(id="text", compact=True)
            with RadioSet(id="type", compact=True):
                for kind in MessageType:
                    yield Choice(kind, value=kind is MessageType.QUESTION, compact=True)
            yield Static("", id="refused", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Send (ctrl+s)", id="yes", variant="success", compact=True)
                yield Button("Leave it (esc)", id="no", compact=True)

    def action_leave(self) -> None:
        """Send nothing."""
        self.dismiss(None)

    def action_send(self) -> None:
        """Send it, if it says something."""
        text = self.query_one(Area).text
        if not text.strip():
            self.query_one("#refused", Static).update("it is blank; write what it is to say")
            return
        place = self.query_one(RadioSet).pressed_index
        self.dismiss((str(list(MessageType)[max(0, place)]), text))

    @on(Button.Pressed)
    def pressed(self, event: Button.Pressed) -> None:
        """Do what the button says."""
        if event.button.id == "yes":
            self.action_send()
        else:
            self.dismiss(None)
