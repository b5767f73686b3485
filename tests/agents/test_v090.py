"""Agents that v0.9.0 left at work: alive, gone, or a number that is somebody else's by now."""

from __future__ import annotations

import os
import subprocess

import pytest

from meshfleet.agents.v090 import YOUNG_MS, gone_agents
from meshfleet.model import Row, now_ms


def agent(**fields: object) -> Row:
    return {"id": "a", "fleet_id": "f", "role": "r", "prompt": "p", "status": "running", **fields}


def test_one_whose_process_runs_is_not_gone() -> None:
    assert gone_agents([agent(pid=os.getpid(), started_at=now_ms())]) == []
    assert gone_agents([agent(pid=os.getpid())]) == []


@pytest.mark.parametrize("pid", [2**22 + 1, 0, -1, "12", None, True])
def test_one_without_a_living_process_is_gone_once_it_is_old(pid: object) -> None:
    assert gone_agents([agent(pid=pid, started_at=now_ms() - YOUNG_MS - 1)]) == ["a"]


def test_a_number_that_a_younger_process_has_by_now_is_no_sign_of_life() -> None:
    assert gone_agents([agent(pid=os.getpid(), started_at=now_ms() - 10**10)]) == ["a"]


def test_one_that_waits_may_be_started_for_an_hour_by_whoever_spawned_it() -> None:
    assert gone_agents([agent(status="pending", started_at=now_ms())]) == []
    assert gone_agents([agent(status="pending")]) == ["a"]


def test_one_that_has_ended_and_waits_to_be_reaped_is_gone() -> None:
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert gone_agents([agent(pid=child.pid, started_at=now_ms())]) == ["a"]
