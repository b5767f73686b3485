"""Ranking agents for a description of work, over an index that follows the ledger."""

from __future__ import annotations

from collections import defaultdict
from heapq import nsmallest
from typing import Any, Final

from meshfleet.errors import Invalid
from meshfleet.ledger import Ledger, View
from meshfleet.mesh.fleets import require_fleet
from meshfleet.mesh.routing.capabilities import Capability, capability_of_agent
from meshfleet.mesh.routing.feedback import Outcomes
from meshfleet.mesh.routing.follower import Follower
from meshfleet.mesh.routing.index import Index
from meshfleet.mesh.routing.lexicon import LITERAL, SYNONYM, Lexicon
from meshfleet.mesh.routing.scoring import DIGITS, Hits, score_of, tally_matches, weight_of
from meshfleet.mesh.texts import LONGEST_PAYLOAD, checked_text, shown
from meshfleet.model import AgentStatus, Row, outcome_key

LARGEST_TOP_N: Final = 1_000
"""The most agents that one ranking names."""
_ENDED: Final = frozenset(status for status in AgentStatus if status.has_ended)


def route_work(
    ledger: Ledger,
    router: Router,
    description: str,
    top_n: int = 1,
    *,
    include_ended: bool = True,
    fleet_id: str | None = None,
    asker: str | None = None,
) -> dict[str, Any]:
    """The agents that fit a description best, best first, with what each matched; those that don't are left out.

    Args:
        ledger: Whose agents are ranked.
        router: The index over that ledger.
        description: The work, in words.
        top_n: How many agents are named at most.
        include_ended: Whether agents that have ended come after those that have not, or not at all.
        fleet_id: The fleet whose agents are ranked; None is every fleet.
        asker: The agent that asks, which is never named; None when it is no agent.

    Raises:
        Invalid: The description is blank or can't be stored, or `top_n` is not from 1 to 1,000.
        NotFound: There is no such fleet.
    """
    if not description.strip():
        raise Invalid("description is blank; it has to say what is to be done")
    checked_text("description", description, LONGEST_PAYLOAD)
    if not 1 <= top_n <= LARGEST_TOP_N:
        raise Invalid(f"top_n is {shown(top_n)}; it has to be from 1 to {LARGEST_TOP_N}")

    def query(view: View) -> dict[str, Any]:
        if fleet_id is not None:
            require_fleet(view, fleet_id)
        router.catch_up(view)
        ranked = router.rank(description, top_n, include_ended=include_ended, fleet_id=fleet_id, asker=asker)
        return {"matches": ranked}

    return ledger.read(query)


class _Known:
    """An agent as it is indexed."""

    __slots__ = ("capability", "ended", "fleet_id", "terms")

    def __init__(self, capability: Capability, terms: frozenset[str], fleet_id: str, *, ended: bool) -> None:
        self.capability = capability
        self.terms = terms
        self.fleet_id = fleet_id
        self.ended = ended


