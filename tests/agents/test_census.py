"""The process table at one moment: what belongs to an attempt, who leads it, and one look for all who ask."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import anyio
import pytest

from meshfleet.agents import census, process
from meshfleet.agents.census import Registry, take_census
from meshfleet.agents.process import is_same_process
from meshfleet.agents.stopping import stop_attempt
from tests.agents.agents_helpers import MARKER, end_of, run_dir, said, start

pytestmark = pytest.mark.anyio


async def test_the_leader_nobody_noted_is_the_shell_and_no_tool_with_a_session_of_its_own(
    fake_opencode: Path, tmp_path: Path
) -> None:
    launched = start(fake_opencode, tmp_path, "spawn 600", "say up", "hang")
    said(tmp_path, "up")
    seen = take_census()
    assert seen.leader(MARKER, run_dir(tmp_path)) == launched.identity
    assert seen.leader(MARKER, tmp_path / "another") is None
    assert seen.leader("nobody/1", run_dir(tmp_path)) is None
    below = {entry.identity for entry in seen.entries_below(launched.identity)}
    assert below == set(seen.members(MARKER, launched.identity))
    os.kill(launched.identity.pid, signal.SIGKILL)
    end_of(launched)
    assert take_census().leader(MARKER, run_dir(tmp_path)) is None
    await stop_attempt(MARKER, None, grace_s=0.2)


async def test_those_who_ask_together_share_a_look_that_was_begun_after_they_asked() -> None:
    registry, seen = Registry(), []

    async def ask() -> None:
        seen.append(await registry.census())

    async with anyio.create_task_group() as all_of_them:
        for _ in range(50):
            all_of_them.start_soon(ask)
    taken = registry._begun
    assert (len(seen), taken <= 2) == (50, True)
    await ask()
    assert registry._begun == taken + 1


async def test_a_look_that_failed_is_not_taken_for_an_older_one(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry()
    before = await registry.census()
    real, refusals = census.take_census, iter([OSError(errno.EMFILE, "Too many open files")])

    def refusing() -> census.Census:
        for refusal in refusals:
            raise refusal
        return real()

    monkeypatch.setattr(census, "take_census", refusing)
    failed, found = [], []

    async def ask() -> None:
        try:
            found.append(await registry.census())
        except OSError:
            failed.append(True)

    async with anyio.create_task_group() as both:
        both.start_soon(ask)
        both.start_soon(ask)
    assert (len(failed), len(found)) == (1, 1)
    assert found[0] is not before


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_process_that_can_t_be_looked_at_for_want_of_room_does_not_count_as_gone(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = process.current_identity()

    def refuse(_: Path) -> bytes:
        raise OSError(number, "no room")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(OSError, match="no room"):
            is_same_process(me)
