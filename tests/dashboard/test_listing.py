"""Lists as data: filtering, ordering, and which columns a width has room for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshfleet.dashboard.listing import (
    GAP,
    Column,
    Listing,
    Tone,
    figure,
    fitted,
    next_order,
    pieces_of,
)
from meshfleet.dashboard.lists.agents import AGENTS
from meshfleet.dashboard.lists.events import EVENTS
from meshfleet.dashboard.lists.fleets import FLEETS
from meshfleet.dashboard.lists.messages import MESSAGES
from meshfleet.dashboard.lists.problems import PROBLEMS

NUMBERS = Listing(
    name="numbers",
    columns=(
        Column("NAME", None, lambda row, _: row[0], lambda row, _: row[0]),
        figure("SIZE", 4, lambda row, _: str(row[1]), lambda row, _: row[1], rank=1),
        Column("NOTE", 20, lambda _row, _at: "", rank=2),
    ),
    key=lambda row: row[0],
    words=lambda row: row[0],
    first="NAME",
    empty="none",
)


def widths_of(listing: Listing, width: int) -> dict[str, int]:
    return {column.name: size for column, size in fitted(listing.columns, width)}


def test_the_next_order_goes_round_the_columns_that_have_one() -> None:
    assert [next_order(NUMBERS, by) for by in ("NAME", "SIZE", None)] == ["SIZE", "NAME", "NAME"]


def test_where_there_is_no_room_the_highest_ranks_are_left_out_first() -> None:
    assert [[column.name for column, _ in fitted(NUMBERS.columns, width)] for width in (60, 30, 10)] == [
        ["NAME", "SIZE", "NOTE"],
        ["NAME", "SIZE"],
        ["NAME"],
    ]


@given(st.integers(1, 400), st.sampled_from([PROBLEMS, FLEETS, AGENTS, MESSAGES, EVENTS]))
def test_columns_fill_the_width_and_never_more_where_that_can_be(width: int, listing: Listing) -> None:
    places = fitted(listing.columns, width)
    assert all(size >= 1 for _, size in places)
    if width >= 78:
        assert sum(size for _, size in places) + GAP * (len(places) - 1) == width


def test_where_there_is_room_names_become_wider_and_why_gets_what_they_do_not_need() -> None:
    assert {column.name: size for column, size in fitted(AGENTS.columns, 200) if column.most} == {
        "ROLE": 24,
        "FLEET": 24,
    }
    widths = {column.name: size for column, size in fitted(PROBLEMS.columns, 158)}
    assert widths["WHO"] == widths["FLEET"] == 24
    assert {column.name: size for column, size in fitted(PROBLEMS.columns, 78)}["FLEET"] == 12


def test_where_there_is_room_no_event_s_name_is_cut() -> None:
    names = [
        "agent_failed_permanently",
        "agent_retry_scheduled",
        "agent_interrupted_recovered",
        "routing_outcome_recorded",
    ]
    for width in (118, 198):
        assert widths_of(EVENTS, width)["EVENT"] >= max(map(len, names))
    assert widths_of(EVENTS, 78)["EVENT"] == 20


def test_where_there_is_room_a_fleet_s_conditions_are_all_there() -> None:
    assert widths_of(FLEETS, 158)["CONDITION"] >= len("2 dormant 1 retrying 1 unsupervised")
    assert widths_of(FLEETS, 158)["FLEET"] >= 24
    assert "CONDITION" not in widths_of(FLEETS, 78)


def test_in_80_columns_an_agent_s_line_has_what_matters() -> None:
    shown = [column.name for column, _ in fitted(AGENTS.columns, 78)]
    assert shown == ["ROLE", "STATUS", "TRY", "RAN", "LAST", "MEM", "CPU", "TOKENS", "COST", "MAIL"]


def test_a_cell_is_a_text_a_piece_or_pieces() -> None:
    assert pieces_of("one") == (("one", Tone.PLAIN),)
    assert pieces_of(("one", Tone.BAD)) == (("one", Tone.BAD),)
    assert pieces_of([("one", Tone.BAD), ("two", Tone.DIM)]) == [("one", Tone.BAD), ("two", Tone.DIM)]
    assert pieces_of([]) == []
