"""The list of events: what the log tells, the newest first."""

from __future__ import annotations

import json
from typing import Any, Final

from meshfleet.dashboard.listing import Column, Listing, Piece, Tone
from meshfleet.dashboard.wording import clock, on_one_line, short
from meshfleet.ledger.event_lines import EventLine

_BAD: Final = ("fail", "error", "over_budget", "stall", "kill", "interrupt", "damage", "refus")
_ABOUT: Final = ("role", "fleet_id", "agent_id", "message_id")
"""Fields that say whom it is about, and stand first."""


def _tone(event: EventLine) -> Tone:
    return Tone.BAD if any(word in event.name for word in _BAD) else Tone.STRONG


def _value(value: Any) -> str:
    if isinstance(value, str):
        return short(on_one_line(value)) if _is_id(value) else on_one_line(value)
    if isinstance(value, list):
        return f"[{len(value)}]"
    return json.dumps(value, ensure_ascii=False)


def _is_id(text: str) -> bool:
    return len(text) == 36 and text.count("-") == 4  # noqa: PLR2004


def _about(event: EventLine) -> list[Piece]:
    names = [name for name in _ABOUT if name in event.fields] + [name for name in event.fields if name not in _ABOUT]
    pieces: list[Piece] = []
    for name in names:
        pieces += [(f"{name}=", Tone.DIM), (f"{_value(event.fields[name])} ", Tone.PLAIN)]
    return pieces


EVENTS: Final = Listing(
    name="events",
    columns=(
        Column(
            "TIME",
            8,
            lambda event, at: (clock(event.timestamp, at.zone), Tone.DIM),
            lambda event, _: event.timestamp,
            descending=True,
        ),
        Column(
            "EVENT",
            20,
            lambda event, _: (on_one_line(event.name), _tone(event)),
            lambda event, _: event.name,
            most=28,
        ),
        Column("ABOUT", None, lambda event, _: _about(event)),
    ),
    key=lambda event: f"{event.timestamp} {hash(event.raw)}",
    words=lambda event: event.raw.decode(errors="replace").lower(),
    first="TIME",
    empty="no events yet",
)
