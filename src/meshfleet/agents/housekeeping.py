"""Removing the run folders of fleets that ended long ago, but none that an agent may still need to go on."""

from __future__ import annotations

import logging
import shutil
from functools import partial
from pathlib import Path
from typing import Final

from meshfleet.ledger import Ledger, View
from meshfleet.mesh.resuming import RESUMABLE
from meshfleet.model import Row

log = logging.getLogger(__name__)

DAY_MS: Final = 24 * 60 * 60 * 1000


def prune_runs(ledger: Ledger, runs_dir: Path, keep_days: int, now: int) -> list[str]:
    """Remove run folders that nobody needs any more; returns the ids of the agents they were of.

    Args:
        ledger: Says which fleets have ended, and when.
        runs_dir: Where the folders lie.
        keep_days: How long a fleet's are kept after its end, in days.
        now: The time, in ms since the epoch.

    Raises:
        MeshfleetError: The ledger can't be read; nothing was removed.
    """
    before = now - keep_days * DAY_MS
    removed = []
    for agent_id in ledger.read(lambda view: _not_needed(view, before)):
        folder = runs_dir / agent_id
        if not folder.is_dir() or folder.is_symlink():
            continue
        if not ledger.read(partial(_may_go, agent_id=agent_id, before=before)):
            continue  # it was resumed meanwhile
        try:
            shutil.rmtree(folder)
        except OSError:
            log.warning("could not remove %s", folder, exc_info=True)
        else:
            removed.append(agent_id)
    return removed


def _not_needed(view: View, before: int) -> list[str]:
    return [
        agent["id"]
        for fleet in view.rows("fleets")
        if _ended_before(fleet, before)
        for agent in view.agents_of(fleet["id"])
        if not _is_needed_to_resume(agent)
    ]


def _may_go(view: View, agent_id: str, before: int) -> bool:
    agent = view.get("agents", agent_id)
    fleet = None if agent is None else view.get("fleets", agent["fleet_id"])
    return fleet is not None and _ended_before(fleet, before)


def _ended_before(fleet: Row, before: int) -> bool:
    return (fleet.get("completed_at") or before) < before


def _is_needed_to_resume(agent: Row) -> bool:
    """True where only its folder could tell in which session it goes on."""
    return agent["status"] in RESUMABLE and not agent.get("session_id")
