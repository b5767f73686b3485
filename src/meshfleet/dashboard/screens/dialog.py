"""What dialogs that ask for several things have in common: a box with a title, fields, and two buttons."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

Answer = TypeVar("Answer")


class Dialog(ModalScreen[Answer | None], Generic[Answer]):
    """Asks for several things; gives the answer, or None where somebody leaves it.

    Args:
        title: What it is about.
        yes: What agreeing does.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", priority=True)]

    def __init__(self, title: str, *, yes: str) -> None:
        super().__init__()
        self._title, self._yes = title, yes

    def compose(self) -> ComposeResult:
        """Put what is asked into a box."""
        with Vertical(classes="dialog"):
            yield Static(self._title, markup=False)
            yield from self.fields()
            with Horizontal(classes="buttons"):
                yield Button(self._yes, id="yes", variant="success", compact=True)
                yield Button("Leave it (esc)", id="no", compact=True)

    def fields(self) -> ComposeResult:
        """The widgets that ask."""
        raise NotImplementedError

    def answer(self) -> Answer | None:
        """What was answered; None where that won't do, which has been said."""
        raise NotImplementedError

    def refuse(self, why: str) -> None:
        """Say in the field `refused` why an answer won't do."""
        self.query_one("#refused", Static).update(why)

    @on(Button.Pressed, "#no")
    def action_leave(self) -> None:
        """Leave everything as it is."""
        self.dismiss(None)

    @on(Button.Pressed, "#yes")
    @on(Input.Submitted)
    def action_agree(self) -> None:
        """Give the answer, if it will do."""
        answer = self.answer()
        if answer is not None:
            self.dismiss(answer)
