"""When an attempt that failed is followed by another, and after how long."""

from __future__ import annotations

import random
from typing import Final

from meshfleet.model import Reason, Row

MOST_ATTEMPTS: Final = 3
"""How many attempts an agent has where its fleet says nothing else."""
JITTER: Final = 0.2
"""By which part a delay is longer or shorter, at random, so that what failed together does not come back together."""
LONGEST_BACKOFF_MS: Final = 10 * 60 * 1000
"""Where doubling ends, unless the base itself is longer."""
FINAL_REASONS: Final = frozenset({Reason.WRONG_AGENT, Reason.BUDGET, Reason.CANCELLED})
"""Why an attempt may fail that trying again can't change."""


def backoff_ms(base_ms: int, failures: int) -> int:
    """The delay after so many failed attempts in a row, in ms: the base, doubled with each, give or take a fifth."""
    delay: int = min(base_ms << min(max(failures - 1, 0), 40), max(base_ms, LONGEST_BACKOFF_MS))
    return round(delay * random.uniform(1 - JITTER, 1 + JITTER))


def tries_of(agent: Row) -> int:
    """How many attempts an agent has had since it was spawned, or resumed."""
    return int(agent.get("attempt", 0)) - int(agent.get("attempts_before", 0))


def may_try_again(agent: Row, fleet: Row | None, reason: Reason | None) -> bool:
    """Tell whether an agent gets another attempt after one that failed for this reason."""
    of_fleet = fleet or {}
    if reason in FINAL_REASONS or "over_budget" in of_fleet:
        return False
    limit: int = of_fleet.get("max_attempts", MOST_ATTEMPTS)
    return tries_of(agent) < limit


def is_due(agent: Row, now: int) -> bool:
    """Tell whether a waiting agent may start now; a clock that was set back keeps nobody waiting for longer."""
    retry_at = agent.get("retry_at")
    return retry_at is None or now >= retry_at or now < retry_at - agent.get("retry_delay_ms", 0)
