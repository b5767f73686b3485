"""The ledger's lock: flock on a file that is never replaced, taken within a deadline.

The operating system drops it with the process that held it, so a SIGKILL leaves nothing to clean up. A library lock
that polls costs a hundred times as much, and this one is on the path of every write.
"""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from meshfleet.errors import Busy, Invalid
from meshfleet.ledger.files import PRIVATE_FILE, explained

FIRST_PAUSE_S: Final = 0.000_05
LONGEST_PAUSE_S: Final = 0.004


class LedgerLock:
    """An exclusive lock between processes; threads of one process must be kept apart by the caller."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    @contextmanager
    def held(self, timeout_ms: int) -> Iterator[None]:
        """Hold the lock.

        Raises:
            Busy: Somebody else held it for `timeout_ms`.
            Unavailable: The lock's file can't be opened.
        """
        fd = self._acquire(timeout_ms)
        try:
            yield
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _acquire(self, timeout_ms: int) -> int:
        deadline = time.monotonic() + timeout_ms / 1000
        pause = FIRST_PAUSE_S
        while True:
            fd = self._fd if self._fd is not None else self._open()
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Busy(
                        f"another process held {self._path} for {timeout_ms} ms; try again, and if it "
                        "stays so, look for a stopped meshfleet process"
                    ) from None
                time.sleep(pause * (0.5 + random.random()))
                pause = min(pause * 2, LONGEST_PAUSE_S)
                continue
            if self._still_in_place(fd):
                return fd
            self.close()

    def _still_in_place(self, fd: int) -> bool:
        """False when somebody deleted the lock's file: others would lock a new one beside ours."""
        try:
            named = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        ours = os.fstat(fd)
        return (named.st_ino, named.st_dev) == (ours.st_ino, ours.st_dev)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(self._path, flags, PRIVATE_FILE)
        except FileNotFoundError:
            raise Invalid(f"the folder of {self._path} is gone; create it again") from None
        except OSError as error:
            raise explained(error, "lock", self._path) from None
        return self._fd
