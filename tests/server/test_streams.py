"""The stdio transport: how lines come in and answers go out, and whose the descriptors are."""

from __future__ import annotations

import fcntl
import logging
import os
import pty
import select
import socket
import time
import tty
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp.shared.message import SessionMessage
from mcp_types import ErrorData, JSONRPCError, JSONRPCRequest, JSONRPCResponse
from pydantic_core import PydanticSerializationError

from meshfleet.server import lines
from tests.server.sample_server import message_streams, serve, stdio_streams
from tests.server.streams_helpers import (
    HELLO,
    Wire,
    answers_in,
    call,
    line,
    needs_full_disk,
    ping,
    streams_over,
)

pytestmark = pytest.mark.anyio

CANCEL_7 = line("notifications/cancelled", requestId=7)


async def served(wire: Wire, data: bytes) -> list[dict[str, Any]]:
    """Return what the sample server answers to an input that ends at once."""
    wire.send(data)
    wire.close(wire.to_server)
    with anyio.fail_after(10):
        await serve(wire.server_in, wire.server_out)
    wire.close(wire.server_out)
    return answers_in(await wire.read_to_end())


def response(request_id: int | str, size: int = 0) -> SessionMessage:
    return SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=request_id, result={"text": "x" * size}))


async def test_a_line_of_20_mb_takes_about_as_long_as_20_lines_of_1_mb() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # each read gets one small packet

    async def seconds_for(lines: int, size: int) -> float:
        request = ping("p")[:-2] + b', "x": "' + b"y" * size + b'"}\n'
        started = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, send_packets, ours, request * lines)
            for _ in range(lines):
                await reader.receive()
        return time.perf_counter() - started

    with ours, theirs, anyio.fail_after(60):
        async with message_streams(theirs.fileno(), theirs.fileno()) as (reader, _):
            many, one = await seconds_for(20, 1_000_000), await seconds_for(1, 20_000_000)

    assert one < 5 * many


def send_packets(to: socket.socket, data: bytes) -> None:
    for start in range(0, len(data), 2048):
        to.send(data[start : start + 2048])


async def test_bytes_that_come_one_by_one_make_the_same_messages(wire: Wire) -> None:
    async with streams_over(wire) as (reader, _), anyio.create_task_group() as tasks:

        async def trickle() -> None:
            for byte in ping(1) + ping(2):
                os.write(wire.to_server, bytes([byte]))
                await anyio.lowlevel.checkpoint()

        tasks.start_soon(trickle)
        found = [(await reader.receive()).message, (await reader.receive()).message]

    assert [message.id for message in found if isinstance(message, JSONRPCRequest)] == [1, 2]


async def test_a_socket_pair_is_served() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, anyio.fail_after(10):
        ours.sendall(HELLO + ping(1))
        ours.shutdown(socket.SHUT_WR)
        await serve(theirs.fileno(), theirs.fileno())
        theirs.shutdown(socket.SHUT_WR)
        answers = answers_in(ours.makefile("rb").read())

    assert [answer["id"] for answer in answers] == ["hello", 1]


@pytest.mark.parametrize("served_end", [0, 1], ids=["controlling", "controlled"])
async def test_either_end_of_a_terminal_is_served_until_the_other_hangs_up(wire: Wire, served_end: int) -> None:
    both = pty.openpty()
    ours, theirs = both[1 - served_end], both[served_end]
    tty.setraw(both[1])
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, theirs, wire.server_out)
            os.write(ours, ping(1))
            answers = answers_in(await wire.read())
            os.close(ours)
    os.close(theirs)

    assert [answer["id"] for answer in answers] == [1]


async def test_a_terminal_takes_the_answers() -> None:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    with anyio.fail_after(10):
        async with message_streams(theirs, theirs) as (_, writer):
            await writer.send(response(1))
    assert answers_in(os.read(ours, 65536))[0]["id"] == 1
    os.close(ours)
    os.close(theirs)


async def test_the_null_device_is_an_input_that_ends_at_once_and_an_output_for_anything() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    with anyio.fail_after(10):
        async with message_streams(null, null) as (reader, writer):
            await writer.send(response(1, 1_000_000))
            assert [message async for message in reader] == []
    os.close(null)


