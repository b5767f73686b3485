"""Where people type: fields of Textual whose cursor stands still, so that nothing is drawn while nobody types."""

from __future__ import annotations

from textual.widgets import Input, TextArea


class Field(Input):
    """A line to type."""

    def on_mount(self) -> None:
        """Let the cursor stand still."""
        self.cursor_blink = False


class Area(TextArea):
    """Several lines to type."""

    def on_mount(self) -> None:
        """Let the cursor stand still."""
        self.cursor_blink = False
