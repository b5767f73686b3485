"""The list of messages: from whom, to whom, and how far each has come with everyone it was sent to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from meshfleet.dashboard.listing import Column, Listing, Piece, Tone
from meshfleet.dashboard.wording import clock, on_one_line, short
from meshfleet.mesh.overview import Delivery, Trail
from meshfleet.model import EVERYONE

_TEXT_SHOWN: Final = 400
"""Characters of a payload that a line can show at most."""
_STEPS: Final = ("deliv", "seen", "acked")


def name_of(agent_id: str, role: str | None) -> str:
    """What one who sends or gets messages is called."""
    if role:
        return on_one_line(role)
    return "everyone" if agent_id == EVERYONE else short(on_one_line(agent_id))


def reached(deliveries: Sequence[Delivery]) -> tuple[int, int, int]:
    """With how many of its recipients a message has come how far: delivered, seen, acked."""
    return (
        sum(one.delivered_at is not None for one in deliveries),
        sum(one.seen_at is not None for one in deliveries),
        sum(one.acked_at is not None for one in deliveries),
    )


def trail_pieces(trail: Trail) -> list[Piece]:
    """A message's way: the steps it has come, or for several recipients how many have."""
    pieces: list[Piece] = [("sent", Tone.PLAIN)]
    count = len(trail.deliveries)
    for step, number in zip(_STEPS, reached(trail.deliveries), strict=True):
        pieces.append(("›", Tone.DIM))
        if not number:
            pieces.append(("·" * len(step), Tone.DIM))
        else:
            tone = Tone.GOOD if number == count else Tone.BUSY
            pieces.append((step if count == 1 else f"{number}/{count}", tone))
    return pieces


MESSAGES: Final = Listing(
    name="messages",
    columns=(
        Column(
            "SENT",
            8,
            lambda trail, at: (clock(trail.sent_at, at.zone), Tone.DIM),
            lambda trail, _: trail.sent_at,
            descending=True,
        ),
        Column(
            "FROM",
            12,
            lambda trail, _: (name_of(trail.from_agent_id, trail.from_role), Tone.STRONG),
            lambda trail, _: name_of(trail.from_agent_id, trail.from_role),
            most=20,
        ),
        Column(
            "TO",
            12,
            lambda trail, _: (name_of(trail.to_agent_id, trail.to_role), Tone.STRONG),
            lambda trail, _: name_of(trail.to_agent_id, trail.to_role),
            most=20,
        ),
        Column("TYPE", 12, lambda trail, _: on_one_line(trail.type), lambda trail, _: trail.type, rank=2),
        Column("TRAIL", 21, lambda trail, _: trail_pieces(trail), lambda trail, _: reached(trail.deliveries)[::-1]),
        Column("TEXT", None, lambda trail, _: on_one_line(trail.payload[:_TEXT_SHOWN])),
    ),
    key=lambda trail: trail.id,
    words=lambda trail: (
        f"{trail.id} {trail.from_agent_id} {trail.from_role or ''} {trail.to_agent_id} {trail.to_role or ''} "
        f"{trail.type} {trail.payload}"
    ).lower(),
    first="SENT",
    empty="no messages here",
)