async def test_the_flags_of_a_shared_descriptor_stay_as_they_are(wire: Wire) -> None:
    async with streams_over(wire) as (reader, writer), anyio.create_task_group() as tasks:
        before = [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in (wire.server_in, wire.server_out)]
        tasks.start_soon(reader.receive)
        tasks.start_soon(writer.send, response(1, 200_000))
        await anyio.wait_readable(wire.from_server)
        during = [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in (wire.server_in, wire.server_out)]
        tasks.cancel_scope.cancel()
        wire.close(wire.from_server)

    assert before == during
    assert not any(flags & os.O_NONBLOCK for flags in during)


async def test_descriptors_that_somebody_else_made_nonblocking_work_too(wire: Wire) -> None:
    for fd in (wire.server_in, wire.server_out):
        os.set_blocking(fd, False)
    async with streams_over(wire) as (reader, writer), anyio.create_task_group() as tasks:
        tasks.start_soon(writer.send, response(1, 200_000))
        output = await wire.read()
        wire.send(ping(2))
        await reader.receive()

    assert len(output) > 200_000


def open_descriptors() -> list[Path]:
    return sorted(Path("/dev/fd").iterdir())


async def test_nothing_stays_open_behind_a_session() -> None:
    before = open_descriptors()
    async with stdio_streams():
        assert len(open_descriptors()) > len(before)

    assert open_descriptors() == before


async def test_reading_stops_while_nobody_takes_messages(wire: Wire) -> None:
    async with streams_over(wire) as (reader, _):
        wire.send(ping(1))
        await reader.receive()
        fill(wire.to_server)
        await anyio.wait_all_tasks_blocked()
        assert not is_writable(wire.to_server)

        await reader.receive()
        assert is_writable(wire.to_server)


def fill(fd: int) -> int:
    """Write pings until a pipe takes no more, and return how many bytes it took."""
    taken = 0
    while is_writable(fd):
        taken += os.write(fd, ping("p").rjust(4096))
    return taken


def is_writable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


async def test_lines_longer_than_the_pipe_never_interleave_and_never_block_the_loop(wire: Wire) -> None:
    async with streams_over(wire) as (_, writer), anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(writer.send, response(number, 300_000))
        await anyio.wait_all_tasks_blocked()  # all five wait for the pipe, and the loop got here

        answers = answers_in(await wire.read(lambda data: data.count(b"\n") == 5))

    assert [answer["id"] for answer in answers] == [0, 1, 2, 3, 4]
    assert {len(answer["result"]["text"]) for answer in answers} == {300_000}


async def test_a_line_whose_sender_was_cancelled_is_finished_before_the_next(wire: Wire) -> None:
    async with streams_over(wire) as (_, writer), anyio.create_task_group() as tasks:
        async with anyio.create_task_group() as doomed:
            doomed.start_soon(writer.send, response(1, 300_000))
            await anyio.wait_all_tasks_blocked()
            doomed.cancel_scope.cancel()
        tasks.start_soon(writer.send, response(2))

        answers = answers_in(await wire.read(lambda data: data.count(b"\n") == 2))

    assert [answer["id"] for answer in answers] == [1, 2]


async def test_closing_finishes_a_line_whose_sender_was_cancelled(wire: Wire) -> None:
    async with anyio.create_task_group() as tasks, streams_over(wire) as (_, writer):
        async with anyio.create_task_group() as doomed:
            doomed.start_soon(writer.send, response(1, 100_000))
            await anyio.wait_all_tasks_blocked()
            doomed.cancel_scope.cancel()
        tasks.start_soon(writer.aclose)
        answers = answers_in(await wire.read())
        with pytest.raises(anyio.ClosedResourceError):
            await writer.send(response(2))

    assert [answer["id"] for answer in answers] == [1]


async def test_a_reader_that_left_ends_both_streams(wire: Wire) -> None:
    async with streams_over(wire) as (reader, writer), anyio.create_task_group() as tasks:
        ends: list[str] = []

        async def read() -> None:
            with pytest.raises(anyio.EndOfStream):
                await reader.receive()
            ends.append("input")

        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        wire.close(wire.from_server)
        for _ in range(2):
            with pytest.raises(anyio.BrokenResourceError):
                await writer.send(response(1))

    assert ends == ["input"]


