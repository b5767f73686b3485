"""How the dashboard puts times, amounts and other people's words into few columns."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from typing import Final

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_MANY_DAYS: Final = 100
_THOUSAND: Final = 1000
_KIB: Final = 1024
NOTHING: Final = "-"
LONGEST_LINE: Final = 600
"""Characters of a text that are shown on a line or a few; what is more would only cost time."""
SHORT_ID: Final = 8
"""Characters of an id that tell it from others at a glance."""
_JOINERS: Final = re.compile(r"(?<=[^\x00-\x7f])[\u200c\u200d](?=[^\x00-\x7f])")
"""What joins signs, or keeps them apart, in other scripts and in pictures; terminals differ in what they make of it."""


def age(ms: float | None) -> str:
    """A duration given in ms: `12s`, `4m05`, `3h12`, `2d04`, `365d`."""
    if ms is None:
        return NOTHING
    seconds = max(0, int(ms // _THOUSAND))
    if seconds < _MINUTE:
        return f"{seconds}s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE}m{seconds % _MINUTE:02d}"
    if seconds < _DAY:
        return f"{seconds // _HOUR}h{seconds % _HOUR // _MINUTE:02d}"
    days = seconds // _DAY
    return f"{days}d" if days >= _MANY_DAYS else f"{days}d{seconds % _DAY // _HOUR:02d}"


def clock(ms: object, zone: tzinfo | None = None) -> str:
    """The time of day of a moment in ms since the epoch, in the zone of this machine unless another is given."""
    moment = _moment(ms, zone)
    return NOTHING if moment is None else f"{moment:%H:%M:%S}"


def date_and_clock(ms: object, zone: tzinfo | None = None) -> str:
    """The day and the time of a moment in ms since the epoch."""
    moment = _moment(ms, zone)
    return NOTHING if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def _moment(ms: object, zone: tzinfo | None) -> datetime | None:
    # another program may have written anything
    if isinstance(ms, bool) or not isinstance(ms, int | float):
        return None
    try:
        return datetime.fromtimestamp(ms / _THOUSAND, UTC).astimezone(zone)
    except (ValueError, OverflowError, OSError):
        return None


def money(usd: float | None) -> str:
    """An amount of US dollars; nothing for none, since a model whose price is unknown costs nothing either."""
    if not usd:
        return NOTHING
    return f"${usd:.0f}" if usd >= _THOUSAND else f"${usd:.2f}" if usd >= 0.01 else "<$0.01"  # noqa: PLR2004


def amount(number: float | None) -> str:
    """A number in at most five columns: `950`, `12.3k`, `4.1M`."""
    if not number:
        return NOTHING
    for unit in ("", "k", "M", "G"):
        if number < _THOUSAND or unit == "G":
            whole = not unit or number >= 100  # noqa: PLR2004
            return f"{number:.0f}{unit}" if whole else f"{number:.1f}{unit}"
        number /= _THOUSAND
    raise AssertionError("the last unit holds any number")


def size(count: float | None) -> str:
    """A number of bytes in at most five columns: `312M`."""
    if not count:
        return NOTHING
    for unit in ("B", "K", "M", "G"):
        if count < _KIB or unit == "G":
            return f"{count:.0f}{unit}" if unit != "G" else f"{count:.1f}G"
        count /= _KIB
    raise AssertionError("the last unit holds any number")


def share(of_a_core: float | None) -> str:
    """A use of the processor: 1.0 is one core."""
    return NOTHING if of_a_core is None else f"{of_a_core * 100:.0f}%"


def short(name: str) -> str:
    """The beginning of an id; a short name stays whole."""
    return name if len(name) <= SHORT_ID * 2 else name[:SHORT_ID]


def on_one_line(text: object) -> str:
    """As much of a text as lines can show, without what a terminal would obey, its white space as single blanks."""
    line = " ".join(str(text)[:LONGEST_LINE].split())
    return line if line.isprintable() else legible(line)


def legible(text: str) -> str:
    """A text of which only newlines are obeyed; a tab is four blanks."""
    if text.isprintable():
        return text
    text = _JOINERS.sub("", text.replace("\r\n", "\n").replace("\t", "    "))
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)
