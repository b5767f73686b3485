"""What a look at a mesh finds: asks the ledger, and prints it as one JSON object or as tables and facts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from meshfleet.cli import shapes
from meshfleet.cli.output import say
from meshfleet.cli.tables import Part, print_parts
from meshfleet.errors import Invalid
from meshfleet.ledger import Ledger, View
from meshfleet.mesh import overview
from meshfleet.model import Row, now_ms

if TYPE_CHECKING:
    from meshfleet.agents.standing import Gone

MESSAGES_SHOWN: Final = 20

Sight = tuple[Callable[[], str], Callable[[], list[Part]]]
"""What is seen: as the object that `--json` prints, and as tables; only one of them is made."""


def look_at_all(ledger: Ledger) -> Sight:
    """Every fleet."""

    def query(view: View) -> tuple[list[overview.FleetSummary], int]:
        left = Left()
        return overview.fleet_summaries(view, left=left), len(overview.problems(view, left=left, over=is_over))

    fleets, troubles = ledger.read(query)

    def tables() -> list[Part]:
        from meshfleet.cli.sights import of_fleets

        return of_fleets(fleets, troubles, now_ms())

    return lambda: shapes.versioned(fleets=[shapes.fleet(one) for one in fleets]), tables


def look_at_one(ledger: Ledger, name: str, last: int | None) -> Sight:
    """A fleet, an agent or a message.

    Raises:
        Invalid: Several have the name.
        NotFound: Nothing has it.
    """
    found = overview.require_named(ledger, name)
    if found.table == "fleets":
        return _fleet(ledger, found.id, MESSAGES_SHOWN if last is None else last)
    if last is not None:
        raise Invalid(f"--last goes with a fleet, and {found.id} is one of the {found.table}; leave it out")
    return _agent(ledger, found.id) if found.table == "agents" else _message(ledger, found.id)


def look_at_timeline(ledger: Ledger, name: str, last: int | None) -> Sight:
    """What has happened in a fleet.

    Raises:
        Invalid: Several fleets have the name.
        NotFound: None has it.
    """
    fleet_id = overview.require_named(ledger, name, ("fleets",)).id

    def query(view: View) -> tuple[list[overview.Moment], dict[str, str]]:
        return overview.timeline(view, fleet_id), {row["id"]: row["role"] for row in view.agents_of(fleet_id)}

    moments, roles = ledger.read(query)
    left_out = 0 if last is None else max(len(moments) - last, 0)

    def tables() -> list[Part]:
        from meshfleet.cli.trails import of_timeline

        return of_timeline(moments, left_out, roles)

    def told() -> str:
        return shapes.versioned(
            fleet_id=fleet_id, left_out=left_out, moments=[shapes.moment(one) for one in moments[left_out:]]
        )

    return told, tables


def look_at_metrics(ledger: Ledger) -> Sight:
    """The mesh in figures."""
    found = ledger.read(lambda view: overview.metrics(view, left=Left()))

    def tables() -> list[Part]:
        from meshfleet.cli.sights import of_metrics

        return of_metrics(found)

    return lambda: shapes.versioned(metrics=shapes.metrics(found)), tables


def look_at_problems(ledger: Ledger) -> Sight:
    """What is wrong."""
    found = ledger.read(lambda view: overview.problems(view, left=Left(), over=is_over))

    def tables() -> list[Part]:
        from meshfleet.cli.sights import of_problems

        return of_problems(found, now_ms())

    return lambda: shapes.versioned(problems=shapes.problems(found)), tables


def show(sight: Sight, *, as_json: bool) -> None:
    """Print what is seen."""
    as_object, as_parts = sight
    if as_json:
        say(as_object())
    else:
        print_parts(as_parts())


def is_over(attempt: Row) -> bool:
    """Tells whether the process of an attempt has ended."""
    from meshfleet.agents import standing

    return standing.is_over(attempt)


class Left:
    """Tells whether an agent's supervisor is gone; processes are looked at only where an agent is at work."""

    def __init__(self) -> None:
        self._gone: Gone | None = None

    def __call__(self, agent: Row) -> bool:
        """Tell it of an agent at work."""
        if self._gone is None:
            from meshfleet.agents.standing import Gone

            self._gone = Gone()
        return self._gone.left(agent)


def _fleet(ledger: Ledger, fleet_id: str, last: int) -> Sight:
    def query(
        view: View,
    ) -> tuple[overview.FleetSummary, list[overview.AgentSummary], list[overview.Trail], list[overview.Problem]]:
        left = Left()
        wrong = [one for one in overview.problems(view, left=left, over=is_over) if one.fleet_id == fleet_id]
        return (
            overview.fleet_summary(view, fleet_id, left=left),
            overview.agent_summaries(view, fleet_id, left=left),
            overview.message_trails(view, fleet_id, last=last),
            wrong,
        )

    fleet, agents, trails, wrong = ledger.read(query)
    left_out = fleet.messages - len(trails)

    def tables() -> list[Part]:
        from meshfleet.cli.sights import of_fleet, of_problems
        from meshfleet.cli.trails import of_messages

        now = now_ms()
        return [
            *of_fleet(fleet, agents, now),
            *(of_problems(wrong, now) if wrong else []),
            *(of_messages(trails, left_out, now) if fleet.messages else []),
        ]

    def told() -> str:
        return shapes.versioned(
            fleet=shapes.fleet(fleet),
            agents=[shapes.agent(one) for one in agents],
            problems=shapes.problems(wrong),
            messages=[shapes.message(one) for one in trails],
            messages_left_out=left_out,
        )

    return told, tables


def _agent(ledger: Ledger, agent_id: str) -> Sight:
    def query(view: View) -> tuple[overview.AgentDetail, list[overview.Trail]]:
        detail = overview.agent_detail(view, agent_id, left=Left())
        return detail, [overview.message_trail(view, message["id"]) for message in detail.unread]

    detail, unread = ledger.read(query)

    def tables() -> list[Part]:
        from meshfleet.cli.sights import of_agent
        from meshfleet.cli.trails import of_messages

        now = now_ms()
        return [*of_agent(detail, now), *(of_messages(unread, 0, now) if unread else [])]

    return lambda: shapes.versioned(**shapes.agent_in_full(detail)), tables


def _message(ledger: Ledger, message_id: str) -> Sight:
    trail = ledger.read(lambda view: overview.message_trail(view, message_id))

    def tables() -> list[Part]:
        from meshfleet.cli.trails import of_message

        return of_message(trail, now_ms())

    return lambda: shapes.versioned(message=shapes.message(trail)), tables
