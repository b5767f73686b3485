"""Waiting for changes of a ledger within one process, whoever commits them; bells.py has how one hears of them.

A commit of this program rings. One of another program, or of a meshfleet that knows no bells, does not, and nor does a
process that ends between its commit and its rings, so those who wait look slowly all the same. Where no bell can hang
they look as often as waiting well takes. While nobody waits nothing is looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Generic, TypeVar

import anyio

from meshfleet.ledger.bells import ANYTHING, Belfry, Bell
from meshfleet.ledger.state import Version, View
from meshfleet.ledger.store import Ledger

T = TypeVar("T")

PAUSE_S: Final = 0.005
"""The least time between two moments at which a process hears bells, so that a storm of commits wakes it no oftener."""
POLL_S: Final = 2.0
"""How long those who wait do without a look, in seconds, though nothing rings."""
QUICK_POLL_S: Final = 0.04
"""The same where no bell can hang."""


class Watch:
    """What one process waits for; it belongs to one asyncio event loop, on which it needs no task of its own.

    Args:
        poll_s: How long those who wait do without a look though nothing rings, in seconds.
    """

    def __init__(self, poll_s: float = POLL_S) -> None:
        self._poll_s = poll_s
        self._topics: dict[tuple[Path, str], _Topic] = {}
        self._swept: set[Path] = set()
        self._rung: list[_Topic] = []
        self._next_hearing: asyncio.TimerHandle | None = None
        self._heard_at = float("-inf")

    @contextmanager
    def listening(self, data_file: Path, topic: str = ANYTHING) -> Generator[Listening]:
        """Hear meanwhile when something is committed that concerns a topic.

        What is committed from now on is heard, so look at the ledger only when this has begun.

        Args:
            data_file: The ledger's snapshot.
            topic: The id of an agent or an inbox, for its messages; of a fleet, for its row.
        """
        found = self._topics.get((data_file, topic))
        if found is None:
            found = self._topics[data_file, topic] = _Topic(data_file, topic)
            self.mend(found)
        found.listeners += 1
        try:
            yield Listening(self, found)
        finally:
            found.listeners -= 1
            if not found.listeners:
                del self._topics[data_file, topic]
                self._take_down(found)

    def wake(self) -> None:
        """Have all who wait look at once."""
        for topic in self._topics.values():
            topic.pass_on()

    def poll_s(self, topic: _Topic) -> float:
        """How long who listens to a topic may do without a look, in seconds."""
        return self._poll_s if topic.bell is not None else min(self._poll_s, QUICK_POLL_S)

    def arm(self, topic: _Topic) -> None:
        """Hear the bell of a topic, somebody having time for it again."""
        if topic.bell is not None and not topic.armed:
            topic.armed = True
            asyncio.get_running_loop().add_reader(topic.bell.fd, self._hear, topic)

    def mend(self, topic: _Topic) -> None:
        """Hang a bell where none hangs, be it that it was not possible before, or that somebody removed it."""
        if topic.bell is not None and topic.bell.hangs:
            return
        self._take_down(topic)
        belfry = Belfry(topic.data_file)
        with suppress(OSError):
            topic.bell = belfry.hang(topic.name)
            # what was done before it hung
            topic.pass_on()
            if topic.data_file not in self._swept:
                self._swept.add(topic.data_file)
                belfry.sweep()

    def _hear(self, topic: _Topic) -> None:
        loop = asyncio.get_running_loop()
        self._disarm(topic)
        self._rung.append(topic)
        if self._next_hearing is None:
            self._next_hearing = loop.call_at(max(loop.time(), self._heard_at + PAUSE_S), self._pass_on)

    def _pass_on(self) -> None:
        self._next_hearing, self._heard_at = None, asyncio.get_running_loop().time()
        rung, self._rung = self._rung, []
        for topic in rung:
            topic.pass_on()

    def _take_down(self, topic: _Topic) -> None:
        self._disarm(topic)
        bell, topic.bell = topic.bell, None
        if bell is not None:
            bell.take_down()

    def _disarm(self, topic: _Topic) -> None:
        if topic.bell is not None and topic.armed:
            topic.armed = False
            asyncio.get_running_loop().remove_reader(topic.bell.fd)


class _Topic:
    """A topic that somebody listens to, with its bell where one could be hung."""

    def __init__(self, data_file: Path, name: str) -> None:
        self.data_file = data_file
        self.name = name
        self.bell: Bell | None = None
        self.armed = False
        self.listeners = 0
        self.rings = 0
        self.rung = anyio.Event()

    def pass_on(self) -> None:
        """Tell all who listen."""
        if self.bell is not None:
            self.bell.silence()
        self.rings += 1
        self.rung.set()
        self.rung = anyio.Event()


class Listening:
    """One who listens to a topic."""

    def __init__(self, watch: Watch, topic: _Topic) -> None:
        self._watch = watch
        self._topic = topic
        self._heard = topic.rings

    async def next(self, within_s: float = float("inf")) -> None:
        """Return when it is time to look: there were rings since the last time, or for too long there was none.

        Args:
            within_s: After how many seconds it is time in any case.
        """
        self._watch.arm(self._topic)
        if self._heard == self._topic.rings:
            poll_s = self._watch.poll_s(self._topic)
            with anyio.move_on_after(min(within_s, poll_s)) as waiting:
                await self._topic.rung.wait()
            if waiting.cancelled_caught and poll_s <= within_s:
                self._watch.mend(self._topic)
        self._heard = self._topic.rings


class Sight(Generic[T]):
    """What a query finds, asked again only when the ledger has changed.

    Args:
        ledger: What is asked.
        query: What is asked of it.
    """

    def __init__(self, ledger: Ledger, query: Callable[[View], T]) -> None:
        self._ledger = ledger
        self._query = query
        self._found: tuple[Version, T] | None = None

    def take(self) -> T:
        """The answer as of now.

        Raises:
            MeshfleetError: The query refuses, or the ledger can't be read.
        """
        return self._ledger.read(self._as_of)

    def _as_of(self, view: View) -> T:
        if self._found is None or self._found[0] != view.version:
            self._found = view.version, self._query(view)
        return self._found[1]
