from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from meshfleet.agents import process
from meshfleet.agents.process import (
    boot_id,
    current_identity,
    environment_value,
    identify,
    identify_child,
    is_same_process,
    process_table,
)


def test_a_running_process_is_itself() -> None:
    me = current_identity()
    assert me.pid == os.getpid()
    assert is_same_process(me)
    assert identify(me.pid) == me


def test_a_recycled_pid_is_somebody_else() -> None:
    me = current_identity()
    assert not is_same_process(replace(me, start_time=me.start_time - 0.01))
    assert not is_same_process(replace(me, start_time=me.start_time + 3600))


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1, 2**40])
def test_a_pid_nobody_has_is_nobody(pid: int) -> None:
    assert identify(pid) is None


def test_a_zombie_has_ended_although_its_pid_is_still_taken() -> None:
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert identify(child.pid) is None
        dead = identify_child(child.pid)
        assert dead is not None
        assert not is_same_process(dead)
    assert identify_child(child.pid) is None


def test_a_name_with_brackets_and_blanks_does_not_confuse_the_process_table() -> None:
    script = "open('/proc/self/comm', 'w').write('a) Z (b ')\nprint(flush=True)\ninput()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        identity = identify(child.pid)
        assert identity is not None
        assert is_same_process(identity)
        child.communicate(b"\n")


def test_the_process_table_knows_parents_groups_and_sessions() -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as child:
        entry = next(entry for entry in process_table() if entry.identity.pid == child.pid)
        assert (entry.parent, entry.group, entry.session) == (os.getpid(), child.pid, child.pid)
        child.kill()


def test_a_variable_of_another_process_goes_by_its_whole_name() -> None:
    with subprocess.Popen(["sleep", "60"], env={"MARK": "a/1", "PATH": os.environ["PATH"]}) as child:
        try:
            assert environment_value(child.pid, "MARK") == "a/1"
            assert environment_value(child.pid, "ARK") is None
            assert environment_value(child.pid, "MAR") is None
        finally:
            child.kill()


def test_another_users_or_no_process_has_no_variable() -> None:
    assert environment_value(2**22 + 1, "PATH") is None


def test_the_boot_has_one_name_however_often_it_is_asked() -> None:
    assert boot_id()
    assert boot_id() == boot_id()


def test_where_there_is_no_proc_psutil_tells_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "60"], env={"MARK": "a/1", "PATH": os.environ["PATH"]}) as child:
        try:
            on_linux = {entry.identity.pid: entry for entry in process_table()}[child.pid]
            monkeypatch.setattr(process, "ON_LINUX", False)
            elsewhere = {entry.identity.pid: entry for entry in process_table()}[child.pid]
            # the processor time is rounded, and memory is counted, in another way
            alike = {"identity": on_linux.identity, "cpu_s": on_linux.cpu_s, "memory": on_linux.memory}
            assert replace(elsewhere, **alike) == on_linux  # type: ignore[arg-type]
            assert is_same_process(elsewhere.identity)
            assert environment_value(child.pid, "MARK") == "a/1"
            assert environment_value(2**22 + 1, "MARK") is None
        finally:
            child.kill()
    assert not is_same_process(elsewhere.identity)


def test_psutil_counts_memory_as_the_kernel_does(monkeypatch: pytest.MonkeyPatch) -> None:
    # of this process: one that is just being started has none for a moment
    on_linux = {entry.identity.pid: entry for entry in process_table()}[os.getpid()]
    monkeypatch.setattr(process, "ON_LINUX", False)
    elsewhere = {entry.identity.pid: entry for entry in process_table()}[os.getpid()]
    assert elsewhere.memory == pytest.approx(on_linux.memory, rel=0.2)
