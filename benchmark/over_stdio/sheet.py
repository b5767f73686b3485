"""What was found out about one server: figures by name, and a word where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Final

from benchmark.over_stdio.client import Dead, Refused
from benchmark.over_stdio.session import NotOffered

NOT_OFFERED: Final = "not offered"


class Sheet:
    """The figures of one server.

    Attributes:
        rounds: What each figure came to, round by round.
        words: Why there is no figure, by its name.
        tools: What the server offers; None until it was asked.
    """

    def __init__(self) -> None:
        self.rounds: dict[str, list[float]] = {}
        self.words: dict[str, str] = {}
        self.tools: frozenset[str] | None = None

    def add(self, **figures: float) -> None:
        """Note what one round came to."""
        for name, figure in figures.items():
            self.rounds.setdefault(name, []).append(figure)

    @contextmanager
    def part(self, *names: str) -> Iterator[None]:
        """What these figures come from; where a tool is missing or refuses, the other figures go on.

        Raises:
            Dead: The server has ended or hangs, so that nothing goes on.
        """
        try:
            yield
        except NotOffered:
            self._say(NOT_OFFERED, names)
        except Refused as refused:
            self._say(f"refused: {' '.join(str(refused).split())}", names)
        except Dead as dead:
            self._say(str(dead), names)
            raise

    def say_of_the_rest(self, word: str, names: tuple[str, ...]) -> None:
        """Say why there is no figure of those names, where there is neither figure nor word."""
        self._say(word, tuple(name for name in names if name not in self.rounds and name not in self.words))

    def figure(self, name: str) -> float | None:
        """The median of all rounds; None where there is none."""
        found = self.rounds.get(name)
        return median(found) if found and name not in self.words else None

    def best(self, name: str, *, most: bool) -> float | None:
        """The best of several rounds; None where there was one, or none."""
        found = self.rounds.get(name, [])
        if len(found) < 2 or name in self.words:
            return None
        return max(found) if most else min(found)

    def _say(self, word: str, names: tuple[str, ...]) -> None:
        for name in names:
            self.words.setdefault(name, word)


def percentile(seconds: list[float], percent: int) -> float:
    """What so many percent of the times do not exceed, in ms."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] * 1000
