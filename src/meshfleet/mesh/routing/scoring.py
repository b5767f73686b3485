"""What matches are worth together.

A word of the description that an agent has counts 1. All its other matches together stay under 1, and all relatives
together under one synonym: so a literal match outweighs any number of synonyms, and a synonym any number of relatives.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshfleet.mesh.routing.lexicon import LITERAL, SYNONYM

DIGITS: Final = 6
"""Decimal places of scores and weights; what is equal to them is a tie."""
_BITS: Final = 16
"""Bits of a tally for each remoteness: more words than a description can have."""
_MOST_SYNONYMS: Final = 12
"""More of them than this add nothing that six digits could show."""
_ALL_RELATED: Final = 0.998
"""The most that relatives come to, of a synonym."""

Hits = list[tuple[int, set[str]]]
"""Agents by the remoteness of what they have to a word, nearest first, each agent once."""


def weight_of(remoteness: int) -> float:
    """What one match counts: 1 for the word itself, 0.5 for a synonym, then half as much for each further step."""
    return 0.5**remoteness


def tally_matches(hits: Iterable[Hits]) -> dict[str, int]:
    """How many words each agent matches at which remoteness: a number of 16 bits for each, the literal ones lowest.

    One integer an agent, because this is the loop that a ranking spends its time in.
    """
    tallies: dict[str, int] = {}
    get = tallies.get
    for levels in hits:
        for remoteness, agent_ids in levels:
            one = 1 << (_BITS * remoteness)
            if tallies:
                for agent_id in agent_ids:
                    tallies[agent_id] = get(agent_id, 0) + one
            else:
                tallies.update(dict.fromkeys(agent_ids, one))
    return tallies


def score_of(tally: int) -> float:
    """What the matches of a tally are worth together."""
    counts = []
    while tally:
        counts.append(tally & ((1 << _BITS) - 1))
        tally >>= _BITS
    counts += [0] * (SYNONYM + 1 - len(counts))
    unrelated = 1.0
    for remoteness in range(SYNONYM + 1, len(counts)):
        unrelated *= (1 - weight_of(remoteness - SYNONYM)) ** counts[remoteness]
    related = min(1 - unrelated, _ALL_RELATED)
    missing = weight_of(SYNONYM) ** min(counts[SYNONYM], _MOST_SYNONYMS) * (1 - related * weight_of(SYNONYM))
    return round(counts[LITERAL] + 1 - missing, DIGITS)
