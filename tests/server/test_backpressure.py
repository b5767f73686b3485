"""What a client that reads no answers, or ends no line, can make the server hold: little, whatever it sends."""

from __future__ import annotations

import os
import select
from pathlib import Path

import anyio
import pytest
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import JSONRPCRequest, JSONRPCResponse

from meshfleet.server import envelope, lines
from meshfleet.server.envelope import Call, Message
from meshfleet.server.lines import line_streams
from meshfleet.server.streams import MessageReader
from meshfleet.server.unanswered import MOST_AT_ONCE
from tests.server.sample_server import serve
from tests.server.serving import PATIENCE_S, environ_for, raw_server
from tests.server.streams_helpers import HELLO, Wire, answers_in, call, line, ping, streams_over

pytestmark = pytest.mark.anyio

MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


async def taken(reader: MessageReader) -> list[object]:
    """Take messages until none is handed out for now; the ids of requests, the methods of the others."""
    messages: list[object] = []

    async def take() -> None:
        async for item in reader:
            message = item.message
            messages.append(message.id if isinstance(message, JSONRPCRequest) else getattr(message, "method", None))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    return messages


def answer(request_id: int) -> SessionMessage:
    return SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=request_id, result={}))


async def test_the_next_request_waits_until_one_of_so_many_is_answered(wire: Wire) -> None:
    wire.send(b"".join(ping(number) for number in range(MOST_AT_ONCE + 2)))
    async with streams_over(wire) as (reader, writer), anyio.create_task_group() as tasks:
        for number in range(MOST_AT_ONCE):
            assert (await reader.receive()).message == JSONRPCRequest(jsonrpc="2.0", id=number, method="ping")
        received: list[SessionMessage] = []

        async def receive() -> None:
            received.append(await reader.receive())

        tasks.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        assert not received
        await writer.send(answer(5))
        await anyio.wait_all_tasks_blocked()
        assert [item.message.id for item in received if isinstance(item.message, JSONRPCRequest)] == [MOST_AT_ONCE]


async def test_a_cancelled_request_makes_room_as_an_answered_one_does_and_its_cancellation_needs_none(
    wire: Wire,
) -> None:
    cancellation = line("notifications/cancelled", requestId=0)
    wire.send(b"".join(ping(number) for number in range(MOST_AT_ONCE)) + cancellation + ping("next"))
    async with streams_over(wire) as (reader, _):
        metadata = (await reader.receive()).metadata
        assert (await taken(reader))[-1] == "notifications/cancelled"
        assert isinstance(metadata, ServerMessageMetadata)
        assert metadata.on_request_unanswered is not None
        wire.send(ping("after"))
        await metadata.on_request_unanswered()
        assert (await taken(reader))[:1] == ["after"]


async def test_two_requests_with_one_id_are_two(wire: Wire) -> None:
    wire.send(ping(1) * MOST_AT_ONCE + ping(2) * 3)
    async with streams_over(wire) as (reader, writer), anyio.create_task_group() as tasks:
        assert await taken(reader) == [1] * MOST_AT_ONCE
        received: list[SessionMessage] = []

        async def receive() -> None:
            while len(received) < 2:
                received.append(await reader.receive())

        tasks.start_soon(receive)
        for count in (1, 2):
            await writer.send(answer(1))
            await writer.send(answer(999))  # which answers nothing
            await anyio.wait_all_tasks_blocked()
            assert len(received) == count


def is_writable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


@pytest.mark.slow
@pytest.mark.parametrize(
    "flood",
    [
        call(1, "echo", text="x" * 1900) * 2,
        line("tools/list", 2) * 60,
        line("no/such/method", 3) * 60,
        b'{"jsonrpc":"2.0","id":4,"method":5}\n' * 100,
        (ping(5) + line("notifications/cancelled", requestId=5)) * 30,
    ],
    ids=["calls", "lists", "unknown", "invalid", "cancelled"],
)
async def test_a_client_that_never_reads_is_soon_not_read_from_either(
    wire: Wire, flood: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "GRACE_S", 0.05)
    wire.send(HELLO)
    sent = 0
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, wire.server_in, wire.server_out)
            await anyio.wait_all_tasks_blocked()
            while is_writable(wire.to_server):
                sent += os.write(wire.to_server, flood)  # which a pipe that polls writable takes in whole
                await anyio.wait_all_tasks_blocked()
                assert sent < 2_000_000
            wire.close(wire.to_server)
    assert sent > 4096


@pytest.mark.parametrize("flood", [call(1, "echo", text="x" * 3000), b'{"id":1}\n' * 400], ids=["calls", "invalid"])
async def test_one_that_ends_its_input_and_never_reads_is_waited_for_no_longer_than_the_grace(
    wire: Wire, flood: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "GRACE_S", 0.05)
    while is_writable(wire.server_out):
        os.write(wire.server_out, b" " * 4095 + b"\n")
    wire.send(HELLO + flood * (60_000 // len(flood)))
    wire.close(wire.to_server)
    with anyio.fail_after(10):
        await serve(wire.server_in, wire.server_out)


async def test_a_slow_client_gets_every_answer_after_it_has_ended_its_input(wire: Wire) -> None:
    many = MOST_AT_ONCE * 6
    wire.send(HELLO + b"".join(call(number, "echo", text=str(number)) for number in range(many)))
    wire.close(wire.to_server)
    while is_writable(wire.server_out):
        os.write(wire.server_out, b" " * 4095 + b"\n")
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, wire.server_in, wire.server_out)
            await anyio.wait_all_tasks_blocked()
            output = await wire.read(lambda data: data.count(b'"id"') == many + 1 and data.endswith(b"\n"))
    answers = answers_in(b"".join(text + b"\n" for text in output.splitlines() if text.strip()))
    assert {one["id"] for one in answers} == {"hello", *range(many)}


async def test_a_line_without_end_is_not_kept_and_refused_once_it_ends(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (envelope, lines):
        monkeypatch.setattr(module, "MOST_LINE_BYTES", 1000)
    async with line_streams(wire.server_in, wire.server_out) as (reader, _), anyio.create_task_group() as tasks:
        received: list[Message] = []

        async def receive() -> None:
            received.append(await reader.receive())

        tasks.start_soon(receive)
        for _ in range(6):
            wire.send(b"x" * 4096)
            await anyio.wait_all_tasks_blocked()
        assert sum(map(len, reader._partial)) <= 1000 + 4096
        wire.send(b"\n" + ping(1).rstrip().ljust(1000) + b"\n")
        await anyio.wait_all_tasks_blocked()
        [refusal] = answers_in(await wire.read())
        assert refusal["error"]["code"] == -32600
        assert refusal["error"]["message"].startswith("this line has more than 1000 bytes; ")
        assert received == [Call("ping", id=1)]


@pytest.mark.slow
def test_any_number_of_listeners_leaves_room_for_requests(ledger_file: Path) -> None:
    wish = {"resourcesListChanged": True}
    many = MOST_AT_ONCE * 3
    with raw_server(environ_for(ledger_file), hello=False) as server:
        for number in range(many):
            told = server.ask(line("subscriptions/listen", number, notifications=wish, _meta=MODERN))
            assert told["method"] == "notifications/subscriptions/acknowledged"
        for number in range(many):
            # the id of a listener that still listens
            answered = server.ask(line("resources/read", number, _meta=MODERN, uri="meshfleet://fleets"))
            assert answered["id"] == number
        assert server.end() is not None
        assert server.process.wait(PATIENCE_S) == 0
