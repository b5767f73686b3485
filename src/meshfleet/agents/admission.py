"""How many agents may run at once: as many as memory holds, judged by what those that run really use.

And none is started where the disk is full: it could neither be told what to do nor leave a trace of what it did.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from meshfleet.agents.activity import Activity

FIRST_GUESS: Final = 700 * 1024 * 1024
"""What an agent is taken to need as long as none was seen, in bytes."""
KEPT_FREE: Final = 0.1
GROWN_UP_S: Final = 10.0
"""How old an agent is when it has its size."""
LEAST_DISK: Final = 16 * 1024 * 1024
"""What has to be free on the disk of the run folders, in bytes: OpenCode alone unpacks 5.6 MB there with each run."""
REMEMBERED: Final = 20
CGROUP: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Memory:
    """What this process may use, its container's limit included.

    Attributes:
        total: In bytes.
        available: What is free for new processes, in bytes.
    """

    total: int
    available: int


class Admission:
    """Says whether memory, and the disk, hold one more agent.

    Args:
        memory: Reads the machine's memory.
        disk: Reads how much is free on the disk of a folder, in bytes.
    """

    def __init__(self, memory: Callable[[], Memory] | None = None, disk: Callable[[Path], int] | None = None) -> None:
        self._memory = memory or read_memory
        self._disk = disk or free_on_disk_of
        self._sizes: deque[int] = deque(maxlen=REMEMBERED)

    def remember(self, activity: Activity, now: float) -> None:
        """Take in how large an agent that has ended was, if it had time to be measured."""
        if activity.peak_memory and now - activity.started >= GROWN_UP_S:
            self._sizes.append(activity.peak_memory)

    def has_room(self, running: Iterable[Activity], now: float) -> bool:
        """Whether one more agent fits beside those that run; one always may run."""
        agents = list(running)
        if not agents:
            return True
        size = self.size_of_an_agent(agents, now)
        to_come = sum(max(0, size - agent.memory) for agent in agents)
        memory = self._memory()
        return memory.available - KEPT_FREE * memory.total - to_come >= size

    def has_disk(self, folder: Path) -> bool:
        """Whether there is room for the traces of one more attempt in a folder."""
        return self._disk(folder) >= LEAST_DISK

    def size_of_an_agent(self, running: Iterable[Activity], now: float) -> int:
        """What an agent needs, in bytes: the mean of what was seen, or a guess."""
        grown = [agent.peak_memory for agent in running if agent.memory and now - agent.started >= GROWN_UP_S]
        seen = [*self._sizes, *grown]
        return round(sum(seen) / len(seen)) if seen else FIRST_GUESS


def agents_that_fit(memory: Memory) -> int:
    """How many agents this much memory holds at once, as long as none was seen; one always may run."""
    return max(1, int((memory.available - KEPT_FREE * memory.total) // FIRST_GUESS))


def read_memory() -> Memory:
    """The machine's memory, or that of the container this runs in, whichever is less."""
    machine = psutil.virtual_memory()
    limit, used = _number_in(CGROUP / "memory.max"), _number_in(CGROUP / "memory.current")
    if limit is None or used is None:
        return Memory(machine.total, machine.available)
    return Memory(min(machine.total, limit), min(machine.available, max(0, limit - used + _reclaimable())))


def free_on_disk_of(folder: Path) -> int:
    """What is free on the disk of a folder, which need not be there yet, in bytes; much where nobody can tell."""
    for each in (folder, *folder.parents):
        try:
            disk = os.statvfs(each)
        except FileNotFoundError:
            continue
        except OSError:
            # whoever writes there is told why that can't be
            break
        return disk.f_bavail * disk.f_frsize if disk.f_blocks else sys.maxsize
    return sys.maxsize


def _number_in(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _reclaimable() -> int:
    """What of a container's memory the kernel gives back when somebody needs it: files it keeps at hand."""
    try:
        lines = (CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
    except (OSError, ValueError):
        return 0
