"""The place that lists the fleets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from meshfleet.dashboard.deeds import CANCEL, RESUME, SAVE, SEND, Deed, Subject
from meshfleet.dashboard.lists.fleets import FLEETS, name_of
from meshfleet.dashboard.picture import Picture
from meshfleet.dashboard.screens.list_place import ListPlace, list_deeds
from meshfleet.dashboard.screens.place import bindings_of


class FleetsPlace(ListPlace):
    """Lists the fleets."""

    VIEW = "fleets"
    LISTING = FLEETS
    DEEDS: ClassVar[tuple[Deed, ...]] = list_deeds(CANCEL, RESUME, SEND, SAVE)
    BINDINGS: ClassVar[list[BindingType]] = bindings_of(*DEEDS)

    @property
    def subject(self) -> Subject | None:
        """The fleet under the cursor."""
        fleet = self.current
        if fleet is None:
            return None
        name = name_of(fleet)
        return Subject(fleet.id, name, to_name=f"everyone in {name}")

    def rows_of(self, picture: Picture, fetched: Any) -> Sequence[Any]:
        """All fleets."""
        del fetched
        return picture.fleets

    def go_into(self, row: Any) -> None:
        """Go to the fleet's agents."""
        self.dashboard.go_to_fleet(row.id)
