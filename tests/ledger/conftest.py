"""What the enumerations of crash points and power cuts share."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.ledger.harnesses import ReportOf, harness_server


@pytest.fixture(scope="module")
def report_of() -> Generator[ReportOf]:
    """What a harness found: one process has imported them all, and forks each."""
    with harness_server() as reports:
        yield reports