class Router:
    """The agents of one ledger by what they can do; threads may share it as they share the ledger.

    Args:
        taxonomy: The user's skills, as MESHFLEET_TAXONOMY has them: JSON, or the path of a file.
        synonyms: The user's synonyms, as MESHFLEET_SYNONYMS has them.

    Raises:
        Invalid: One of them can't be read; the text names its variable.
    """

    def __init__(self, taxonomy: str | None = None, synonyms: str | None = None) -> None:
        self._lexicon = Lexicon(taxonomy, synonyms)
        self._at_work = Index(self._lexicon)
        self._ended = Index(self._lexicon)
        self._known: dict[str, _Known] = {}
        self._outcomes = Outcomes(self._lexicon)
        self._agents = Follower("agents")
        self._capabilities = Follower("capabilities")
        self._outcome_rows = Follower("outcomes")

    def catch_up(self, view: View) -> None:
        """Take in what changed since the last time; what did not costs next to nothing."""
        agent_ids = {row["id"] for row in self._agents.changes(view)}
        agent_ids.update(row["agent_id"] for row in self._capabilities.changes(view))
        for agent_id in agent_ids:
            self._take_in(agent_id, view)
        for row in self._outcome_rows.changes(view):
            agent_id, key = row["agent_id"], row["capability_key"]
            self._outcomes.put(agent_id, key, view.get("outcomes", outcome_key(agent_id, key)))
        for follower in (self._agents, self._capabilities, self._outcome_rows):
            follower.take_in()

    def rank(
        self,
        description: str,
        top_n: int,
        *,
        include_ended: bool = True,
        fleet_id: str | None = None,
        asker: str | None = None,
    ) -> list[Row]:
        """The best agents for a description, as `route_work` returns them."""
        asked = self._lexicon.vocabulary.terms_of(description)
        matches: list[Row] = []
        for index in (self._at_work, self._ended) if include_ended else (self._at_work,):
            if len(matches) < top_n:
                found = {term: hits for term in asked if (hits := index.hits(term))}
                tallies = tally_matches(found.values())
                tallies.pop(asker or "", None)
                if fleet_id is not None:
                    tallies = {one: tally for one, tally in tallies.items() if self._known[one].fleet_id == fleet_id}
                matches += self._best(found, tallies, asked, top_n - len(matches))
        return matches

    def _take_in(self, agent_id: str, view: View) -> None:
        agent = view.get("agents", agent_id)
        registered = view.get("capabilities", agent_id)
        capability = capability_of_agent(agent, registered)
        # one who was registered but is no agent can't be given work any more than one that has ended
        ended = agent is None or agent["status"] in _ENDED
        fleet_id = (agent or registered or {}).get("fleet_id", "")
        before = self._known.get(agent_id)
        if before is not None:
            if (capability, fleet_id, ended) == (before.capability, before.fleet_id, before.ended):
                return
            self._index(before).remove(agent_id, before.terms)
            del self._known[agent_id]
        if capability is not None:
            same = before is not None and capability == before.capability
            terms = before.terms if before is not None and same else capability.terms(self._lexicon.vocabulary)
            known = self._known[agent_id] = _Known(capability, terms, fleet_id, ended=ended)
            self._index(known).add(agent_id, terms)

    def _index(self, known: _Known) -> Index:
        return self._ended if known.ended else self._at_work

    def _best(self, found: dict[str, Hits], tallies: dict[str, int], asked: tuple[str, ...], top_n: int) -> list[Row]:
        scores = {tally: score_of(tally) for tally in set(tallies.values())}
        chosen = self._heaviest(tallies, scores, asked, top_n)
        return [
            {
                "agent_id": agent_id,
                "score": scores[tallies[agent_id]],
                "role": self._known[agent_id].capability.role,
                "weight": weight,
                "fleet_id": self._known[agent_id].fleet_id,
                "matched": [_matched(term, hits, agent_id) for term, hits in found.items() if _has(hits, agent_id)],
            }
            for agent_id, weight in chosen
        ]

    def _heaviest(
        self, tallies: dict[str, int], scores: dict[int, float], asked: tuple[str, ...], top_n: int
    ) -> list[tuple[str, float]]:
        """The agents of most weight, with it; those of one weight by id."""
        by_weight: defaultdict[float, list[str]] = defaultdict(list)
        rated = tallies.keys() & self._outcomes.agents
        if rated:
            about = self._outcomes.about(asked)
            for agent_id in rated:
                weight = round(scores[tallies[agent_id]] * about.feedback(agent_id), DIGITS)
                by_weight[weight].append(agent_id)
        for agent_id, tally in tallies.items():
            if agent_id not in rated:
                by_weight[scores[tally]].append(agent_id)
        chosen: list[tuple[str, float]] = []
        for weight in sorted(by_weight, reverse=True):
            chosen += ((agent_id, weight) for agent_id in nsmallest(top_n - len(chosen), by_weight[weight]))
            if len(chosen) == top_n:
                break
        return chosen


def _has(hits: Hits, agent_id: str) -> bool:
    return any(agent_id in agent_ids for _, agent_ids in hits)


def _matched(term: str, hits: Hits, agent_id: str) -> Row:
    remoteness = next(remoteness for remoteness, agent_ids in hits if agent_id in agent_ids)
    how = {LITERAL: "literal", SYNONYM: "synonym"}.get(remoteness, "relative")
    return {"term": term, "how": how, "weight": weight_of(remoteness)}
