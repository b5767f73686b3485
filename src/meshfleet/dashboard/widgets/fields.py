"""Where people type and choose: widgets of Textual that draw nothing while nobody types, and need no colours."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Checkbox, Input, RadioButton, TextArea


class Field(Input):
    """A line to type, whose cursor stands still."""

    def on_mount(self) -> None:
        """Let the cursor stand still."""
        self.cursor_blink = False


class Area(TextArea):
    """Several lines to type, whose cursor stands still."""

    def on_mount(self) -> None:
        """Let the cursor stand still."""
        self.cursor_blink = False


class Choice(RadioButton):
    """One of several, of which a sign tells the chosen one, for those who see no colours."""

    def render(self) -> Content:
        """The sign, and what can be chosen."""
        self.BUTTON_INNER = "●" if self.value else "○"
        return super().render()


class Tick(Checkbox):
    """Yes or no, which the same signs tell."""

    def render(self) -> Content:
        """The sign, and what it stands for."""
        self.BUTTON_INNER = "●" if self.value else "○"
        return super().render()
