"""What tests of commands share: a Python that has loaded them."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.cli.prepared import prepared_python


@pytest.fixture(autouse=True, scope="session")
def prepared() -> Generator[None]:
    """Have what `tests.cli.prepared.run` needs; it loads the commands when the first one is run."""
    with prepared_python():
        yield
