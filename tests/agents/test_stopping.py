from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from meshfleet.agents import census, stopping
from meshfleet.agents.launch import Launched, read_exit
from meshfleet.agents.process import ProcessIdentity, current_identity, identify, is_same_process
from meshfleet.agents.stopping import ended, stop_attempt
from tests.agents.agents_helpers import AGENT, MARKER, end_of, eventually, members_of, report_of, run_dir, said, start

pytestmark = pytest.mark.anyio


def spawned(tmp_path: Path) -> ProcessIdentity:
    """Give the process the run has started in a session of its own."""
    said(tmp_path, "spawned")
    found = re.search(r"spawned (\d+)", report_of(tmp_path).words)
    assert found is not None
    identity = identify(int(found[1]))
    assert identity is not None
    return identity


@pytest.fixture
def stranger() -> Iterator[ProcessIdentity]:
    """Somebody who has nothing to do with the attempt, but carries a marker like it."""
    environment = {"PATH": os.environ["PATH"], "MESHFLEET_ATTEMPT": f"{AGENT}/10"}
    with subprocess.Popen(["sleep", "60"], env=environment, start_new_session=True) as child:
        identity = identify(child.pid)
        assert identity is not None
        yield identity
        child.kill()


@contextmanager
def shell(script: str, **variables: str) -> Iterator[tuple[int, int]]:
    """Run a script in a session of its own; give its pid and the one it prints, and wait for it in the end."""
    environment = {name: os.environ[name] for name in ("PATH", "TEST_MARK")} | variables
    command = ["/bin/sh", "-c", script]
    with subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        yield running.pid, int(running.stdout.readline())


def gone(launched: Launched) -> bool:
    return members_of(MARKER, launched.identity) == []


async def test_a_run_that_ends_when_asked_is_asked_only(
    fake_opencode: Path, tmp_path: Path, stranger: ProcessIdentity
) -> None:
    launched = start(fake_opencode, tmp_path, "say ready", "hang")
    said(tmp_path, "ready")
    report = await stop_attempt(MARKER, launched.identity)
    # the shell parent ends with its child, which may be before it is asked itself
    assert report.terminated in {1, 2}
    assert (report.killed, report.survivors) == (0, ())
    assert gone(launched)
    assert read_exit(run_dir(tmp_path)) == 128 + signal.SIGTERM
    assert is_same_process(stranger)
    end_of(launched)


async def test_one_that_is_deaf_is_killed_and_the_parent_says_how_it_ended(fake_opencode: Path, tmp_path: Path) -> None:
    launched = start(fake_opencode, tmp_path, "ignore SIGTERM", "say ready", "hang")
    said(tmp_path, "ready")
    report = await stop_attempt(MARKER, launched.identity, grace_s=0.1)
    assert (report.terminated, report.killed, report.survivors) == (2, 1, ())
    assert gone(launched)
    assert read_exit(run_dir(tmp_path)) == 128 + signal.SIGKILL
    end_of(launched)


async def test_what_runs_in_a_session_of_its_own_is_stopped_too(fake_opencode: Path, tmp_path: Path) -> None:
    launched = start(fake_opencode, tmp_path, "spawn 60", "hang")
    child = spawned(tmp_path)
    assert child in members_of(MARKER, launched.identity)
    report = await stop_attempt(MARKER, launched.identity)
    assert report.killed == 0
    assert not is_same_process(child)
    assert gone(launched)
    end_of(launched)


async def test_a_deaf_one_left_behind_by_a_run_that_has_ended_is_found_by_its_marker(
    fake_opencode: Path, tmp_path: Path
) -> None:
    launched = start(fake_opencode, tmp_path, "spawn-stubborn 60", "answer done")
    child = spawned(tmp_path)
    end_of(launched)
    assert child in members_of(MARKER, launched.identity)
    assert child in members_of(MARKER, None)
    report = await stop_attempt(MARKER, launched.identity, grace_s=0.1)
    assert report.killed >= 1
    assert not is_same_process(child)
    assert gone(launched)


async def test_descendants_without_the_marker_are_found_while_their_parent_lives() -> None:
    # the parent outlives its child, so that it is there to be asked whoever was asked first
    script = "env -i PATH=$PATH setsid sleep 60 & echo $!; wait; exec sleep 60"
    with shell(script, MESHFLEET_ATTEMPT=MARKER) as (_, child_pid):
        eventually(lambda: b"sleep" in Path(f"/proc/{child_pid}/cmdline").read_bytes(), "sleep has replaced its shell")
        child = identify(child_pid)
        assert child is not None
        assert child in members_of(MARKER, None)
        report = await stop_attempt(MARKER, None)
        assert (report.terminated, report.survivors) == (2, ())
        assert not is_same_process(child)


