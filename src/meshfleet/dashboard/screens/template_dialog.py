"""Under which name a fleet's agents are to be kept."""

from __future__ import annotations

import re
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from meshfleet.dashboard.widgets.fields import Field
from meshfleet.errors import Invalid
from meshfleet.mesh.templates import LONGEST_TEMPLATE_NAME, check_template_name


class TemplateDialog(ModalScreen[tuple[str, str] | None]):
    """Asks for a template's name and what it is for.

    Args:
        name: What the fleet is called, from which a name is made that a template can have.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave")]

    def __init__(self, name: str) -> None:
        super().__init__()
        self._proposed = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")[:LONGEST_TEMPLATE_NAME]

    def compose(self) -> ComposeResult:
        """Put what is asked into a box."""
        with Vertical(classes="dialog"):
            yield Static("Keep this fleet's agents as a template", markup=False)
            yield Field(self._proposed, placeholder="name: a-z, 0-9, _ and -", id="name", compact=True)
            yield Field(placeholder="what it is for (may be left out)", id="description", compact=True)
            yield Static("a name that is taken gets a new version", id="refused", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Save", id="yes", variant="success", compact=True)
                yield Button("Leave it (esc)", id="no", compact=True)

    def action_leave(self) -> None:
        """Save nothing."""
        self.dismiss(None)

    @on(Button.Pressed, "#no")
    def left(self) -> None:
        """Save nothing."""
        self.dismiss(None)

    @on(Button.Pressed, "#yes")
    @on(Input.Submitted)
    def agreed(self) -> None:
        """Save it, if the name is one."""
        name = self.query_one("#name", Input).value
        try:
            check_template_name("the name", name)
        except Invalid as error:
            self.query_one("#refused", Static).update(str(error))
            return
        self.dismiss((name, self.query_one("#description", Input).value))
