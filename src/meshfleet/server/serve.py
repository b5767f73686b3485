"""`meshfleet serve`: one MCP server over stdio, which supervises agents unless it serves one itself."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from meshfleet.errors import Invalid
from meshfleet.ledger import Ledger
from meshfleet.mesh.identity import Caller
from meshfleet.server.envelope import Call, Message
from meshfleet.server.face import INITIALIZE
from meshfleet.server.front import Front, Rest
from meshfleet.server.lines import line_streams
from meshfleet.server.loading import loading
from meshfleet.server.tool import Context
from meshfleet.server.tools import offered_tools
from meshfleet.server.tools.routing import router_of
from meshfleet.server.waits import Waits
from meshfleet.settings import Settings

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from meshfleet.mesh.identity import Identity
    from meshfleet.server.lines import LineWriter
    from meshfleet.server.start import Opening

log = logging.getLogger(__name__)


async def serve(settings: Settings, environ: Mapping[str, str], cwd: Path, opening: Opening) -> None:
    """Serve until the input ends or a signal says stop; agents go on running.

    Raises:
        MeshfleetError: The server can't start.
    """
    logging.basicConfig(
        stream=sys.stderr, level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    ledger = opening.ledger or Ledger.from_settings(settings)
    try:
        context = _context(ledger, settings, environ, cwd, opening.identity)
        async with anyio.create_task_group() as tasks:
            # before anything is done that a signal must not cut off
            await tasks.start(_stop_on_signal, tasks.cancel_scope)
            for duty in (context.supervisor, context.push):
                if duty is not None:
                    tasks.start_soon(duty.run)
            _look_at_the_user_s_words(context)
            await _converse(context, opening)
            tasks.cancel_scope.cancel()
    finally:
        ledger.close()


def _context(
    ledger: Ledger, settings: Settings, environ: Mapping[str, str], cwd: Path, identity: Identity | None
) -> Context:
    waits = Waits()
    if identity is not None:
        return Context(ledger, identity.caller, None, environ, cwd, max_depth=settings.max_depth, waits=waits)
    # an agent's server has no use for these, and there are many such servers
    from meshfleet.agents.supervisor import Supervisor
    from meshfleet.server.push import Push

    supervisor, push = Supervisor(ledger, settings, environ), Push(ledger, settings, watch=waits.watch)
    return Context(ledger, Caller(), supervisor, environ, cwd, push=push, max_depth=settings.max_depth, waits=waits)


async def _converse(context: Context, opening: Opening) -> None:
    """Answer the client until it has said its last word; the SDK is loaded when it is needed."""
    tools = offered_tools(in_agent_mode=context.caller.agent_id is not None)
    arrival = opening.arrival
    greeted = None if arrival.greeting is None else Call(INITIALIZE, arrival.greeting[1], arrival.greeting[0])
    lines = line_streams(opening.fd_in, opening.fd_out, arrival.unanswered)
    # calls that are cut off are answered before the lines are closed
    async with lines as (reader, writer), anyio.create_task_group() as calls:
        reader.on_input_end = context.waits.end
        front = Front(reader, writer, opening.face, tools, context, calls, greeted)
        with suppress(anyio.EndOfStream):
            first = await front.receive()
            await _call_in_the_sdk(context, opening.words, front, writer, first)
        calls.cancel_scope.cancel()


async def _call_in_the_sdk(context: Context, words: str, front: Front, writer: LineWriter, first: Message) -> None:
    """Have the SDK answer what the front does not, from this message on; the front goes on meanwhile."""
    with closing(Rest(front, first)) as rest:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(rest.gather)
            answer = await to_thread.run_sync(_sdk)
            await answer(context, words, rest, writer)
            tasks.cancel_scope.cancel()


def _sdk() -> Callable[[Context, str, Rest, LineWriter], Awaitable[None]]:
    with loading():
        from meshfleet.server.app import answer_the_rest

    return answer_the_rest


def _look_at_the_user_s_words(context: Context) -> None:
    """Say at once what the first route_work would be refused for; all other tools do without these words."""
    if context.caller.agent_id is not None:
        return  # the server that started the agent has said it
    try:
        router_of(context)
    except Invalid as error:
        log.error("%s; route_work is refused until that is mended", error)  # noqa: TRY400 - the text says all there is to know


async def _stop_on_signal(scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            log.info("stopping on %s", signal.Signals(number).name)
            scope.cancel()
            return
