"""From a term to the agents that have it, kept up to date agent by agent."""

from __future__ import annotations

from meshfleet.mesh.routing.lexicon import Lexicon
from meshfleet.mesh.routing.scoring import Hits


class Index:
    """Which agents have which terms.

    Args:
        lexicon: What terms have to do with each other.
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._agents: dict[str, set[str]] = {}
        self._hits: dict[str, Hits] = {}

    def add(self, agent_id: str, terms: frozenset[str]) -> None:
        """Have an agent found by these terms."""
        for term in terms:
            self._agents.setdefault(term, set()).add(agent_id)
        self._hits.clear()

    def remove(self, agent_id: str, terms: frozenset[str]) -> None:
        """Have an agent no longer found by these terms, which it was."""
        for term in terms:
            agents = self._agents[term]
            agents.discard(agent_id)
            if not agents:
                del self._agents[term]
        self._hits.clear()

    def hits(self, term: str) -> Hits:
        """The agents that have a term or something it has to do with; not to be changed."""
        if not self._lexicon.knows(term):
            return [(0, agents)] if (agents := self._agents.get(term)) else []
        found = self._hits.get(term)
        if found is None:
            found = self._hits[term] = self._look_up(term)
        return found

    def _look_up(self, term: str) -> Hits:
        hits: Hits = []
        seen: set[str] = set()
        for remoteness, terms in self._lexicon.levels(term):
            agents = set().union(*(self._agents[other] for other in terms if other in self._agents)) - seen
            if agents:
                hits.append((remoteness, agents))
                seen |= agents
        return hits