async def test_closing_the_reader_ends_the_wait_for_a_message(wire: Wire) -> None:
    async with streams_over(wire) as (reader, _), anyio.create_task_group() as tasks:

        async def read() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await reader.receive()

        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        await reader.aclose()


async def test_messages_that_came_before_the_reader_left_are_dropped(wire: Wire) -> None:
    wire.send(b"nonsense\n" + ping(1))
    wire.close(wire.from_server)
    async with streams_over(wire) as (reader, _):
        assert [message async for message in reader] == []


@needs_full_disk
async def test_a_disk_that_is_full_is_told_on_the_log_and_ends_the_session(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    wire.send(ping(1))
    with anyio.fail_after(10):
        await serve(wire.server_in, full)
    os.close(full)

    assert "stdout takes no more answers" in caplog.text
    assert "No space left" in caplog.text


async def test_a_result_that_cannot_be_written_is_refused_and_nothing_of_it_goes_out(wire: Wire) -> None:
    broken = JSONRPCResponse(jsonrpc="2.0", id=1, result={"fine": "x" * 100, "name": "\udcff"})
    async with streams_over(wire) as (_, writer):
        with pytest.raises(PydanticSerializationError, match="surrogates not allowed"):
            await writer.send(SessionMessage(broken))
        await writer.send(response(2))

    assert [answer["id"] for answer in answers_in(await wire.read())] == [2]


async def test_an_error_that_cannot_be_written_is_made_writable(wire: Wire) -> None:
    broken = ErrorData(code=0, message="name \udcff", data=object())
    async with streams_over(wire) as (_, writer):
        await writer.send(SessionMessage(JSONRPCError(jsonrpc="2.0", id=1, error=broken)))

    assert answers_in(await wire.read()) == [
        {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "name \\udcff"}}
    ]


async def test_a_tool_that_crashes_costs_one_error_whatever_its_text(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="mcp")  # a report with half a character kills pytest-xdist

    async def crash() -> None:
        raise ValueError(os.fsdecode(b"\xff"))

    wire.send(HELLO + call(1, "crash", text="no") + call(2, "echo", text="yes") + call(3, "wait"))
    wire.close(wire.to_server)
    with anyio.fail_after(10):
        await serve(wire.server_in, wire.server_out, crash)
    wire.close(wire.server_out)
    answers = {answer["id"]: answer for answer in answers_in(await wire.read_to_end())}

    assert answers[1]["error"]["message"] == "no"
    assert answers[2]["result"]["content"][0]["text"] == "yes"
    assert answers[3]["error"]["message"] == "\\udcff"


async def test_requests_in_flight_are_answered_before_the_input_ends(wire: Wire) -> None:
    gate = anyio.Event()
    wire.send(HELLO + call(1, "wait") + call(2, "wait") + ping(3))
    wire.close(wire.to_server)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, wire.server_in, wire.server_out, gate.wait)
            before = answers_in(await wire.read(lambda data: data.count(b"\n") == 2))
            gate.set()
            after = answers_in(await wire.read(lambda data: data.count(b"\n") == 2))

    assert [answer["id"] for answer in before] == ["hello", 3]
    assert sorted(answer["id"] for answer in after if "result" in answer) == [1, 2]


async def test_a_cancelled_request_is_not_waited_for(wire: Wire) -> None:
    started = time.perf_counter()
    answers = await served(wire, HELLO + call(7, "wait") + CANCEL_7 + ping(1))

    assert [answer["id"] for answer in answers] == ["hello", 1]
    assert time.perf_counter() - started < 5 < lines.GRACE_S


async def test_a_request_that_never_ends_is_waited_for_no_longer_than_the_grace(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "GRACE_S", 0.05)
    answers = await served(wire, HELLO + call(1, "wait"))

    assert [answer["id"] for answer in answers] == ["hello", 1]
    assert answers[1]["error"]["message"] == "Connection closed"


async def test_nobody_waits_for_answers_that_nobody_can_read(wire: Wire) -> None:
    waiting = anyio.Event()

    async def wait() -> None:
        waiting.set()
        await anyio.sleep_forever()

    started = time.perf_counter()
    wire.send(HELLO + call(1, "wait"))
    wire.close(wire.to_server)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, wire.server_in, wire.server_out, wait)
            await waiting.wait()
            wire.close(wire.from_server)

    assert time.perf_counter() - started < 5 < lines.GRACE_S
