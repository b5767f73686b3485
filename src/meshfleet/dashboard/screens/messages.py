"""The place that lists messages: all of them, or those of a fleet or an agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from meshfleet.dashboard.deeds import ALL, SEND, Deed, Subject
from meshfleet.dashboard.lists.messages import MESSAGES
from meshfleet.dashboard.picture import EVERY_MESSAGE, Picture, Wanted
from meshfleet.dashboard.screens.list_place import ListPlace, list_deeds
from meshfleet.dashboard.screens.place import bindings_of
from meshfleet.mesh.overview import Trail


class MessagesPlace(ListPlace):
    """Lists messages.

    Args:
        crumb: How the way here calls it.
        fleet_id: The fleet whose messages are listed; None for all.
        agent_id: The agent that sent or got them; None for all.
    """

    VIEW = "messages"
    LISTING = MESSAGES
    DEEDS: ClassVar[tuple[Deed, ...]] = list_deeds(SEND)
    BINDINGS: ClassVar[list[BindingType]] = bindings_of(*DEEDS, ALL)

    def __init__(self, crumb: str, fleet_id: str | None = None, agent_id: str | None = None) -> None:
        super().__init__(crumb, fleet_id)
        self._agent_id = agent_id
        self._all: Sequence[Trail] | None = None
        self._own: Sequence[Trail] = ()

    @property
    def wanted(self) -> Wanted:
        """The messages."""
        return Wanted(messages=EVERY_MESSAGE)

    @property
    def subject(self) -> Subject | None:
        """Whoever sent the message under the cursor, to be answered."""
        return self.sender_of(self.current)

    def rows_of(self, picture: Picture, fetched: Any) -> Sequence[Any]:
        """The messages of the fleet or the agent, or all."""
        del fetched
        found = picture.messages
        if found is None or found is self._all:
            return self._own
        self._all = found
        self._own = [trail for trail in found if self._is_own(trail)]
        return self._own

    def _is_own(self, trail: Trail) -> bool:
        if self._agent_id is not None:
            return trail.from_agent_id == self._agent_id or any(
                delivery.agent_id == self._agent_id for delivery in trail.deliveries
            )
        return self.fleet_id is None or trail.fleet_id == self.fleet_id

    def go_into(self, row: Any) -> None:
        """Go to the message."""
        self.dashboard.go_to_message(row.id)
