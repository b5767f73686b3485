"""Colours for a person at a terminal, where the terminal and NO_COLOR allow any."""

from __future__ import annotations


def coloured(text: str, style: str) -> str:
    """The text in one of the terminal's own colours, which it has fit for a light or a dark ground."""
    from rich.console import Console

    console = Console(color_system="auto", markup=False, emoji=False, highlight=False, soft_wrap=True)
    with console.capture() as shown:
        console.print(text, style=style, end="")
    return shown.get()
