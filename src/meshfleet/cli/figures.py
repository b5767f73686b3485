"""Figures and texts as people read them in a line: times, durations, tokens, money, and other people's words."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from meshfleet.cli.output import printable

NOTHING: Final = "-"
LONGEST_LINE: Final = 500
"""Characters of a text that a line of a terminal could ever hold."""
_TO_THE_DAY: Final = len("2026-01-31 ")
_TO_THE_SECOND: Final = len("2026-01-31T12:00:00")
_SECOND: Final = 1_000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_EXACT_UNTIL: Final = 10 * _SECOND


def duration(ms: int) -> str:
    """A duration, such as `0.4 s`, `12 s`, `3m05s`, `2h10m` or `3d04h`."""
    if ms < _EXACT_UNTIL:
        return f"{ms / _SECOND:.1f} s"
    if ms < _MINUTE:
        return f"{ms // _SECOND} s"
    if ms < _HOUR:
        return f"{ms // _MINUTE}m{ms % _MINUTE // _SECOND:02}s"
    if ms < _DAY:
        return f"{ms // _HOUR}h{ms % _HOUR // _MINUTE:02}m"
    return f"{ms // _DAY}d{ms % _DAY // _HOUR:02}h"


def tokens(number: int) -> str:
    """A number of tokens in at most six characters, such as `950`, `12.3k` or `4.5M`."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if number >= size:
            value = number / size
            return f"{value:.0f}{unit}" if value >= 100 else f"{value:.1f}{unit}"  # noqa: PLR2004 - three digits do
    return str(number)


def money(dollars: float) -> str:
    """US dollars: with cents, or with what is left of them."""
    return "$0" if not dollars else f"${dollars:.2f}" if dollars >= 1 else f"${dollars:.4f}"


def iso_time(ms: int) -> str:
    """A time in ms since the epoch as `2026-01-31T12:00:00.000Z`; one that is none as the number it is."""
    try:
        return f"{_iso_second(ms // _SECOND)}.{ms % _SECOND:03d}Z"
    except (ValueError, OverflowError, OSError):
        return str(ms)


@lru_cache
def _iso_second(second: int) -> str:
    # what happened in a night is told in the order of time, and much of it in the same second
    return datetime.fromtimestamp(second, UTC).isoformat()[:_TO_THE_SECOND]


def clock(ms: int, now: int) -> str:
    """A time as the clock of this machine shows it, with the date where that is another day."""
    try:
        moment, today = _local(ms), _local(now)
    except (ValueError, OverflowError, OSError):
        return str(ms)
    return f"{moment:%H:%M:%S}" if moment.date() == today.date() else f"{moment:%Y-%m-%d %H:%M}"


def exact_clock(ms: int) -> str:
    """A time of day as the clock of this machine shows it, to the ms."""
    try:
        moment = _local(ms)
    except (ValueError, OverflowError, OSError):
        return str(ms)
    return f"{moment.isoformat(' ', 'seconds')[_TO_THE_DAY:_TO_THE_SECOND]}.{ms % 1000:03d}"


def _local(ms: int) -> datetime:
    # by way of UTC: an hour that a clock shows twice is two hours there
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone()


def one_line(text: object) -> str:
    """The whole text on a line, with every run of white space turned into a blank, and nothing a terminal obeys."""
    return printable(" ".join(str(text).split()))


def beginning(text: object) -> str:
    """As much of the text as a line of a terminal could hold."""
    return one_line(str(text)[:LONGEST_LINE])
