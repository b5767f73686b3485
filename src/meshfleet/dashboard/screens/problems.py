"""The first place: what is wrong right now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from meshfleet.dashboard.deeds import CANCEL, RESUME, SEND, Deed, Subject
from meshfleet.dashboard.lists.problems import PROBLEMS
from meshfleet.dashboard.picture import Picture
from meshfleet.dashboard.screens.list_place import ListPlace, list_deeds
from meshfleet.dashboard.screens.place import bindings_of
from meshfleet.dashboard.wording import on_one_line, short


class ProblemsPlace(ListPlace):
    """Lists what failed, stalled, is tried again, can't be delivered or has used too much."""

    VIEW = "problems"
    LISTING = PROBLEMS
    DEEDS: ClassVar[tuple[Deed, ...]] = list_deeds(RESUME, CANCEL, SEND)
    BINDINGS: ClassVar[list[BindingType]] = bindings_of(*DEEDS)

    @property
    def subject(self) -> Subject | None:
        """The agent or the fleet a problem is about."""
        problem = self.current
        if problem is None:
            return None
        if problem.agent_id is None:
            name = self.picture.names.get(problem.fleet_id) or short(problem.fleet_id)
            return Subject(problem.fleet_id, name, to_name=f"everyone in {name}")
        role = on_one_line(problem.role)
        return Subject(problem.fleet_id, role, problem.agent_id, problem.agent_id, role)

    @property
    def copied(self) -> str | None:
        """The id of whom a problem is about."""
        return None if self.current is None else self.current.agent_id or self.current.fleet_id

    def rows_of(self, picture: Picture, fetched: Any) -> Sequence[Any]:
        """All problems."""
        del fetched
        return picture.problems

    def go_into(self, row: Any) -> None:
        """Go to the agent, or to the fleet's agents."""
        if row.agent_id is None:
            self.dashboard.go_to_fleet(row.fleet_id)
        else:
            self.dashboard.go_to_agent(row.agent_id)
