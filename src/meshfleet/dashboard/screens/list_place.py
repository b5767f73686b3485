"""A place that shows a list: filtered as one types, ordered by any of its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.widgets import Input

from meshfleet.dashboard.deeds import BACK, COPY, FILTER, GO_IN, HELP, QUIT, REVERSE, SORT, Deed
from meshfleet.dashboard.listing import Listing, Moment, next_order
from meshfleet.dashboard.picture import Picture
from meshfleet.dashboard.screens.place import EVERYWHERE, Place
from meshfleet.dashboard.widgets.lines import LOOKING, Lines
from meshfleet.dashboard.widgets.told import Told


def list_deeds(*own: Deed) -> tuple[Deed, ...]:
    """What can be done in a list, with what can be done in this one."""
    first = (GO_IN, BACK, FILTER, *own, HELP, QUIT, SORT, COPY, REVERSE)
    return (*first, *(deed for deed in EVERYWHERE if deed not in first))


class ListPlace(Place):
    """Shows the rows of a listing.

    Attributes:
        LISTING: What is listed.
    """

    LISTING: ClassVar[Listing]

    def __init__(self, crumb: str, fleet_id: str | None = None) -> None:
        super().__init__(crumb, fleet_id)
        self._shown: Sequence[Any] = ()

    @property
    def lines(self) -> Lines:
        """The list."""
        return self.query_one(Lines)

    @property
    def current(self) -> Any | None:
        """The row under the cursor."""
        return self.lines.current if self.is_mounted else None

    @property
    def copied(self) -> str | None:
        """The id of the row under the cursor."""
        return None if self.current is None else self.LISTING.key(self.current)

    def rows_of(self, picture: Picture, fetched: Any) -> Sequence[Any]:
        """The rows that a look has found; the same object while nothing has changed."""
        raise NotImplementedError

    @property
    def coming(self) -> str:
        """What is said where rows are still to come; nothing where all are there."""
        return "" if self.dashboard.looks else LOOKING

    def go_into(self, row: Any) -> None:
        """Go to what a row is about."""
        raise NotImplementedError

    def body(self) -> ComposeResult:
        """Show the list, and below it what a line has no room for."""
        yield Lines(self.LISTING)
        yield Told()

    def show(self, picture: Picture, moment: Moment, fetched: Any) -> None:
        """Show the rows."""
        del moment
        self._shown = self.rows_of(picture, fetched)
        self._show_rows()

    def why_not(self, deed: Deed) -> str | None:
        """Why a deed can't be done now."""
        if deed in {GO_IN, COPY} and self.current is None:
            return "there is nothing here"
        return super().why_not(deed)

    def label_of(self, deed: Deed) -> str:
        """What a deed would do now: with a filter, going back means leaving it."""
        return "unfilter" if deed is BACK and self._is_filtered else super().label_of(deed)

    @property
    def _is_filtered(self) -> bool:
        return self.is_mounted and bool(self.query_one("#filter", Input).display)

    @property
    def goes_back(self) -> bool:
        """Whether there is something to leave, be it the filter."""
        return self._is_filtered or super().goes_back

    @on(Lines.Moved)
    def moved(self) -> None:
        """Show what there is to say of the row the cursor is on now, and which keys apply to it."""
        self._tell()
        self.show_frame()

    @on(Lines.Refitted)
    def refitted(self) -> None:
        """Show what there is no room for now."""
        self._tell()

    @on(Lines.Chosen)
    def chosen(self, event: Lines.Chosen) -> None:
        """Go in, unless a key before this one has led elsewhere meanwhile."""
        if self.app.screen is self:
            self.go_into(event.row)

    @on(Lines.Reordered)
    def reordered(self, event: Lines.Reordered) -> None:
        """Order by a heading; a second click turns it round."""
        how = self.lines.arrangement
        reverse = not how.reverse if event.column == how.by else False
        self._rearrange(replace(how, by=event.column, reverse=reverse))

    @on(Input.Changed, "#filter")
    def filter_changed(self, event: Input.Changed) -> None:
        """Filter by what is typed."""
        self._rearrange(replace(self.lines.arrangement, needle=event.value.lower()))

    @on(Input.Submitted, "#filter")
    def filter_kept(self) -> None:
        """Go back to the list, which stays filtered."""
        self.lines.focus()
        self.query_one("#filter", Input).display = bool(self.lines.arrangement.needle)

    def deed_filter(self) -> None:
        """Begin to filter."""
        line = self.query_one("#filter", Input)
        line.display = True
        line.placeholder = f"filter {self.LISTING.name}: every word has to be there"
        line.focus()

    def deed_back(self) -> None:
        """Leave the filter, or go back."""
        line = self.query_one("#filter", Input)
        if line.display:
            line.value = ""
            line.display = False
            self.lines.focus()
        else:
            super().deed_back()

    def deed_sort(self) -> None:
        """Order by the next column."""
        how = self.lines.arrangement
        self._rearrange(replace(how, by=next_order(self.LISTING, how.by), reverse=False))

    def deed_reverse(self) -> None:
        """Order the other way round."""
        how = self.lines.arrangement
        self._rearrange(replace(how, reverse=not how.reverse))

    def deed_go_in(self) -> None:
        """Go into the row under the cursor."""
        self.lines.action_choose()

    def _rearrange(self, how: Any) -> None:
        if how != self.lines.arrangement:
            self.lines.arrangement = how
            self._show_rows()
            self.show_frame()

    def _show_rows(self) -> None:
        self.lines.show_rows(self._shown, self.moment, self.coming)
        self._tell()

    def _tell(self) -> None:
        self.query_one(Told).tell(self.lines.untold, self.size.width - 2)
