"""What another program, a hostile agent or a tiny terminal makes of the dashboard: nothing a person would notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshfleet.model import Row
from tests.dashboard.meshes import ANALYST, CHECKOUT, ENGINEER, NOW, dashboard_of, document, message, open_mesh, own_id
from tests.dashboard.pilots import press, seen
from tests.ledgers import ledger_at

HOSTILE = "\x1b]0;owned\x07\x1b[2J[red]模板\u202e🧑‍🚀\n\t[/] " * 40
EVERYWHERE = ("1", "2", "enter", "enter", "4", "enter", "3", "5", "1", "end", "enter")

pytestmark = pytest.mark.anyio


def hostile() -> Row:
    rows = document()
    rows["fleets"][CHECKOUT]["name"] = HOSTILE
    for agent in rows["agents"].values():
        agent |= {"role": HOSTILE, "error": HOSTILE, "model": HOSTILE, "cwd": HOSTILE, "session_id": HOSTILE}
    rows["messages"][own_id(109)] = message(9, HOSTILE[:200], ANALYST, HOSTILE, ago=1) | {"correlation_id": HOSTILE}
    return rows


def odd() -> Row:
    """Values of the right type that make no sense."""
    rows = document()
    rows["agents"][ANALYST] |= {"started_at": NOW * 2, "attempt": 99, "retry_count": -1, "cost": 1e300}
    rows["agents"][ENGINEER] |= {"attempt": 0}
    rows["fleets"][CHECKOUT] |= {"created_at": 0, "max_tokens": 0}
    rows["messages"][own_id(109)] = message(9, "", "nobody", "", ago=-(10**15)) | {"recipients": []}
    return rows


@pytest.mark.parametrize(("rows", "size"), [(hostile(), (20, 6)), (odd(), (80, 24))], ids=["hostile-tiny", "odd-small"])
async def test_every_view_can_be_gone_to(ledger_file: Path, rows: Row, size: tuple[int, int]) -> None:
    async with dashboard_of(open_mesh(ledger_file, rows)).run_test(size=size) as pilot:
        await seen(pilot)
        await press(pilot, *EVERYWHERE)
        drawn = "\n".join(strip.text for strip in pilot.app.screen._compositor.render_strips())
        assert "\x1b" not in drawn
        assert "\x07" not in drawn


async def test_an_empty_mesh_has_every_view_and_no_deed(ledger_file: Path) -> None:
    async with dashboard_of(ledger_at(ledger_file)).run_test() as pilot:
        await seen(pilot)
        for keys in ("1xs", "2rty", "3mS", "4x", "5y"):
            await press(pilot, *keys, "enter", "slash", "a", "escape")
        assert pilot.app._exit is False
