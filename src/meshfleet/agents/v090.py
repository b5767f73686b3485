"""Agents that v0.9.0 left at work in the ledger, of which only a pid is known, if that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import psutil

from meshfleet.model import AgentStatus, Row, now_ms

YOUNG_MS: Final = 60 * 60 * 1000
"""How long an agent without a process may wait for its server to start it."""
SLACK_MS: Final = 60_000


def gone_agents(agents: Sequence[Row]) -> list[str]:
    """Those of them whose process is gone, by their ids."""
    return [agent["id"] for agent in agents if not _may_live(agent)]


def _may_live(agent: Row) -> bool:
    started, pid = agent.get("started_at"), agent.get("pid")
    if agent["status"] == AgentStatus.PENDING or type(pid) is not int or pid <= 0:
        return type(started) is int and now_ms() - started < YOUNG_MS
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # a process that began later than the agent is another one, to which the number has been given
        return type(started) is not int or process.create_time() * 1000 < started + SLACK_MS
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
