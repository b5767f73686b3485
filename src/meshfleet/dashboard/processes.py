"""What the processes of agents use: memory, processor, and when they wrote last; asked of the agents in sight only."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from meshfleet.agents.census import Census, take_census
from meshfleet.agents.output import events_file
from meshfleet.agents.process import ProcessIdentity
from meshfleet.dashboard.listing import Load
from meshfleet.dashboard.picture import Run
from meshfleet.model import is_own_id

LEAST_PAUSE_S: Final = 2.0
"""How often the process table is read at most: with many processes that takes longest of all there is to do."""


class Sampler:
    """Looks at agents' processes; it is called from one thread at a time.

    Args:
        data_file: The ledger, beside which the run folders lie.
    """

    def __init__(self, data_file: Path) -> None:
        self._data_file = data_file
        self._used: dict[str, tuple[float, dict[ProcessIdentity, float]]] = {}
        self._loads: dict[str, Load] = {}
        self._next = 0.0

    def look(self, runs: Mapping[str, Run]) -> Mapping[str, Load]:
        """What these agents use now, or a moment ago; at once where nothing of them runs."""
        now = time.monotonic()
        if not runs:
            self._used, self._loads = {}, {}
        elif now >= self._next or runs.keys() - self._loads.keys():
            self._next = now + LEAST_PAUSE_S
            census = take_census(with_markers=False) if any(run.leader for run in runs.values()) else None
            self._loads = {agent_id: self._load(agent_id, run, census, now) for agent_id, run in runs.items()}
            self._used = {agent_id: used for agent_id, used in self._used.items() if agent_id in runs}
        return self._loads

    def _load(self, agent_id: str, run: Run, census: Census | None, now: float) -> Load:
        written = self._written_at(agent_id, run.attempt)
        if census is None or run.leader is None:
            return Load(written_at=written)
        entries = census.entries_below(run.leader)
        if not entries:
            return Load(written_at=written)
        used = {entry.identity: entry.cpu_s for entry in entries}
        before = self._used.get(agent_id)
        self._used[agent_id] = now, used
        cpu = None
        if before is not None and now > before[0]:
            grown = sum(max(0.0, seconds - before[1].get(process, 0.0)) for process, seconds in used.items())
            cpu = grown / (now - before[0])
        return Load(sum(entry.memory for entry in entries), cpu, written)

    def _written_at(self, agent_id: str, attempt: int) -> int | None:
        # a row that another program wrote may name anything
        if is_own_id(agent_id):
            with suppress(OSError):
                return int(os.stat(events_file(self._data_file, agent_id, attempt)).st_mtime * 1000)  # noqa: PTH116
        return None
