"""Whether what is drawn can be read: the contrast of each text with what is behind it, in both themes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from meshfleet.dashboard.app import DARK_THEME, LIGHT_THEME, Dashboard
from tests.dashboard.meshes import dashboard_of, open_mesh
from tests.dashboard.pilots import press, seen
from tests.dashboard.test_views import SMALL, SMALL_ONLY, VIEWS

if TYPE_CHECKING:
    from rich.color import Color

LEAST: Final = 3.5
"""Of black on white it is 21; the Web Content Accessibility Guidelines want 4.5 of small texts and 3 of large ones."""
LEAST_OF_KEYS: Final = 2.5
"""One that can't be used is dim."""
BEHIND_A_DIALOG: Final = frozenset({"help", "cancel", "resume", "send", "save"})
"""Views of which a part is dim on purpose."""
PLACES: Final = {name: keys for name, keys in (VIEWS | SMALL_ONLY).items() if name not in BEHIND_A_DIALOG}

pytestmark = pytest.mark.anyio


def luminance(color: Color | None) -> float:
    """As the guidelines reckon it."""
    assert color is not None
    parts = (part / 255 for part in color.get_truecolor())
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def too_faint(app: Dashboard) -> list[tuple[float, str]]:
    """The texts that can hardly be read, with their contrasts."""
    strips = app.screen._compositor.render_strips()
    found = []
    for place, strip in enumerate(strips):
        for segment in strip:
            style = segment.style
            if style is None or not any(char.isalnum() for char in segment.text):
                continue
            darker, lighter = sorted((luminance(style.color), luminance(style.bgcolor)))
            contrast = (lighter + 0.05) / (darker + 0.05)
            if contrast < (LEAST_OF_KEYS if place == len(strips) - 1 else LEAST):
                found.append((round(contrast, 1), segment.text.strip()))
    return found


@pytest.mark.parametrize("theme", [DARK_THEME, LIGHT_THEME])
@pytest.mark.parametrize("view", sorted(PLACES))
async def test_every_text_can_be_read(ledger_file: Path, view: str, theme: str) -> None:
    app = dashboard_of(open_mesh(ledger_file))
    async with app.run_test(size=SMALL) as pilot:
        app.theme = theme
        await seen(pilot)
        await press(pilot, *PLACES[view])
        assert too_faint(app) == []
