"""The server as a process: its stdin, stdout and stderr, its exit code, and the SDK's own client."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import anyio
import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from mcp_types import TextContent

from tests.server.sample_server import stdio_streams
from tests.server.streams_helpers import (
    HELLO,
    PROGRAM,
    answers_in,
    call,
    needs_full_disk,
    ping,
    run_program,
)

pytestmark = pytest.mark.anyio


def test_stray_output_of_the_server_and_its_children_goes_to_stderr_and_they_read_nothing() -> None:
    ended = run_program(HELLO + call(1, "stray") + ping(2))

    assert ended.returncode == 0
    answers = {answer["id"]: answer for answer in answers_in(ended.stdout)}
    assert answers.keys() == {"hello", 1, 2}
    assert answers[1]["result"]["content"][0]["text"] == "silent"
    assert sorted(ended.stderr.splitlines()) == [b"a stray child", b"a stray print"]


def test_stdin_and_stdout_are_the_process_s_own_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # "before" is to wait in the buffer
    program = """
import anyio, os, stat
from tests.server.sample_server import stdio_streams

async def main():
    async with stdio_streams() as (reader, writer):
        print("during")
        await reader.receive()

print("before")
anyio.run(main)
print("after", stat.S_ISFIFO(os.fstat(0).st_mode))
"""
    ended = run_program(ping(1), [sys.executable, "-c", program])

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == b"after True\n"
    assert ended.stderr == b"before\nduring\n"


async def test_stdio_is_served_once_at_a_time() -> None:
    async with stdio_streams():
        with pytest.raises(RuntimeError, match="leave the other"):
            async with stdio_streams():
                pytest.fail("served twice")
    async with stdio_streams():
        pass


@pytest.mark.parametrize(("redirect", "closed"), [("<&-", b"stdin"), (">&-", b"stdout")])
def test_a_process_started_without_stdin_or_stdout_says_so(redirect: str, closed: bytes) -> None:
    ended = run_program(b"", ["/bin/sh", "-c", f'exec "$@" {redirect}', "sh", *PROGRAM])

    assert (ended.returncode, ended.stdout) == (1, b"")
    assert closed + b" is closed; start the server with both" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("redirect", ["2>&-", pytest.param("2>/dev/full", marks=needs_full_disk)])
def test_a_process_whose_stderr_takes_nothing_is_served(redirect: str) -> None:
    ended = run_program(HELLO + call(1, "echo"), ["/bin/sh", "-c", f'exec "$@" {redirect}', "sh", *PROGRAM])

    assert ended.returncode == 0
    assert [answer["id"] for answer in answers_in(ended.stdout)] == ["hello", 1]


def test_a_reader_that_left_costs_no_traceback_and_exit_code_0() -> None:
    with subprocess.Popen(PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(HELLO + call(1, "wait") + ping(2))
        process.stdin.flush()  # and stays open: the write that fails ends the server
        errors = process.stderr.read()
        assert process.wait(timeout=20) == 0

    assert errors == b""


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_sdk_s_client_holds_a_session(mode: str) -> None:
    program = StdioServerParameters(command=PROGRAM[0], args=PROGRAM[1:], env={"PYTHONPATH": os.pathsep.join(sys.path)})
    with anyio.fail_after(30):
        async with Client(program, mode=mode) as client:
            tools = await client.list_tools()
            async with anyio.create_task_group() as tasks:
                echoes: list[str] = []
                for number in range(20):
                    tasks.start_soon(partial(echo_through, client, f"{number}" * 10_000, echoes))

    assert [tool.name for tool in tools.tools] == ["echo"]
    assert sorted(echoes) == sorted(f"{number}" * 10_000 for number in range(20))


async def echo_through(client: Client, text: str, echoes: list[str]) -> None:
    result = await client.call_tool("echo", {"text": text})
    assert isinstance(result.content[0], TextContent)
    echoes.append(result.content[0].text)
