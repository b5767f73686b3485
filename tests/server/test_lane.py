"""Calls one after another: on the spot where that is quick, in a thread where it may take a while."""

from __future__ import annotations

import threading
import time

import anyio
import pytest

from meshfleet.server import lane
from meshfleet.server.lane import Lane

pytestmark = pytest.mark.anyio


async def test_only_what_was_quick_the_last_time_is_done_on_the_spot(monkeypatch: pytest.MonkeyPatch) -> None:
    way = Lane()
    assert not way.is_clear("look")
    assert await way.in_line("look", threading.get_ident) != threading.get_ident()
    assert way.is_clear("look")
    assert not way.is_clear("other")
    assert way.at_once("look", threading.get_ident) == threading.get_ident()
    monkeypatch.setattr(lane, "QUICK_S", 0.0)
    way.at_once("look", time.monotonic)
    assert not way.is_clear("look")


async def test_what_fails_is_raised_and_blocks_nobody() -> None:
    way = Lane()

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await way.in_line("look", fail)
    with pytest.raises(ValueError, match="no"):
        way.at_once("look", fail)
    assert way.is_clear("look")


async def test_nobody_overtakes() -> None:
    way, gate, order = Lane(), threading.Event(), list[int]()
    await way.in_line("look", lambda: None)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:

            def wait() -> None:
                assert gate.wait(10)
                order.append(0)

            tasks.start_soon(way.in_line, "slow", wait)
            await anyio.wait_all_tasks_blocked()
            assert not way.is_clear("look")
            for number in (1, 2, 3):
                tasks.start_soon(way.in_line, "look", lambda number=number: order.append(number))
                await anyio.wait_all_tasks_blocked()
            gate.set()
    assert order == [0, 1, 2, 3]
    assert way.is_clear("look")
