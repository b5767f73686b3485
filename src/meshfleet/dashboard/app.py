"""The dashboard as a program: looks at the mesh at intervals, goes from place to place, and has acts done.

What is seen is the collector's to say, what is shown the places', and what is done acting.py's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.theme import BUILTIN_THEMES

from meshfleet.dashboard.acting import Done
from meshfleet.dashboard.collector import Collector
from meshfleet.dashboard.deeds import Deed
from meshfleet.dashboard.ending import signals_that_end
from meshfleet.dashboard.listing import Load, Moment
from meshfleet.dashboard.palette import Palette
from meshfleet.dashboard.picture import Picture, Run
from meshfleet.dashboard.processes import Sampler
from meshfleet.dashboard.screens.agent import AgentPlace
from meshfleet.dashboard.screens.agents import AgentsPlace
from meshfleet.dashboard.screens.events import EventsPlace
from meshfleet.dashboard.screens.fleets import FleetsPlace
from meshfleet.dashboard.screens.help import Help
from meshfleet.dashboard.screens.message import MessagePlace
from meshfleet.dashboard.screens.messages import MessagesPlace
from meshfleet.dashboard.screens.place import Place
from meshfleet.dashboard.screens.problems import ProblemsPlace
from meshfleet.dashboard.wording import clock, on_one_line, short
from meshfleet.errors import MeshfleetError
from meshfleet.ledger import Ledger
from meshfleet.model import now_ms
from meshfleet.settings import Settings

T = TypeVar("T")

INTERVAL_MS: Final = 1_000
TOLD_OF_REPLACEMENT_MS: Final = 60_000
DARK_THEME: Final = "textual-dark"
LIGHT_THEME: Final = "meshfleet-light"
# Textual's own is hard to read: its yellow and green have a contrast of 2 to 3 on its greys
_LIGHT: Final = replace(
    BUILTIN_THEMES["textual-light"],
    name=LIGHT_THEME,
    variables={
        "text-warning": "#7A4500",
        "text-accent": "#7A4500",
        "text-success": "#1A5C30",
        "primary-muted": "#BCD3E4",
    },
)
_PLACES: Final[Mapping[str, Callable[[str, str | None], Place]]] = {
    "problems": ProblemsPlace,
    "fleets": FleetsPlace,
    "agents": AgentsPlace,
    "messages": MessagesPlace,
    "events": EventsPlace,
}
_OF_A_FLEET: Final = frozenset({"agents", "messages", "events"})


@dataclass(frozen=True, slots=True)
class Options:
    """How a person wants the dashboard.

    Attributes:
        interval_ms: The time between two looks at the mesh.
        read_only: Whether nothing may be done from here.
        now: The time, in ms since the epoch.
        zone: Of the times of day; None is this machine's.
    """

    interval_ms: int = INTERVAL_MS
    read_only: bool = False
    now: Callable[[], int] = now_ms
    zone: tzinfo | None = None


class Dashboard(App[None]):
    """Shows a mesh.

    Attributes:
        ledger: What is looked at.
        picture: What the last look found.
        looks: How many there have been.
        seen_from: The place that was shown what the last look found.

    Args:
        ledger: What is looked at; closing it is left to whoever opened it.
        settings: Of this process.
        options: How a person wants it.
    """

    TITLE = "meshfleet"
    CSS_PATH = "style.tcss"
    COMMANDS: ClassVar[set[Any]] = {*App.COMMANDS, Palette}
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+z", "suspend_process", show=False)]

    def __init__(self, ledger: Ledger, settings: Settings, options: Options | None = None) -> None:
        super().__init__()
        self.register_theme(_LIGHT)
        self.ledger = ledger
        self.picture = Picture(0)
        self.looks = 0
        self.seen_from: Place | None = None
        self._settings = settings
        self._options = options or Options()
        self._collector = Collector(ledger, self._options.now)
        self._sampler = Sampler(ledger.data_file)
        self._loads: Mapping[str, Load] = {}
        self._wake = asyncio.Event()

    async def run_async(self, **how: Any) -> Any:
        """Run until somebody leaves; a signal that ends it leaves the terminal as it was, too."""
        with signals_that_end(lambda code: self.exit(return_code=code)):
            return await super().run_async(**how)

    def on_mount(self) -> None:
        """Begin with what is wrong."""
        self.push_screen(ProblemsPlace("problems"))
        self.run_worker(self._keep_looking())

    # -- looking ------------------------------------------------------------------------------------------------------

    @property
    def place(self) -> Place | None:
        """Where one is, below any dialog."""
        return next((screen for screen in reversed(self.screen_stack) if isinstance(screen, Place)), None)

    @property
    def moment(self) -> Moment:
        """What cells depend on beside their rows."""
        return Moment(self.picture.at, self._loads, self.picture.names, self._options.zone)

    @property
    def events_file(self) -> Path:
        """The event log."""
        return self._settings.events_file

    def look_soon(self) -> None:
        """Look at the mesh before the interval is over."""
        self._wake.set()

    async def look(self) -> None:
        """Look at the mesh once, in another thread, and show what there is."""
        place = self.place
        if place is None:
            return
        picture, loads, fetched = await _in_thread(lambda: self._seen_from(place, place.runs_in_sight(self.picture)))
        self.picture, self._loads = picture, loads
        self.looks += 1
        if place is self.place and place.is_mounted:
            place.see(picture, self.moment, fetched)
            self.seen_from = place
        else:
            self.look_soon()

    def _seen_from(self, place: Place, runs: Mapping[str, Run]) -> tuple[Picture, Mapping[str, Load], Any]:
        return self._collector.look(place.wanted), self._sampler.look(runs), self._fetched(place)

    def _fetched(self, place: Place) -> Any:
        return place.fetch(self) if place.is_attached else None

    async def _keep_looking(self) -> None:
        while True:
            self._wake.clear()
            await self.look()
            try:
                await asyncio.wait_for(self._wake.wait(), self._options.interval_ms / 1000)
            except TimeoutError:
                continue

    # -- what every place says ----------------------------------------------------------------------------------------

    @property
    def crumbs(self) -> list[str]:
        """The way here."""
        return [screen.crumb for screen in self.screen_stack if isinstance(screen, Place)]

    @property
    def why_read_only(self) -> str | None:
        """Why nothing may be done from here; None where it may."""
        if self._options.read_only:
            return "the dashboard was started with --read-only"
        return "an agent's own shell only looks" if self._settings.in_agent_mode else None

    def state_of(self, picture: Picture) -> str:
        """How things stand, in a few words."""
        told = ["read-only"] if self.why_read_only or picture.why_read_only else []
        return "  ".join([*told, clock(picture.at, self._options.zone) if picture.at else "looking"])

    def trouble_of(self, picture: Picture) -> str | None:
        """What is wrong with the ledger, for a person."""
        if picture.trouble is not None:
            return f"{on_one_line(picture.trouble)}{' (shown is what was there before)' if picture.fleets else ''}"
        if picture.at and not picture.is_there:
            return f"there is no ledger at {self.ledger.data_file} yet; the first fleet makes it"
        if picture.why_read_only is not None:
            return picture.why_read_only
        replaced = picture.replaced_at
        if replaced is not None and picture.at - replaced < TOLD_OF_REPLACEMENT_MS:
            return f"at {clock(replaced, self._options.zone)} another ledger was put in the place of the one before"
        return None

    def counts_of(self, picture: Picture) -> dict[str, int]:
        """How much there is in the views."""
        return {
            "problems": len(picture.problems),
            "fleets": len(picture.fleets),
            "agents": len(picture.agents),
            "messages": sum(fleet.messages for fleet in picture.fleets),
        }

    # -- going about --------------------------------------------------------------------------------------------------

    def go_to_view(self, view: str, fleet_id: str | None) -> None:
        """Go to a view, and forget the way that led elsewhere."""
        if view not in _OF_A_FLEET or fleet_id is None:
            self._go([_PLACES[view](view, None)])
            return
        name = self.name_of_fleet(fleet_id)
        crumb = name if view == "agents" else f"{name} {view}"
        self._go([FleetsPlace("fleets"), _PLACES[view](crumb, fleet_id)])

    def go_to_fleet(self, fleet_id: str) -> None:
        """Go into a fleet."""
        if self.picture.fleet(fleet_id) is None:
            self.notify(f"fleet {short(fleet_id)} is not in the ledger any more", severity="warning", markup=False)
        else:
            self.push_screen(AgentsPlace(self.name_of_fleet(fleet_id), fleet_id))

    def go_to_agent(self, agent_id: str) -> None:
        """Go to an agent."""
        agent = self.picture.agent_line(agent_id)
        if agent is None:
            self.notify(f"{short(agent_id)} is no agent of this ledger", severity="warning", markup=False)
        else:
            self.push_screen(AgentPlace(on_one_line(agent.role), agent.fleet_id, agent.id))

    def go_to_message(self, message_id: str) -> None:
        """Go to a message."""
        place = self.place
        self.push_screen(MessagePlace(f"message {short(message_id)}", place.fleet_id if place else None, message_id))

    def go_to_messages_of(self, agent_id: str) -> None:
        """Go to the messages an agent sent or got."""
        agent = self.picture.agent_line(agent_id)
        if agent is not None:
            self.push_screen(MessagesPlace("messages", agent.fleet_id, agent.id))

    def go_back(self, places: int = 1) -> None:
        """Go back by so many places, but not from the first."""
        for _ in range(min(places, len(self.crumbs) - 1)):
            self.pop_screen()

    def name_of_fleet(self, fleet_id: str) -> str:
        """What a fleet is called."""
        return self.picture.names.get(fleet_id) or short(fleet_id)

    def _go(self, places: Sequence[Place]) -> None:
        with self.batch_update():
            for _ in self.crumbs:
                self.pop_screen()
            for place in places:
                self.push_screen(place)

    # -- deeds --------------------------------------------------------------------------------------------------------

    def act(self, deed: Callable[[], Done]) -> None:
        """Have something done in another thread, and say what came of it."""
        self.run_worker(self._done(deed))

    def show_help(self, deeds: Iterable[Deed], view: str) -> None:
        """Say what can be done."""
        self.push_screen(Help(list(deeds), view))

    def toggle_theme(self) -> None:
        """Use the other of the light and the dark theme."""
        self.theme = LIGHT_THEME if self.current_theme.dark else DARK_THEME

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What Textual itself offers in the command palette, but for what there are keys of our own for."""
        return [command for command in super().get_system_commands(screen) if command.title in {"Theme", "Screenshot"}]

    async def _done(self, deed: Callable[[], Done]) -> None:
        try:
            done = await _in_thread(deed)
        except MeshfleetError as error:
            self.notify(on_one_line(error), title="refused", severity="error", markup=False)
        else:
            self.notify(done.told, severity="warning" if done.alone else "information", markup=False)
        self.look_soon()


async def _in_thread(work: Callable[[], T]) -> T:
    """Have something done in another thread; whoever stops waiting waits for its end, since it holds the ledger."""
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
