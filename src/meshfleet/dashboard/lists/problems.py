"""The list of problems: what failed, stalled, is tried again, can't be delivered or has used too much."""

from __future__ import annotations

from typing import Final

from meshfleet.dashboard.listing import Column, Listing, Moment, Shown, Tone, time_since
from meshfleet.dashboard.signs import state_piece
from meshfleet.dashboard.wording import NOTHING, age, on_one_line, short
from meshfleet.mesh.overview import Problem


def _fleet(problem: Problem, at: Moment) -> str:
    return at.names.get(problem.fleet_id) or short(problem.fleet_id)


def _since(problem: Problem, at: Moment) -> Shown:
    return NOTHING if problem.since is None else age(at.now - problem.since)


PROBLEMS: Final = Listing(
    name="problems",
    columns=(
        Column("PROBLEM", 15, lambda problem, _: state_piece(str(problem.kind)), lambda problem, _: str(problem.kind)),
        Column(
            "WHO",
            16,
            lambda problem, _: (on_one_line(problem.role or "the fleet"), Tone.STRONG),
            lambda problem, _: problem.role,
            most=24,
        ),
        Column("FLEET", 12, _fleet, _fleet, most=24, rank=2),
        time_since("SINCE", 6, _since, lambda problem, _: problem.since),
        Column("WHAT", None, lambda problem, _: on_one_line(problem.what)),
    ),
    key=lambda problem: f"{problem.kind} {problem.agent_id or problem.fleet_id}",
    words=lambda problem: (
        f"{problem.kind} {problem.role or ''} {problem.agent_id or ''} {problem.fleet_id} {problem.what}".lower()
    ),
    first="SINCE",
    empty="no problems",
)
