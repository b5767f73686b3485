"""What is known about terms: which stand for each other, and how far apart relatives are.

The remoteness of two terms is 0 for the same one, 1 for synonyms, and one more than their distance for relatives: the
links between them, up or down, and one for a synonym at either end. A match counts 0.5 to the power of it.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from meshfleet.mesh.routing.synonyms import Synonyms, built_in_groups, read_groups
from meshfleet.mesh.routing.taxonomy import BUILT_IN, build_taxonomy, reach
from meshfleet.mesh.routing.terms import Vocabulary

LITERAL: Final = 0
SYNONYM: Final = 1
FARTHEST: Final = 16
"""The remoteness from which on two terms have nothing to do with each other."""

Level = tuple[int, tuple[str, ...]]
"""A remoteness, and the terms that are so far away."""


class Lexicon:
    """The built-in taxonomy and synonyms, and the user's.

    Args:
        taxonomy: The user's tree as JSON, or the path of its file.
        synonyms: The user's synonyms as JSON, or the path of their file.

    Raises:
        Invalid: One of them can't be read; the text names its variable.
    """

    def __init__(self, taxonomy: str | None = None, synonyms: str | None = None) -> None:
        spelling = _built_in_vocabulary()
        groups = read_groups(synonyms, spelling)
        self._taxonomy = build_taxonomy(taxonomy, spelling)
        self._synonyms = Synonyms([*built_in_groups(), *groups])
        self.terms: Final = frozenset(self._taxonomy.names | self._synonyms.terms)
        self.vocabulary: Final = Vocabulary.of(self.terms)
        self._levels: dict[str, tuple[Level, ...]] = {}

    def knows(self, term: str) -> bool:
        """Whether a term is more than a word of somebody's."""
        return term in self.terms

    def levels(self, term: str) -> tuple[Level, ...]:
        """The term itself and everything it has to do with, nearest first."""
        if term not in self.terms:
            return ((LITERAL, (term,)),)
        found = self._levels.get(term)
        if found is None:
            found = self._levels[term] = self._by_remoteness(term)
        return found

    def _by_remoteness(self, term: str) -> tuple[Level, ...]:
        levels: dict[int, list[str]] = {}
        for other, remoteness in sorted(self._remoteness_from(term).items()):
            levels.setdefault(remoteness, []).append(other)
        return tuple((remoteness, tuple(levels[remoteness])) for remoteness in sorted(levels))

    def _remoteness_from(self, term: str) -> dict[str, int]:
        found = {term: LITERAL}

        def note(other: str, remoteness: int) -> None:
            if remoteness <= FARTHEST:
                found[other] = min(remoteness, found.get(other, FARTHEST))

        for synonym in self._synonyms.of(term):
            note(synonym, SYNONYM)
        for start in list(found):
            for links in (self._taxonomy.above, self._taxonomy.below):
                for relative, steps in reach(links, start, FARTHEST):
                    remoteness = 1 + found[start] + steps
                    note(relative, remoteness)
                    for synonym in self._synonyms.of(relative):
                        note(synonym, remoteness + 1)
        return found


def _names_in(tree: object) -> set[str]:
    if isinstance(tree, dict):
        return {name for key, below in tree.items() for name in (key, *_names_in(below))}
    return set(tree) if isinstance(tree, list) else set()


@cache
def _built_in_vocabulary() -> Vocabulary:
    return Vocabulary.of(_names_in(BUILT_IN) | {term for group in built_in_groups() for term in group})
