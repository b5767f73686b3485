"""The place that lists messages: all of them, or those of a fleet or an agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from textual.binding import BindingType

from meshfleet.dashboard.deeds import ALL, SEND, Deed, Subject
from meshfleet.dashboard.lists.messages import MESSAGES
from meshfleet.dashboard.picture import EVERY_MESSAGE, Picture, Wanted
from meshfleet.dashboard.screens.list_place import ListPlace, list_deeds
from meshfleet.dashboard.screens.place import bindings_of
from meshfleet.dashboard.widgets.lines import LOOKING
from meshfleet.mesh.overview import Trail

FIRST_MESSAGES: Final = 1_000
"""Messages that are looked at first; with more of them a look takes longer than a person does not notice."""


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
        self._wanted = Wanted(messages=FIRST_MESSAGES)

    @property
    def wanted(self) -> Wanted:
        """The newest messages, and once those are there all of them."""
        return self._wanted

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
        self._own = self._own_of(found)
        if self._has_older and self._wanted.messages != EVERY_MESSAGE:
            self._wanted = Wanted(messages=EVERY_MESSAGE)
            self.dashboard.look_soon()
        return self._own

    @property
    def coming(self) -> str:
        """What is said as long as not all messages have been looked at."""
        if self._all is None:
            return LOOKING
        return "older messages are still being looked at" if self._has_older else ""

    @property
    def _has_older(self) -> bool:
        """Whether there are messages that nobody has looked at yet."""
        return self._all is not None and len(self._all) < self.picture.message_count

    def _own_of(self, found: Sequence[Trail]) -> Sequence[Trail]:
        if self._agent_id is not None:
            return [trail for trail in found if _is_of(trail, self._agent_id)]
        return found if self.fleet_id is None else [trail for trail in found if trail.fleet_id == self.fleet_id]

    def go_into(self, row: Any) -> None:
        """Go to the message."""
        self.dashboard.go_to_message(row.id)


def _is_of(trail: Trail, agent_id: str) -> bool:
    return trail.from_agent_id == agent_id or any(delivery.agent_id == agent_id for delivery in trail.deliveries)
