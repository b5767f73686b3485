"""How states look: a sign and a tone each, so that they are told apart without colours too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meshfleet.dashboard.listing import Piece, Tone

_STATES: Final[Mapping[str, tuple[str, Tone]]] = {
    "pending": ("·", Tone.DIM),
    "running": ("●", Tone.BUSY),
    "complete": ("✓", Tone.GOOD),
    "failed": ("✗", Tone.BAD),
    "interrupted": ("!", Tone.BAD),
    "cancelled": ("-", Tone.DIM),
    "retrying": ("↻", Tone.WARN),
    "queued": ("…", Tone.DIM),
    "stopping": ("■", Tone.WARN),
    "stalled": ("◌", Tone.WARN),
    "unsupervised": ("?", Tone.WARN),
    "dormant": ("~", Tone.DIM),
    "waiting": ("…", Tone.DIM),
    "over_budget": ("$", Tone.BAD),
    "undeliverable": ("@", Tone.WARN),
    "never_called": ("~", Tone.DIM),
}
_UNKNOWN: Final = ("?", Tone.PLAIN)
_BAR: Final[Mapping[str, str]] = {
    "complete": "█",
    "running": "▓",
    "pending": "░",
    "failed": "╳",
    "interrupted": "!",
    "cancelled": "-",
}


def tone_of(state: str) -> Tone:
    """How a state is meant."""
    return _STATES.get(state, _UNKNOWN)[1]


def state_piece(state: str) -> Piece:
    """A state with its sign."""
    sign, tone = _STATES.get(state, _UNKNOWN)
    return f"{sign} {state.replace('_', ' ')}", tone


def bar(counts: Mapping[str, int], width: int) -> list[Piece]:
    """How many of a whole are in which state, as a bar; every state that there is has at least one column."""
    present = [(state, number) for state, number in counts.items() if number > 0]
    total = sum(number for _, number in present)
    if not total:
        return [(" " * width, Tone.DIM)]
    columns = {state: max(1, number * width // total) for state, number in present}
    by_size = sorted(columns, key=lambda state: counts[state], reverse=True)
    place = 0
    while (excess := sum(columns.values()) - width) and len(columns) <= width:
        state = by_size[place % len(by_size)]
        if excess < 0 or columns[state] > 1:
            columns[state] += 1 if excess < 0 else -1
        place += 1
    return [(_BAR.get(state, "?") * columns[state], tone_of(state)) for state, _ in present]
