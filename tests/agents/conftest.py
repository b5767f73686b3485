"""Fixtures of tests that start processes: the fake runtime, and a broom for whatever a test leaves running."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from meshfleet.agents.process import environment_value, process_table
from meshfleet.agents.stopping import stop_attempt
from meshfleet.agents.supervisor import Supervisor
from meshfleet.ledger import Ledger
from meshfleet.settings import Durability, Settings
from tests.agents import fake_runtime
from tests.agents.supervising import Clock, ledger_of, supervisor_with


@pytest.fixture
def fake_opencode(tmp_path: Path) -> Path:
    """Return an executable that speaks OpenCode's event stream and does what its prompt says."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return fake_runtime.install(folder)


@pytest.fixture(autouse=True)
def nothing_left_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kill whatever a failing test left behind; a process inherits the mark of the test that started it."""
    mark = str(tmp_path)
    monkeypatch.setenv("TEST_MARK", mark)
    yield
    for entry in process_table():
        if entry.identity.pid != os.getpid() and environment_value(entry.identity.pid, "TEST_MARK") == mark:
            with contextlib.suppress(ProcessLookupError):
                os.kill(entry.identity.pid, signal.SIGKILL)


@pytest.fixture
def database(home: Path) -> Path:
    """The database of an OpenCode that has run here before."""
    path = home / ".local" / "share" / "opencode" / "opencode.db"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


@pytest.fixture
def settings(ledger_file: Path) -> Settings:
    """Settings with no pause between starts, which do not wait for the disk."""
    return Settings(ledger_file, durability=Durability.PROCESS, start_stagger_ms=0)


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    """The ledger supervisors work on."""
    return ledger_of(settings)


@pytest.fixture
def clock() -> Clock:
    """The clock of the test's supervisors."""
    return Clock()


@pytest.fixture
def soon_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what ignores TERM killed soon."""
    monkeypatch.setattr("meshfleet.agents.supervisor.stop_attempt", partial(stop_attempt, grace_s=0.2))


@pytest.fixture
async def supervisor(
    ledger: Ledger, settings: Settings, fake_opencode: Path, clock: Clock
) -> AsyncIterator[Supervisor]:
    """A supervisor whose OpenCode is the fake runtime."""
    async with supervisor_with(ledger, settings, fake_opencode, clock) as supervisor:
        yield supervisor
