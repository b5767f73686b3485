"""Who a process is: a pid together with the moment it began. What is done to one is launch.py's and stopping.py's."""

from __future__ import annotations

import errno
import functools
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

PROC: Final = Path("/proc")
BOOT_ID_FILE: Final = PROC / "sys/kernel/random/boot_id"
ON_LINUX: Final = sys.platform == "linux"
START_TIME_TOLERANCE_S: Final = 0.005  # half the kernel's tick: equal but for the rounding of a float
OUT_OF_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Why a process can't be looked at that says nothing about the process: one that is not seen would count as gone."""
GONE_STATES: Final = frozenset("ZXx")
KERNEL_THREAD: Final = 0x0020_0000  # PF_KTHREAD among the flags of /proc/<pid>/stat
TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
EXEC_LOOKS: Final = 4
EXEC_PAUSE_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process of one boot of this machine; its pid alone may be somebody else's tomorrow.

    Attributes:
        pid: The number the kernel gave it.
        start_time: When it began, in seconds; since the boot on Linux, elsewhere since the epoch. It is compared, not
            shown: Linux derives wall-clock start times from a clock that may be set, which would turn every running
            agent into a stranger.
    """

    pid: int
    start_time: float


@dataclass(frozen=True, slots=True)
class ProcessEntry:
    """One row of the process table: who it is, where it belongs and what it uses.

    Attributes:
        identity: Who it is.
        parent: Its parent's pid.
        group: Its process group.
        session: Its session.
        ended: Whether it has ended and only waits to be reaped.
        cpu_s: The processor time it has used, with that of its children that ended, in seconds.
        memory: What it has resident, in bytes.
    """

    identity: ProcessIdentity
    parent: int
    group: int
    session: int
    ended: bool
    cpu_s: float
    memory: int


def identify(pid: int) -> ProcessIdentity | None:
    """Say which process has this pid now; None when there is none, or only the zombie of one."""
    entry = _entry(pid)
    return None if entry is None or entry.ended else entry.identity


def identify_child(pid: int) -> ProcessIdentity | None:
    """Say which process has this pid, also when it has already ended and waits for its parent to reap it."""
    entry = _entry(pid)
    return None if entry is None else entry.identity


def is_same_process(identity: ProcessIdentity) -> bool:
    """Tell whether exactly this process still runs; a zombie has ended, a recycled pid is somebody else."""
    return same(identify(identity.pid), identity)


def same(found: ProcessIdentity | None, wanted: ProcessIdentity) -> bool:
    """Tell whether two sightings are of one process."""
    return (
        found is not None
        and found.pid == wanted.pid
        and abs(found.start_time - wanted.start_time) < START_TIME_TOLERANCE_S
    )


def current_identity() -> ProcessIdentity:
    """Identify the calling process.

    Raises:
        RuntimeError: The system doesn't tell a process about itself.
    """
    identity = identify(os.getpid())
    if identity is None:
        raise RuntimeError("the process table does not show this very process")
    return identity


@functools.cache
def boot_id() -> str:
    """Name the running boot of this machine: after a restart no recorded process can be alive."""
    try:
        return BOOT_ID_FILE.read_text(encoding="ascii").strip()
    except OSError:
        return f"booted-{round(psutil.boot_time())}"


def process_table() -> Iterator[ProcessEntry]:
    """Give every process there is, ended ones not yet reaped included; some may be gone a moment later."""
    for pid in psutil.pids():
        entry = _entry(pid)
        if entry is not None:
            yield entry


def environment_value(pid: int, name: str) -> str | None:
    """What a process was started with in a variable; None where it has none, or where that can't be read."""
    if not ON_LINUX:
        return _psutil_environment(pid).get(name)
    block = b"\0" + _linux_environment(pid) + b"\0"
    start = block.find(b"\0" + os.fsencode(name) + b"=")
    if start < 0:
        return None
    start += len(os.fsencode(name)) + 2
    return os.fsdecode(block[start : block.index(b"\0", start)])


def _entry(pid: int) -> ProcessEntry | None:
    if pid <= 0:
        return None
    return _linux_entry(pid) if ON_LINUX else _psutil_entry(pid)


def _linux_entry(pid: int) -> ProcessEntry | None:
    """Read /proc directly: a tenth of psutil's time, and the start time counted from the boot."""
    try:
        stat = (PROC / str(pid) / "stat").read_bytes()
    except OSError as error:
        if error.errno in OUT_OF_ROOM:
            raise
        return None
    # the name stands in brackets and may hold blanks and brackets; what follows the last one is fixed
    fields = stat[stat.rindex(b")") + 2 :].split()
    return ProcessEntry(
        identity=ProcessIdentity(pid, int(fields[19]) / TICKS_A_SECOND),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        ended=fields[0].decode("ascii") in GONE_STATES,
        cpu_s=sum(map(int, fields[11:15])) / TICKS_A_SECOND,
        memory=int(fields[21]) * PAGE_BYTES,
    )


def _linux_environment(pid: int) -> bytes:
    """Read a process's variables as the kernel keeps them; nothing where they are not ours to read."""
    block = b""
    try:
        for _ in range(EXEC_LOOKS):
            block = (PROC / str(pid) / "environ").read_bytes()
            if block or _is_of_the_kernel(pid):
                break
            # in the middle of an exec a process has none for a moment, and one overlooked would live on
            time.sleep(EXEC_PAUSE_S)
    except OSError as error:
        if error.errno in OUT_OF_ROOM:
            raise
        return b""
    return block


def _is_of_the_kernel(pid: int) -> bool:
    stat = (PROC / str(pid) / "stat").read_bytes()
    return bool(int(stat[stat.rindex(b")") + 2 :].split()[6]) & KERNEL_THREAD)


def _psutil_entry(pid: int) -> ProcessEntry | None:
    try:
        process = psutil.Process(pid)
        cpu = process.cpu_times()
        return ProcessEntry(
            identity=ProcessIdentity(pid, process.create_time()),
            parent=process.ppid(),
            group=os.getpgid(pid),
            session=os.getsid(pid),
            ended=process.status() == psutil.STATUS_ZOMBIE,
            cpu_s=cpu.user + cpu.system + cpu.children_user + cpu.children_system,
            memory=process.memory_info().rss,
        )
    except (psutil.Error, OSError):
        return None


def _psutil_environment(pid: int) -> dict[str, str]:
    try:
        return dict(psutil.Process(pid).environ())
    except (psutil.Error, OSError):
        return {}
