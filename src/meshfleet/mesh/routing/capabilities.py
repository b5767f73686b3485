"""What an agent can do: as somebody registered it, or else as its role and its premade agent's description tell.

Nothing is written for an agent that is spawned: its row says all that is needed, and so do those of older ledgers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from meshfleet.errors import Invalid
from meshfleet.ledger import Ledger, Transaction
from meshfleet.mesh.lifecycle import require_agent
from meshfleet.mesh.routing.terms import PROSE_WORDS, Vocabulary
from meshfleet.mesh.texts import checked_name, shown
from meshfleet.model import Row, now_ms

MOST_SKILLS: Final = 100
LARGEST_CONTEXT_WINDOW: Final = 1_000_000_000
"""Tokens; more can't be meant."""


@dataclass(frozen=True, slots=True)
class Capability:
    """What an agent is matched by.

    Attributes:
        role: What it is called.
        skills: Names of what it can do.
        prose: Sentences about it.
    """

    role: str
    skills: tuple[str, ...] = ()
    prose: str = ""

    def terms(self, vocabulary: Vocabulary) -> frozenset[str]:
        """The terms it is found by."""
        named = {term for text in (self.role, *self.skills) for term in vocabulary.terms_of(text)}
        return frozenset(named.union(set(vocabulary.terms_of(self.prose)) - PROSE_WORDS))


def register_capability(
    ledger: Ledger,
    *,
    agent_id: str,
    fleet_id: str,
    role: str,
    skills: Sequence[str],
    model: str | None = None,
    context_window: int | None = None,
) -> dict[str, Any]:
    """Say what an agent can do; it counts instead of what was said before and of what its row tells.

    Args:
        ledger: Where it is written.
        agent_id: The agent.
        fleet_id: The fleet it is in.
        role: What it is called.
        skills: Names of what it can do, at most 100; none is possible.
        model: The model it runs.
        context_window: How many tokens that model takes.

    Raises:
        Invalid: An argument is not what it has to be, or the agent is of another fleet; nothing is written.
        NotFound: There is no such agent.
    """
    row: Row = {"agent_id": agent_id, "fleet_id": fleet_id, "role": role, "skills": list(skills)}
    if model is not None:
        row["model"] = model
    if context_window is not None:
        row["context_window"] = context_window
    _check(row)

    def rule(transaction: Transaction) -> None:
        agent = require_agent(transaction, agent_id)
        if agent["fleet_id"] != fleet_id:
            raise Invalid(f"fleet_id is not the fleet of agent_id, which is {agent['fleet_id']}; name that one")
        transaction.put("capabilities", agent_id, {**row, "registered_at": now_ms()})
        transaction.event("capability_registered", agent_id=agent_id, fleet_id=fleet_id, role=role)

    ledger.transact(rule)
    return {"ok": True}


def capability_of_agent(agent: Row | None, registered: Row | None = None) -> Capability | None:
    """What an agent can do, from its own row and the one that was registered; None when there is neither.

    What a foreign ledger has in the place of a text is passed over.
    """
    if registered is not None:
        return Capability(registered["role"], tuple(_texts(registered["skills"])))
    if agent is None:
        return None
    return Capability(
        agent["role"], tuple(_texts([agent.get("agent_file")])), "".join(_texts([agent.get("agent_description")]))
    )


def _texts(values: Sequence[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str)]


def _check(row: Row) -> None:
    for field in ("agent_id", "fleet_id", "role"):
        checked_name(field, row[field])
    skills = row["skills"]
    if len(skills) > MOST_SKILLS:
        raise Invalid(f"skills has {len(skills)} entries; at most {MOST_SKILLS} are possible")
    for place, skill in enumerate(skills):
        checked_name(f"skills[{place}]", skill)
    if "model" in row:
        checked_name("model", row["model"])
    if not 1 <= row.get("context_window", 1) <= LARGEST_CONTEXT_WINDOW:
        raise Invalid(
            f"context_window is {shown(row['context_window'])}; it has to be a number of tokens from 1 to "
            f"{LARGEST_CONTEXT_WINDOW}"
        )
