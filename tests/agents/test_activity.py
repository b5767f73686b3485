"""Whether an agent does anything: silent and idle together, and only over the whole of the time asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshfleet.agents.activity import IDLE_SHARE, SILENT_AFTER_S, Activity
from meshfleet.agents.process import ProcessEntry, ProcessIdentity

WINDOW_S = 1_800.0
STEP_S = 5.0


def process(cpu_s: float, memory: int = 0, pid: int = 1) -> ProcessEntry:
    return ProcessEntry(ProcessIdentity(pid, 1.0), 0, pid, pid, ended=False, cpu_s=cpu_s, memory=memory)


def lived(share: float, seconds: float, *, speaks_every_s: float | None = None) -> Activity:
    """An agent that used such a part of a core for so long, looked at every 5 s."""
    activity, now = Activity(0.0), 0.0
    while now < seconds:
        now += STEP_S
        if speaks_every_s is not None:
            activity.see_written(now, int(now // speaks_every_s))
        activity.see_processes(now, [process(share * now)], WINDOW_S)
    return activity


def test_one_that_hangs_is_idle_once_it_has_for_the_whole_time() -> None:
    activity = lived(0.02, 4_000)
    assert activity.was_idle_for(WINDOW_S, 4_000)
    assert not Activity(0.0).was_idle_for(WINDOW_S, WINDOW_S - 1)
    assert activity.silent_since(4_000) == 0.0


def test_one_that_works_in_silence_is_not_idle() -> None:
    assert not lived(0.5, 4_000).was_idle_for(WINDOW_S, 4_000)


def test_one_that_speaks_is_not_idle_however_little_it_computes() -> None:
    activity = lived(0.0, 4_000, speaks_every_s=600)
    assert not activity.was_idle_for(WINDOW_S, 4_000)
    assert activity.silent_since(4_000) is not None
    activity.see_written(4_001, 10**6)
    assert activity.silent_since(4_001) is None


def test_work_of_long_ago_does_not_count() -> None:
    activity, now, used = Activity(0.0), 0.0, 0.0
    while now < 10_000:
        now += STEP_S
        used += STEP_S if now < 5_000 else 0.0
        activity.see_processes(now, [process(used)], WINDOW_S)
        assert activity.was_idle_for(WINDOW_S, now) <= (now >= 5_000 + WINDOW_S * 0.9)
    assert activity.was_idle_for(WINDOW_S, now)


def test_memory_and_time_of_all_its_processes_count_and_those_that_end_take_none_back() -> None:
    activity = Activity(0.0)
    activity.see_processes(5, [process(1.0, 100), process(2.0, 50, pid=2)], WINDOW_S)
    assert (activity.memory, activity.peak_memory) == (150, 150)
    activity.see_processes(10, [process(1.5, 80)], WINDOW_S)
    assert (activity.memory, activity.peak_memory) == (80, 150)
    assert activity._cpu_s == 3.5


def test_what_is_remembered_stays_small() -> None:
    assert len(lived(0.1, 50_000)._samples) < 200


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 2), st.booleans()), max_size=60), st.floats(1, 5_000))
def test_one_that_spoke_within_the_time_or_used_more_than_a_twentieth_of_it_was_not_idle(
    steps: list[tuple[float, float, bool]], window: float
) -> None:
    activity, now, used, written, spoke = Activity(0.0), 0.0, 0.0, 0, 0.0
    for seconds, share, speaks in steps:
        now += seconds
        used += seconds * share
        if speaks:
            written, spoke = written + 1, now
        activity.see_written(now, written)
        activity.see_processes(now, [process(used)], window)
    if activity.was_idle_for(window, now):
        assert now - spoke >= window
        assert used < max(now, window) * IDLE_SHARE or now > window
    assert (activity.silent_since(now) is None) or now - spoke >= SILENT_AFTER_S
