"""How a fleet gets on while a command waits for it, on stderr: a view on a terminal, lines anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, Protocol

import anyio
from anyio import to_thread
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from meshfleet.agents.output import compact, look_at
from meshfleet.agents.standing import Gone
from meshfleet.cli import figures
from meshfleet.cli.output import note
from meshfleet.cli.sights import of_agents_at_work
from meshfleet.cli.tables import Part, renderable
from meshfleet.cli.trails import of_messages
from meshfleet.ledger import Ledger, View
from meshfleet.mesh import overview
from meshfleet.model import EVERYONE, AgentStatus, attempt_key, now_ms

LOOK_S: Final = 0.5
REFRESH_PER_SECOND: Final = 4
_MESSAGES_SHOWN: Final = 5
_OTHER_LINES: Final = 13
"""Lines of the view that are not agents."""
_FEWEST_AGENTS: Final = 3
_GLANCE_BYTES: Final = 4_096
"""How much of the end of an agent's stream is read to say what it is at."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A fleet as it stands at one moment.

    Attributes:
        fleet: The fleet.
        agents: Its agents.
        messages: Its last messages.
        doing: What those that run are at, by their ids.
    """

    fleet: overview.FleetSummary
    agents: list[overview.AgentSummary]
    messages: list[overview.Trail]
    doing: dict[str, str]


class Progress(Protocol):
    """Shows how a fleet gets on."""

    def show(self, scene: Scene) -> None:
        """Show how it stands now."""


async def follow(ledger: Ledger, fleet_id: str) -> None:
    """Show how a fleet gets on, on stderr, until cancelled."""
    with _progress() as progress:
        try:
            while True:
                progress.show(await to_thread.run_sync(_look, ledger, fleet_id))
                await anyio.sleep(LOOK_S)
        finally:
            # how it ended is news, too
            progress.show(_look(ledger, fleet_id))


@contextmanager
def _progress() -> Iterator[Progress]:
    if sys.stderr is None or not sys.stderr.isatty():
        yield LineProgress()
        return
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    if console.is_dumb_terminal:
        yield LineProgress()
        return
    view = LiveProgress(console)
    with Live(
        console=console, get_renderable=view.view, refresh_per_second=REFRESH_PER_SECOND, transient=True, screen=False
    ):
        yield view


def _look(ledger: Ledger, fleet_id: str) -> Scene:
    left = Gone().left

    def query(view: View) -> Scene:
        agents = overview.agent_summaries(view, fleet_id, left=left)
        running = [agent for agent in agents if agent.status == AgentStatus.RUNNING]
        return Scene(
            overview.fleet_summary(view, fleet_id, left=left),
            agents,
            overview.message_trails(view, fleet_id, last=_MESSAGES_SHOWN),
            {agent.id: _beginning(view, agent) for agent in running},
        )

    scene = ledger.read(query)
    return replace(scene, doing={one: _doing(ledger, one) or at_first for one, at_first in scene.doing.items()})


def _beginning(view: View, agent: overview.AgentSummary) -> str:
    """What an agent is at that has done nothing yet in this attempt: it starts, and why if it did so before."""
    before = view.get("attempts", attempt_key(agent.id, agent.attempt - 1)) or {}
    return f"starts again after: {before['error']}" if before.get("error") else "starts"


def _doing(ledger: Ledger, agent_id: str) -> str | None:
    """What an agent did last, as its event stream tells."""
    for event in reversed(look_at(ledger, agent_id, size=_GLANCE_BYTES).page.events):
        told = compact(event)
        match told["type"]:
            case "text":
                return f"says: {told['text']}"
            case "tool_use":
                about = told.get("error") or told.get("title") or told.get("input") or ""
                return f"{told['tool']} {told['status']} {about}".rstrip()
            case "error":
                return f"error: {told['error']}"
    return None


class LiveProgress:
    """A view that is drawn anew a few times a second.

    Args:
        console: Where it is drawn.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._scene: Scene | None = None

    def show(self, scene: Scene) -> None:
        """Have the next drawing show this."""
        self._scene = scene

    def view(self) -> RenderableType:
        """The fleet as it stood last, and the time as it is."""
        scene, now, width = self._scene, now_ms(), self._console.width
        if scene is None:
            return Text("")
        fleet = scene.fleet
        told = [f"{figures.one_line(fleet.name or fleet.id)}  {figures.duration(fleet.runtime_ms(now))}"]
        told += [f"{figures.tokens(fleet.used.tokens)} tokens"] if fleet.used.tokens else []
        told += [figures.money(fleet.used.cost)] if fleet.used.cost else []
        room = max(_FEWEST_AGENTS, self._console.height - _OTHER_LINES)
        parts: list[Part] = [*of_agents_at_work(scene.agents, scene.doing, room, now)]
        parts += of_messages(scene.messages, 0, now) if scene.messages else []
        lines: list[RenderableType] = [Text("  ".join(told), style="bold", no_wrap=True, overflow="ellipsis")]
        for part in parts:
            lines += [Text(""), renderable(part, width)]
        return Group(*lines)


class LineProgress:
    """A line for everything that is new: for a log, such as that of a build."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._told: dict[str, str] = {}

    def show(self, scene: Scene) -> None:
        """Say what is new since the last time."""
        for message in scene.messages:
            sender = message.from_role or message.from_agent_id
            to = "everyone" if message.to_agent_id == EVERYONE else message.to_role or message.to_agent_id
            self._say_once(message.id, f"{sender} → {to}, {message.type}: {figures.beginning(message.payload)}")
        for agent in scene.agents:
            self._say_once(agent.id, f"{agent.role} is {_standing(agent)}")

    def _say_once(self, key: str, what: str) -> None:
        if self._told.get(key) != what:
            self._told[key] = what
            after = figures.duration(round((time.monotonic() - self._began) * 1000))
            note(f"{after:>6}  {figures.one_line(what)}")


def _standing(agent: overview.AgentSummary) -> str:
    told = agent.condition or agent.status
    if agent.status == AgentStatus.RUNNING and agent.attempt > 1:
        told += f" (attempt {agent.attempt})"
    if agent.condition in {"dormant", "queued"} and agent.waiting_for:
        return f"{told}: waits for {agent.waiting_for}"
    has_failed = agent.status in {AgentStatus.FAILED, AgentStatus.INTERRUPTED} or agent.condition == "retrying"
    return f"{told}: {agent.error}" if has_failed and agent.error else told