async def test_what_the_group_holds_without_the_marker_is_stopped_with_its_leader() -> None:
    script = "(sleep 60 & echo $!); exec env -u MESHFLEET_ATTEMPT sleep 60"
    with shell(script) as (leader, member_pid):
        member, identity = identify(member_pid), identify(leader)
        assert member is not None
        assert identity is not None
        assert member in members_of(MARKER, identity)
        await stop_attempt(MARKER, identity)
        assert not is_same_process(member)
        assert not is_same_process(identity)


async def test_a_recycled_pid_is_never_signalled(stranger: ProcessIdentity) -> None:
    recycled = replace(stranger, start_time=stranger.start_time - 5)
    assert members_of(MARKER, recycled) == []
    report = await stop_attempt(MARKER, recycled)
    assert (report.terminated, report.killed) == (0, 0)
    assert is_same_process(stranger)
    assert not stopping._signal(recycled, signal.SIGKILL)
    assert is_same_process(stranger)


async def test_the_group_of_somebody_who_took_the_number_over_is_left_alone() -> None:
    with shell("(sleep 60 >/dev/null & echo $!)") as (leader, left_pid):
        pass
    left = identify(left_pid)
    assert left is not None
    assert identify(leader) is None
    assert members_of(MARKER, ProcessIdentity(leader, left.start_time)) == []
    assert is_same_process(left)
    os.kill(left.pid, signal.SIGKILL)


@pytest.mark.parametrize("change", ["{}0", "x{}", "{} ", "{}/1"])
async def test_a_marker_is_compared_whole(change: str, fake_opencode: Path, tmp_path: Path) -> None:
    launched = start(fake_opencode, tmp_path, "say ready", "hang")
    said(tmp_path, "ready")
    assert members_of(change.format(MARKER), None) == []
    assert members_of(MARKER[:-1], None) == []
    assert len(members_of(MARKER, None)) == 2
    await stop_attempt(MARKER, launched.identity)
    end_of(launched)


async def test_stopping_what_has_ended_does_nothing(fake_opencode: Path, tmp_path: Path) -> None:
    launched = start(fake_opencode, tmp_path, "answer done")
    end_of(launched)
    for _ in range(2):
        report = await stop_attempt(MARKER, launched.identity)
        assert (report.terminated, report.killed, report.survivors) == (0, 0, ())
    assert read_exit(run_dir(tmp_path)) == 0


async def test_whoever_stops_is_no_member(monkeypatch: pytest.MonkeyPatch) -> None:
    own = current_identity()
    monkeypatch.setattr(census, "environment_value", lambda pid, _name: MARKER if pid == own.pid else None)
    assert own not in members_of(MARKER, None)


async def test_stopping_twice_at_once_is_one_stopping(fake_opencode: Path, tmp_path: Path) -> None:
    launched = start(fake_opencode, tmp_path, "ignore SIGTERM", "say ready", "hang")
    said(tmp_path, "ready")
    async with anyio.create_task_group() as both:
        for _ in range(2):
            both.start_soon(lambda: stop_attempt(MARKER, launched.identity, grace_s=0.05))
    assert gone(launched)
    assert read_exit(run_dir(tmp_path)) == 128 + signal.SIGKILL
    end_of(launched)


async def test_without_pidfd_it_stops_all_the_same(
    fake_opencode: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.pidfd_open", raising=False)
    launched = start(fake_opencode, tmp_path, "ignore SIGTERM", "spawn 60", "hang")
    child = spawned(tmp_path)
    await stop_attempt(MARKER, launched.identity, grace_s=0.1)
    assert not is_same_process(child)
    assert gone(launched)
    end_of(launched)


async def test_what_cannot_be_killed_is_given_up_and_named(
    fake_opencode: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = start(fake_opencode, tmp_path, "say ready", "hang")
    said(tmp_path, "ready")
    monkeypatch.setattr(stopping, "KILL_PATIENCE_S", 0.2)
    monkeypatch.setattr(stopping, "_signal", lambda _process, _what: False)
    report = await stop_attempt(MARKER, launched.identity, grace_s=0.1)
    assert len(report.survivors) == 2
    assert (report.terminated, report.killed) == (0, 0)
    monkeypatch.undo()
    await stop_attempt(MARKER, launched.identity)
    end_of(launched)


@pytest.mark.parametrize(("limit", "descriptors"), [(1024, 1), (0, 0)])
async def test_where_descriptors_are_scarce_an_end_is_waited_for_without_one(
    limit: int, descriptors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    with shell("echo $$; exec sleep 60") as (pid, _):
        identity = identify(pid)
        assert identity is not None
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(ended, identity)
            await anyio.wait_all_tasks_blocked()
            assert len(stopping._held) == descriptors
            os.kill(pid, signal.SIGKILL)
    assert stopping._held == set()
