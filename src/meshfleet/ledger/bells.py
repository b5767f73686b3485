"""Bells: who waits for a change of the ledger hangs one beside it, and whoever commits such a change rings it.

A bell is a named pipe that its owner reads, in a folder for each topic; watching.py waits for them. Named pipes and not
sockets: a path may be of any length, and opening one that nobody reads any more fails at once, so that what a crash
left behind is seen, and removed, by whoever rings next. Nothing here can fail or hold up a commit.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final
from zlib import crc32

from meshfleet.ledger.files import PRIVATE_FILE, PRIVATE_FOLDER
from meshfleet.ledger.journal import Operation
from meshfleet.ledger.state import APPEND, PUT, TAKE
from meshfleet.settings import beside

log = logging.getLogger(__name__)

ANYTHING: Final = ""
"""The topic of every commit; all others are ids: of an agent or inbox, or of a fleet."""

_RING: Final = b"!"
_ALL_RINGS: Final = 65_536
_UNHEARD: Final = "."
"""What the names of bells begin with that nobody hears yet."""
_TRIES: Final = 10
_TO_RING: Final = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_TO_HEAR: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_TO_LIST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Bell:
    """A bell that hangs; rings that nobody has heard yet are one.

    Args:
        fd: The pipe's end that is read.
        own_end: An end to write to, since a pipe that all writers have closed is readable for ever.
        path: Where it hangs.
    """

    def __init__(self, fd: int, own_end: int, path: str) -> None:
        self.fd: Final = fd
        self._own_end = own_end
        self._path = path

    @property
    def hangs(self) -> bool:
        """False once somebody removed it."""
        return os.access(self._path, os.F_OK)

    def silence(self) -> None:
        """Forget that it was rung."""
        with suppress(BlockingIOError):
            os.read(self.fd, _ALL_RINGS)

    def take_down(self) -> None:
        """Remove it, and the folders if it was the last one."""
        with suppress(OSError):
            os.unlink(self._path)
        os.close(self._own_end)
        os.close(self.fd)
        _remove_empty(os.path.dirname(self._path))


class Belfry:
    """The place of a ledger's bells.

    Args:
        data_file: The ledger's snapshot, beside which it lies.
    """

    def __init__(self, data_file: Path) -> None:
        self._folder = os.fspath(beside(data_file, "waiters"))

    def ring_for(self, operations: Iterable[Operation]) -> None:
        """Ring for a transaction that stands; whatever goes wrong, those who wait look by themselves before long."""
        # the one thing that every commit pays for while nobody waits
        if not os.access(self._folder, os.F_OK):
            return
        try:
            for topic in topics_of(operations):
                folder = self._folder_of(topic)
                if os.access(folder, os.F_OK) and _is_folder(self._folder):
                    _go_through(folder, _ring)
        except Exception:
            # the commit stands, and is to be acknowledged
            log.exception("could not ring for those who wait")

    def hang(self, topic: str) -> Bell:
        """Hang a bell for a topic; `Bell.take_down` has to follow.

        Raises:
            OSError: It is not possible here.
        """
        for _ in range(_TRIES):
            # who takes the last bell down, or sweeps, may remove a folder before the next one hangs in it
            with suppress(FileNotFoundError):
                return self._hang(topic)
        return self._hang(topic)

    def sweep(self) -> None:
        """Remove what processes that crashed have left hanging."""
        if _is_folder(self._folder):
            with suppress(OSError):
                for name in os.listdir(self._folder):
                    _go_through(f"{self._folder}/{name}", _remove_if_nobody_hears)

    def _folder_of(self, topic: str) -> str:
        return f"{self._folder}/{crc32(topic.encode('utf-8', 'surrogatepass')):08x}"

    def _hang(self, topic: str) -> Bell:
        folder = self._folder_of(topic)
        try:
            for each in (self._folder, folder):
                with suppress(FileExistsError):
                    os.mkdir(each, PRIVATE_FOLDER)
                # one look: who takes the last bell down may remove it just now, and then this is tried again
                if not stat.S_ISDIR(os.lstat(each).st_mode):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), each)
            return _hang_in(folder)
        except OSError:
            _remove_empty(folder)
            raise


def topics_of(operations: Iterable[Operation]) -> set[str]:
    """The topics that a transaction concerns: whose inbox has more or less in it, and which fleet's row is another."""
    topics = {ANYTHING}
    for operation in operations:
        match operation:
            case [kind, agent_id, _] if kind in {APPEND, TAKE}:
                topics.add(agent_id)
            case [kind, "fleets", fleet_id, _] if kind == PUT:
                topics.add(fleet_id)
    return topics


def _hang_in(folder: str) -> Bell:
    name = f"{os.getpid()}.{os.urandom(4).hex()}"
    path, unheard = f"{folder}/{name}", f"{folder}/{_UNHEARD}{name}"
    os.mkfifo(unheard, PRIVATE_FILE)
    fds = []
    try:
        fds += [os.open(unheard, _TO_HEAR)]
        fds += [os.open(unheard, _TO_RING)]
        # with its name only now, or whoever rings would take it for one that nobody hears any more
        os.rename(unheard, path)
    except BaseException:
        for fd in fds:
            os.close(fd)
        with suppress(OSError):
            os.unlink(unheard)
        raise
    return Bell(fds[0], fds[1], path)


def _go_through(folder: str, act: Callable[[str, int], bool]) -> None:
    """Do something to everything that hangs in a folder; it tells whether it removed it."""
    with suppress(OSError):
        fd = os.open(folder, _TO_LIST)
        try:
            removed = [act(name, fd) for name in os.listdir(fd)]
        finally:
            os.close(fd)
        if all(removed):
            _remove_empty(folder)


def _ring(name: str, folder_fd: int) -> bool:
    return not name.startswith(_UNHEARD) and _remove_if_nobody_hears(name, folder_fd, _RING)


def _remove_if_nobody_hears(name: str, folder_fd: int, ring: bytes = b"") -> bool:
    try:
        fd = os.open(name, _TO_RING, dir_fd=folder_fd)
    except OSError as error:
        return error.errno == errno.ENXIO and _is_removed(name, folder_fd)
    # a full pipe has been rung often enough, and one that was closed just now needs no ring
    with suppress(OSError):
        if ring and stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.write(fd, ring)
    os.close(fd)
    return False


def _is_removed(name: str, folder_fd: int) -> bool:
    with suppress(OSError):
        if stat.S_ISFIFO(os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=folder_fd)
            return True
    return False


def _is_folder(path: str) -> bool:
    """False for a symlink, too."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _remove_empty(folder: str) -> None:
    with suppress(OSError):
        os.rmdir(folder)
        os.rmdir(os.path.dirname(folder))
