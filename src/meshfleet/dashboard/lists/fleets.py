"""The list of fleets: how each stands, and what it has used."""

from __future__ import annotations

from typing import Final

from meshfleet.dashboard.listing import Column, Listing, Moment, Piece, Shown, Tone, figure, time_since
from meshfleet.dashboard.signs import bar, state_piece
from meshfleet.dashboard.wording import age, amount, money, on_one_line, short
from meshfleet.mesh.overview import FleetSummary

BAR_WIDTH: Final = 10


def name_of(fleet: FleetSummary) -> str:
    """What a fleet is called: its name, or the beginning of its id."""
    return on_one_line(fleet.name) if fleet.name else short(fleet.id)


def _status(fleet: FleetSummary, _: Moment) -> Shown:
    if fleet.status == "running" and fleet.is_cancelled:
        return state_piece("stopping")
    return state_piece(fleet.status)


def _agents(fleet: FleetSummary, _: Moment) -> list[Piece]:
    """A fleet's agents by state: as a bar, and how many of them are complete."""
    return [*bar(fleet.agents, BAR_WIDTH), (f" {fleet.agents.get('complete', 0)}/{fleet.agent_count}", Tone.PLAIN)]


def _trouble(fleet: FleetSummary, _: Moment) -> Shown:
    pieces: list[Piece] = [(f"{count} {told}", Tone.WARN) for told, count in fleet.conditions.items()]
    if fleet.over_budget is not None:
        pieces.append(("over budget", Tone.BAD))
    return [piece for one in pieces for piece in ((" ", Tone.PLAIN), one)][1:]


FLEETS: Final = Listing(
    name="fleets",
    columns=(
        Column("FLEET", None, lambda fleet, _: (name_of(fleet), Tone.STRONG), lambda fleet, _: name_of(fleet), most=40),
        Column("ID", 8, lambda fleet, _: (fleet.id[:8], Tone.DIM), rank=4),
        Column("STATUS", 11, _status, lambda fleet, _: fleet.status),
        Column(
            "AGENTS",
            BAR_WIDTH + 8,
            _agents,
            lambda fleet, _: fleet.agent_count,
            right=True,
        ),
        Column("CONDITION", None, _trouble, rank=9),
        time_since("AGE", 6, lambda fleet, at: age(fleet.age_ms(at.now)), lambda fleet, _: fleet.created_at),
        Column("RAN", 6, lambda fleet, at: age(fleet.runtime_ms(at.now)), rank=7, right=True),
        figure("COST", 7, lambda fleet, _: money(fleet.used_in_all.cost), lambda fleet, _: fleet.used_in_all.cost),
        figure(
            "TOKENS", 6, lambda fleet, _: amount(fleet.used_in_all.tokens), lambda fleet, _: fleet.used_in_all.tokens
        ),
        figure("MSGS", 5, lambda fleet, _: amount(fleet.messages), lambda fleet, _: fleet.messages, rank=5),
        figure("UNREAD", 6, lambda fleet, _: amount(fleet.unread), lambda fleet, _: fleet.unread, rank=6),
    ),
    key=lambda fleet: fleet.id,
    words=lambda fleet: f"{fleet.id} {fleet.name or ''} {fleet.status} {' '.join(fleet.conditions)}".lower(),
    first="AGE",
    empty="no fleets yet; OpenCode spawns one with spawn_fleet",
)
