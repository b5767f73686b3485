"""Looking at the mesh: one read of the ledger makes a picture, and nothing is made anew that has not changed.

It is called from one thread at a time, which need not be the one that draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from meshfleet.agents.process import ProcessIdentity, boot_id
from meshfleet.agents.standing import is_alive, supervisor_key
from meshfleet.dashboard.lists.fleets import name_of
from meshfleet.dashboard.picture import Picture, Run, Wanted
from meshfleet.errors import MeshfleetError, NotFound
from meshfleet.ledger import Ledger, View
from meshfleet.mesh.lifecycle import AT_WORK, attempt_of
from meshfleet.mesh.overview import (
    FleetSummary,
    Trail,
    agent_detail,
    agent_summaries,
    fleet_summaries,
    message_trail,
    problems,
)
from meshfleet.model import SCHEMA_VERSION, AgentStatus, Row, now_ms

NEWER: Final = (
    f"the ledger is of schema {{}}, which is newer than {SCHEMA_VERSION}, so it is only shown; "
    "upgrade meshfleet to act on it"
)

_Process = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _State:
    """What tells one state of the ledger, and of what it depends on, from another."""

    seq: int
    lineage: int
    wanted: Wanted
    gone: frozenset[_Process]

    def leads_to(self, view: View) -> bool:
        """Whether what is there now can have come of this; if not, another ledger was put in its place."""
        return view.lineage == self.lineage and view.seq >= self.seq


class Collector:
    """Makes pictures of a ledger.

    Args:
        ledger: What is looked at.
        now: The time, in ms since the epoch.
    """

    def __init__(self, ledger: Ledger, now: Callable[[], int] = now_ms) -> None:
        self._ledger = ledger
        self._now = now
        self._picture = Picture(0, is_there=False)
        self._state: _State | None = None
        self._processes: dict[_Process, Mapping[str, Any]] = {}
        self._trails: dict[str, tuple[Row, int, Trail]] = {}

    def look(self, wanted: Wanted) -> Picture:
        """The mesh as it is now; where it can't be read, as it was, with what is wrong."""
        now = self._now()
        try:
            seq, lineage = self._ledger.read(lambda view: (view.seq, view.lineage))
            state = _State(seq, lineage, wanted, self._gone())
            if state == self._state:
                self._picture = replace(self._picture, at=now, trouble=None, is_there=self._is_there(seq))
            else:
                self._picture = self._ledger.read(lambda view: self._taken(view, wanted, now))
        except MeshfleetError as error:
            self._state = None
            self._picture = replace(self._picture, at=now, trouble=str(error))
        return self._picture

    def _taken(self, view: View, wanted: Wanted, now: int) -> Picture:
        before = self._state
        replaced = before is not None and self._picture.is_there and not before.leads_to(view)
        if replaced or before is None:
            self._trails.clear()
        self._note_supervisors(view)
        gone = self._gone()

        def left(agent: Row) -> bool:
            supervisor = agent.get("supervisor")
            return agent["status"] in AT_WORK and supervisor is not None and supervisor_key(supervisor) in gone

        ended = self._ended(view, left)
        fleets = fleet_summaries(view, left=left)
        picture = Picture(
            at=now,
            seq=view.seq,
            fleets=fleets,
            agents=[agent for fleet in reversed(fleets) for agent in agent_summaries(view, fleet.id, left=left)],
            problems=problems(view, left=left, over=lambda attempt: supervisor_key(attempt) in ended),
            messages=self._messages(view, wanted.messages) if wanted.messages else None,
            message_count=view.count("messages"),
            names=_names(fleets),
            runs=_runs(view),
            is_there=self._is_there(view.seq),
            replaced_at=now if replaced else self._picture.replaced_at,
            why_read_only=NEWER.format(view.schema_version) if view.schema_version > SCHEMA_VERSION else None,
        )
        picture = _with_wanted(view, picture, wanted, left)
        self._state = _State(view.seq, view.lineage, wanted, gone | ended)
        return picture

    def _messages(self, view: View, last: int) -> list[Trail]:
        """The last messages, oldest first; a trail is only followed again where something happened to it."""
        found = []
        known = self._trails
        for message in view.last_rows("messages", last):
            message_id = message["id"]
            receipts = view.count_of("receipts", "message_id", message_id)
            before = known.get(message_id)
            if before is None or before[0] is not message or before[1] != receipts:
                before = known[message_id] = message, receipts, message_trail(view, message_id)
            found.append(before[2])
        return found

    def _note_supervisors(self, view: View) -> None:
        rows = (agent.get("supervisor") for agent in view.agents_that_are(*AT_WORK))
        self._processes = {supervisor_key(row): row for row in rows if row is not None}

    def _ended(self, view: View, left: Callable[[Row], bool]) -> frozenset[_Process]:
        """Which of the agents' processes have ended that nobody looks after; those that have not are noted."""
        attempts = (attempt_of(view, agent) or {} for agent in view.agents_that_are(AgentStatus.RUNNING) if left(agent))
        theirs = {key: attempt for attempt in attempts if (key := supervisor_key(attempt))}
        self._processes |= theirs
        return frozenset(key for key, attempt in theirs.items() if not is_alive(attempt))

    def _gone(self) -> frozenset[_Process]:
        return frozenset(name for name, row in self._processes.items() if not is_alive(row))

    def _is_there(self, seq: int) -> bool:
        return seq > 0 or self._ledger.data_file.exists()


def _names(fleets: list[FleetSummary]) -> dict[str, str]:
    return {fleet.id: name_of(fleet) for fleet in fleets}


def _with_wanted(view: View, picture: Picture, wanted: Wanted, left: Callable[[Row], bool]) -> Picture:
    try:
        if wanted.agent_id is not None:
            picture = replace(picture, agent=agent_detail(view, wanted.agent_id, left=left))
        if wanted.message_id is not None:
            picture = replace(picture, trail=message_trail(view, wanted.message_id))
    except NotFound:
        # it was there when somebody went to it, and the ledger has been replaced since
        return picture
    return picture


def _runs(view: View) -> dict[str, Run]:
    """The attempts that run, with the processes of this machine's boot."""
    found = {}
    for agent in view.agents_that_are(AgentStatus.RUNNING):
        attempt = attempt_of(view, agent)
        if attempt is None:
            continue
        is_here = "pid" in attempt and "start_time" in attempt and attempt.get("boot_id") == boot_id()
        leader = ProcessIdentity(attempt["pid"], attempt["start_time"]) if is_here else None
        found[agent["id"]] = Run(attempt["number"], leader)
    return found
