"""All there is to say of an agent or a message, as lines of text; which screen shows them is not known here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from meshfleet.dashboard.listing import Moment, Piece, Tone
from meshfleet.dashboard.lists.agents import since_of, state_of
from meshfleet.dashboard.lists.messages import name_of
from meshfleet.dashboard.signs import state_piece, tone_of
from meshfleet.dashboard.wording import (
    NOTHING,
    age,
    amount,
    clock,
    date_and_clock,
    legible,
    money,
    on_one_line,
    share,
    short,
    size,
)
from meshfleet.mesh.overview import AgentDetail, Delivery, Trail
from meshfleet.mesh.texts import counted

Line = list[Piece]
_NAME_WIDTH: Final = 14


def lines_of_agent(detail: AgentDetail, at: Moment) -> Iterator[Line]:
    """An agent in a few lines."""
    agent = detail.summary
    state, since = state_of(agent), since_of(agent)
    first: Line = [state_piece(state)]
    if since is not None:
        first.append((f" since {clock(since, at.zone)} ({age(at.now - since)})", tone_of(state)))
    if agent.retry_at is not None and agent.condition == "retrying":
        first.append((f", next attempt at {clock(agent.retry_at, at.zone)}", Tone.WARN))
    first.append((f"  attempt {agent.attempt or NOTHING}", Tone.PLAIN))
    first.append((f"  ran {age(agent.runtime_ms(at.now))}", Tone.PLAIN))
    yield first
    load = at.loads.get(agent.id)
    yield [
        ("tokens ", Tone.DIM),
        (amount(agent.used.tokens), Tone.PLAIN),
        ("  cost ", Tone.DIM),
        (money(agent.used.cost), Tone.PLAIN),
        ("  memory ", Tone.DIM),
        (size(None if load is None else load.memory), Tone.PLAIN),
        ("  cpu ", Tone.DIM),
        (share(None if load is None else load.cpu), Tone.PLAIN),
        ("  unread ", Tone.DIM),
        (str(agent.unread), Tone.WARN if agent.unread else Tone.PLAIN),
    ]
    yield [
        ("model ", Tone.DIM),
        (on_one_line(agent.model or "OpenCode's default"), Tone.PLAIN),
        ("  session ", Tone.DIM),
        (on_one_line(agent.session_id or NOTHING), Tone.PLAIN),
        *([("  as ", Tone.DIM), (on_one_line(agent.agent_file), Tone.PLAIN)] if agent.agent_file else []),
    ]
    yield [
        ("fleet ", Tone.DIM),
        (at.names.get(agent.fleet_id) or short(agent.fleet_id), Tone.PLAIN),
        ("  in ", Tone.DIM),
        (on_one_line(detail.row.get("cwd") or NOTHING), Tone.PLAIN),
    ]
    if detail.spawned:
        yield [("spawned ", Tone.DIM), (counted(len(detail.spawned), "fleets"), Tone.PLAIN)]
    if agent.waiting_for:
        yield [("waits for ", Tone.DIM), (on_one_line(agent.waiting_for), Tone.PLAIN)]
    if agent.error:
        yield [(on_one_line(agent.error), tone_of(state))]


def lines_of_message(trail: Trail, at: Moment) -> Iterator[Line]:
    """A message: who to whom, its trail, and its text."""
    yield [
        (name_of(trail.from_agent_id, trail.from_role), Tone.STRONG),
        (" → ", Tone.DIM),
        (name_of(trail.to_agent_id, trail.to_role), Tone.STRONG),
        (f"  {on_one_line(trail.type)}", Tone.PLAIN),
        (f"  sent {date_and_clock(trail.sent_at, at.zone)}", Tone.PLAIN),
    ]
    if trail.correlation_id:
        yield [("about ", Tone.DIM), (on_one_line(trail.correlation_id), Tone.PLAIN)]
    yield []
    for delivery in trail.deliveries:
        yield list(_pieces_of_delivery(delivery, at))
        for receipt in delivery.others:
            yield _receipt_line(receipt.get("action"), receipt.get("timestamp"), receipt.get("note"), at)
    for receipt in trail.witnesses:
        line = _receipt_line(receipt.get("action"), receipt.get("timestamp"), receipt.get("note"), at)
        yield [*line, (f" by {on_one_line(receipt.get('agent_id'))}", Tone.DIM)]
    yield []
    for text in legible(trail.payload).split("\n"):
        yield [(text, Tone.PLAIN)]


def _pieces_of_delivery(delivery: Delivery, at: Moment) -> Iterator[Piece]:
    yield f"{name_of(delivery.agent_id, delivery.role):<{_NAME_WIDTH}} ", Tone.STRONG
    yield "sent", Tone.GOOD
    for name, moment in (
        ("delivered", delivery.delivered_at),
        ("seen", delivery.seen_at),
        ("acked", delivery.acked_at),
    ):
        yield " › ", Tone.DIM
        if moment is None:
            yield f"not {name}", Tone.DIM
        else:
            yield f"{name} {clock(moment, at.zone)}", Tone.GOOD
    if delivery.waits:
        yield "  in inbox", Tone.WARN


def _receipt_line(action: object, timestamp: object, note: object, at: Moment) -> Line:
    said = f": {on_one_line(note)}" if note else ""
    return [
        (" " * (_NAME_WIDTH + 1), Tone.PLAIN),
        (f"{on_one_line(action)} {clock(timestamp, at.zone)}{said}", Tone.PLAIN),
    ]
