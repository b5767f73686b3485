"""While this server itself writes, which a disk may make take long, calls that look have their turn in a thread."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from meshfleet.mesh.identity import Caller
from meshfleet.server.face import Face
from meshfleet.server.front import Front
from meshfleet.server.lines import line_streams
from meshfleet.server.tool import Context
from meshfleet.server.tools import offered_tools
from tests.mesh.fleets import open_ledger
from tests.server.streams_helpers import HELLO, Wire, call, ping

pytestmark = pytest.mark.anyio


@pytest.fixture
def wire() -> Iterator[Wire]:
    pipes = Wire()
    yield pipes
    pipes.close_all()


async def test_the_protocol_is_answered_while_another_thread_writes(ledger_file: Path, wire: Wire) -> None:
    ledger, is_writing, may_go_on = open_ledger(ledger_file), threading.Event(), threading.Event()

    def write(_: object) -> None:
        is_writing.set()
        assert may_go_on.wait(10)

    async def ask(request: bytes) -> object:
        wire.send(request)
        return json.loads(await wire.read())["id"]

    async with line_streams(wire.server_in, wire.server_out) as (reader, writer), anyio.create_task_group() as tasks:
        context = Context(ledger, Caller(), None, {}, Path())
        face = Face(in_agent_mode=False, instructions="")
        front = Front(reader, writer, face, offered_tools(in_agent_mode=False), context, tasks)
        tasks.start_soon(front.receive)
        with anyio.fail_after(10):
            assert await ask(HELLO) == "hello"
            for number in (1, 2):  # so that looking is known to be quick
                assert await ask(call(number, "list_fleets")) == number
            tasks.start_soon(to_thread.run_sync, ledger.transact, write)
            await to_thread.run_sync(is_writing.wait, 10)
            wire.send(call("look", "list_fleets"))
            assert await ask(ping("meanwhile")) == "meanwhile"
            may_go_on.set()
            assert json.loads(await wire.read())["id"] == "look"
        tasks.cancel_scope.cancel()
    ledger.close()
