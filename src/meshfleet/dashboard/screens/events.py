"""The place that lists what has happened, as it happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import BindingType

from meshfleet.dashboard.deeds import ALL, Deed
from meshfleet.dashboard.following import EventFeed
from meshfleet.dashboard.lists.events import EVENTS
from meshfleet.dashboard.picture import Picture
from meshfleet.dashboard.screens.list_place import ListPlace, list_deeds
from meshfleet.dashboard.screens.place import bindings_of
from meshfleet.ledger.event_lines import EventLine

if TYPE_CHECKING:
    from meshfleet.dashboard.app import Dashboard


class EventsPlace(ListPlace):
    """Lists events: all of them, or those of a fleet."""

    VIEW = "events"
    LISTING = EVENTS
    DEEDS: ClassVar[tuple[Deed, ...]] = list_deeds()
    BINDINGS: ClassVar[list[BindingType]] = bindings_of(*DEEDS, ALL)

    def __init__(self, crumb: str, fleet_id: str | None = None) -> None:
        super().__init__(crumb, fleet_id)
        self._feed: EventFeed | None = None
        self._events: Sequence[EventLine] = ()

    @property
    def copied(self) -> str | None:
        """The id of what an event is about."""
        if self.current is None:
            return None
        fields = self.current.fields
        found = (fields.get(name) for name in ("message_id", "agent_id", "fleet_id"))
        return next((str(value) for value in found if value), None)

    def fetch(self, dashboard: Dashboard) -> Sequence[EventLine]:
        """The events there are by now."""
        if self._feed is None:
            self._feed = EventFeed(dashboard.events_file)
        events, trouble = self._feed.listen()
        if trouble is not None:
            dashboard.call_from_thread(dashboard.notify, trouble, severity="error", markup=False)
        return events

    def on_unmount(self) -> None:
        """Give the log back."""
        if self._feed is not None:
            self._feed.close()

    def rows_of(self, picture: Picture, fetched: Any) -> Sequence[Any]:
        """The events of the fleet, or all."""
        if fetched is None:
            return self._events
        if self.fleet_id is None:
            self._events = fetched
        else:
            agents = {agent.id for agent in picture.agents_of(self.fleet_id)}
            self._events = [event for event in fetched if self._is_own(event, agents)]
        return self._events

    def _is_own(self, event: EventLine, agents: set[str]) -> bool:
        return event.fields.get("fleet_id") == self.fleet_id or event.fields.get("agent_id") in agents

    def go_into(self, row: Any) -> None:
        """Go to what the event is about."""
        fields = row.fields
        if isinstance(fields.get("message_id"), str):
            self.dashboard.go_to_message(fields["message_id"])
        elif isinstance(fields.get("agent_id"), str):
            self.dashboard.go_to_agent(fields["agent_id"])
        elif isinstance(fields.get("fleet_id"), str):
            self.dashboard.go_to_fleet(fields["fleet_id"])
        else:
            self.notify("this event names no fleet, agent or message", severity="warning")
