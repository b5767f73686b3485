"""Under which name a fleet's agents are to be kept."""

from __future__ import annotations

import re

from textual.app import ComposeResult
from textual.widgets import Input, Static

from meshfleet.dashboard.screens.dialog import Dialog
from meshfleet.dashboard.widgets.fields import Field
from meshfleet.errors import Invalid
from meshfleet.mesh.templates import LONGEST_TEMPLATE_NAME, check_template_name


class TemplateDialog(Dialog[tuple[str, str]]):
    """Asks for a template's name and what it is for.

    Args:
        name: What the fleet is called, from which a name is made that a template can have.
    """

    def __init__(self, name: str) -> None:
        super().__init__("Keep this fleet's agents as a template", yes="Save")
        self._proposed = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")[:LONGEST_TEMPLATE_NAME]

    def fields(self) -> ComposeResult:
        """The name, and what it is for."""
        yield Field(self._proposed, placeholder="name: a-z, 0-9, _ and -", id="name", compact=True)
        yield Field(placeholder="what it is for (may be left out)", id="description", compact=True)
        yield Static("a name that is taken gets a new version", id="refused", markup=False)

    def answer(self) -> tuple[str, str] | None:
        """Both, if the name is one."""
        name = self.query_one("#name", Input).value
        try:
            check_template_name("the name", name)
        except Invalid as error:
            self.refuse(str(error))
            return None
        return name, self.query_one("#description", Input).value
