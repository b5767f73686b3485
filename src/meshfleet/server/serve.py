"""`meshfleet serve`: one MCP server over stdio, which supervises agents unless it serves one itself."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio

from meshfleet.agents.supervisor import Supervisor
from meshfleet.errors import Invalid, NotFound
from meshfleet.ledger import Ledger
from meshfleet.mesh.identity import Caller, caller_of
from meshfleet.mesh.texts import shown
from meshfleet.server.app import build_server
from meshfleet.server.push import Push
from meshfleet.server.streams import stdio_streams
from meshfleet.server.tool import Context
from meshfleet.server.tools.routing import router_of
from meshfleet.server.waits import Waits
from meshfleet.settings import Settings

log = logging.getLogger(__name__)


async def serve(settings: Settings, environ: Mapping[str, str], cwd: Path) -> None:
    """Serve until standard input ends or a signal says stop; agents go on running.

    Raises:
        MeshfleetError: The server can't start.
    """
    logging.basicConfig(
        stream=sys.stderr, level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    ledger = Ledger.from_settings(settings)
    try:
        supervisor = None if settings.in_agent_mode else Supervisor(ledger, settings, environ)
        waits = Waits()
        push = None if settings.in_agent_mode else Push(ledger, settings, watch=waits.watch)
        caller = _own_caller(ledger, settings)
        context = Context(
            ledger, caller, supervisor, environ, cwd, push=push, max_depth=settings.max_depth, waits=waits
        )
        server = build_server(context)
        _look_at_the_user_s_words(context)
        async with stdio_streams() as (reading, writing), anyio.create_task_group() as tasks:
            reading.on_input_end = context.waits.end
            tasks.start_soon(_stop_on_signal, tasks.cancel_scope)
            if supervisor is not None:
                tasks.start_soon(supervisor.run)
            if push is not None:
                tasks.start_soon(push.run)
            await server.run(reading, writing, server.create_initialization_options())
            tasks.cancel_scope.cancel()
    finally:
        ledger.close()


def _own_caller(ledger: Ledger, settings: Settings) -> Caller:
    agent_id = settings.agent_id
    if agent_id is None:
        return Caller()
    try:
        return caller_of(ledger, agent_id)
    except NotFound:
        raise Invalid(
            f"MESHFLEET_AGENT_ID is {shown(agent_id)}, which is no agent of {settings.data_file}; unset it, or set "
            "MESHFLEET_DATA_FILE to the ledger of that agent"
        ) from None


def _look_at_the_user_s_words(context: Context) -> None:
    """Say at once what the first route_work would be refused for; all other tools do without these words."""
    if context.caller.agent_id is not None:
        return  # the server that started the agent has said it
    try:
        router_of(context)
    except Invalid as error:
        log.error("%s; route_work is refused until that is mended", error)  # noqa: TRY400 - the text says all there is to know


async def _stop_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("stopping on %s", signal.Signals(number).name)
            scope.cancel()
            return
