"""Fixtures of tests that speak to a server over pipes of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.streams_helpers import Wire


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Two pipes that are closed afterwards."""
    pipes = Wire()
    yield pipes
    pipes.close_all()
