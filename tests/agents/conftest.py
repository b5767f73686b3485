"""Fixtures of tests that start processes: the fake runtime, and a broom for whatever a test leaves running."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshfleet.agents.process import environment_has, process_table
from tests.agents import fake_runtime


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
        if entry.identity.pid != os.getpid() and environment_has(entry.identity.pid, "TEST_MARK", mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(entry.identity.pid, signal.SIGKILL)
