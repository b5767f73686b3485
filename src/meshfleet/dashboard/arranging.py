"""Arranging the rows of a list: those that a filter lets through, in the order that is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, Final

from meshfleet.dashboard.listing import Listing, Moment

ALWAYS_ORDERED: Final = 1_000
"""Rows that are put in order at each look, since what they are ordered by may change with time alone."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How a person wants a list: a filter in small letters, the column to order by, and if the other way round."""

    needle: str = ""
    by: str | None = None
    reverse: bool = False

    def narrows(self, other: Arrangement) -> bool:
        """Whether no row has every word of this filter that had not every one of the other."""
        needles = self.needle.split()
        return all(any(word in needle for needle in needles) for word in other.needle.split())


class Arranger:
    """Arranges the rows of a listing again and again, and does no more than what has changed asks for.

    A filter orders nothing. One that only became longer looks through what it had kept, and while there is one, the
    words of a row that stays at its place are made once.

    Args:
        listing: What is listed.
    """

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._rows: Sequence[Any] = ()
        self._how = Arrangement()
        self._words: list[str] = []
        self._ordered: Sequence[int] = ()
        self._kept: Sequence[int] = ()
        self._arranged: Sequence[Any] = ()

    def arranged(self, rows: Sequence[Any], how: Arrangement, moment: Moment) -> Sequence[Any]:
        """The rows that have every word of the filter, in the order that is wanted; equal ones stay as they come.

        Args:
            rows: All rows; of many the same object while they are the same, and then what is returned is the same, too.
            how: What is wanted.
            moment: What the order may depend on beside the rows.
        """
        before = self._how
        in_order = rows is self._rows and len(rows) > ALWAYS_ORDERED
        in_order = in_order and (how.by, how.reverse) == (before.by, before.reverse)
        if not in_order:
            self._ordered = self._in_order(rows, how, moment)
        if not in_order or how != before:
            places = self._kept if in_order and how.narrows(before) else self._ordered
            self._kept = self._having(rows, how.needle.split(), places)
            self._arranged = [rows[place] for place in self._kept]
        self._rows, self._how = rows, how
        return self._arranged

    def _in_order(self, rows: Sequence[Any], how: Arrangement, moment: Moment) -> Sequence[int]:
        """The places of the rows in the order that is wanted."""
        places = range(len(rows))
        column = self._listing.column(how.by)
        if column is None or column.order is None:
            return places[::-1] if how.reverse else places
        order, reverse = column.order, column.descending != how.reverse
        keys = [order(row, moment) for row in rows]
        try:
            return sorted(places, key=keys.__getitem__, reverse=reverse)
        except TypeError:
            return sorted(places, key=lambda place: _comparable(keys[place]), reverse=reverse)

    def _having(self, rows: Sequence[Any], needles: Sequence[str], places: Sequence[int]) -> Sequence[int]:
        """Those of the places whose rows have every word."""
        words = self._words = self._words_of(rows) if needles else []
        for needle in needles:
            places = [place for place in places if needle in words[place]]
        return places

    def _words_of(self, rows: Sequence[Any]) -> list[str]:
        if rows is self._rows and self._words:
            return self._words
        make = self._listing.words
        known = chain(zip(self._rows, self._words, strict=False), repeat((None, "")))
        return [words if row is one else make(row) for row, (one, words) in zip(rows, known, strict=False)]


def _comparable(value: Any) -> tuple[bool, bool, Any]:
    """Nothing before numbers before words, so that what another program wrote can be ordered too."""
    return value is not None, isinstance(value, str), 0 if value is None else value
