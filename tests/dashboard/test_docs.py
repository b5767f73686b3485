"""The pictures in the documentation are those that the tests compare with what is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SNAPSHOTS = Path(__file__).parent / "__snapshots__" / "test_views"


@pytest.mark.parametrize("view", ["fleets", "message", "agent"])
def test_a_picture_in_the_documentation_is_what_is_drawn(view: str) -> None:
    picture = REPOSITORY / "docs" / "images" / f"dashboard-{view}.svg"
    drawn = SNAPSHOTS / f"test_a_view_looks_as_it_did[{view}-small_dark].svg"
    assert picture.read_bytes() == drawn.read_bytes()
    assert picture.name in (REPOSITORY / "docs" / "dashboard.md").read_text()


def test_every_key_is_in_the_documentation() -> None:
    from meshfleet.dashboard import deeds

    text = (REPOSITORY / "docs" / "dashboard.md").read_text()
    known = [deed for deed in vars(deeds).values() if isinstance(deed, deeds.Deed)]
    names = {"↵": "Enter", "esc": "Escape", "␣": "Space"}
    assert [deed for deed in known if names.get(deed.shown_key, deed.shown_key) not in text] == []
