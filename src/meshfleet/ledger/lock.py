"""The ledger's locks: flock on a file that is never replaced, taken within a deadline.

The operating system drops it with the process that held it, so a SIGKILL leaves nothing to clean up. A library lock
that polls costs a hundred times as much, and this one is on the path of every write.
"""

from __future__ import annotations

import fcntl
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

from meshfleet.errors import Busy, Invalid
from meshfleet.ledger.files import PRIVATE_FILE, explained

FIRST_PAUSE_S: Final = 0.000_05
LONGEST_PAUSE_S: Final = 0.004
LONGEST_CLOSING_S: Final = 1.0
"""How long `close` waits for a thread of this process, which in turn may wait for a process that is stopped."""


class LedgerLock:
    """An exclusive lock between processes, and between the threads that share this object.

    Args:
        path: The file that is locked.
        meanwhile: Done over and over while another process holds the lock.
    """

    def __init__(self, path: Path, meanwhile: Callable[[], None] = lambda: None) -> None:
        self._path = path
        # what a path object costs at each look is more than the look
        self._name = os.fspath(path)
        self._meanwhile = meanwhile
        self._fd: int | None = None
        self._file: tuple[int, int] | None = None
        self._held_fd: int | None = None
        self._turn = threading.Lock()

    def held(self, timeout_ms: int) -> Held:
        """Hold the lock for the time of a `with` statement.

        Raises:
            Busy: Somebody else held it for `timeout_ms`.
            Invalid: A symlink lies in place of the lock's file.
            Unavailable: The lock's file can't be opened.
        """
        return Held(self, timeout_ms)

    def acquire(self, timeout_ms: int) -> None:
        """Take the lock; `release` has to follow. It raises what `held` does."""
        deadline = time.monotonic() + timeout_ms / 1000
        if not self._turn.acquire(timeout=timeout_ms / 1000):
            raise Busy(f"another thread of this process held {self._path} for {timeout_ms} ms; try again")
        try:
            self._held_fd = self._acquire(deadline, timeout_ms)
        except BaseException:
            # what is locked already would stay so until this process ends
            self._give_descriptor_back()
            self._turn.release()
            raise

    def release(self) -> None:
        """Give the lock to whoever waits for it."""
        try:
            self.let_others_go_on()
        finally:
            self._turn.release()

    def is_free(self) -> bool:
        """Whether nobody holds it just now, so that whoever asks for it would hardly wait."""
        if self._fd is None or not self._turn.acquire(blocking=False):
            return False
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        except OSError:
            return False
        finally:
            self._turn.release()
        return True

    def is_wanted_here(self) -> bool:
        """Whether a thread of this process holds the lock, or waits for it."""
        return self._turn.locked()

    def let_others_go_on(self) -> None:
        """Give the lock to other processes before `held` ends; the threads of this one still wait."""
        if self._held_fd is not None:
            fcntl.flock(self._held_fd, fcntl.LOCK_UN)
            self._held_fd = None

    def close(self) -> None:
        """Give the descriptor back once no thread of this process is at the lock; one that stays there keeps it."""
        if self._turn.acquire(timeout=LONGEST_CLOSING_S):
            try:
                self._give_descriptor_back()
            finally:
                self._turn.release()

    def _give_descriptor_back(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _acquire(self, deadline: float, timeout_ms: int) -> int:
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
                self._meanwhile()
                time.sleep(pause * (0.5 + random.random()))
                pause = min(pause * 2, LONGEST_PAUSE_S)
                continue
            if self._is_still_in_place():
                return fd
            self._give_descriptor_back()

    def _is_still_in_place(self) -> bool:
        """False when somebody deleted the lock's file: others would lock a new one beside ours."""
        try:
            return _file_of(os.stat(self._name, follow_symlinks=False)) == self._file
        except FileNotFoundError:
            return False
        except OSError as error:
            self._give_descriptor_back()
            raise explained(error, "lock", self._path) from None

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(self._path, flags, PRIVATE_FILE)
        except FileNotFoundError:
            raise Invalid(f"the folder of {self._path} is gone; create it again") from None
        except OSError as error:
            raise explained(error, "lock", self._path) from None
        self._file = _file_of(os.fstat(self._fd))
        return self._fd


class Held:
    """The lock, held for the time of a `with` statement; a generator would cost every write a microsecond."""

    __slots__ = ("_lock", "_timeout_ms")

    def __init__(self, lock: LedgerLock, timeout_ms: int) -> None:
        self._lock = lock
        self._timeout_ms = timeout_ms

    def __enter__(self) -> None:
        self._lock.acquire(self._timeout_ms)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()


def _file_of(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
