"""Who wants to hear of changed resources over one connection, in both eras of the protocol, and telling them.

As long as nobody wants anything, nothing is looked at.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
from anyio import to_thread
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    ResourcesListChanged,
    ResourceUpdated,
)
from mcp_types import SubscriptionFilter, SubscriptionsListenRequestParams, SubscriptionsListenResult

from meshfleet.errors import Invalid, MeshfleetError, NotFound
from meshfleet.ledger.state import Version
from meshfleet.ledger.watching import Watch
from meshfleet.server.resources import Library, kind_of

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext
    from mcp.server.session import ServerSession

T = TypeVar("T")

log = logging.getLogger(__name__)

LOOK_S: Final = 0.25
"""The least time between two looks at what is wanted, in seconds; so often it is looked at what needs no commit."""
MOST_WATCHED: Final = 256
"""Resources that one connection may watch."""
_LIST: Final = ""
"""Stands for the list of resources, where others have a URI."""


class Subscriptions:
    """What one connection wants to hear of.

    Args:
        library: The resources.
        turn: Lets one thread at a time read them.
        watch: What tells of changes of the ledger.
    """

    def __init__(self, library: Library, turn: anyio.CapacityLimiter, watch: Watch) -> None:
        self._library = library
        self._turn = turn
        self._watch = watch
        self._bus = InMemorySubscriptionBus()
        self._streams = ListenHandler(self._bus)
        self._wanted: Counter[str] = Counter()
        self._known: dict[str, int | None] = {}
        self._version: Version | None = None
        self._trouble = ""
        self._somebody = anyio.Event()
        self._handshaken: ServerSession | None = None
        self._told_to_handshaken: set[str] = set()

    async def subscribe(self, session: ServerSession, uri: str) -> None:
        """Tell a client of the handshake eras of every change of a resource from now on.

        Raises:
            Invalid: It watches too many already.
            NotFound: There is no such resource.
        """
        await self._in_thread(lambda: self._library.read(uri))
        await self._tell_from_now_on(session, uri)

    def unsubscribe(self, uri: str) -> None:
        """Undo `subscribe`, if it was done."""
        if uri in self._told_to_handshaken:
            self._told_to_handshaken.remove(uri)
            self._let_go([uri])

    async def follow_list(self, session: ServerSession) -> None:
        """Tell a client of the handshake eras, which has asked for the list, when it changes from now on."""
        await self._tell_from_now_on(session, _LIST)

    async def listen(
        self, context: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Serve one stream of changes of the modern era; its acknowledgement names what can change here.

        Raises:
            Invalid: It would watch too many.
        """
        asked = params.notifications
        uris = [uri for uri in dict.fromkeys(asked.resource_subscriptions or ()) if _is_ours(uri)]
        possible = SubscriptionFilter(
            resources_list_changed=asked.resources_list_changed, resource_subscriptions=uris or None
        )
        async with self._wanting([*uris, *([_LIST] if asked.resources_list_changed else [])]):
            return await self._streams(context, params.model_copy(update={"notifications": possible}))

    async def watch(self) -> None:
        """Look at what is wanted whenever the ledger changes, and tell of what has changed; never returns."""
        while True:
            await self._somebody.wait()
            with self._watch.listening(self._library.ledger.data_file) as news:
                while self._wanted:
                    await self._look_if_possible()
                    await anyio.sleep(LOOK_S)
                    await news.next(0 if any(map(_is_live, self._wanted)) else math.inf)
            self._somebody = anyio.Event()

    async def _look_if_possible(self) -> None:
        trouble = ""
        try:
            await self._look()
        except Exception as error:
            # whatever is wrong with a resource, the server goes on
            trouble = repr(error)
            if trouble != self._trouble:
                unforeseen = not isinstance(error, MeshfleetError)
                log.warning("changes of resources can't be seen: %s", error, exc_info=unforeseen)
        self._trouble = trouble

    async def _tell_from_now_on(self, session: ServerSession, key: str) -> None:
        self._handshaken = session
        if key in self._told_to_handshaken:
            return
        self._told_to_handshaken.add(key)
        try:
            await self._want([key])
        except BaseException:
            self._told_to_handshaken.discard(key)
            raise

    @asynccontextmanager
    async def _wanting(self, keys: list[str]) -> AsyncGenerator[None]:
        await self._want(keys)
        try:
            yield
        finally:
            self._let_go(keys)

    async def _want(self, keys: list[str]) -> None:
        if len(self._wanted.keys() | set(keys)) > MOST_WATCHED:
            raise Invalid(f"more than {MOST_WATCHED} resources would be watched; unsubscribe from some")
        self._wanted.update(keys)
        try:
            new = await self._fingerprints(key for key in keys if key not in self._known)
        except BaseException:
            self._let_go(keys)
            raise
        self._known = {key: new[key] for key in new if self._wanted[key] > 0} | self._known
        self._somebody.set()
        # it may be one that changes without the ledger, for which it is looked oftener
        self._watch.wake()

    def _let_go(self, keys: list[str]) -> None:
        self._wanted.subtract(keys)
        for key in keys:
            if self._wanted[key] <= 0:
                del self._wanted[key]
                self._known.pop(key, None)

    async def _look(self) -> None:
        version = await self._in_thread(self._library.version)
        changed = version != self._version
        found = await self._fingerprints([key for key in self._known if changed or _is_live(key)])
        self._version = version
        for key, fingerprint in found.items():
            if self._known.get(key, fingerprint) != fingerprint:
                self._known[key] = fingerprint
                await self._tell(key)

    async def _tell(self, key: str) -> None:
        await self._bus.publish(ResourceUpdated(key) if key else ResourcesListChanged())
        if self._handshaken is None or key not in self._told_to_handshaken:
            return
        if key:
            await self._handshaken.send_resource_updated(key)
        else:
            await self._handshaken.send_resource_list_changed()

    async def _fingerprints(self, keys: Iterable[str]) -> dict[str, int | None]:
        keys = list(keys)
        return await self._in_thread(lambda: {key: self._fingerprint(key) for key in keys})

    def _fingerprint(self, key: str) -> int | None:
        return self._library.fingerprint(key) if key else hash(tuple(self._library.uris()))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await to_thread.run_sync(call, limiter=self._turn)


def _is_ours(uri: str) -> bool:
    try:
        kind_of(uri)
    except NotFound:
        return False
    return True


def _is_live(key: str) -> bool:
    return bool(key) and kind_of(key)[0].live
