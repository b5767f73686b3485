"""The place of one agent: how it stands, and what it says and does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input

from meshfleet.dashboard.deeds import (
    BACK,
    CANCEL,
    COPY,
    DARK,
    FOLLOW,
    HELP,
    MESSAGES,
    NEXT,
    PAUSE,
    PREVIOUS,
    QUIT,
    RESUME,
    SEARCH,
    SEND,
    Deed,
    Subject,
)
from meshfleet.dashboard.details import lines_of_agent
from meshfleet.dashboard.following import Heard, OutputFeed
from meshfleet.dashboard.listing import Moment
from meshfleet.dashboard.picture import Picture, Run, Wanted
from meshfleet.dashboard.screens.place import Place, bindings_of
from meshfleet.dashboard.widgets.details import Details
from meshfleet.dashboard.widgets.transcript import Transcript
from meshfleet.dashboard.wording import on_one_line

if TYPE_CHECKING:
    from meshfleet.dashboard.app import Dashboard


class AgentPlace(Place):
    """Shows an agent and its output.

    Args:
        crumb: How the way here calls it.
        fleet_id: Its fleet.
        agent_id: The agent.
    """

    VIEW = "agents"
    DEEDS: ClassVar[tuple[Deed, ...]] = (
        BACK,
        FOLLOW,
        PAUSE,
        SEARCH,
        CANCEL,
        RESUME,
        SEND,
        HELP,
        MESSAGES,
        NEXT,
        PREVIOUS,
        COPY,
        DARK,
        QUIT,
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings_of(*DEEDS)

    def __init__(self, crumb: str, fleet_id: str, agent_id: str) -> None:
        super().__init__(crumb, fleet_id)
        self._agent_id = agent_id
        self._feed: OutputFeed | None = None
        self.paused = False

    @property
    def wanted(self) -> Wanted:
        """Everything about the agent."""
        return Wanted(agent_id=self._agent_id)

    @property
    def subject(self) -> Subject | None:
        """The agent."""
        agent = self.picture.agent_line(self._agent_id)
        if agent is None:
            return None
        role = on_one_line(agent.role)
        return Subject(agent.fleet_id, role, agent.id, agent.id, role)

    @property
    def copied(self) -> str | None:
        """The agent's id."""
        return self._agent_id

    @property
    def transcript(self) -> Transcript:
        """Its output."""
        return self.query_one(Transcript)

    def runs_in_sight(self, picture: Picture) -> Mapping[str, Run]:
        """Its run."""
        run = picture.runs.get(self._agent_id)
        return {} if run is None else {self._agent_id: run}

    def body(self) -> ComposeResult:
        """Put the output below how it stands."""
        yield Details()
        yield Transcript()

    def fetch(self, dashboard: Dashboard) -> Heard | None:
        """What the agent has printed since."""
        if self.paused:
            return None
        if self._feed is None:
            self._feed = OutputFeed(dashboard.ledger, self._agent_id)
        return self._feed.listen()

    def show(self, picture: Picture, moment: Moment, fetched: Any) -> None:
        """Show how it stands, and what it has printed."""
        if picture.agent is not None:
            self.query_one(Details).show_lines(lines_of_agent(picture.agent, moment))
        if isinstance(fetched, Heard):
            if fetched.anew:
                self.transcript.clear()
            self.transcript.add(fetched.lines)

    def label_of(self, deed: Deed) -> str:
        """What a deed would do now."""
        if deed is FOLLOW and self.is_mounted and self.transcript.follows:
            return "unfollow"
        if deed is PAUSE and self.paused:
            return "go on"
        return super().label_of(deed)

    def why_not(self, deed: Deed) -> str | None:
        """Why a deed can't be done now."""
        if deed in {NEXT, PREVIOUS} and not self.transcript.needle:
            return "nothing is searched for; / searches"
        return super().why_not(deed)

    @on(Transcript.Left)
    def left_the_end(self) -> None:
        """Stop following once somebody scrolls back."""
        self.transcript.follow(wanted=False)
        self.show_frame()

    @on(Input.Submitted, "#filter")
    def searched(self, event: Input.Submitted) -> None:
        """Search for what was typed."""
        self.query_one("#filter", Input).display = False
        self.transcript.focus()
        if not self.transcript.search(event.value):
            self.notify(f"nothing here has “{event.value}”", severity="warning", markup=False)
        elif event.value:
            self.deed_previous()

    def deed_filter(self) -> None:
        """Begin to search."""
        line = self.query_one("#filter", Input)
        line.display = True
        line.placeholder = "search the output"
        line.focus()

    def deed_back(self) -> None:
        """Leave the search, or go back."""
        line = self.query_one("#filter", Input)
        if line.display or self.transcript.needle:
            line.value = ""
            line.display = False
            self.transcript.search("")
            self.transcript.focus()
        else:
            super().deed_back()

    def deed_follow(self) -> None:
        """Follow, or stop doing so."""
        self.transcript.follow(wanted=not self.transcript.follows)

    def deed_pause(self) -> None:
        """Hold, or go on."""
        self.paused = not self.paused

    def deed_next(self) -> None:
        """Go to the next match."""
        self._go_to_match(1)

    def deed_previous(self) -> None:
        """Go to the match before."""
        self._go_to_match(-1)

    def deed_messages(self) -> None:
        """Go to the messages of the agent."""
        self.dashboard.go_to_messages_of(self._agent_id)

    def _go_to_match(self, step: int) -> None:
        self.transcript.follow(wanted=False)
        found = self.transcript.go_to_match(step)
        if found is not None:
            self.notify(f"match {found[0]} of {found[1]}")
