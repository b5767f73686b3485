"""How every view looks, in both themes and at both sizes; at each of these pictures somebody has looked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from meshfleet.dashboard.app import DARK_THEME, LIGHT_THEME, Dashboard
from tests.dashboard.meshes import dashboard_of, open_mesh
from tests.dashboard.pilots import press, seen

if TYPE_CHECKING:
    from textual.pilot import Pilot

SMALL: Final = (80, 24)
LARGE: Final = (160, 48)

SnapCompare = Callable[..., bool]

VIEWS: Final = {
    "problems": [],
    "fleets": ["2"],
    "agents": ["3"],
    "agents_of_a_fleet": ["2", "enter"],
    "messages": ["4"],
    "events": ["5"],
    "agent": ["3", "down", "enter"],
    "stalled_agent": ["3", "down", "down", "enter"],
    "message": ["4", "down", "down", "enter"],
    "help": ["2", "question_mark"],
}
SMALL_ONLY: Final = {
    "cancel": ["3", "down", "x"],
    "resume": ["1", "end", "r"],
    "send": ["3", "down", "m"],
    "save": ["2", "t"],
    "filtered": ["4", "slash", "t", "i", "l", "l"],
    "searched": ["3", "down", "enter", "slash", "t", "i", "l", "l", "enter"],
    "disabled_key": ["3", "x"],
}


def compared(snap_compare: SnapCompare, app: Dashboard, keys: list[str], size: tuple[int, int], theme: str) -> bool:
    async def before(pilot: Pilot[None]) -> None:
        app.theme = theme
        await seen(pilot)
        await press(pilot, *keys)

    return snap_compare(app, terminal_size=size, run_before=before)


@pytest.mark.parametrize(
    ("size", "theme"), [(SMALL, DARK_THEME), (LARGE, LIGHT_THEME)], ids=["small_dark", "large_light"]
)
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_looks_as_it_did(
    snap_compare: SnapCompare, ledger_file: Path, view: str, size: tuple[int, int], theme: str
) -> None:
    app = dashboard_of(open_mesh(ledger_file))
    assert compared(snap_compare, app, VIEWS[view], size, theme)


@pytest.mark.parametrize("deed", SMALL_ONLY)
def test_a_deed_looks_as_it_did(snap_compare: SnapCompare, ledger_file: Path, deed: str) -> None:
    app = dashboard_of(open_mesh(ledger_file))
    assert compared(snap_compare, app, SMALL_ONLY[deed], SMALL, DARK_THEME)


def test_without_colours_every_state_can_still_be_told(
    snap_compare: SnapCompare, ledger_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = dashboard_of(open_mesh(ledger_file))
    assert compared(snap_compare, app, ["2"], SMALL, DARK_THEME)


def test_read_only_is_said_and_takes_the_keys_away(snap_compare: SnapCompare, ledger_file: Path) -> None:
    app = dashboard_of(open_mesh(ledger_file), read_only=True)
    assert compared(snap_compare, app, ["2", "x"], SMALL, DARK_THEME)
