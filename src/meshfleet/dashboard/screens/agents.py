"""The place that lists agents: all of them, or those of a fleet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from meshfleet.dashboard.deeds import ALL, CANCEL, RESUME, SAVE, SEND, Deed, Subject
from meshfleet.dashboard.lists.agents import AGENTS
from meshfleet.dashboard.picture import Picture, Run
from meshfleet.dashboard.screens.list_place import ListPlace, list_deeds
from meshfleet.dashboard.screens.place import bindings_of
from meshfleet.dashboard.wording import on_one_line


class AgentsPlace(ListPlace):
    """Lists agents."""

    VIEW = "agents"
    LISTING = AGENTS
    DEEDS: ClassVar[tuple[Deed, ...]] = list_deeds(CANCEL, RESUME, SEND, SAVE)
    BINDINGS: ClassVar[list[BindingType]] = bindings_of(*DEEDS, ALL)

    @property
    def subject(self) -> Subject | None:
        """The agent under the cursor."""
        agent = self.current
        if agent is None:
            return None
        role = on_one_line(agent.role)
        return Subject(agent.fleet_id, role, agent.id, agent.id, role)

    def runs_in_sight(self, picture: Picture) -> Mapping[str, Run]:
        """The runs of the agents on the screen."""
        seen = self.lines.visible_rows if self.is_mounted else ()
        return {agent.id: picture.runs[agent.id] for agent in seen if agent.id in picture.runs}

    def rows_of(self, picture: Picture, fetched: Any) -> Sequence[Any]:
        """The agents of the fleet, or all."""
        del fetched
        return picture.agents if self.fleet_id is None else picture.agents_of(self.fleet_id)

    def go_into(self, row: Any) -> None:
        """Go to the agent."""
        self.dashboard.go_to_agent(row.id)
