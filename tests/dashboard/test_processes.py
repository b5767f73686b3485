"""What agents' processes use, asked of real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from meshfleet.agents.process import identify
from meshfleet.dashboard import processes
from meshfleet.dashboard.picture import Run
from meshfleet.dashboard.processes import Sampler
from meshfleet.settings import beside
from tests.dashboard.meshes import ANALYST

if TYPE_CHECKING:
    import pytest

BUSY = "import sys\nsys.stdout.write('x'); sys.stdout.flush()\nwhile True: pass"
HELD_BYTES = 30 * 1024 * 1024


def test_the_memory_and_the_processor_of_a_group_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LEAST_PAUSE_S", 0.0)
    sampler = Sampler(tmp_path / "agent-mesh.json")
    code = f"held = b'x' * {HELD_BYTES}\n{BUSY}"
    arguments = [sys.executable, "-c", code]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.read(1)
            run = Run(1, identify(process.pid))
            first = sampler.look({ANALYST: run})[ANALYST]
            # it computes all the while, so some time comes together
            while (second := sampler.look({ANALYST: run})[ANALYST]).cpu in {None, 0.0}:
                os.sched_yield()
        finally:
            process.kill()
    assert first.cpu is None
    assert first.memory is not None
    assert first.memory > HELD_BYTES
    assert second.cpu is not None
    assert second.cpu > 0


def test_a_process_that_is_gone_uses_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        run = Run(1, identify(process.pid))
        process.communicate(b"\n")
    assert Sampler(tmp_path / "agent-mesh.json").look({ANALYST: run})[ANALYST].memory is None


def test_the_last_sign_of_life_is_when_the_output_grew(tmp_path: Path) -> None:
    file = tmp_path / "agent-mesh.json"
    events = beside(file, "runs") / ANALYST / "2" / "events.ndjson"
    events.parent.mkdir(parents=True)
    events.touch()
    os.utime(events, (1_763_740_800, 1_763_740_800))
    assert Sampler(file).look({ANALYST: Run(2, None)})[ANALYST].written_at == 1_763_740_800_000


def test_an_id_that_would_lead_elsewhere_is_no_path(tmp_path: Path) -> None:
    assert Sampler(tmp_path / "agent-mesh.json").look({"../..": Run(1, None)})["../.."].written_at is None


def test_the_process_table_is_not_read_again_at_once(tmp_path: Path) -> None:
    sampler = Sampler(tmp_path / "agent-mesh.json")
    runs = {ANALYST: Run(1, None)}
    first = sampler.look(runs)
    assert sampler.look(runs) is first
    assert sampler.look({}) == {}
