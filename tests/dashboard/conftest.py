"""What the dashboard's tests need beside the fixtures of all."""

from __future__ import annotations

import os

import pytest
from pytest_textual_snapshot import SVGImageExtension  # type: ignore[import-untyped]

# The plugin names its files' ending as syrupy did before its version 5; browsers show only what ends in .svg.
SVGImageExtension.file_extension = "svg"


@pytest.fixture(autouse=True)
def the_same_terminal_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep away what a person has set for their own terminal."""
    for name in os.environ:
        if name in {"NO_COLOR", "COLORTERM", "TEXTUAL_THEME", "TEXTUAL_ANIMATIONS"}:
            monkeypatch.delenv(name)
