"""What a timeline's lines are made of: for a pipe and for a terminal only what each of them shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshfleet.cli import figures
from meshfleet.cli.tables import PIPE, TERMINAL, Table
from meshfleet.cli.trails import of_timeline
from meshfleet.mesh.overview import Moment, MomentKind

MOMENTS = [
    Moment(1_000, MomentKind.MESSAGE, "a", "A", {"id": "m", "to_agent_id": "b", "type": "result", "payload": "done\n"}),
    Moment(2_000, MomentKind.RECEIPT, "b", None, {"message_id": "m", "action": "rated", "note": "well"}),
    Moment(3_000, MomentKind.FLEET_ENDED, None, None, {"id": "f", "status": "failed"}),
]


def test_a_moment_is_told_in_a_pipe_and_with_its_message_and_colours_on_a_terminal() -> None:
    (table,) = of_timeline(MOMENTS, 0, {"b": "B"})
    assert isinstance(table, Table)
    assert [(row[-1].plain, row[-1].shown, row[-1].style) for row in table.rows] == [
        ("result to B: done", "result to B: done", ""),
        ("rated (well)", "rated (well): done", ""),
        ("the fleet is failed", "the fleet is failed", "bold red"),
    ]
    assert [row[2].plain for row in table.rows] == ["a", "b", "-"]


@pytest.mark.parametrize(("face", "made"), [(PIPE, {"iso_time": 3}), (TERMINAL, {"exact_clock": 3})])
def test_a_time_is_put_into_words_only_for_who_reads_them(
    monkeypatch: pytest.MonkeyPatch, face: str, made: dict[str, int]
) -> None:
    calls: Counter[str] = Counter()

    def counted(name: str) -> Callable[[int], str]:
        real = getattr(figures, name)

        def call(ms: int) -> Any:
            calls[name] += 1
            return real(ms)

        return call

    for name in ("iso_time", "exact_clock"):
        monkeypatch.setattr(figures, name, counted(name))
    (table,) = of_timeline(MOMENTS, 0, {})
    assert isinstance(table, Table)
    assert all(row[0].plain if face == PIPE else row[0].shown for row in table.rows)
    assert calls == made


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_a_time_is_the_one_it_is_to_the_ms(ms: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    assert figures.iso_time(ms) == moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.parametrize("ms", [-(10**20), 10**20])
def test_a_time_that_is_none_is_the_number_it_is(ms: int) -> None:
    assert figures.iso_time(ms) == str(ms)
