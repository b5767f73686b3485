"""A disk that remembers what was synced and what was not, and everything a power cut could leave of it.

A sync makes a file's content durable, a folder's sync makes its names durable; neither does the other's work. Of what
was not synced a cut leaves, file by file, any first part; where a file had grown, the rest of its new length may be
there as zeros or as bytes of something else. Of a journal it leaves any of the sectors that were written. Of the
names that were not synced any may have come about.
"""

from __future__ import annotations

import itertools
import os
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from meshfleet.ledger.files import Files, Identity
from meshfleet.ledger.journal import SECTOR
from tests.ledger.crashes import NOT_CARRIED_OUT, Died
from tests.ledger.watched_files import Step, UnsyncedFiles, WatchedFiles

MOST_COMBINED: Final = 6
"""Up to so many unsynced names, or sectors, every combination is tried, of more only those in order."""
_NOISE: Final = random.Random(3).randbytes(5_000).replace(b"\n", b"")
_RAGGED: Final = b"".join(_NOISE[start : start + 40] + b"\n" for start in range(0, len(_NOISE), 40))
"""Noise with ends of lines in it."""
_MOMENT: Final = re.compile(r"-\d+$")
_BY_LOT: Final = re.compile(rb'("snapshot":\[[^]]*\]),"crc":"\w{8}"|"lineage":\d+')


class Written(NamedTuple):
    """Bytes at a place of a file."""

    data: bytes
    offset: int

    def onto(self, content: bytes, size: int | None = None) -> bytes:
        """The content once so many of the bytes are written; None means all of them."""
        data = self.data[:size]
        return content[: self.offset] + data + content[self.offset + len(data) :]


class Truncated(NamedTuple):
    """A file that was cut to a size."""

    size: int


class Named(NamedTuple):
    """A name that a file got; the one it had before, if any, is gone with it."""

    name: str
    node: int
    before: str | None = None


class Unnamed(NamedTuple):
    """A name that was removed."""

    name: str


