"""From a text to the terms that are matched: its words, and the words that together are a known term.

A known term is one of the taxonomy or the synonyms; which there are is the lexicon's concern.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from unicodedata import category, normalize

SHORTEST_TERM: Final = 2
"""Characters of the shortest word that is matched."""
_SHORTEST_APART: Final = 3
"""Letters of each of two words that are read as one known word although a space stands between them."""

# c++, c# and .net are words; so is every run of letters and digits
_WORD: Final = re.compile(r"(?<![^\W_])(?:\.net(?![^\W_])|[^\W_]\+\+|[^\W_]#(?![^\W_]))|[^\W_]+")
_TIGHT: Final = frozenset("-._/")
_SPELT_OUT: Final = {".net": "dotnet"}

_FUNCTION_WORDS: Final = """
    the an and or but nor of to in on at by for from with without within as than is are was were be been being am it its
    this that these those there here we you they he she my our your their me us them who whom whose which what when
    where why how do does did done doing don doesn didn isn aren won ll ve re not no yes can could should would will
    shall may might must has have had having if then else so such too very just also only same all any some each every
    both few more most much many other into onto over under about after before between during through up down out off
    again own please
"""
_PROSE_WORDS: Final = """
    agent agents assistant use uses used using user users need needs needed want wants help helps including include
    includes work works working task tasks make makes making expert specialist specialized specialises
"""
FUNCTION_WORDS: Final = frozenset(_FUNCTION_WORDS.split())
"""English words that say nothing about a skill; they are never matched."""
PROSE_WORDS: Final = frozenset(_PROSE_WORDS.split())
"""What descriptions of premade agents are full of; there, and only there, they are not matched either."""


class _Word(NamedTuple):
    """A word and what stands between it and the one before."""

    text: str
    gap: str


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The known terms, as far as reading a text needs them.

    Attributes:
        words: Those of one word; two words that spell one of them are read as it.
        phrases: Those of several words, by their first word.
    """

    words: frozenset[str] = frozenset()
    phrases: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, terms: Iterable[str]) -> Vocabulary:
        """The vocabulary of these terms, a space between the words of each."""
        known = set(terms)
        phrases: dict[str, tuple[tuple[str, ...], ...]] = {}
        for term in sorted(known):
            words = tuple(term.split())
            if len(words) > 1:
                phrases[words[0]] = (*phrases.get(words[0], ()), words)
        return cls(frozenset(term for term in known if " " not in term), phrases)

    def canonical(self, name: str) -> str:
        """A term as it is compared: `CI/CD` and `cicd` are one; empty for a name without letters and digits."""
        return " ".join(self._words_of(name))

    def terms_of(self, text: str) -> tuple[str, ...]:
        """The terms of a text, each once, in the order they come in: its words, then the known phrases in it."""
        words = self._words_of(text)
        terms = dict.fromkeys(word for word in words if _is_matched(word))
        terms.update(dict.fromkeys(self._phrases_in(words)))
        return tuple(terms)

    def _words_of(self, text: str) -> list[str]:
        found: list[str] = []
        before: _Word | None = None
        for word in _split(_plain(text)):
            if before is not None and self._are_one(before, word):
                found[-1] += word.text
                before = None
            else:
                found.append(word.text)
                before = word
        return found

    def _are_one(self, first: _Word, second: _Word) -> bool:
        """Whether two words spell one: `node.js`, `front end`, `e-mail`."""
        if second.gap == "-" and len(first.text) == 1 and first.text.isalpha():
            return True
        if first.text + second.text not in self.words:
            return False
        if second.text == "js":
            return second.gap in _TIGHT or second.gap.isspace()
        if first.text in self.words and second.text in self.words:
            return False  # a bug-fix has to do with bugs
        long_enough = min(len(first.text), len(second.text)) >= _SHORTEST_APART
        return second.gap in _TIGHT or (second.gap.isspace() and long_enough)

    def _phrases_in(self, words: list[str]) -> Iterator[str]:
        for place, word in enumerate(words):
            for phrase in self.phrases.get(word, ()):
                if tuple(words[place : place + len(phrase)]) == phrase:
                    yield " ".join(phrase)


def _is_matched(word: str) -> bool:
    return len(word) >= SHORTEST_TERM and not word.isdigit() and word not in FUNCTION_WORDS


def _plain(text: str) -> str:
    """The text in lower case, without accents, and with the plain form of letters that look different."""
    if text.isascii():
        return text.lower()
    letters = normalize("NFKD", normalize("NFKD", text).casefold())
    return normalize("NFC", "".join(letter for letter in letters if category(letter)[0] != "M"))


def _split(text: str) -> Iterator[_Word]:
    end = 0
    for match in _WORD.finditer(text):
        word = match.group()
        yield _Word(_SPELT_OUT.get(word, word), text[end : match.start()])
        end = match.end()
