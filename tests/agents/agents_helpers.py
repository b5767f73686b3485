"""What tests of real processes share: a launched run of the fake runtime, and a bounded wait."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from meshfleet.agents.census import take_census
from meshfleet.agents.launch import Launched, LaunchOrder, launch
from meshfleet.agents.process import ProcessIdentity, is_same_process
from meshfleet.agents.stream import EventStream, RunReport

WAIT_S = 20.0
#: One for each test process: tests run side by side, and stopping finds whoever carries the marker.
AGENT = f"agent-{os.getpid()}"
MARKER = f"{AGENT}/1"


def members_of(marker: str, leader: ProcessIdentity | None) -> list[ProcessIdentity]:
    """The living processes of an attempt as they are now, the caller never among them."""
    return take_census().members(marker, leader)


def eventually(happened: Callable[[], bool], what: str) -> None:
    """Wait until something outside this process has happened, which nothing announces."""
    eventually_within(WAIT_S, happened, what)


def eventually_within(seconds: float, happened: Callable[[], bool], what: str) -> None:
    """The same, for what takes longer."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.005)


def start(
    program: Path, tmp_path: Path, *deeds: str, marker: str = MARKER, env: dict[str, str] | None = None
) -> Launched:
    """Launch the fake runtime with these deeds as its prompt."""
    return launch(order(program, tmp_path, "\n".join(deeds), marker=marker, env=env))


def order(
    program: Path, tmp_path: Path, prompt: str, *, marker: str = MARKER, env: dict[str, str] | None = None
) -> LaunchOrder:
    agent, number = marker.split("/")
    return LaunchOrder(
        agent_id=agent,
        fleet_id="f-1",
        attempt=int(number),
        prompt=prompt,
        run_dir=run_dir(tmp_path, marker),
        cwd=tmp_path,
        argv=[str(program), "run", "--format", "json"],
        env={**{name: os.environ[name] for name in ("PATH", "TEST_MARK")}, "MESHFLEET_ATTEMPT": marker, **(env or {})},
    )


def run_dir(tmp_path: Path, marker: str = MARKER) -> Path:
    return tmp_path / "runs" / marker


def end_of(launched: Launched) -> None:
    """Wait for the shell parent to end."""
    eventually(lambda: not is_same_process(launched.identity), "the shell parent ends")


def report_of(tmp_path: Path, marker: str = MARKER) -> RunReport:
    """Read all events there are by now."""
    stream = EventStream(run_dir(tmp_path, marker) / "events.ndjson")
    while stream.advance():
        pass
    return stream.report


def said(tmp_path: Path, words: str, marker: str = MARKER) -> None:
    """Wait until the run has said something."""
    eventually(lambda: words in report_of(tmp_path, marker).words, f"{marker} says {words!r}")
