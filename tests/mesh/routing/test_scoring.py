"""What matches are worth together."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshfleet.mesh.routing.lexicon import FARTHEST, LITERAL, SYNONYM
from meshfleet.mesh.routing.scoring import Hits, score_of, tally_matches, weight_of

REMOTENESS = st.integers(LITERAL, FARTHEST)
RELATIVES = st.lists(st.integers(SYNONYM + 1, FARTHEST), max_size=200)


def score(*matches: int) -> float:
    """The score of an agent with these matches, each given as its remoteness."""
    hits: list[Hits] = [[(remoteness, {"agent"})] for remoteness in matches]
    return score_of(tally_matches(hits).get("agent", 0))


@given(REMOTENESS)
def test_a_single_match_is_worth_its_weight(remoteness: int) -> None:
    assert score(remoteness) == pytest.approx(weight_of(remoteness), abs=1e-6)
    assert score(remoteness) > 0


def test_weight_falls_with_distance() -> None:
    weights = [weight_of(remoteness) for remoteness in range(FARTHEST + 1)]
    assert weights == sorted(set(weights), reverse=True)


def test_literal_matches_add_up() -> None:
    assert [score(), score(0), score(0, 0), score(0, 1), score(1, 1), score(1, 2)] == [0, 1, 2, 1.5, 0.75, 0.625]


@given(st.integers(0, 200), RELATIVES)
def test_a_literal_match_outweighs_any_number_of_others(synonyms: int, relatives: list[int]) -> None:
    assert score(0) > score(*[SYNONYM] * synonyms, *relatives)


@given(RELATIVES)
def test_a_synonym_outweighs_any_number_of_relatives(relatives: list[int]) -> None:
    assert score(SYNONYM) > score(*relatives)


def test_not_even_a_thousand_near_relatives_reach_a_synonym_nor_a_thousand_synonyms_a_literal_match() -> None:
    assert score(*[SYNONYM + 1] * 1000) < score(SYNONYM)
    assert score(*[SYNONYM] * 1000, *[SYNONYM + 1] * 1000) < score(LITERAL)


@given(st.lists(REMOTENESS, max_size=50), REMOTENESS)
def test_one_match_more_is_never_worth_less(matches: list[int], more: int) -> None:
    assert score(*matches, more) >= score(*matches)


@given(st.lists(REMOTENESS, max_size=50), st.randoms(use_true_random=False))
def test_the_order_of_the_words_does_not_matter(matches: list[int], chance: random.Random) -> None:
    shuffled = list(matches)
    chance.shuffle(shuffled)
    assert score(*matches) == score(*shuffled)


@given(st.lists(st.lists(st.tuples(REMOTENESS, st.sets(st.sampled_from("abcde"))), max_size=4), max_size=20))
def test_matches_are_counted_for_each_agent(hits: list[Hits]) -> None:
    tallies = tally_matches(hits)
    expected = Counter((agent, remoteness) for levels in hits for remoteness, agents in levels for agent in agents)
    found = {(agent, far): (tallies.get(agent, 0) >> (16 * far)) & 0xFFFF for agent in "abcde" for far in range(17)}
    assert {key: count for key, count in found.items() if count} == dict(expected)
