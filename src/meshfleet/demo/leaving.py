"""Nothing of a demo outlives it: every process of every attempt is stopped, and its folder goes unless it is wanted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import anyio

from meshfleet.agents.process import ProcessIdentity
from meshfleet.agents.stopping import stop_attempt
from meshfleet.ledger import Ledger
from meshfleet.model import Row, attempt_key

#: Seconds an OpenCode gets to end by itself; nothing of it is needed any more.
GRACE_S: Final = 3.0
_SWEEPS: Final = 3


async def stop_all_attempts(ledger: Ledger) -> list[int]:
    """Stop whatever the attempts in a ledger have left running; nobody may be starting new ones any more.

    Returns:
        The pids of what is alive in spite of all.
    """
    attempts = ledger.read(lambda view: list(view.rows("attempts")))
    survivors: list[int] = []

    async def stop(attempt: Row) -> None:
        marker = attempt_key(attempt["agent_id"], attempt["number"])
        report = await stop_attempt(marker, _leader(attempt), grace_s=GRACE_S)
        survivors.extend(process.pid for process in report.survivors)

    async with anyio.create_task_group() as stopping:
        for attempt in attempts:
            stopping.start_soon(stop, attempt)
    return survivors


def remove_folder(root: Path) -> bool:
    """Remove the demo's folder with all there is in it; False when something of it could not be removed."""
    for _ in range(_SWEEPS):
        shutil.rmtree(root, ignore_errors=True)
        if not root.exists():
            return True
    return False


def _leader(attempt: Row) -> ProcessIdentity | None:
    if "pid" not in attempt or "start_time" not in attempt:
        return None
    return ProcessIdentity(attempt["pid"], attempt["start_time"])
