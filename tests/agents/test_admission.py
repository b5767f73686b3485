"""How many agents memory holds, judged by what agents really use."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from meshfleet.agents import admission
from meshfleet.agents.activity import Activity
from meshfleet.agents.admission import FIRST_GUESS, LEAST_DISK, Admission, Memory, free_on_disk_of, read_memory

if TYPE_CHECKING:
    import pytest

MIB = 1024**2
GIB = 1024**3


def agent(memory: int, started: float = 0.0) -> Activity:
    activity = Activity(started)
    activity.memory = activity.peak_memory = memory
    return activity


def with_free(available: int, total: int = 10 * GIB) -> Admission:
    return Admission(lambda: Memory(total, available))


def test_one_agent_always_may_run() -> None:
    assert with_free(0).has_room([], 100)


def test_as_long_as_none_was_seen_an_agent_is_taken_to_need_700_mib_beside_a_tenth_kept_free() -> None:
    young = agent(FIRST_GUESS, started=95)
    assert with_free(GIB + FIRST_GUESS).has_room([young], 100)
    assert not with_free(GIB + FIRST_GUESS - 1).has_room([young], 100)


def test_what_those_that_just_started_will_still_take_is_not_given_away() -> None:
    just_started = [agent(0, started=100) for _ in range(3)]
    assert not with_free(GIB + 3 * FIRST_GUESS).has_room(just_started, 100)
    assert with_free(GIB + 4 * FIRST_GUESS).has_room(just_started, 100)


def test_agents_that_have_their_size_tell_how_much_the_next_one_needs() -> None:
    small = with_free(GIB + 120 * MIB)
    assert small.has_room([agent(100 * MIB)], 100)
    assert not small.has_room([agent(200 * MIB)], 100)


def test_those_that_ended_are_remembered_unless_they_ended_too_early_to_be_measured() -> None:
    remembering = with_free(0)
    remembering.remember(agent(100 * MIB), 100)
    remembering.remember(agent(5 * MIB, started=99), 100)
    remembering.remember(agent(0), 100)
    assert remembering.size_of_an_agent([], 100) == 100 * MIB
    for _ in range(100):
        remembering.remember(agent(300 * MIB), 100)
    assert remembering.size_of_an_agent([], 100) == 300 * MIB


def test_a_container_s_limit_is_the_memory_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "CGROUP", tmp_path)
    machine = read_memory()
    assert machine.total > machine.available > 0
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    assert read_memory() == Memory(1000, 100)
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 300\n")
    assert read_memory() == Memory(1000, 400)
    (tmp_path / "memory.max").write_text("max\n")
    assert read_memory().total == machine.total


def test_a_disk_has_room_as_long_as_an_attempt_s_traces_fit() -> None:
    assert Admission(disk=lambda _: LEAST_DISK).has_disk(Path("anywhere"))
    assert not Admission(disk=lambda _: LEAST_DISK - 1).has_disk(Path("anywhere"))


def test_the_disk_of_a_folder_that_is_not_there_yet_is_that_of_the_one_above(tmp_path: Path) -> None:
    assert 0 < free_on_disk_of(tmp_path / "ledger" / "runs") < sys.maxsize


def test_a_disk_that_can_not_be_asked_is_no_reason_to_wait(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert free_on_disk_of(tmp_path / "file" / "runs") == sys.maxsize
