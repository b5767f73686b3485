"""How times, amounts, other people's words and states are put into few columns."""

from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshfleet.dashboard.signs import bar, state_piece
from meshfleet.dashboard.wording import (
    age,
    amount,
    clock,
    date_and_clock,
    legible,
    money,
    on_one_line,
    share,
    short,
    size,
)
from meshfleet.model import AgentStatus


@pytest.mark.parametrize(
    ("ms", "told"),
    [
        (None, "-"),
        (-5, "0s"),
        (59_999, "59s"),
        (60_000, "1m00"),
        (3_599_999, "59m59"),
        (3_600_000, "1h00"),
        (86_399_999, "23h59"),
        (86_400_000, "1d00"),
        (99 * 86_400_000 + 5, "99d00"),
        (365 * 86_400_000, "365d"),
    ],
)
def test_an_age_has_two_places_at_most(ms: float | None, told: str) -> None:
    assert age(ms) == told


@pytest.mark.parametrize(
    ("number", "told"), [(0, "-"), (None, "-"), (950, "950"), (12_345, "12.3k"), (4_100_000, "4.1M")]
)
def test_an_amount_has_five_columns_at_most(number: float | None, told: str) -> None:
    assert amount(number) == told


@given(st.integers(1, 10**12))
def test_amounts_and_sizes_stay_short(number: int) -> None:
    assert len(amount(number)) <= 6
    assert len(size(number)) <= 7


def test_bytes_money_and_shares() -> None:
    assert [size(n) for n in (0, 512, 312 * 1024**2, 3 * 1024**3)] == ["-", "512B", "312M", "3.0G"]
    assert [money(n) for n in (None, 0.0, 0.004, 0.79, 12_000.4)] == ["-", "-", "<$0.01", "$0.79", "$12000"]
    assert [share(n) for n in (None, 0.0, 1.25)] == ["-", "0%", "125%"]


def test_times_of_what_another_program_wrote_are_nothing() -> None:
    assert clock(1_763_740_800_000, UTC) == "16:00:00"
    assert date_and_clock(1_763_740_800_000, UTC) == "2025-11-21 16:00:00"
    assert [clock(odd, UTC) for odd in (None, "soon", True, 10**30, float("nan"))] == ["-"] * 5


def test_what_a_terminal_would_obey_is_told_instead() -> None:
    assert on_one_line("a\x1b[31m\n b\tc") == "a\\x1b[31m b c"
    assert legible("one\r\ntwo\tthree\x07") == "one\ntwo    three\\x07"
    assert on_one_line(None) == "None"


def test_what_joins_signs_of_other_scripts_is_left_out_and_shown_between_letters_of_this_one() -> None:
    assert on_one_line("👩\u200d💻 می\u200cشود\x07") == "👩💻 میشود\\x07"
    assert legible("pay\u200cment") == "pay\\u200cment"


def test_only_the_beginning_of_an_id_is_shown() -> None:
    assert [short("orchestrator"), short("9e3779b1-0000-4000-8000-000000000001")] == ["orchestrator", "9e3779b1"]


@given(st.dictionaries(st.sampled_from(sorted(AgentStatus)), st.integers(0, 500)), st.integers(6, 30))
def test_a_bar_fills_its_width_and_leaves_no_state_out(counts: dict[str, int], width: int) -> None:
    pieces = bar(counts, width)
    assert sum(len(text) for text, _ in pieces) == width
    assert all(text for text, _ in pieces)
    assert len(pieces) == max(1, sum(number > 0 for number in counts.values()))


def test_an_unknown_state_is_shown_as_it_is() -> None:
    assert state_piece("over_budget")[0] == "$ over budget"
    assert state_piece("brand_new")[0] == "? brand new"
