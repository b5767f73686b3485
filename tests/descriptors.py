"""Which descriptors this process holds, to see that a test gives back whatever it opened."""

from __future__ import annotations

import fcntl
import gc
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

_FOLDER: Final = Path("/dev/fd")
_LONGEST_PATH: Final = 1024

Descriptors = dict[int, tuple[int, int]]
"""By number, the device and the inode that a descriptor stands for: a number is soon given out again."""


def open_descriptors() -> Descriptors:
    """What is open now."""
    found = {}
    for path in _FOLDER.iterdir():
        # the one that the folder was listed through is among them, and closed by now
        with suppress(OSError):
            status = os.fstat(int(path.name))
            found[int(path.name)] = status.st_dev, status.st_ino
    return found


def opened_since(before: Descriptors, *, but_below: Iterable[Path] = ()) -> list[str]:
    """What is open and was not then, by number and name; but not garbage, and nothing in those folders."""
    if _new_since(before):
        gc.collect()
    spared = tuple(f"{folder}/" for folder in but_below)
    found = []
    for fd in _new_since(before):
        # a thread may just have closed it
        with suppress(OSError):
            name = _name_of(fd)
            if not f"{name}/".startswith(spared):
                found.append(f"{fd} ({name})")
    return found


def _new_since(before: Descriptors) -> list[int]:
    return sorted(fd for fd, what in open_descriptors().items() if before.get(fd) != what)


def _name_of(fd: int) -> str:
    try:
        if sys.platform == "darwin":
            name = os.fsdecode(fcntl.fcntl(fd, fcntl.F_GETPATH, bytes(_LONGEST_PATH)).rstrip(b"\0"))
        else:
            name = str(_FOLDER.joinpath(str(fd)).readlink())
    except OSError:
        os.fstat(fd)
        return "nameless"
    return name
