"""Whether two processes that died at different moments left the same: then others who go on would do the same, too.

Most steps change nothing that others can see, so that most deaths leave what another one left. What is drawn by lot or
depends on the clock is told apart only as far as it makes a difference: which file a journal's header means, which file
the one that stayed has open, and which lineages are equal.
"""

from __future__ import annotations

import os
import re
from typing import Any, Final

from tests.ledger.crash_scenarios import Stage

_MOMENT: Final = re.compile(r"-\d+$")
_BY_LOT: Final = re.compile(
    rb'"snapshot":\[(\d+),(\d+),(\d+)\],"crc":"\w{8}"|"lineage":(\d+)|"snapshot":\[[\d,\]"crc:\w]*$'
)
_NO_DIFFERENCE: Final = frozenset(
    {"data_file", "_data_name", "files", "journals", "state", "identity", "_journal"}
    | {"journal._files", "journal._syncing", "journal._counting"}
)
"""What a replica and its journal have that is the same for all, or is looked at by itself."""
_OFFSETS: Final = frozenset({"journal.offset", "journal._synced_to"})
"""Places in a journal, which differ by as much as the digits of a header do."""


def state_of(stage: Stage, *, copies: bool = True) -> int:
    """What is there for those who go on, as a number: the files, what the one that stayed knows, what must be found.

    Args:
        stage: The ledger, with those who hold it open.
        copies: Whether what is in the copies of damaged files makes a difference, which nobody reads; that they are
            there always does.
    """
    return _Look(stage).state(copies=copies)


class _Look:
    """The files as they are now; what was drawn by lot gets a name when it is first met."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._names: dict[int, str] = {}
        self._identities: dict[tuple[int, ...], str] = {}
        self._lineages: dict[int, int] = {}
        for entry in sorted(os.scandir(stage.file.parent), key=lambda entry: entry.name):
            status = entry.stat()
            self._names[status.st_ino] = _MOMENT.sub("", entry.name)
            self._identities[status.st_ino, status.st_mtime_ns, status.st_size] = _MOMENT.sub("", entry.name)

    def state(self, *, copies: bool) -> int:
        stage = self._stage
        memory = self._memory()
        files = sorted(
            (
                _MOMENT.sub("", path.name),
                self._content(path.read_bytes() if copies or ".corrupt-" not in path.name else b""),
            )
            for path in stage.file.parent.iterdir()
        )
        return hash((memory, tuple(files), tuple(stage.acknowledged), stage.skipped, stage.edited))

    def _memory(self) -> str:
        """All that the one that stayed has in memory, and the files it has open, which may have lost their names."""
        replica = self._stage.keeper._replica
        followed = vars(replica._journal) if replica._journal is not None else {}
        everything = {**vars(replica), **{f"journal.{name}": value for name, value in followed.items()}}
        everything["lock_fd"] = self._stage.keeper._lock._fd
        own: dict[str, Any] = {
            name: self._opened(value) if name.endswith("_fd") and value is not None else value
            for name, value in everything.items()
            if name not in _NO_DIFFERENCE
        }
        start = own.pop("journal._first_record", 0)
        for name in _OFFSETS & own.keys():
            own[name] = max(own[name] - start, 0)
        identity = self._identities.get(replica.identity[1:]) if replica.identity else ""
        state = vars(replica.state) | {"lineage": self._lineage(replica.state.lineage)}
        return repr((identity, own, state))

    def _opened(self, fd: int) -> object:
        status = os.fstat(fd)
        return self._names.get(status.st_ino) or self._content(os.pread(fd, status.st_size, 0))

    def _content(self, content: bytes) -> tuple[bytes, int]:
        """What is written in a file, and where its room ends."""
        written = content.rstrip(b"\0")
        return _BY_LOT.sub(self._named, written), len(content) if len(content) > len(written) else 0

    def _lineage(self, lineage: int) -> int:
        return self._lineages.setdefault(lineage, len(self._lineages))

    def _named(self, match: re.Match[bytes]) -> bytes:
        if match[4]:
            return b"lineage %d" % self._lineage(int(match[4]))
        if not match[1]:
            return b"a part of a snapshot's identity"
        identity = tuple(int(match[group]) for group in (1, 2, 3))
        return b"snapshot %s" % self._identities.get(identity, "elsewhere").encode()
