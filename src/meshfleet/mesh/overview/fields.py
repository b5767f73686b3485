"""Fields of rows that another program may have written: what they hold, where it is what it should be."""

from __future__ import annotations

import math
from collections.abc import Callable

from meshfleet.model import Row

Left = Callable[[Row], bool]
"""Tells of a row what only the process table knows: that of an agent, whether it is at work and its supervisor gone."""


def nobody(_: Row) -> bool:
    """As if every supervisor were there, for who does not look at processes."""
    return False


def whole(row: Row, field: str) -> int | None:
    """A number, such as a time in ms since the epoch; None where there is none."""
    value = row.get(field)
    if type(value) is int:
        return value
    return int(value) if isinstance(value, float) and math.isfinite(value) else None


def text(row: Row, field: str) -> str | None:
    """A text; None where there is none."""
    value = row.get(field)
    return value if isinstance(value, str) else None
