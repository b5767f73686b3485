"""What can be done where, with which key, and why not now; doing it is acting.py's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from meshfleet.dashboard.acting import Whom
from meshfleet.dashboard.picture import Picture
from meshfleet.mesh.lifecycle import AT_WORK
from meshfleet.mesh.resuming import RESUMABLE


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that can be done in a place.

    Attributes:
        key: As Textual calls it.
        name: What it is called in the program; the place's method is `deed_` and this.
        label: What it does, in a word.
        told: The same in a sentence, for the help.
        sign: The key as people see it, where that differs.
        acts: Whether it changes the mesh.
    """

    key: str
    name: str
    label: str
    told: str
    sign: str = ""
    acts: bool = False

    @property
    def shown_key(self) -> str:
        """The key as people see it."""
        return self.sign or self.key


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a deed is about.

    Attributes:
        fleet_id: The fleet.
        name: What the fleet or the agent is called.
        agent_id: The agent, where it is one.
        to: Whom a message goes to: an agent's id, `orchestrator`, or `*`.
        to_name: The same for a person.
    """

    fleet_id: str
    name: str
    agent_id: str | None = None
    to: str = "*"
    to_name: str = "everyone"

    @property
    def whom(self) -> Whom:
        """The same as acts take it."""
        return Whom(None, self.agent_id) if self.agent_id is not None else Whom(self.fleet_id, None)


GO_IN: Final = Deed("enter", "go_in", "open", "go into what the cursor is on", "↵")
BACK: Final = Deed("escape", "back", "back", "leave the filter, or go back", "esc")
FILTER: Final = Deed("slash", "filter", "filter", "show only rows that have every word you type", "/")
SEARCH: Final = Deed("slash", "filter", "search", "find a text in the output", "/")
SORT: Final = Deed("s", "sort", "sort", "order by the next column (or click on its heading)")
REVERSE: Final = Deed("S", "reverse", "reverse", "order the other way round")
COPY: Final = Deed("y", "copy", "copy id", "copy the id to the clipboard")
CANCEL: Final = Deed("x", "cancel", "cancel", "stop it and what it spawned; asks first", acts=True)
RESUME: Final = Deed("r", "resume", "resume", "have it go on, or begin again; asks how", acts=True)
SEND: Final = Deed("m", "send", "message", "write to the agent, or to everyone in the fleet", acts=True)
SAVE: Final = Deed("t", "save", "template", "keep the fleet's agents as a template", acts=True)
FOLLOW: Final = Deed("f", "follow", "follow", "stay at the end of the output, or stop doing so")
PAUSE: Final = Deed("space", "pause", "pause", "stop showing what comes, or go on", "␣")
NEXT: Final = Deed("n", "next", "next", "go to the next match")
PREVIOUS: Final = Deed("N", "previous", "previous", "go to the match before")
MESSAGES: Final = Deed("4", "messages", "messages", "the messages of this agent")
HELP: Final = Deed("question_mark", "help", "help", "this help", "?")
QUIT: Final = Deed("q", "quit", "quit", "leave; agents go on")
DARK: Final = Deed("d", "dark", "light/dark", "use the light or the dark theme")
ALL: Final = Deed("0", "all", "all", "leave the fleet: show those of all fleets")

VIEWS: Final = ("problems", "fleets", "agents", "messages", "events")
"""The views, in the order of their keys: 1 is the first."""


def why_not(deed: Deed, subject: Subject | None, picture: Picture, why_read_only: str | None) -> str | None:
    """Why a deed that changes the mesh can't be done now; None where it can, or where the rules have to say."""
    if not deed.acts:
        return None
    reason = why_read_only or picture.trouble or picture.why_read_only
    if reason is not None:
        return reason
    if subject is None:
        return "there is nothing here to do that to"
    statuses = _statuses(subject, picture)
    if deed is CANCEL and not statuses & set(AT_WORK):
        return f"{subject.name} is not at work, so there is nothing to cancel"
    if deed is RESUME and not statuses & set(RESUMABLE):
        return f"nothing of {subject.name} failed, was interrupted or cancelled, so there is nothing to resume"
    return None


def _statuses(subject: Subject, picture: Picture) -> set[str]:
    if subject.agent_id is not None:
        agent = picture.agent_line(subject.agent_id)
        return set() if agent is None else {agent.status}
    fleet = picture.fleet(subject.fleet_id)
    return set() if fleet is None else set(fleet.agents)
