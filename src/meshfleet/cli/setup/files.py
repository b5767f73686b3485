"""A configuration file of somebody else's: read whole, and put in place atomically with the rights it had."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from meshfleet.errors import Busy, Conflict, Invalid, Unavailable

LARGEST_FILE: Final = 10 * 1024 * 1024
"""Bytes of a configuration; what is larger is something else."""
LOCK_TIMEOUT_S: Final = 10.0
LOCK_NAME: Final = "lock"
_PRIVATE_FILE: Final = 0o600
_PRIVATE_FOLDER: Final = 0o700
_USUAL_FILE: Final = 0o666
_TO_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def read_whole(path: Path) -> bytes | None:
    """A file's bytes; None where there is none.

    Raises:
        Invalid: It is no regular file, or too large to be a configuration.
        Unavailable: It can't be read.
    """
    try:
        # not to wait for a named pipe in its place
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _explained(error, "read", path) from None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise Invalid(f"{path} is no regular file; move it away and try again")
    with os.fdopen(fd, "rb") as file:
        if status.st_size > LARGEST_FILE:
            raise Invalid(f"{path} has {status.st_size} bytes, too many for a configuration; name another file")
        try:
            return file.read()
        except OSError as error:
            raise _explained(error, "read", path) from None


def require_unchanged(path: Path, before: bytes | None) -> None:
    """See that a file still holds what was last read of it.

    Raises:
        Conflict: It does not.
    """
    if read_whole(path) != before:
        raise Conflict(f"{path} was changed by somebody else meanwhile; nothing was written, run it again")


def replace_whole(path: Path, before: bytes | None, after: bytes | None, *, private: bool = False) -> None:
    """Give a file its new bytes, or remove it where there are to be none; it is never there in part.

    A symlink stays one, and what it leads to is replaced. The new file has the old one's owner and rights.

    Args:
        path: The file.
        before: What was last read of it.
        after: What it is to hold.
        private: Whether a new file is for its owner alone.

    Raises:
        Conflict: Somebody changed it since it was read, or it is write-protected.
        Unavailable: The disk refused; the file is as it was.
    """
    target = Path(os.path.realpath(path))
    try:
        present = target.stat() if before is not None else None
        if present is not None and not present.st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
            raise Conflict(f"{path} is write-protected; give it the right (chmod u+w) if it may be changed")
        if after is None:
            require_unchanged(path, before)
            target.unlink(missing_ok=True)
        else:
            target.parent.mkdir(mode=_PRIVATE_FOLDER if private else 0o777, parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
            try:
                _write(temporary, after, present, private=private)
                require_unchanged(path, before)
                temporary.replace(target)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise
        _sync_folder(target.parent)
    except OSError as error:
        raise _explained(error, "write", path) from None


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, one after the other, up to the first in which there is something."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


@contextmanager
def one_at_a_time(folder: Path) -> Generator[None]:
    """Keep other meshfleets from editing meanwhile.

    Raises:
        Busy: One has been at it for 10 s.
        Unavailable: The folder can't be made.
    """
    try:
        folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        with FileLock(folder / LOCK_NAME, timeout=LOCK_TIMEOUT_S, mode=_PRIVATE_FILE):
            yield
    except Timeout:
        raise Busy(f"another meshfleet has been editing a configuration for {LOCK_TIMEOUT_S:g} s; try again") from None
    except OSError as error:
        raise _explained(error, "use", folder) from None


def _write(path: Path, data: bytes, present: os.stat_result | None, *, private: bool) -> None:
    path.unlink(missing_ok=True)
    fd = os.open(path, _TO_CREATE, _PRIVATE_FILE if private or present is not None else _USUAL_FILE)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        if present is not None:
            with suppress(PermissionError):  # of another's file the copy is ours, which may be all we can have
                os.fchown(fd, present.st_uid, present.st_gid)
            os.fchmod(fd, stat.S_IMODE(present.st_mode))
        os.fsync(fd)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _explained(error: OSError, deed: str, path: Path) -> Unavailable:
    why = os.strerror(error.errno or 0).lower()
    return Unavailable(f"can't {deed} {path}: {why}; see to its permissions and to the disk, and try again")
