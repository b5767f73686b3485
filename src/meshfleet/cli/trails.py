"""What `meshfleet inspect` shows of messages: lists of them, one with its witnessed trail, and a fleet's timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Final

from meshfleet.cli import figures
from meshfleet.cli.figures import NOTHING
from meshfleet.cli.output import printable
from meshfleet.cli.tables import (
    EMPTY,
    PIPE,
    TERMINAL,
    Cell,
    Column,
    Facts,
    Note,
    Part,
    Table,
    Value,
    identity,
    moment,
    state,
    style_of,
    words,
)
from meshfleet.mesh.overview import Delivery, Moment, MomentKind, Trail
from meshfleet.mesh.overview.fields import whole
from meshfleet.model import EVERYONE, Row

_FAR: Final = ("sent", "delivered", "seen", "acked")

_MESSAGES: Final = (
    Column("message"),
    Column("sent"),
    Column("from", only=PIPE),
    Column("to", only=PIPE),
    Column("from, to", only=TERMINAL, most=21),
    Column("type"),
    Column("state"),
    Column("payload", gives=True),
)
_DELIVERIES: Final = (
    Column("recipient"),
    Column("role", gives=True),
    Column("state"),
    Column("delivered"),
    Column("seen"),
    Column("acked"),
    Column("waits", "inbox", optional=True),
)
_RECEIPTS: Final = (
    Column("receipt"),
    Column("agent"),
    Column("at"),
    Column("note", gives=True, folds=True),
)
_MOMENTS: Final = (
    Column("at", "time"),
    Column("what", only=PIPE),
    Column("agent", only=PIPE),
    Column("message", only=PIPE),
    Column("role", "who", most=16),
    Column("told", "what", gives=True),
)


def of_messages(trails: Sequence[Trail], left_out: int, now: int) -> list[Part]:
    """Messages, a line each."""
    rows = [
        [
            identity(trail.id),
            moment(trail.sent_at, now),
            words(trail.from_agent_id),
            words(trail.to_agent_id),
            words(f"{_sender(trail)} → {_addressee(trail)}"),
            words(trail.type),
            _progress(trail),
            words(trail.payload),
        ]
        for trail in trails
    ]
    note = f"{left_out:,} before these; --last N shows more, meshfleet inspect --timeline all" if left_out else ""
    return [Table(_MESSAGES, rows), *([Note(note)] if note else [])]


def of_message(trail: Trail, now: int) -> list[Part]:
    """A message with its witnessed trail."""
    facts = Facts(
        [
            ("message", Cell(trail.id, trail.id, "bold")),
            ("from", Cell(figures.one_line(trail.from_agent_id), _named(trail.from_agent_id, trail.from_role))),
            ("to", Cell(figures.one_line(trail.to_agent_id), _named(trail.to_agent_id, trail.to_role))),
            ("fleet", words(trail.fleet_id)),
            ("type", words(trail.type)),
            ("answers", words(trail.correlation_id)),
            ("sent", moment(trail.sent_at, now)),
            ("acknowledged", Cell("yes", "yes", "green") if trail.acknowledged else Cell("no", "no", "yellow")),
            ("payload", Cell(figures.one_line(trail.payload) or "-", printable(trail.payload.strip("\n")))),
        ]
    )
    deliveries = Table(_DELIVERIES, [_delivery(one, trail, now) for one in trail.deliveries])
    others = [*(receipt for one in trail.deliveries for receipt in one.others), *trail.witnesses]
    roles = {one.agent_id: one.role for one in trail.deliveries}
    receipts = [_receipt(receipt, roles, now) for receipt in others]
    return [facts, deliveries, *([Table(_RECEIPTS, receipts)] if receipts else [])]


def of_timeline(moments: Sequence[Moment], left_out: int, roles: Mapping[str, str]) -> list[Part]:
    """What has happened in a fleet, a line each.

    Args:
        moments: All that has happened, oldest first.
        left_out: How many of them are not to be shown, from the first.
        roles: What its agents are in it.
    """
    payloads = {one.row["id"]: one.row["payload"] for one in moments if one.kind is MomentKind.MESSAGE}
    # the same agents and messages come up again and again
    named = cache(words)
    rows: list[list[Value]] = [
        [
            _Time(one.at),
            named(str(one.kind)),
            named(one.agent_id),
            named(one.row["id"] if one.kind is MomentKind.MESSAGE else one.row.get("message_id")),
            named(one.role or one.agent_id),
            _Told(one, payloads, roles),
        ]
        for one in moments[left_out:]
    ]
    return [Table(_MOMENTS, rows), *([Note(f"{left_out:,} before these")] if left_out else [])]


def _delivery(one: Delivery, trail: Trail, now: int) -> list[Cell]:
    def at(ms: int | None) -> Cell:
        if ms is None:
            return EMPTY
        after = figures.duration(max(0, ms - trail.sent_at))
        return Cell(figures.iso_time(ms), f"{figures.clock(ms, now)} +{after}")

    waits = Cell("yes", "waits", "yellow") if one.waits else Cell("no", "")
    return [identity(one.agent_id), words(one.role), state(one.state), *map(at, _times(one)), waits]


def _times(one: Delivery) -> tuple[int | None, int | None, int | None]:
    return one.delivered_at, one.seen_at, one.acked_at


def _receipt(receipt: Row, roles: dict[str, str | None], now: int) -> list[Cell]:
    agent_id = receipt["agent_id"]
    return [
        words(receipt["action"]),
        Cell(figures.one_line(agent_id), figures.beginning(roles.get(agent_id) or agent_id)),
        moment(whole(receipt, "timestamp"), now),
        words(receipt.get("note")),
    ]


def _progress(trail: Trail) -> Cell:
    """How far a message has come with everyone it was sent to."""
    reached = [_FAR.index(one.state) for one in trail.deliveries]
    if not reached:
        return state("sent")
    least, most = _FAR[min(reached)], _FAR[max(reached)]
    if least == most or len(reached) == 1:
        return state(least)
    count = sum(place == max(reached) for place in reached)
    return Cell(least, f"{most} {count}/{len(reached)}", state(least).style)


def _sender(trail: Trail) -> str:
    return trail.from_role or trail.from_agent_id


def _addressee(trail: Trail) -> str:
    return "everyone" if trail.to_agent_id == EVERYONE else trail.to_role or trail.to_agent_id


def _named(agent_id: str, role: str | None) -> str:
    if agent_id == EVERYONE:
        return "everyone"
    return figures.beginning(agent_id if role is None else f"{role} ({agent_id})")


@dataclass(slots=True)
class _Time:
    """When something happened."""

    at: int
    style: ClassVar[str] = "dim"

    @property
    def plain(self) -> str:
        return figures.iso_time(self.at)

    @property
    def shown(self) -> str:
        return figures.exact_clock(self.at)


@dataclass(slots=True)
class _Told:
    """What happened.

    Attributes:
        moment: Of which it is told.
        payloads: What the messages say, by their ids.
        roles: What the fleet's agents are in it.
    """

    moment: Moment
    payloads: Mapping[str, str]
    roles: Mapping[str, str]

    @property
    def plain(self) -> str:
        return figures.one_line(_told(self.moment, self.roles)) or NOTHING

    @property
    def shown(self) -> str:
        told = _told(self.moment, self.roles)
        if self.moment.kind is MomentKind.RECEIPT:
            told += f": {self.payloads.get(self.moment.row['message_id'], '')[: figures.LONGEST_LINE]}"
        return figures.beginning(told)

    @property
    def style(self) -> str:
        is_end = self.moment.kind in {MomentKind.AGENT_ENDED, MomentKind.FLEET_ENDED}
        return style_of(self.moment.row["status"]) if is_end else ""


def _told(one: Moment, roles: Mapping[str, str]) -> str:
    row = one.row
    # what there is most of comes first
    match one.kind:
        case MomentKind.RECEIPT:
            return str(row["action"]) + (f" ({row['note']})" if row.get("note") else "")
        case MomentKind.MESSAGE:
            to = row["to_agent_id"]
            return f"{row['type']} to {'everyone' if to == EVERYONE else roles.get(to, to)}: {row['payload']}"
        case MomentKind.ATTEMPT_STARTED:
            return f"attempt {row['number']} starts"
        case MomentKind.ATTEMPT_ENDED:
            how = "ends well" if row.get("ok") is True else f"fails: {row.get('error') or row.get('reason') or '-'}"
            return f"attempt {row['number']} {how}"
        case MomentKind.FLEET_CREATED:
            return "the fleet is created"
        case _:
            return f"{'is' if one.kind is MomentKind.AGENT_ENDED else 'the fleet is'} {row['status']}"
