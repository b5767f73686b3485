"""The first line of a client: answered at once where it is a plain greeting, and otherwise left whole for later."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from meshfleet.server import doorway
from meshfleet.server.doorway import Arrival, meet
from meshfleet.server.face import VERSIONS, Face
from tests.server.serving import SERVE, environ_for, raw_server
from tests.server.streams_helpers import HELLO, Wire, answers_in, line, ping

FACE: Final = Face(in_agent_mode=False, instructions="Say hello.")
GREETING: Final = HELLO.splitlines(keepends=True)[0]
PARAMS: Final = json.loads(GREETING)["params"]
IS_STOPPED_AS_IT_LOADS: Final = """
import os, signal, sys
from meshfleet.cli import main

class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["STOPPED_AT"]:
            try:
                signal.raise_signal(int(os.environ["STOPPED_BY"]))
            except BaseException:
                pass  # as some libraries do

sys.meta_path.insert(0, Stop())
sys.argv = ["meshfleet", "serve"]
sys.exit(main())
"""


def greeting(**changed: Any) -> bytes:
    """A greeting with other parameters."""
    return line("initialize", "hello", **{**PARAMS, **changed})


def said(wire: Wire) -> bytes:
    """What the client has been told by now."""
    poll = select.poll()
    poll.register(wire.from_server, select.POLLIN)
    return os.read(wire.from_server, 65_536) if poll.poll(0) else b""


def met(wire: Wire) -> Arrival:
    return meet(wire.server_in, wire.server_out, FACE)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_greeting_is_answered_and_what_follows_it_is_left(wire: Wire, version: str) -> None:
    wire.send(greeting(protocolVersion=version) + ping(1) + b'{"jsonrpc"')
    arrival = met(wire)
    [answer] = answers_in(said(wire))
    assert answer["result"]["protocolVersion"] == version
    assert answer["result"]["instructions"] == "Say hello."
    assert arrival.greeting == ("hello", {**PARAMS, "protocolVersion": version})
    assert arrival.unanswered == ping(1) + b'{"jsonrpc"'


@pytest.mark.parametrize(
    "first",
    [
        greeting(protocolVersion="2099-01-01"),
        greeting(protocolVersion=5),
        greeting(capabilities={"tasks": {}}),
        greeting(capabilities={"roots": {"listChanged": "yes"}}),
        greeting(capabilities={"elicitation": 5}),
        greeting(capabilities=[]),
        greeting(clientInfo={"name": "test"}),
        greeting(clientInfo={"name": "test", "version": 1}),
        greeting(clientInfo={"name": "\ud800", "version": "1"}),
        greeting(_meta={}),
        GREETING.replace(b'"hello"', b"true"),
        GREETING.replace(b'"hello"', b"null"),
        GREETING.replace(b'"hello"', b"1.5"),
        GREETING.replace(b'"hello"', b'"hello", "id": "hello"'),
        GREETING.replace(b'"hello"', b'"hello", "more": NaN'),
        GREETING.replace(b"test", b"\xff"),
        GREETING.replace(b"2.0", b"1.0"),
        b"[" * 50_000 + b"\n",
        b"\n" + GREETING,
        ping(1),
        b"no JSON\n",
        b"",
    ],
    ids=lambda first: repr(first[:200]),
)
def test_what_is_odd_in_any_way_is_left_as_it_came(wire: Wire, first: bytes) -> None:
    wire.send(first)
    wire.close(wire.to_server)
    assert met(wire) == Arrival(first)
    assert said(wire) == b""


def test_nobody_is_waited_for_long(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorway, "PATIENCE_MS", 1)
    wire.send(GREETING[:20])
    assert met(wire) == Arrival(GREETING[:20])


def test_a_line_that_never_ends_is_left_to_who_bounds_it(wire: Wire) -> None:
    wire.send(b"x" * 65_536)
    assert met(wire) == Arrival(b"x" * 65_536)


def test_a_line_that_comes_in_ever_so_slowly_is_left_for_later(wire: Wire) -> None:
    has_been_left = threading.Event()

    def dribble() -> None:
        for byte in GREETING:
            wire.send(bytes([byte]))
            if has_been_left.wait(doorway.PATIENCE_MS / 4000):
                return

    with ThreadPoolExecutor(1) as threads:
        threads.submit(dribble)
        arrival = met(wire)
        has_been_left.set()
    assert arrival.greeting is None
    assert GREETING.startswith(arrival.unanswered)


def test_a_client_that_takes_nothing_is_not_waited_for(wire: Wire) -> None:
    poll = select.poll()
    poll.register(wire.server_out, select.POLLOUT)
    while poll.poll(0):
        os.write(wire.server_out, b" " * 4096)
    wire.send(GREETING)
    assert met(wire) == Arrival(GREETING)


def test_a_client_that_has_left_is_left_to_those_who_come_later(wire: Wire) -> None:
    wire.send(GREETING)
    wire.close(wire.from_server)
    assert met(wire) == Arrival(GREETING)


def test_words_too_long_to_be_written_at_once_are_left_for_later(wire: Wire) -> None:
    wire.send(GREETING)
    talker = Face(in_agent_mode=True, instructions="x" * 5000)
    assert meet(wire.server_in, wire.server_out, talker) == Arrival(GREETING)


def test_a_terminal_is_not_read_here() -> None:
    ours, theirs = pty.openpty()
    os.write(ours, GREETING)
    assert meet(theirs, theirs, FACE) == Arrival()
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_told_to_stop_while_it_loads_ends_without_a_complaint(ledger_file: Path, number: signal.Signals) -> None:
    for _ in range(5):
        with raw_server(environ_for(ledger_file)) as server:
            server.process.send_signal(number)
            assert server.process.wait(5) == 0
            assert server.rest() == []
            assert server.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("module", ["anyio", "meshfleet.server.serve", "meshfleet.agents.supervisor"])
def test_no_library_that_is_being_loaded_makes_it_miss_a_signal(
    ledger_file: Path, module: str, number: signal.Signals
) -> None:
    environ = environ_for(ledger_file, STOPPED_AT=module, STOPPED_BY=str(int(number)))
    with raw_server(environ, [sys.executable, "-c", IS_STOPPED_AS_IT_LOADS]) as server:
        assert server.process.wait(5) == 0
        assert server.rest() == []
        assert server.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_told_to_stop_while_the_sdk_is_loaded_ends_without_a_complaint(
    ledger_file: Path, number: signal.Signals
) -> None:
    environ = environ_for(ledger_file, STOPPED_AT="mcp.server", STOPPED_BY=str(int(number)))
    with raw_server(environ, [sys.executable, "-c", IS_STOPPED_AS_IT_LOADS]) as server:
        server.send(line("prompts/list", 1))
        assert server.process.wait(5) == 0
        assert server.stderr == ""


def test_a_client_that_sends_its_greeting_in_pieces_is_served(ledger_file: Path) -> None:
    with subprocess.Popen(
        SERVE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ_for(ledger_file)
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for byte in GREETING + ping(1):
            process.stdin.write(bytes([byte]))
            process.stdin.flush()
        assert [json.loads(process.stdout.readline())["id"] for _ in range(2)] == ["hello", 1]
        process.stdin.close()
        assert process.wait(5) == 0
