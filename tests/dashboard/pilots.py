"""Driving a dashboard as a person does: keys are pressed, and what the next look finds is waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio
from textual.screen import Screen

from meshfleet.dashboard.app import Dashboard
from meshfleet.dashboard.screens.place import Place

if TYPE_CHECKING:
    from textual.pilot import Pilot

PATIENCE_S = 20.0

ScreenType = TypeVar("ScreenType", bound=Screen[Any])


def app_of(pilot: Pilot[None]) -> Dashboard:
    """The dashboard that is driven."""
    return cast("Dashboard", pilot.app)


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    with anyio.fail_after(PATIENCE_S):
        while not holds():
            await pilot.pause(0.002)
    await pilot.pause()


async def seen(pilot: Pilot[None]) -> None:
    """Wait until the place one is at has been looked from."""
    app = app_of(pilot)
    await until(pilot, lambda: app.place is not None and app.seen_from is app.place)


async def press(pilot: Pilot[None], *keys: str) -> None:
    """Press keys, one after the other, each once the last one has taken effect."""
    for key in keys:
        await pilot.press(key)
        await seen(pilot)


async def look(pilot: Pilot[None]) -> None:
    """Have the dashboard look at the mesh now."""
    await app_of(pilot).look()
    await pilot.pause()


def place_of(pilot: Pilot[None]) -> Place:
    """The place one is at."""
    place = app_of(pilot).place
    assert place is not None
    return place


def screen_of(pilot: Pilot[None], kind: type[ScreenType]) -> ScreenType:
    """The screen on top, which is of this kind."""
    screen = pilot.app.screen
    assert isinstance(screen, kind), f"{screen} is on top"
    return screen


def told(pilot: Pilot[None]) -> list[str]:
    """What the notifications say."""
    return [note.message for note in pilot.app._notifications]
