"""How work that was routed turned out, and what that makes of an agent's weight.

Outcomes are counted for each agent and capability key. One counts in a ranking when its key has to do with the
description, so that an agent that fails at `sql` keeps its standing for `react`; the key `*` is about the agent as a
whole and counts always.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from meshfleet.ledger import Ledger, Transaction
from meshfleet.mesh.lifecycle import require_agent
from meshfleet.mesh.routing.lexicon import Lexicon
from meshfleet.mesh.texts import checked_name
from meshfleet.model import Row, now_ms, outcome_key

WHOLE_AGENT: Final = "*"
"""The capability key of what is said about an agent as a whole."""


def feedback_of(successes: float, failures: float) -> float:
    """The factor on an agent's score: 1 without outcomes, towards 1.5 with successes, towards 0.5 with failures."""
    return 1 + 0.5 * (successes - failures) / (successes + failures + 4)


def record_routing_outcome(ledger: Ledger, agent_id: str, capability_key: str, success: bool) -> dict[str, Any]:  # noqa: FBT001 - the contract's order
    """Count how work that an agent was given for a capability turned out.

    Args:
        ledger: Where it is counted.
        agent_id: The agent.
        capability_key: The skill it was about; `*` for the agent as a whole.
        success: Whether it did the work.

    Raises:
        Invalid: The key is blank or can't be stored; nothing is written.
        NotFound: There is no such agent.
    """
    checked_name("agent_id", agent_id)
    checked_name("capability_key", capability_key)

    def rule(transaction: Transaction) -> None:
        require_agent(transaction, agent_id)
        key = outcome_key(agent_id, capability_key)
        row: Row = dict(transaction.get("outcomes", key) or _none_yet(agent_id, capability_key))
        row["successes" if success else "failures"] += 1
        row["updated_at"] = now_ms()
        transaction.put("outcomes", key, row)
        transaction.event("routing_outcome_recorded", agent_id=agent_id, capability_key=capability_key, success=success)

    ledger.transact(rule)
    return {"ok": True, "agent_id": agent_id, "capability_key": capability_key, "success": success}


def _none_yet(agent_id: str, capability_key: str) -> Row:
    return {"agent_id": agent_id, "capability_key": capability_key, "successes": 0, "failures": 0}


class Outcomes:
    """Every outcome, by agent and capability key.

    Args:
        lexicon: How keys are read.
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._rows: dict[str, dict[str, Row]] = {}
        self._terms: dict[str, frozenset[str]] = {}

    @property
    def agents(self) -> Collection[str]:
        """Those that have any."""
        return self._rows.keys()

    def put(self, agent_id: str, capability_key: str, row: Row | None) -> None:
        """Take in the row of an agent and key; None when it is gone."""
        rows = self._rows.setdefault(agent_id, {})
        if row is None:
            rows.pop(capability_key, None)
        else:
            rows[capability_key] = row
        if not rows:
            del self._rows[agent_id]

    def about(self, asked: Collection[str]) -> _About:
        """The outcomes that have to do with these terms."""
        related = {term for word in asked for _, terms in self._lexicon.levels(word) for term in terms}
        return _About(self, related)

    def rows_of(self, agent_id: str) -> Collection[tuple[str, Row]]:
        """An agent's outcomes with their keys."""
        return self._rows.get(agent_id, {}).items()

    def terms_of(self, capability_key: str) -> frozenset[str]:
        """The terms a key is about: of `SQL expert` only sql, since that is a term that is known."""
        found = self._terms.get(capability_key)
        if found is None:
            words = frozenset(self._lexicon.vocabulary.terms_of(capability_key))
            found = self._terms[capability_key] = words & self._lexicon.terms or words
        return found


class _About:
    """The outcomes that have to do with one description; each key is looked at once."""

    def __init__(self, outcomes: Outcomes, related: set[str]) -> None:
        self._outcomes = outcomes
        self._related = related
        self._counted: dict[str, bool] = {}

    def feedback(self, agent_id: str) -> float:
        """The factor on an agent's score."""
        successes = failures = 0.0
        for key, row in self._outcomes.rows_of(agent_id):
            if self._counts(key):
                successes += max(0, row["successes"])
                failures += max(0, row["failures"])
        return feedback_of(successes, failures)

    def _counts(self, key: str) -> bool:
        found = self._counted.get(key)
        if found is None:
            found = key == WHOLE_AGENT or not self._outcomes.terms_of(key).isdisjoint(self._related)
            self._counted[key] = found
        return found
