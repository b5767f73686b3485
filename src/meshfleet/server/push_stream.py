"""What a connection to push gets: the stream of an inbox for whoever has its token, and otherwise an error."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from hmac import compare_digest
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Final

import anyio
from anyio import to_thread

from meshfleet.errors import MeshfleetError
from meshfleet.ledger import Ledger
from meshfleet.ledger.watching import Listening, Watch
from meshfleet.mesh.texts import shown
from meshfleet.server.push_feed import Event, Feed, pieces
from meshfleet.server.push_http import GONE, Exchange, Refused, Request, TooSlow

if TYPE_CHECKING:
    from anyio.abc import SocketStream

    from meshfleet.server.push import Address, Pace

log = logging.getLogger(__name__)

STREAMS_OF_AN_AGENT: Final = 5
_COMMENT: Final = b": still here\n\n"
_REMEDY: Final = "use the stream_url that subscribe_inbox returned, as it is"


class Streams:
    """The streams of all inboxes.

    Args:
        ledger: Where the messages are.
        address: Where requests come in.
        tokens: What opens the stream of an agent, by its id.
        pace: How patient to be.
        watch: What tells them of changes.
    """

    def __init__(self, ledger: Ledger, address: Address, tokens: Mapping[str, str], pace: Pace, watch: Watch) -> None:
        self._ledger = ledger
        self._address = address
        self._tokens = tokens
        self._pace = pace
        self._readers: Counter[str] = Counter()
        self._watch = watch
        self._trouble = ""

    async def serve(self, connection: SocketStream) -> None:
        """Answer one request; returns when the answer has ended or the client has left."""
        exchange = Exchange(connection, self._pace.stall_s)
        with self._until_it_leaves():
            try:
                await self._answer(exchange, await exchange.request())
            except Refused as refused:
                await exchange.answer(refused.status, {"error": str(refused)}, refused.headers)

    async def _answer(self, exchange: Exchange, request: Request) -> None:
        request.require_own_names(self._address.names, any_address=self._address.on_every_interface)
        if request.method != "GET":
            raise Refused(405, f"the method is {shown(request.method)}; only GET is possible", [("Allow", "GET")])
        match request.path:
            case ("", "healthz"):
                await exchange.answer(200, {"status": "ok"})
            case ("", "inbox", agent_id, "stream"):
                self._require_token(agent_id, request.query.get("token", []))
                with self._place(agent_id), self._watch.listening(self._ledger.data_file, agent_id) as news:
                    await self._stream(exchange, Feed(agent_id, request.header("last-event-id")), news)
            case _:
                raise Refused(404, f"there is nothing here; {_REMEDY}")

    def _require_token(self, agent_id: str, given: list[str]) -> None:
        if not given:
            raise Refused(401, f"the token is missing; {_REMEDY}")
        # an inbox nobody subscribed to has a token too: one that nobody knows
        expected = self._tokens.get(agent_id) or token_urlsafe()
        if len(given) > 1 or not compare_digest(expected.encode(), given[0].encode(errors="replace")):
            raise Refused(403, f"the token does not open this inbox; {_REMEDY}, and ask for a new one after a restart")

    @contextmanager
    def _place(self, agent_id: str) -> Generator[None]:
        if self._readers[agent_id] >= STREAMS_OF_AN_AGENT:
            text = f"{STREAMS_OF_AN_AGENT} streams of this inbox are open, and it can't have more; close one"
            raise Refused(429, text, [("Retry-After", "1")])
        self._readers[agent_id] += 1
        try:
            yield
        finally:
            self._readers[agent_id] -= 1

    async def _stream(self, exchange: Exchange, feed: Feed, news: Listening) -> None:
        try:
            # before the answer begins, so that who has seen it begin misses nothing that is done then
            first = await self._take(feed)
        except MeshfleetError as error:
            raise Refused(503, str(error)) from None
        await exchange.begin([("Content-Type", "text/event-stream"), ("X-Accel-Buffering", "no")])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when_gone, exchange, tasks.cancel_scope)
            try:
                with self._until_it_leaves():
                    await self._tell(exchange, feed, first, news)
            finally:
                await exchange.end()
            tasks.cancel_scope.cancel()

    async def _tell(self, exchange: Exchange, feed: Feed, events: list[Event], news: Listening) -> None:
        comment_at = anyio.current_time() + self._pace.comment_s
        while True:
            for piece in pieces(events):
                await exchange.send(piece)
            await news.next(comment_at - anyio.current_time())
            if anyio.current_time() >= comment_at:
                await exchange.send(_COMMENT)
                comment_at = anyio.current_time() + self._pace.comment_s
            events = await self._take_if_possible(feed)

    async def _take_if_possible(self, feed: Feed) -> list[Event]:
        """What is to be told now; while the ledger can't be read it is as if nothing had happened."""
        trouble = ""
        try:
            return await self._take(feed)
        except MeshfleetError as error:
            trouble = str(error)
            if trouble != self._trouble:
                log.warning("inbox streams stand still: %s", error)
            return []
        finally:
            self._trouble = trouble

    async def _take(self, feed: Feed) -> list[Event]:
        return await to_thread.run_sync(self._ledger.read, feed.take)

    @contextmanager
    def _until_it_leaves(self) -> Generator[None]:
        try:
            yield
        except GONE:
            log.debug("the reader of a stream has left")
        except TooSlow:
            log.info("dropped the reader of a stream, who took nothing for %g s", self._pace.stall_s)


async def _cancel_when_gone(exchange: Exchange, scope: anyio.CancelScope) -> None:
    await exchange.until_gone()
    scope.cancel()
