"""The few operations on files the ledger is made of, behind one seam.

Everything the ledger does to a disk goes through `Files`, so that a test can stop the process before or after each
step, replay what a power cut would leave, or let a disk be full. What the steps mean is said by the callers.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from meshfleet.errors import Invalid, Unavailable

PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700
# O_NONBLOCK means nothing to a file, and that nobody waits for a named pipe in its place
_TO_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TO_WRITE: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Identity(NamedTuple):
    """Which file lies under a name, and in which state: two equal ones mean nothing changed in between."""

    device: int
    inode: int
    mtime_ns: int
    size: int


def _identity(status: os.stat_result) -> Identity:
    return Identity(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


class Files:
    """File operations as the operating system offers them; every file is private and no symlink is followed."""

    def identify(self, path: Path | str) -> Identity | None:
        """What lies under the path now; None when nothing does."""
        try:
            return _identity(os.stat(path, follow_symlinks=False))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise explained(error, "look at", Path(path)) from None

    def identify_open(self, fd: int) -> Identity:
        """What an open descriptor stands for now."""
        return _identity(os.fstat(fd))

    def size(self, fd: int) -> int:
        """The size of an open file, in bytes.

        Without fstat: where time stamps have several grains (Linux 6.13), a file whose stamps were asked for gets a new
        one with the next write, and its sync then waits for the inode too, half as long again.
        """
        return os.lseek(fd, 0, os.SEEK_END)

    def open_existing(self, path: Path) -> int:
        """Open a file for reading and writing, or for reading alone where it may not be written.

        Raises:
            FileNotFoundError: There is no such file.
            Invalid: A symlink, a folder or something else that is no regular file lies there.
            Unavailable: It may not be read.
        """
        try:
            try:
                fd = os.open(path, _TO_WRITE)
            except PermissionError:
                fd = os.open(path, _TO_READ)
            except OSError as error:
                if error.errno != errno.EROFS:
                    raise
                fd = os.open(path, _TO_READ)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise explained(error, "open", path) from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise Invalid(f"{path} is no regular file; name another, or set MESHFLEET_DATA_FILE to one")
        return fd

    def open_to_write(self, path: Path) -> int:
        """Open a file for reading and writing; raises what the operating system does."""
        return os.open(path, _TO_WRITE)

    def create(self, path: Path) -> int:
        """Create a file that must not exist yet, for reading and writing.

        Raises:
            FileExistsError: Something lies there already.
            Unavailable: It can't be created.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(path, flags, PRIVATE_FILE)
        except FileExistsError:
            raise
        except OSError as error:
            raise explained(error, "create", path) from None

    def read(self, fd: int, offset: int, length: int) -> bytes:
        """Read up to `length` bytes at an offset; fewer only at the end of the file."""
        part = os.pread(fd, length, offset)
        if len(part) == length:
            return part
        parts = []
        while part:
            parts.append(part)
            offset += len(part)
            length -= len(part)
            part = os.pread(fd, length, offset)
        return b"".join(parts)

    def write(self, fd: int, data: bytes, offset: int) -> int:
        """Write at an offset once; returns how many bytes went."""
        return os.pwrite(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file to `size` bytes."""
        os.ftruncate(fd, size)

    def begin_sync(self, fd: int, offset: int) -> None:
        """Have the disk begin to write the page around an offset, and don't wait; where that can't be, do nothing.

        Linux writes pages that are said not to be needed any more, and keeps one of which only a part was named.
        """
        if sys.platform == "linux":
            os.posix_fadvise(fd, offset, 1, os.POSIX_FADV_DONTNEED)

    def sync(self, fd: int) -> None:
        """Return once the file's content is on the disk."""
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(fd)

    def rename(self, source: Path, target: Path) -> None:
        """Put one file in the place of another, atomically."""
        os.rename(source, target)

    def sync_folder(self, folder: Path) -> None:
        """Return once the folder's entries are on the disk."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def unlink(self, path: Path) -> None:
        """Remove a name, if it is there."""
        path.unlink(missing_ok=True)

    def close(self, fd: int) -> None:
        """Give a descriptor back."""
        os.close(fd)


def make_private_folder(folder: Path) -> None:
    """Create a folder, and those above it, for its owner alone; one that is there stays as it is.

    Raises:
        Unavailable: It can't be created.
    """
    try:
        missing = [each for each in (folder, *folder.parents) if not each.is_dir()]
        if missing:
            # whoever made the one above may have died before its name was on the disk
            sync_name_of(missing[-1].parent)
        # one by one: mkdir gives the mode to the last folder only
        for each in reversed(missing):
            each.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            # or a power cut may take the folder with all that was acknowledged in it
            sync_name_of(each)
    except OSError as error:
        raise explained(error, "create", folder) from None


def sync_name_of(folder: Path) -> None:
    """Have a folder's name on the disk, where it may be asked for."""
    with suppress(OSError):
        Files().sync_folder(folder.parent)


def explained(error: OSError, deed: str, path: Path) -> Unavailable | Invalid:
    """The error of the mesh that says of an operating system's error what failed and what to do."""
    if error.errno == errno.ELOOP:
        return Invalid(f"{path} is a symlink, which the ledger does not follow; put the file itself there")
    if error.errno == errno.EISDIR:
        return Invalid(f"can't {deed} {path}: it is a folder; name a file, or set MESHFLEET_DATA_FILE to one")
    remedies = {
        errno.ENOSPC: "free some space and try again",
        errno.EDQUOT: "the quota is used up; free some space and try again",
        errno.EFBIG: "no file may grow so large here; raise the limit (ulimit -f) and try again",
        errno.EACCES: "give yourself the permission, or set MESHFLEET_DATA_FILE to a file elsewhere",
        errno.EPERM: "give yourself the permission, or set MESHFLEET_DATA_FILE to a file elsewhere",
        errno.EROFS: "the folder is read-only; set MESHFLEET_DATA_FILE to a file elsewhere",
        errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
        errno.EEXIST: "a file lies there; set MESHFLEET_DATA_FILE to a file elsewhere",
        errno.ENAMETOOLONG: "choose a shorter name",
        errno.ENOENT: "it, or its folder, has gone; look who removes it",
        errno.ENOTDIR: "a part of the path is no folder; name a file elsewhere, or set MESHFLEET_DATA_FILE to one",
    }
    remedy = remedies.get(error.errno or 0, "try again, and see what else the system says")
    return Unavailable(f"can't {deed} {path}: {os.strerror(error.errno or 0).lower()}; {remedy}")
