"""Writing a message to an agent, or to everyone in a fleet."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import RadioSet, Static

from meshfleet.dashboard.screens.dialog import Dialog
from meshfleet.dashboard.widgets.fields import Area, Choice
from meshfleet.model import MessageType


class MessageDialog(Dialog[tuple[str, str]]):
    """Asks what to send; gives the message's type and its text.

    Args:
        to: Whom it goes to.
    """

    AUTO_FOCUS: ClassVar[str | None] = "Area"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+s", "agree", "Send", priority=True)]

    def __init__(self, to: str) -> None:
        super().__init__(f"A message to {to}; it can't be taken back", yes="Send (ctrl+s)")

    def fields(self) -> ComposeResult:
        """The text, and its type."""
        yield Area(id="text", compact=True)
        with RadioSet(id="type", compact=True):
            for kind in MessageType:
                yield Choice(kind, value=kind is MessageType.QUESTION, compact=True)
        yield Static("", id="refused", markup=False)

    def answer(self) -> tuple[str, str] | None:
        """Both, if the text says something."""
        text = self.query_one(Area).text
        if not text.strip():
            self.refuse("it is blank; write what it is to say")
            return None
        place = self.query_one(RadioSet).pressed_index
        return str(list(MessageType)[max(0, place)]), text
