"""Arranging rows: what a filter lets through, in which order, and how little is done again for a small change."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshfleet.dashboard import arranging
from meshfleet.dashboard.arranging import ALWAYS_ORDERED, Arrangement, Arranger
from meshfleet.dashboard.listing import Column, Listing, Moment, figure

ROWS = [("beta", 2), ("alpha", 10), ("gamma", None)]
MANY = [(f"row {number} of many", number) for number in range(ALWAYS_ORDERED + 1)]
AT = Moment(0)

Row = tuple[str, Any]


def listing_of(calls: Counter[str] | None = None) -> Listing:
    """A listing that counts how often it is asked for what a row is ordered by, and for a row's words."""
    counted: Counter[str] = Counter() if calls is None else calls

    def name(row: Row) -> str:
        counted["words"] += 1
        return row[0]

    def size(row: Row) -> Any:
        counted["order"] += 1
        return row[1]

    return Listing(
        name="numbers",
        columns=(
            Column("NAME", None, lambda row, _: row[0], lambda row, _: row[0]),
            figure("SIZE", 4, lambda row, _: str(row[1]), lambda row, _: size(row)),
            Column("NOTE", 20, lambda _row, _at: ""),
        ),
        key=lambda row: row[0],
        words=name,
        first="NAME",
        empty="none",
    )


def names(how: Arrangement) -> list[str]:
    return [row[0] for row in Arranger(listing_of()).arranged(ROWS, how, AT)]


@pytest.fixture
def calls() -> Counter[str]:
    return Counter()


@pytest.fixture
def arranger(calls: Counter[str]) -> Arranger:
    return Arranger(listing_of(calls))


def test_rows_stay_as_they_come_where_nothing_orders_them() -> None:
    assert names(Arrangement()) == ["beta", "alpha", "gamma"]
    assert names(Arrangement(reverse=True)) == ["gamma", "alpha", "beta"]
    assert names(Arrangement(by="NOTE")) == ["beta", "alpha", "gamma"]


def test_words_are_ordered_upwards_and_figures_downwards_with_nothing_last() -> None:
    assert names(Arrangement(by="NAME")) == ["alpha", "beta", "gamma"]
    assert names(Arrangement(by="SIZE")) == ["alpha", "beta", "gamma"]
    assert names(Arrangement(by="SIZE", reverse=True)) == ["gamma", "beta", "alpha"]


def test_a_filter_wants_every_word_in_any_order() -> None:
    assert names(Arrangement("a ga")) == ["gamma"]
    assert names(Arrangement("a zeta")) == []


def test_typing_a_filter_orders_nothing_and_makes_the_words_of_a_row_once(
    arranger: Arranger, calls: Counter[str]
) -> None:
    arranger.arranged(MANY, Arrangement(by="SIZE"), AT)
    assert calls == {"order": len(MANY)}
    for needle in ("9", "99", "99 ", "99 r", "99", "9", "8"):
        found = arranger.arranged(MANY, Arrangement(needle, by="SIZE"), AT)
    assert [size for _, size in found] == [size for _, size in reversed(MANY) if "8" in str(size)]
    assert calls == {"order": len(MANY), "words": len(MANY)}


def test_of_rows_that_come_behind_the_others_only_the_new_ones_words_are_made(
    arranger: Arranger, calls: Counter[str]
) -> None:
    arranger.arranged(MANY, Arrangement("row"), AT)
    calls.clear()
    found = arranger.arranged([*MANY, ("another row", 0)], Arrangement("another"), AT)
    assert (found, calls) == ([("another row", 0)], {"words": 1})


def test_the_words_of_a_row_that_changed_are_made_anew(arranger: Arranger) -> None:
    arranger.arranged(MANY, Arrangement("row"), AT)
    assert arranger.arranged([*MANY[:-1], ("changed", 0)], Arrangement("row"), AT) == MANY[:-1]


def test_words_are_let_go_of_with_the_filter(arranger: Arranger) -> None:
    arranger.arranged(MANY, Arrangement("row"), AT)
    assert len(arranger._words) == len(MANY)
    arranger.arranged(MANY, Arrangement(), AT)
    assert arranger._words == []


def test_many_rows_that_are_the_same_are_not_arranged_again_and_a_few_are(calls: Counter[str]) -> None:
    both: list[list[Row]] = [MANY, ROWS]
    for rows in both:
        arranger = Arranger(listing_of(calls))
        first = arranger.arranged(rows, Arrangement(by="SIZE"), AT)
        second = arranger.arranged(rows, Arrangement(by="SIZE"), AT)
        assert (second is first) == (rows is MANY)
    assert calls == {"order": len(MANY) + 2 * len(ROWS)}


def test_a_key_is_asked_for_once_also_where_it_can_not_be_compared_as_it_is(
    arranger: Arranger, calls: Counter[str]
) -> None:
    rows = [("one", "word"), ("two", None), ("three", 3), ("four", 4.5)]
    found = arranger.arranged(rows, Arrangement(by="SIZE", reverse=True), AT)
    assert [row[0] for row in found] == ["two", "three", "four", "one"]
    assert calls == {"order": len(rows)}


TEXTS = st.text("ab ", max_size=5)
SHAPES = st.lists(st.tuples(TEXTS, st.none() | st.integers(0, 3)), max_size=6)
WANTED = st.builds(Arrangement, TEXTS, st.sampled_from(["NAME", "SIZE", None]), st.booleans())


@given(st.lists(st.tuples(st.integers(0, 1), WANTED), min_size=1, max_size=8), SHAPES, SHAPES)
def test_whatever_came_before_the_rows_are_what_they_are_at_first_sight(
    steps: list[tuple[int, Arrangement]], some: list[Row], others: list[Row]
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(arranging, "ALWAYS_ORDERED", 0)
        arranger = Arranger(listing_of())
        for which, how in steps:
            rows = (some, others)[which]
            assert arranger.arranged(rows, how, AT) == Arranger(listing_of()).arranged(rows, how, AT)
