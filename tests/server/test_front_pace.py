"""What is done on the spot, and what has its turn in a thread although it was quick the last time."""

from __future__ import annotations

import json
import threading
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
from tests.server.serving import Prepared, environ_for, prepare, raw_server, refusal_in, said_in
from tests.server.streams_helpers import HELLO, Wire, call, ping

pytestmark = pytest.mark.anyio


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


async def test_an_inbox_may_be_subscribed_to_again_and_again(ledger_file: Path) -> None:
    prepared = prepare(ledger_file)
    with raw_server(environ_for(ledger_file, MESHFLEET_SSE_PORT="0")) as server:
        assert "is no agent" in refusal_in(server.call("subscribe_inbox", agent_id="nobody"))
        said_in(server.call("send_message", **a_message(prepared)))  # so that the lock is seen to be free
        urls = {said_in(server.call("subscribe_inbox", agent_id=prepared.agents[0]))["stream_url"] for _ in range(4)}
    assert len(urls) == 1


def a_message(prepared: Prepared) -> dict[str, object]:
    between = {"fleet_id": prepared.fleet_id, "from_agent_id": prepared.agents[0], "to_agent_id": prepared.agents[2]}
    return {**between, "type": "result", "payload": "hello"}
