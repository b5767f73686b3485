"""While a library is loaded the garbage collector rests, and what was loaded stays out of its sight."""

from __future__ import annotations

import gc
from collections.abc import Generator

import pytest

from meshfleet.server.loading import loading


@pytest.fixture(autouse=True)
def collector() -> Generator[None]:
    """Leave no garbage out of the collector's sight in the process that runs the tests."""
    gc.collect()
    yield
    gc.enable()


def is_looked_at(thing: object) -> bool:
    return any(one is thing for one in gc.get_objects())


def test_what_is_loaded_is_not_looked_at_any_more_and_what_comes_later_is() -> None:
    with loading():
        assert not gc.isenabled()
        loaded: list[object] = [object()]
        assert is_looked_at(loaded)
    later: list[object] = [object()]
    assert not is_looked_at(loaded)
    assert is_looked_at(later)
    assert gc.isenabled()


def test_what_can_not_be_loaded_leaves_the_collector_at_work() -> None:
    with pytest.raises(ImportError), loading():
        raise ImportError("no such library")
    assert gc.isenabled()
