"""A goal is met by a figure on the right side of its limit, and never without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from benchmark.report.goals import Goal
from benchmark.report.results import Results

ANY = cast("Results", None)


def reading(figure: float | None) -> Callable[[Results], float | None]:
    return lambda _: figure


@pytest.mark.parametrize(("figure", "met"), [(1.9, True), (2.0, False), (2.1, False), (None, False)])
def test_what_is_to_stay_under_a_limit_does_not_reach_it(figure: float | None, met: bool) -> None:
    assert Goal("", reading(figure), 2, "ms").is_met(ANY) is met


@pytest.mark.parametrize(("figure", "met"), [(2.0, True), (2.1, True), (1.9, False), (None, False)])
def test_what_is_to_reach_a_limit_reaches_it(figure: float | None, met: bool) -> None:
    assert Goal("", reading(figure), 2, "a second", at_least=True).is_met(ANY) is met


@pytest.mark.parametrize(("figure", "met"), [(0.0, True), (1.0, False)])
def test_what_is_to_be_none_may_be_none(figure: float, met: bool) -> None:
    assert Goal("", reading(figure), 0, "", inclusive=True).is_met(ANY) is met
