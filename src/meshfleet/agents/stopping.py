"""Ending an attempt, all of it: its group, what descends from it, and whatever carries its marker.

OpenCode's bash tool starts what it runs in sessions of their own, and a TERM to the group leaves those running under
init; so an attempt's processes are found by MESHFLEET_ATTEMPT in their environment too.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import anyio

from meshfleet.agents.census import Registry
from meshfleet.agents.process import ProcessIdentity, is_same_process, same

GRACE_S: Final = 10.0
LAST_WORDS_S: Final = 2.0
"""How long the shell parent has, once its child is dead, to write how that ended."""
KILL_PATIENCE_S: Final = 30.0
"""How long killing goes on before what is left (a process stuck in the kernel) is given up."""
ROUND_S: Final = 0.5
POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class StopReport:
    """What it took to stop an attempt.

    Attributes:
        terminated: How many processes were asked to end.
        killed: How many had to be killed.
        survivors: What is alive in spite of all: stuck in the kernel, or another user's.
    """

    terminated: int
    killed: int
    survivors: tuple[ProcessIdentity, ...] = ()


async def stop_attempt(
    marker: str, leader: ProcessIdentity | None, *, grace_s: float = GRACE_S, registry: Registry | None = None
) -> StopReport:
    """End every process of an attempt: ask, wait, look again, kill, until none is left.

    The shell parent traps the asking and ends by itself, after its child, having written the exit status; it is
    killed only where it doesn't. Stopping what has stopped already does nothing.

    Args:
        marker: The attempt's marker.
        leader: Its shell parent, where it is known.
        grace_s: Seconds between asking and killing.
        registry: Who looks at the process table, for all that are stopped at the same time.
    """
    stop = _Stop(marker, leader, registry or Registry())
    with anyio.move_on_after(grace_s):
        while await stop.ask_all():
            await stop.all_ended()
    with anyio.move_on_after(KILL_PATIENCE_S):
        while await stop.kill_all():
            with anyio.move_on_after(ROUND_S):
                await stop.all_ended()
    return await stop.report()


class _Stop:
    """The state of one stopping: whom it has found so far, and what was done to them."""

    def __init__(self, marker: str, leader: ProcessIdentity | None, registry: Registry) -> None:
        self._registry = registry
        self._marker = marker
        self._leader = leader
        self._known: set[ProcessIdentity] = set()
        self._asked: set[ProcessIdentity] = set()
        self._killed: set[ProcessIdentity] = set()

    async def ask_all(self) -> bool:
        """Ask whoever was not asked yet to end; False when nobody is alive."""
        alive = await self._alive()
        for process in alive - self._asked:
            if _signal(process, signal.SIGTERM):
                self._asked.add(process)
        return bool(alive)

    async def kill_all(self) -> bool:
        """Kill whoever is alive, the shell parent last; False when nobody is."""
        alive = await self._alive()
        others = {process for process in alive if self._leader is None or not same(process, self._leader)}
        for process in others:
            if _signal(process, signal.SIGKILL):
                self._killed.add(process)
        if alive and not others:
            await self._let_leader_end(*alive)
        return bool(alive)

    async def all_ended(self) -> None:
        """Wait until everybody known has ended."""
        async with anyio.create_task_group() as waiting:
            for process in self._known:
                waiting.start_soon(ended, process)

    async def report(self) -> StopReport:
        """Sum up."""
        return StopReport(len(self._asked), len(self._killed), tuple(await self._alive()))

    async def _alive(self) -> set[ProcessIdentity]:
        # whoever was a member stays one: its parent's end must not hide it
        census = await self._registry.census()
        self._known.update(census.members(self._marker, self._leader))
        self._known = {process for process in self._known if is_same_process(process)}
        return set(self._known)

    async def _let_leader_end(self, leader: ProcessIdentity) -> None:
        with anyio.move_on_after(LAST_WORDS_S):
            await ended(leader)
        if _signal(leader, signal.SIGKILL):
            self._killed.add(leader)


def _signal(process: ProcessIdentity, what: signal.Signals) -> bool:
    """Signal exactly this process; False when it is gone or not ours to signal."""
    try:
        with _opened(process) as descriptor:
            if not is_same_process(process):
                return False
            if descriptor is None:
                os.kill(process.pid, what)
            else:
                signal.pidfd_send_signal(descriptor, what)
            return True
    except OSError:
        return False


async def ended(process: ProcessIdentity) -> None:
    """Wait until a process has ended, be it reaped or not.

    Raises:
        OSError: It can't be looked at, for want of descriptors or memory.
    """
    with _opened(process, to_wait=True) as descriptor:
        while is_same_process(process):
            if descriptor is None:
                await anyio.sleep(POLL_S)
            else:
                await anyio.wait_readable(descriptor)


_held: Final[set[int]] = set()
"""The descriptors that are waited on."""


@contextmanager
def _opened(process: ProcessIdentity, *, to_wait: bool = False) -> Iterator[int | None]:
    """Hold a descriptor of the process, checked afterwards: it stands for one process, however its pid is reused.

    None where the system has none, or where so many are waited on that others would go short; then a pid is all
    there is.
    """
    try:
        if to_wait and len(_held) >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2:
            descriptor = None
        else:
            descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        descriptor = None
    if descriptor is None:
        yield None
        return
    if to_wait:
        _held.add(descriptor)
    try:
        yield descriptor
    finally:
        _held.discard(descriptor)
        os.close(descriptor)