@dataclass(frozen=True)
class Node:
    """A file's content: what is durable, and what was done since.

    Attributes:
        durable: What was there at the last sync.
        since: What was done since, in order.
        identity: Inode and mtime of the file that the ledger really wrote.
    """

    durable: bytes = b""
    since: tuple[Written | Truncated, ...] = ()
    identity: tuple[int, int] = (0, 0)

    def after(self, steps: Iterable[Written | Truncated]) -> bytes:
        """The content once these steps are done."""
        content = self.durable
        for step in steps:
            content = step.onto(content) if isinstance(step, Written) else content[: step.size]
        return content

    def coarsely(self) -> Iterator[bytes]:
        """What could be left, torn in a few places."""
        for count in range(len(self.since) + 1):
            content = self.after(self.since[:count])
            yield content
            if count < len(self.since):
                step = self.since[count]
                if isinstance(step, Written):
                    yield step.onto(content, len(step.data) // 2)

    def by_sectors(self) -> Iterator[bytes]:
        """What could be left of writes whose sectors get to the disk in any order, or don't."""
        places = [step.offset for step in self.since if isinstance(step, Written)]
        whole = self.after(self.since)
        end = len(whole.rstrip(b"\0"))
        if not places or end <= min(places):
            return
        sizes = [step.size for step in self.since if isinstance(step, Truncated)]
        before = self.durable[: min(sizes, default=None)].ljust(len(whole), b"\0")
        sectors = range(min(places) // SECTOR, (end - 1) // SECTOR + 1)
        for lost in itertools.product((False, True), repeat=min(len(sectors), MOST_COMBINED)):
            content = bytearray(whole)
            for sector in itertools.compress(sectors, lost):
                part = slice(sector * SECTOR, min((sector + 1) * SECTOR, len(whole)))
                content[part] = before[part]
            yield bytes(content)

    def finely(self, every: int) -> Iterator[bytes]:
        """What could be left, torn at every so many bytes, with nothing, zeros or noise behind it."""
        whole = len(self.after(self.since))
        for count in range(len(self.since) + 1):
            content = self.after(self.since[:count])
            yield from _filled_up(content, whole)
            if count < len(self.since):
                step = self.since[count]
                if isinstance(step, Written):
                    for size in _places(step.data, every):
                        yield from _filled_up(step.onto(content, size), whole)


def _filled_up(content: bytes, length: int) -> Iterator[bytes]:
    yield content
    missing = length - len(content)
    if missing > 0:
        yield content + bytes(missing)
        yield content + _NOISE[:missing]
        yield content + _RAGGED[-missing:]


def _is_ragged(content: bytes) -> bool:
    """Whether what is left can't be told from damage.

    That is a line of noise with an end, a wrong byte where only the newline of a whole record was missing, and a sector
    that was lost of a line that is not the last: two processes had written, and neither had synced.
    """
    *lines, tail = content.rstrip(b"\0").split(b"\n")
    noise = any(line[-2:] != b'"}' and b"\0" not in line for line in lines)
    return noise or any(b"\0" in line for line in lines[:-1]) or b'"}' in tail[:-1]


@dataclass(frozen=True)
class Moment:
    """A disk at the moment of a cut.

    Attributes:
        step: What was done last.
        nodes: The files.
        names: The durable names.
        names_since: What was done to names since the folder was synced, in order.
        acknowledged: The messages that were acknowledged by then.
    """

    step: str
    nodes: dict[int, Node]
    names: dict[str, int]
    names_since: tuple[Named | Unnamed, ...]
    acknowledged: tuple[str, ...]

    def remains(self, every: int | None) -> Iterator[Remains]:
        """Every state the disk could be in when the power is back.

        Args:
            every: Where nothing else is torn, a journal is torn at every so many bytes; None tears it in few places.
        """
        for names in self._names():
            torn = [node for node in sorted(set(names.values())) if self.nodes[node].since]
            journals = [node for name, node in names.items() if name.endswith(".ndjson") and node in torn]
            if every and len(torn) == len(journals) == 1:
                choices: Iterable[tuple[bytes, ...]] = ((content,) for content in self.nodes[torn[0]].finely(every))
            else:
                choices = itertools.product(*(self.nodes[node].coarsely() for node in torn))
            if len(torn) == len(journals) == 1:
                choices = itertools.chain(choices, ((content,) for content in self.nodes[torn[0]].by_sectors()))
            for contents in choices:
                left = dict(zip(torn, contents, strict=True))
                yield Remains(
                    {name: left.get(node, self.nodes[node].durable) for name, node in names.items()},
                    {name: self.nodes[node].identity for name, node in names.items()},
                )

    def _names(self) -> Iterator[dict[str, int]]:
        if len(self.names_since) <= MOST_COMBINED:
            done = itertools.product((False, True), repeat=len(self.names_since))
            chosen = [tuple(itertools.compress(self.names_since, each)) for each in done]
        else:
            chosen = [self.names_since[:count] for count in range(len(self.names_since) + 1)]
        for steps in chosen:
            names = dict(self.names)
            for step in steps:
                if isinstance(step, Unnamed):
                    names.pop(step.name, None)
                else:
                    names[step.name] = step.node
                    if step.before is not None and names.get(step.before) == step.node:
                        del names[step.before]
            yield names


@lru_cache(maxsize=10_000)
def _essence_of(content: bytes, own: bytes) -> tuple[bytes, int]:
    """A file's content without what was drawn by lot, and how many zeros are at its end."""
    written = content.rstrip(b"\0")

    def same(match: re.Match[bytes]) -> bytes:
        return b"its own" if match[1] == own else b""

    return _BY_LOT.sub(same, written), len(content) - len(written)


@dataclass(frozen=True)
class Remains:
    """What a cut left: the content and the former identity of every file, by name."""

    contents: dict[str, bytes]
    identities: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, folder: Path, files: Files) -> Remains:
        """What is in a folder now; of a damaged file's copy, which nobody reads, only that it is there."""
        contents, identities = {}, {}
        for path in folder.iterdir():
            contents[path.name] = b"" if ".corrupt-" in path.name else path.read_bytes()
            identity = files.identify(path)
            assert identity is not None
            identities[path.name] = identity.inode, identity.mtime_ns
        return cls(contents, identities)

    @property
    def is_ragged(self) -> bool:
        """True when the noise at a journal's end can't be told from damage, so that the ledger is refused."""
        return any(_is_ragged(content) for name, content in self.contents.items() if name.endswith(".ndjson"))

    def essence(self, snapshot: str = "agent-mesh.json") -> tuple[tuple[str, bytes, int], ...]:
        """What makes a difference: not when a copy was made, where a file lies on the disk, what was drawn by lot."""
        inode, mtime_ns = self.identities.get(snapshot, (0, 0))
        own = b'"snapshot":[%d,%d,%d]' % (inode, mtime_ns, len(self.contents.get(snapshot, b"")))
        found = [(_MOMENT.sub("", name), *_essence_of(content, own)) for name, content in self.contents.items()]
        return tuple(sorted(found))

    def put_into(self, folder: Path) -> RestoredFiles:
        """Write it into an empty folder; returns file operations that know the files by their former identity."""
        files = RestoredFiles()
        for name, content in self.contents.items():
            path = folder / name
            path.write_bytes(content)
            files.remember(path, self.identities[name])
        return files


class RestoredFiles(UnsyncedFiles):
    """File operations on a restored disk: a file that was not changed since has the inode and mtime it had before."""

    def __init__(self) -> None:
        self._before: dict[Identity, Identity] = {}

    def remember(self, path: Path, identity: tuple[int, int]) -> None:
        """Note which file lies there again."""
        now = super().identify(path)
        assert now is not None
        inode, mtime_ns = identity
        self._before[now] = now._replace(inode=inode, mtime_ns=mtime_ns)

    def identify(self, path: Path | str) -> Identity | None:
        found = super().identify(path)
        return None if found is None else self._before.get(found, found)

    def identify_open(self, fd: int) -> Identity:
        found = super().identify_open(fd)
        return self._before.get(found, found)


@dataclass
class Disk:
    """The disk under one folder, as several processes use it.

    Attributes:
        moments: The disk after every step that changed it, and after every acknowledgement.
        acknowledged: The messages acknowledged until now.
        recording: Whether moments are noted.
    """

    folder: Path
    acknowledged: list[str]
    moments: list[Moment] = field(default_factory=list)
    recording: bool = True

    def __post_init__(self) -> None:
        self._nodes: dict[int, Node] = {}
        self._node_of_inode: dict[int, int] = {}
        self._names: dict[str, int] = {}
        self._now: dict[str, int] = {}
        self._names_since: list[Named | Unnamed] = []
        for path in sorted(self.folder.iterdir()):
            # locks hold nothing; whether they are there makes no difference
            if path.suffix != ".lock":
                self._names[path.name] = self._now[path.name] = self._new_node(path.stat(), path.read_bytes())

    def note(self, step: str) -> None:
        """Remember the disk as it is."""
        if self.recording:
            moment = Moment(
                step, dict(self._nodes), dict(self._names), tuple(self._names_since), tuple(self.acknowledged)
            )
            self.moments.append(moment)

    def created(self, name: str, fd: int) -> None:
        """A file was created."""
        self._now[name] = self._new_node(os.fstat(fd), b"")
        self._names_since.append(Named(name, self._now[name]))

    def changed(self, fd: int, step: Written | Truncated) -> None:
        """A file's content was changed."""
        status = os.fstat(fd)
        number = self._node_of_inode[status.st_ino]
        node = self._nodes[number]
        identity = (status.st_ino, status.st_mtime_ns)
        self._nodes[number] = replace(node, since=(*node.since, step), identity=identity)

    def synced(self, fd: int) -> None:
        """A file's content is durable."""
        number = self._node_of_inode[os.fstat(fd).st_ino]
        node = self._nodes[number]
        self._nodes[number] = replace(node, durable=node.after(node.since), since=())

    def renamed(self, source: str, target: str) -> None:
        """A file got another name."""
        self._now[target] = self._now.pop(source)
        self._names_since.append(Named(target, self._now[target], source))

    def unlinked(self, name: str) -> None:
        """A name was removed, if it was there."""
        if self._now.pop(name, None) is not None:
            self._names_since.append(Unnamed(name))

    def folder_synced(self) -> None:
        """All names are durable."""
        self._names = dict(self._now)
        self._names_since.clear()

    def _new_node(self, status: os.stat_result, content: bytes) -> int:
        number = len(self._nodes)
        self._nodes[number] = Node(content, (), (status.st_ino, status.st_mtime_ns))
        self._node_of_inode[status.st_ino] = number
        return number


class RecordingFiles(WatchedFiles):
    """File operations of one process on a disk that takes note.

    Attributes:
        disk: None until the recording begins.
        steps: How many steps the process made since.
        changes: Which of them changed something.
        dies_before: The step that it does not come to.
    """

    def __init__(self) -> None:
        self.disk: Disk | None = None
        self.steps = 0
        self.changes: list[int] = []
        self.dies_before: int | None = None
        self._open: set[int] = set()

    def around(self, name: str, step: Step, *args: Any) -> Any:
        if self.disk is not None:
            self.steps += 1
            if self.dies_before is not None and self.steps >= self.dies_before:
                raise Died
        result: Any = None if name in NOT_CARRIED_OUT else step(*args)
        if name in {"open_existing", "open_to_write", "create"}:
            self._open.add(result)
        elif name == "close":
            self._open.discard(args[0])
        if self.disk is not None and _noted(self.disk, name, args, result):
            self.changes.append(self.steps)
            self.disk.note(name)
        return result

    def abandon(self) -> None:
        """Give back the descriptors of a process that died."""
        for fd in self._open:
            os.close(fd)


def _noted(disk: Disk, name: str, args: tuple[Any, ...], result: Any) -> bool:
    match name, args:
        case "create", (path,):
            disk.created(path.name, result)
        case "write", (fd, data, offset):
            disk.changed(fd, Written(data[:result], offset))
        case "truncate", (fd, size):
            disk.changed(fd, Truncated(size))
        case "sync", (fd,):
            disk.synced(fd)
        case "rename", (source, target):
            disk.renamed(source.name, target.name)
        case "unlink", (path,):
            disk.unlinked(path.name)
        case "sync_folder", (folder,) if folder == disk.folder:
            disk.folder_synced()
        case _:
            return False
    return True


def _places(data: bytes, every: int) -> list[int]:
    """Where in a write it is torn; the zeros at its end are there already, or come to the same."""
    written = len(data.rstrip(b"\0"))
    return sorted({1, *range(every, written, every), written - 1, written})
