"""The place of one message: its trail, and its text."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll

from meshfleet.dashboard.deeds import BACK, COPY, DARK, HELP, QUIT, SEND, Deed, Subject
from meshfleet.dashboard.details import lines_of_message
from meshfleet.dashboard.listing import Moment
from meshfleet.dashboard.picture import Picture, Wanted
from meshfleet.dashboard.screens.place import Place, bindings_of
from meshfleet.dashboard.widgets.details import Details


class MessagePlace(Place):
    """Shows a message.

    Args:
        crumb: How the way here calls it.
        fleet_id: The fleet it was sent in.
        message_id: The message.
    """

    VIEW = "messages"
    AUTO_FOCUS: ClassVar[str | None] = "VerticalScroll"
    DEEDS: ClassVar[tuple[Deed, ...]] = (BACK, SEND, COPY, HELP, DARK, QUIT)
    BINDINGS: ClassVar[list[BindingType]] = bindings_of(*DEEDS)

    def __init__(self, crumb: str, fleet_id: str | None, message_id: str) -> None:
        super().__init__(crumb, fleet_id)
        self._message_id = message_id

    @property
    def wanted(self) -> Wanted:
        """The message's trail."""
        return Wanted(message_id=self._message_id)

    @property
    def subject(self) -> Subject | None:
        """Whoever sent it, to be answered."""
        return self.sender_of(self.picture.trail)

    @property
    def copied(self) -> str | None:
        """The message's id."""
        return self._message_id

    def body(self) -> ComposeResult:
        """Show its lines."""
        with VerticalScroll():
            yield Details()

    def show(self, picture: Picture, moment: Moment, fetched: Any) -> None:
        """Show its trail and its text."""
        del fetched
        if picture.trail is not None:
            self.query_one(Details).show_lines(lines_of_message(picture.trail, moment))
