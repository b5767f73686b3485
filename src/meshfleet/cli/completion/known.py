"""What a ledger knows that a word may be completed to: ids and templates, newest first, each with what it is.

A shell waits for this at every Tab: no lock is waited for, and a ledger that can't be read knows nothing.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from meshfleet.ledger import View
    from meshfleet.model import Row

Offer = tuple[str, str]
"""A word, and what it is."""
_LONGEST_NAME: Final = 40
_NO_WAIT_MS: Final = 0


def anything(context: typer.Context, incomplete: str) -> list[Offer]:
    """What `inspect` takes: fleets, agents and, once their id has been begun, messages; for some options less."""
    if context.params.get("timeline"):
        return fleets()
    if any(context.params.get(option) for option in ("metrics", "problems", "events")):
        return []
    tables = ("fleets", "agents", "messages") if incomplete else ("fleets", "agents")
    return _known(lambda view: _rows(view, *tables))


def fleets() -> list[Offer]:
    """Fleets."""
    return _known(lambda view: _rows(view, "fleets"))


def agents() -> list[Offer]:
    """Agents."""
    return _known(lambda view: _rows(view, "agents"))


def at_work() -> list[Offer]:
    """What can be cancelled: agents that have not ended, and their fleets."""
    from meshfleet.mesh.lifecycle import AT_WORK

    return _known(lambda view: _with_fleets(view, view.agents_that_are(*AT_WORK)))


def resumable() -> list[Offer]:
    """What can go on: agents that failed, were interrupted or cancelled, and their fleets."""
    from meshfleet.mesh.resuming import RESUMABLE

    return _known(lambda view: _with_fleets(view, view.agents_that_are(*RESUMABLE)))


def attempts(context: typer.Context) -> list[Offer]:
    """The numbers of the attempts of the agent that was named."""

    def offers(view: View) -> Iterator[Offer]:
        from meshfleet.mesh.overview.fleets import attempts_made
        from meshfleet.mesh.overview.naming import candidates

        for _, agent in candidates(view, str(context.params.get("agent") or ""), ("agents",))[:1]:
            for attempt in reversed(attempts_made(view, agent)):
                yield str(attempt["number"]), _came_to(attempt)

    return _known(offers)


def templates() -> list[Offer]:
    """The names of templates."""

    def offers(view: View) -> Iterator[Offer]:
        latest = {str(row["name"]): row for row in _versions(view)}
        return ((name, _template(row)) for name, row in sorted(latest.items()))

    return _known(offers)


def versions(context: typer.Context) -> list[Offer]:
    """The versions of the template that was named."""
    name = context.params.get("name") or context.params.get("source")

    def offers(view: View) -> Iterator[Offer]:
        return ((str(row["version"]), _template(row)) for row in reversed(_versions(view)) if row["name"] == name)

    return _known(offers)


def _known(offers: Callable[[View], Iterable[Offer]]) -> list[Offer]:
    from meshfleet.ledger import Ledger
    from meshfleet.settings import Settings

    # this process looks once and ends
    gc.disable()
    settings = Settings.from_environ(os.environ)
    ledger = Ledger(settings.data_file, lock_timeout_ms=_NO_WAIT_MS, briefly=True)
    try:
        return ledger.read(lambda view: list(offers(view)))
    finally:
        ledger.close()


def _with_fleets(view: View, chosen: Iterable[Row]) -> Iterator[Offer]:
    found = list(chosen)
    fleets = {agent["fleet_id"]: view.get("fleets", agent["fleet_id"]) for agent in found}
    yield from _newest_first("fleets", (fleet for fleet in fleets.values() if fleet is not None))
    yield from _newest_first("agents", found)


def _rows(view: View, *tables: str) -> Iterator[Offer]:
    for table in tables:
        yield from _newest_first(table, view.rows(table))


def _newest_first(table: str, rows: Iterable[Row]) -> Iterator[Offer]:
    for row in sorted(rows, key=_when, reverse=True):
        yield str(row["id"]), _told(table, row)


def _when(row: Row) -> float:
    when: Any = row.get("created_at", row.get("timestamp"))
    return when if isinstance(when, int | float) else 0


def _told(table: str, row: Row) -> str:
    match table:
        case "fleets":
            name = f" {str(row['name'])[:_LONGEST_NAME]}" if row.get("name") else ""
            return f"fleet{name}, {row.get('status')}"
        case "agents":
            return f"{str(row.get('role'))[:_LONGEST_NAME]}, {row.get('status')}"
        case _:
            return f"message, {row.get('type')}"


def _came_to(attempt: Row) -> str:
    if attempt.get("ok"):
        return "complete"
    return str(attempt.get("error") or "failed") if "ended_at" in attempt else "running"


def _versions(view: View) -> list[Row]:
    from meshfleet.mesh.templates import is_standing

    return sorted(filter(is_standing, view.rows("templates")), key=lambda row: int(row["version"]))


def _template(row: Row) -> str:
    described = next(iter(str(row.get("description") or "").splitlines()), "")[:_LONGEST_NAME]
    return f"template@v{row['version']}" + (f": {described}" if described else "")
