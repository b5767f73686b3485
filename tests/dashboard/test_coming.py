"""What a list says and does while rows are still to come: of a ledger just opened, and of many messages."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from meshfleet.dashboard.app import Dashboard
from meshfleet.dashboard.picture import EVERY_MESSAGE, Picture, Wanted
from meshfleet.dashboard.screens import messages
from meshfleet.dashboard.screens.messages import MessagesPlace
from meshfleet.dashboard.widgets.lines import LOOKING, Lines
from meshfleet.ledger import Ledger
from tests.dashboard.meshes import CHECKOUT, NIGHTLY, dashboard_of, open_mesh, own_id
from tests.dashboard.pilots import PATIENCE_S, app_of, look, place_of, press, seen, until

if TYPE_CHECKING:
    from textual.pilot import Pilot

pytestmark = pytest.mark.anyio

NEWEST_FIRST = [own_id(number) for number in (104, 102, 103, 101, 105)]
STILL = "older messages are still being looked at"


@pytest.fixture
def ledger(ledger_file: Path) -> Ledger:
    return open_mesh(ledger_file)


@pytest.fixture(autouse=True)
def two_messages_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if five were many: the two that came last are 104 and 105."""
    monkeypatch.setattr(messages, "FIRST_MESSAGES", 2)


@contextmanager
def held_back(app: Dashboard, which: Callable[[Wanted], bool]) -> Iterator[Callable[[], None]]:
    """Have looks that want this wait until the call that is handed out."""
    go_on = threading.Event()
    look_at_once = app._collector.look

    def look_late(wanted: Wanted) -> Picture:
        if which(wanted):
            go_on.wait(PATIENCE_S)
        return look_at_once(wanted)

    app._collector.look = look_late  # type: ignore[method-assign]
    try:
        yield go_on.set
    finally:
        go_on.set()


@asynccontextmanager
async def at_messages(
    ledger: Ledger, *way: str, size: tuple[int, int] = (100, 30)
) -> AsyncGenerator[tuple[Pilot[None], Callable[[], None]]]:
    """Go to the messages, of which the older ones are looked at after the call that is handed out."""
    app = dashboard_of(ledger)
    async with app.run_test(size=size) as pilot:
        await seen(pilot)
        with held_back(app, lambda wanted: wanted.messages == EVERY_MESSAGE) as go_on:
            await press(pilot, *way)
            await pilot.press("4")
            # also what the place finds when it is built may be the first that it shows
            await until(pilot, lambda: isinstance(place := place_of(pilot), MessagesPlace) and place.coming != LOOKING)
            yield pilot, go_on


def lines_of(pilot: Pilot[None]) -> Lines:
    return place_of(pilot).query_one(Lines)


def current(pilot: Pilot[None]) -> Any:
    return lines_of(pilot).current


def shown(pilot: Pilot[None]) -> list[str]:
    return [row.id for row in lines_of(pilot)._rows]


def drawn(pilot: Pilot[None]) -> str:
    return "\n".join(strip.text for strip in pilot.app.screen._compositor.render_strips())


async def all_there(pilot: Pilot[None], count: int = 5) -> None:
    await until(pilot, lambda: len(shown(pilot)) == count)


async def test_before_the_first_look_it_does_not_say_that_there_is_nothing(ledger: Ledger) -> None:
    app = dashboard_of(ledger)
    with held_back(app, lambda _: True) as go_on:
        async with app.run_test(size=(100, 30)) as pilot:
            await until(pilot, lambda: app.place is not None and app.place.is_mounted)
            await pilot.press("slash", "x")
            assert "looking" in drawn(pilot)
            assert "no problems" not in drawn(pilot)
            assert "nothing here" not in drawn(pilot)
            go_on()
            await seen(pilot)
            assert "looking" not in drawn(pilot)


async def test_the_newest_messages_are_there_at_once_and_the_others_come(ledger: Ledger) -> None:
    async with at_messages(ledger) as (pilot, go_on):
        assert shown(pilot) == [own_id(104), own_id(105)]
        assert STILL in drawn(pilot)
        assert "4 messages 5" in drawn(pilot), "the number of all is right from the first"
        go_on()
        await all_there(pilot)
        assert shown(pilot) == NEWEST_FIRST
        assert STILL not in drawn(pilot)


async def test_the_cursor_stays_on_its_message_while_older_ones_come(ledger: Ledger) -> None:
    async with at_messages(ledger) as (pilot, go_on):
        await pilot.press("down")
        go_on()
        await all_there(pilot)
        assert current(pilot).id == own_id(105)


async def test_the_cursor_stays_in_sight_where_older_messages_come_in_front_of_it(ledger: Ledger) -> None:
    async with at_messages(ledger, size=(100, 7)) as (pilot, go_on):
        await pilot.press("S", "down")
        go_on()
        await all_there(pilot)
        assert (current(pilot).id, lines_of(pilot)._cursor) == (own_id(104), 4)
        assert 0 < len(lines_of(pilot).visible_rows) < 4
        assert current(pilot) in lines_of(pilot).visible_rows


@pytest.mark.parametrize(("keys", "number"), [("", 104), ("G", 101), ("Gg", 104), ("Gk", 104)])
async def test_who_went_to_the_end_is_at_the_end_of_what_comes(ledger: Ledger, keys: str, number: int) -> None:
    async with at_messages(ledger) as (pilot, go_on):
        # backwards by the recipient's name: 104 and 105, with two that come between them and one behind
        await pilot.press(*"ssS", *keys)
        go_on()
        await all_there(pilot)
        assert current(pilot).id == own_id(number)
        assert current(pilot) in lines_of(pilot).visible_rows


async def test_a_filter_says_that_nothing_is_there_only_once_all_messages_are(ledger: Ledger) -> None:
    async with at_messages(ledger) as (pilot, go_on):
        await pilot.press("slash", *"readme")
        assert shown(pilot) == []
        assert STILL in drawn(pilot)
        assert "nothing here" not in drawn(pilot)
        go_on()
        await all_there(pilot, 1)
        assert shown(pilot) == [own_id(101)]
        await pilot.press("x")
        assert "nothing here has “readmex”" in drawn(pilot)


async def test_a_fleet_is_not_said_to_have_no_messages_while_its_own_are_to_come(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "FIRST_MESSAGES", 1)
    async with at_messages(ledger, "2", "enter") as (pilot, go_on):
        assert (shown(pilot), place_of(pilot).fleet_id) == ([], CHECKOUT)
        assert STILL in drawn(pilot)
        go_on()
        await all_there(pilot, 4)


async def test_a_message_s_fleet_that_has_few_in_all_is_looked_at_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "FIRST_MESSAGES", 5)
    async with at_messages(ledger, "2", "end", "enter") as (pilot, _):
        assert (shown(pilot), place_of(pilot).fleet_id) == ([own_id(105)], NIGHTLY)
        looks = app_of(pilot).looks
        await look(pilot)
        assert app_of(pilot).looks == looks + 1
        assert STILL not in drawn(pilot)
