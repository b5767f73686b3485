"""The command palette: what can be done here, and every view, fleet and agent by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from meshfleet.dashboard.deeds import VIEWS
from meshfleet.dashboard.wording import on_one_line, short

if TYPE_CHECKING:
    from meshfleet.dashboard.app import Dashboard

_Command = tuple[str, str, Callable[[], None]]


class Palette(Provider):
    """Offers the deeds of the place one is at, and places to go to."""

    async def discover(self) -> Hits:
        """Offer what can be done here before anything is typed."""
        for name, told, run in self._deeds():
            yield DiscoveryHit(name, run, help=told)

    async def search(self, query: str) -> Hits:
        """Offer what matches."""
        matcher = self.matcher(query)
        for name, told, run in (*self._deeds(), *self._targets()):
            score = matcher.match(name)
            if score > 0:
                yield Hit(score, matcher.highlight(name), run, help=told)

    @property
    def _dashboard(self) -> Dashboard:
        return cast("Dashboard", self.app)

    def _deeds(self) -> Iterator[_Command]:
        place = self._dashboard.place
        if place is None:
            return
        for deed in place.deeds_now:
            reason = place.why_not(deed)
            yield (
                deed.label,
                deed.told if reason is None else f"not now: {reason}",
                partial(place.action_act, deed.name),
            )
        for view in VIEWS:
            yield f"go to {view}", "of all fleets", partial(self._dashboard.go_to_view, view, None)

    def _targets(self) -> Iterator[_Command]:
        picture = self._dashboard.picture
        for fleet in picture.fleets:
            name = picture.names.get(fleet.id, fleet.id)
            yield f"fleet {name}", f"{fleet.id}, {fleet.status}", partial(self._dashboard.go_to_fleet, fleet.id)
        for agent in picture.agents:
            told = f"{agent.id}, {agent.status}, of {picture.names.get(agent.fleet_id) or short(agent.fleet_id)}"
            yield f"agent {on_one_line(agent.role)}", told, partial(self._dashboard.go_to_agent, agent.id)
