"""The process table at one moment, and what belongs to which attempt; one is taken for all who ask together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

from meshfleet.agents.launch import is_parent_of_run
from meshfleet.agents.process import (
    ProcessEntry,
    ProcessIdentity,
    current_identity,
    environment_value,
    process_table,
    same,
)

MARKER_NAME: Final = "MESHFLEET_ATTEMPT"


@dataclass(frozen=True, slots=True)
class Census:
    """All processes there were.

    Attributes:
        entries: By pid.
        marked: The pids of those that carry a marker in their environment, by the marker.
        children: The pids of a process's children, by its pid.
        groups: The pids of a group or a session, by its leader's.
    """

    entries: Mapping[int, ProcessEntry]
    marked: Mapping[str, frozenset[int]]
    children: Mapping[int, list[int]]
    groups: Mapping[int, list[int]]

    def members(self, marker: str, leader: ProcessIdentity | None) -> list[ProcessIdentity]:
        """The living processes of an attempt, the caller never among them.

        Args:
            marker: What its processes carry, compared whole.
            leader: The attempt's shell parent, where it is known; it may be long gone.
        """
        marked = self.marked.get(marker, frozenset())
        found = self._with_descendants(marked | self._group(leader, marked))
        found.discard(current_identity().pid)
        return [self.entries[pid].identity for pid in sorted(found) if not self.entries[pid].ended]

    def entries_below(self, leader: ProcessIdentity) -> list[ProcessEntry]:
        """The living processes of a leader's session, and what descends from them."""
        found = self._with_descendants(self._group(leader, frozenset()))
        return [self.entries[pid] for pid in found if not self.entries[pid].ended]

    def leader(self, marker: str, run_dir: Path) -> ProcessIdentity | None:
        """The shell parent of an attempt that nobody noted; what leads a session beside it is some tool's."""
        leaders = [
            self.entries[pid].identity
            for pid in self.marked.get(marker, ())
            if self.entries[pid].session == pid and not self.entries[pid].ended and is_parent_of_run(pid, run_dir)
        ]
        return min(leaders, key=lambda identity: (identity.start_time, identity.pid), default=None)

    def _group(self, leader: ProcessIdentity | None, marked: Iterable[int]) -> set[int]:
        if leader is None:
            return set()
        members = set(self.groups.get(leader.pid, ()))
        present = self.entries.get(leader.pid)
        # a group's number is not given away while a member lives, but once all are gone it may be a stranger's:
        # without its leader the group is ours only if one that is marked belongs to it
        ours = same(present.identity, leader) if present else not members.isdisjoint(marked)
        return members if ours else set()

    def _with_descendants(self, roots: Iterable[int]) -> set[int]:
        found = set(roots)
        new = list(found)
        while new:
            below = [child for child in self.children.get(new.pop(), ()) if child not in found]
            found.update(below)
            new.extend(below)
        return found


def take_census(*, with_markers: bool = True) -> Census:
    """Look at every process; without markers it costs half."""
    entries = {entry.identity.pid: entry for entry in process_table()}
    marked: dict[str, set[int]] = {}
    children: dict[int, list[int]] = {}
    groups: dict[int, list[int]] = {}
    for pid, entry in entries.items():
        children.setdefault(entry.parent, []).append(pid)
        for leader in {entry.group, entry.session}:
            groups.setdefault(leader, []).append(pid)
        if with_markers and not entry.ended and (marker := environment_value(pid, MARKER_NAME)) is not None:
            marked.setdefault(marker, set()).add(pid)
    return Census(entries, {marker: frozenset(pids) for marker, pids in marked.items()}, children, groups)


class Registry:
    """Takes a census for whoever asks; those who ask while one is under way share the next."""

    def __init__(self) -> None:
        self._begun = 0
        self._last: Census | None = None
        self._one_at_a_time = anyio.Lock()

    async def census(self) -> Census:
        """A census that was begun after it was asked for."""
        begun_before = self._begun
        async with self._one_at_a_time:
            if self._last is None or self._begun == begun_before:
                self._begun += 1
                self._last = None
                self._last = await to_thread.run_sync(take_census)
            return self._last
