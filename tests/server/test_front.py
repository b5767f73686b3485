"""What the server answers itself: just what the SDK would, which is loaded and joins in only when it is needed."""

from __future__ import annotations

import gc
import json
import os
import select
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from meshfleet.ledger import Ledger
from meshfleet.ledger.lock import LedgerLock
from meshfleet.mesh.identity import identify_agent
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.server.doorway import Arrival
from meshfleet.server.face import VERSIONS, Face
from meshfleet.server.front import INTRODUCTION_ID
from meshfleet.server.instructions import FOR_ORCHESTRATORS, for_agent
from meshfleet.server.serve import _context, _converse
from meshfleet.server.start import Opening
from meshfleet.settings import Settings, beside
from tests.mesh.fleets import fleet_of, open_ledger, start_all, supervisor
from tests.server.serving import (
    PATIENCE_S,
    Prepared,
    RawServer,
    environ_for,
    prepare,
    raw_server,
    refusal_in,
    said_in,
)
from tests.server.streams_helpers import HELLO, Wire, call, line, ping

ONLY_THE_SDK_KNOWS: Final[dict[str, Any]] = {"tasks": {}}
"""Capabilities of a client that is left to the SDK from its greeting on."""
NAMES_WHAT_IT_LOADED: Final = """
import sys
from meshfleet.cli import main
sys.argv = ["meshfleet", "serve"]
code = main()
print("loaded", [name for name in ("mcp", "mcp_types", "typer", "rich") if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""
NAMES_WHAT_THE_COLLECTOR_LOOKS_AT: Final = """
import gc, sys
from meshfleet.cli import main
sys.argv = ["meshfleet", "serve"]
code = main()
types = {one.__module__.partition(".")[0] for one in gc.get_objects() if isinstance(one, type)}
seen = sorted(types & {"anyio", "mcp", "mcp_types", "pydantic"})
print("at work" if gc.isenabled() else "off", seen, file=sys.stderr)
sys.exit(code)
"""
READY: Final = line("notifications/initialized")


def greeting(version: str, capabilities: dict[str, Any]) -> bytes:
    """A request to begin."""
    info = {"name": "test", "version": "1"}
    return line("initialize", "hello", protocolVersion=version, capabilities=capabilities, clientInfo=info)


def fleet_at_work(ledger_file: Path) -> str:
    """A fleet that will not end, in a ledger that nobody has open."""
    ledger = open_ledger(ledger_file)
    fleet_id, _ = fleet_of(ledger, "A", by=supervisor())
    ledger.close()
    return fleet_id


def script(prepared: Prepared) -> list[bytes]:
    """Requests whose answers depend on nothing but what they are."""
    asked = {"fleet_id": prepared.fleet_id}
    return [
        ping(1),
        line("ping", "2", _meta={"progressToken": 5}),
        line("tools/list", 3),
        line("tools/list", 4, _meta={"some/thing": [1]}),
        call(5, "get_receipts", message_id=prepared.message_id),
        call(6, "collect_results", **asked),
        call(7, "fleet_status", fleet_id="nowhere"),
        call(8, "fleet_status", fleets=[]),
        call("ninth", "no_such_tool"),
        line("tools/call", 10, name="list_agents"),
        line("tools/call", 11, name="list_agents", arguments=None),
        line("tools/call", 12, name="wait", arguments={**asked, "timeout_ms": 1}, _meta={"progressToken": "t"}),
        line("tools/call", 13, name="wait", arguments={"fleet_id": 5}),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("in_agent_mode", [False, True])
def test_it_answers_to_the_letter_what_the_sdk_would(ledger_file: Path, version: str, in_agent_mode: bool) -> None:
    prepared = prepare(ledger_file)
    environ = environ_for(ledger_file, **({"MESHFLEET_AGENT_ID": prepared.agents[0]} if in_agent_mode else {}))
    with raw_server(environ, hello=False) as server:
        told = [server.ask(greeting(version, {"roots": {"listChanged": True}, "sampling": {}}))]
        server.send(READY)
        told += [answer for request in script(prepared) for answer in answers_to(server, request)]
    assert told == said_by_the_sdk(environ, version, *script(prepared))
    assert [answer.get("id") for answer in told][:2] == ["hello", 1]


def said_by_the_sdk(environ: dict[str, str], version: str, *requests: bytes) -> list[dict[str, Any]]:
    """What the SDK says to a greeting and to each request, with nobody before it to answer any.

    It is the server's own SDK, but in this process, which has loaded it already.
    """
    gc.collect()  # or what is garbage by now would stay, as what is loaded does
    return anyio.run(_said_by_the_sdk, environ, [greeting(version, ONLY_THE_SDK_KNOWS), *requests])


async def _said_by_the_sdk(environ: dict[str, str], requests: list[bytes]) -> list[dict[str, Any]]:
    settings, wire = Settings.from_environ(environ), Wire()
    ledger, told = Ledger.from_settings(settings), b""
    try:
        identity = None if settings.agent_id is None else identify_agent(ledger, settings.agent_id)
        words = FOR_ORCHESTRATORS if identity is None else for_agent(identity)
        face = Face(in_agent_mode=settings.in_agent_mode, instructions=words)
        opening = Opening(wire.server_in, wire.server_out, words, face, Arrival(), ledger, identity)
        context = _context(ledger, settings, environ, Path.cwd(), identity)
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_converse, context, opening)
                for number, request in enumerate(requests):
                    wire.send(READY + request if number == 1 else request)
                    told += await wire.read(ends_with_an_answer)
                wire.close(wire.to_server)
    finally:
        wire.close_all()
        ledger.close()
    return [json.loads(answer) for answer in told.splitlines()]


def ends_with_an_answer(data: bytes) -> bool:
    return data.endswith(b"\n") and "id" in json.loads(data.splitlines()[-1])


def answers_to(server: RawServer, request: bytes) -> list[dict[str, Any]]:
    """What comes until a request is answered, itself included."""
    server.send(request)
    came = [server.receive()]
    while "id" not in came[-1]:
        came.append(server.receive())
    return came


def test_what_agents_ask_needs_neither_the_sdk_nor_anything_for_people(ledger_file: Path) -> None:
    prepared = prepare(ledger_file)
    environ = environ_for(ledger_file, MESHFLEET_AGENT_ID=prepared.agents[0])
    with raw_server(environ, [sys.executable, "-c", NAMES_WHAT_IT_LOADED]) as server:
        server.ask(line("tools/list", 1))
        assert said_in(server.call("whoami"))
        assert said_in(server.call("wait_for_messages", timeout_ms=1))
        server.end()
        server.process.wait(10)
        assert server.stderr == "loaded []\n"


def test_the_garbage_collector_looks_at_nothing_of_the_libraries_that_were_loaded(ledger_file: Path) -> None:
    with raw_server(environ_for(ledger_file), [sys.executable, "-c", NAMES_WHAT_THE_COLLECTOR_LOOKS_AT]) as server:
        assert server.ask(line("prompts/list", 1))["result"]["prompts"]
        assert server.end() == []
        server.process.wait(10)
        assert server.stderr == "at work []\n"


@pytest.mark.parametrize("is_ready", [True, False])
def test_the_sdk_joins_in_when_it_is_needed_and_knows_what_came_before(ledger_file: Path, is_ready: bool) -> None:
    with raw_server(environ_for(ledger_file), hello=False) as server:
        assert server.ask(greeting("2025-06-18", {}))["id"] == "hello"
        if is_ready:
            server.send(READY)
        assert said_in(server.call("list_fleets")) == {"fleets": []}
        prompts = server.ask(line("prompts/list", 1))
        assert prompts["id"] == 1
        assert prompts["result"]["prompts"]
        assert said_in(server.call("ping"))["status"] == "ok"
        assert server.ask(line("resources/read", 2, uri="meshfleet://fleets"))["id"] == 2
        assert server.end() == []


def test_it_goes_on_answering_while_the_sdk_is_loaded(ledger_file: Path) -> None:
    with raw_server(environ_for(ledger_file)) as server:
        said_in(server.call("list_fleets"))
        server.send(line("prompts/list", "slow") + b"".join(ping(number) for number in range(5)))
        assert [server.receive()["id"] for _ in range(6)] == [*range(5), "slow"]


def test_a_client_may_use_the_id_under_which_the_sdk_was_introduced(ledger_file: Path) -> None:
    with raw_server(environ_for(ledger_file)) as server:
        assert server.ask(line("ping", INTRODUCTION_ID))["result"] == {}
        assert server.ask(line("prompts/list", 1))["id"] == 1
        assert server.ask(line("prompts/list", INTRODUCTION_ID))["result"]["prompts"]


def test_a_second_greeting_is_judged_by_the_sdk_and_all_that_follows(ledger_file: Path) -> None:
    with raw_server(environ_for(ledger_file)) as server:
        again = server.ask(greeting("2024-11-05", {}))
        assert again["result"]["protocolVersion"] == "2024-11-05"
        assert server.ask(line("tools/list", 1))["result"]["tools"]


@pytest.mark.parametrize(
    "before",
    [
        line("notifications/roots/list_changed"),
        line("notifications/cancelled", requestId=1),
        json.dumps({"jsonrpc": "2.0", "id": 1, "result": {}}).encode() + b"\n",
    ],
)
def test_who_says_something_before_the_greeting_is_served_all_the_same(ledger_file: Path, before: bytes) -> None:
    with raw_server(environ_for(ledger_file), hello=False) as server:
        server.send(before)
        assert server.ask(greeting("2025-06-18", {}))["id"] == "hello"
        assert server.ask(line("prompts/list", 1))["result"]["prompts"]
        assert server.ask(line("tools/list", 2))["result"]["tools"]


def test_who_is_left_to_the_sdk_from_the_greeting_on_may_use_any_id(ledger_file: Path) -> None:
    with raw_server(environ_for(ledger_file), hello=False) as server:
        server.ask(greeting("2025-06-18", ONLY_THE_SDK_KNOWS))
        assert server.ask(line("ping", INTRODUCTION_ID))["id"] == INTRODUCTION_ID


def test_several_that_wait_for_the_sdk_keep_nobody_else_waiting(ledger_file: Path) -> None:
    with raw_server(environ_for(ledger_file)) as server:
        said_in(server.call("list_fleets"))
        slow = [line("prompts/list", f"slow {number}") for number in range(5)]
        server.send(b"".join(slow) + ping("quick"))
        assert server.receive()["id"] == "quick"
        assert {server.receive()["id"] for _ in slow} == {f"slow {number}" for number in range(5)}


def test_a_wait_may_be_cancelled_after_a_second_greeting(ledger_file: Path) -> None:
    fleet_id = fleet_at_work(ledger_file)
    with raw_server(environ_for(ledger_file)) as server:
        server.send(call(7, "wait", fleet_id=fleet_id))
        server.ask(greeting("2025-06-18", {}))
        server.send(line("notifications/cancelled", requestId=7) + ping("after"))
        assert server.receive()["id"] == "after"
        assert server.end() == []


def test_true_is_no_id_that_could_be_cancelled(ledger_file: Path) -> None:
    fleet_id = fleet_at_work(ledger_file)
    with raw_server(environ_for(ledger_file)) as server:
        server.send(call(1, "wait", fleet_id=fleet_id) + line("notifications/cancelled", requestId=True))
        assert server.ask(ping("after"))["id"] == "after"
        [answer] = server.end()
        assert answer["id"] == 1


def test_a_wait_that_is_cancelled_ends_unanswered(ledger_file: Path) -> None:
    fleet_id = fleet_at_work(ledger_file)
    with raw_server(environ_for(ledger_file)) as server:
        for request_id, other_form in ((7, "7"), ("8", 8), ("seven", "seven")):
            server.send(call(request_id, "wait", fleet_id=fleet_id))
            server.send(line("notifications/cancelled", requestId=other_form) + ping("after"))
            assert server.receive()["id"] == "after"
        assert server.end() == []
        assert server.process.wait(5) == 0


def test_a_wait_tells_of_its_progress_under_the_token_it_was_given(ledger_file: Path) -> None:
    fleet_id = fleet_at_work(ledger_file)
    with raw_server(environ_for(ledger_file)) as server:
        server.send(line("tools/call", 1, name="wait", arguments={"fleet_id": fleet_id}, _meta={"progressToken": 0}))
        told = server.receive()
        assert told["method"] == "notifications/progress"
        assert told["params"].keys() == {"progressToken", "progress", "total", "message"}
        assert told["params"]["progressToken"] == 0
        server.send(line("notifications/cancelled", requestId=1))
        assert server.end() == []


def test_who_waits_when_the_server_is_stopped_is_told(ledger_file: Path) -> None:
    fleet_id = fleet_at_work(ledger_file)
    with raw_server(environ_for(ledger_file)) as server:
        server.send(line("tools/call", 1, name="wait", arguments={"fleet_id": fleet_id}, _meta={"progressToken": 0}))
        assert "method" in server.receive()
        server.process.terminate()
        [answer] = server.rest()
        assert (answer["id"], answer["error"]["message"]) == (1, "Connection closed")
        assert server.process.wait(5) == 0


def test_while_somebody_holds_the_ledger_s_lock_the_protocol_is_answered_and_calls_keep_their_order(
    ledger_file: Path,
) -> None:
    prepared = prepare(ledger_file)
    message = {"fleet_id": prepared.fleet_id, "from_agent_id": prepared.agents[0], "type": "result"}
    with raw_server(environ_for(ledger_file)) as server:
        for _ in range(2):  # so that sending is known to be quick
            said_in(server.call("send_message", to_agent_id=prepared.agents[2], payload="0", **message))
        with closing(LedgerLock(beside(ledger_file, "lock"))) as held, held.held(5_000):
            for number in (1, 2):
                server.send(
                    call(number, "send_message", to_agent_id=prepared.agents[2], payload=str(number), **message)
                )
            server.send(call("look", "get_inbox", agent_id=prepared.agents[2]) + ping("meanwhile"))
            assert server.receive()["id"] == "meanwhile"
        answers = {answer["id"]: answer for answer in (server.receive() for _ in range(3))}
    inbox = said_in(answers["look"]["result"])["messages"]
    assert [message["payload"] for message in inbox] == ["0", "0", "1", "2"]


def sent(prepared: Prepared, request_id: int, **more: Any) -> bytes:
    """A call that sends a message whose payload is its number."""
    told = {"fleet_id": prepared.fleet_id, "from_agent_id": prepared.agents[0], "to_agent_id": prepared.agents[2]}
    arguments = {**told, "type": "result", "payload": str(request_id)}
    return line("tools/call", request_id, name="send_message", arguments=arguments, **more)


@pytest.mark.parametrize("more", [{}, {"more": 1}, {"_meta": None}])
def test_a_look_that_was_asked_for_later_sees_what_was_sent_before(ledger_file: Path, more: dict[str, Any]) -> None:
    prepared = prepare(ledger_file)
    with raw_server(environ_for(ledger_file)) as server:
        for _ in range(2):  # so that looking is known to be quick
            assert said_in(server.call("get_inbox", agent_id=prepared.agents[2])) == {"messages": []}
        server.send(sent(prepared, 1, **more) + call("look", "get_inbox", agent_id=prepared.agents[2]))
        answers = {answer["id"]: answer for answer in (server.receive() for _ in range(2))}
    inbox = said_in(answers["look"]["result"])["messages"]
    assert [message["payload"] for message in inbox] == ["1"]


@pytest.mark.parametrize("greets", [True, False])
def test_a_client_of_the_modern_protocol_is_the_sdk_s(ledger_file: Path, greets: bool) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    }
    with raw_server(environ_for(ledger_file), hello=greets) as server:
        answer = server.ask(line("tools/call", 1, name="list_fleets", arguments={}, _meta=meta))
        if greets:
            assert "not accepted" in answer["error"]["message"]
        else:
            assert said_in(answer["result"]) == {"fleets": []}
            assert answer["result"]["resultType"] == "complete"


@pytest.mark.parametrize(
    "params",
    [
        {"name": "list_fleets", "more": 1},
        {"name": "list_fleets", "_meta": {"progressToken": 1.5}},
        {"name": "list_fleets", "_meta": []},
        {"name": "list_fleets", "arguments": []},
        {"name": ["list_fleets"]},
    ],
)
def test_an_odd_call_is_judged_by_the_sdk(ledger_file: Path, params: dict[str, Any]) -> None:
    environ, asked = environ_for(ledger_file), line("tools/call", 1, **params)
    # each asks a server of its own, which leaves every call to the SDK after an odd one
    with raw_server(environ) as server:
        assert server.ask(asked) == said_by_the_sdk(environ, "2025-06-18", asked)[-1]


def test_a_refusal_is_told_in_the_same_form_however_it_comes(ledger_file: Path) -> None:
    with raw_server(environ_for(ledger_file)) as server:
        said_in(server.call("list_fleets"))
        first = server.call("fleet_status", fleet_id="é\n😀")
        second = server.call("fleet_status", fleet_id="é\n😀")
        assert first == second
        assert "is no fleet" in refusal_in(first)


def test_a_client_that_asks_a_lot_before_it_reads_gets_it_all(ledger_file: Path) -> None:
    prepared = prepare(ledger_file)
    asked = b"".join(call(number, "fleet_status", fleet_id=prepared.fleet_id) for number in range(60))
    with raw_server(environ_for(ledger_file)) as server:
        said_in(server.call("fleet_status", fleet_id=prepared.fleet_id))
        server.send(asked)
        answers = [server.receive() for _ in range(60)]
    assert sorted(answer["id"] for answer in answers) == list(range(60))
    assert len({json.dumps(answer["result"]) for answer in answers}) == 1


def test_a_client_that_reads_nothing_of_a_long_answer_may_go_on_asking(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, _ = fleet_of(ledger, "A", by=supervisor())
    [(agent_id, number)] = start_all(ledger)
    settle_attempt(ledger, agent_id, number, Outcome(ok=True, output="x" * 150_000))
    ledger.close()
    long_line = line("ping", "p", _meta={"filling": "x" * 8_000})
    with raw_server(environ_for(ledger_file)) as server:
        for _ in range(3):
            first = server.call("collect_results", fleet_id=fleet_id)
        write_bounded(server, call("long", "collect_results", fleet_id=fleet_id) + long_line * 25)
        answers = [server.receive() for _ in range(26)]
    assert {answer["id"]: answer["result"] for answer in answers} == {"long": first, "p": {}}


def write_bounded(server: RawServer, data: bytes) -> None:
    """Write without reading; fails when the server takes no more for long."""
    assert server.process.stdin is not None
    fd = server.process.stdin.fileno()
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    while data:
        assert poll.poll(PATIENCE_S * 1000), f"{len(data)} bytes were not taken"
        data = data[os.write(fd, data[: select.PIPE_BUF]) :]


def test_what_was_said_before_anything_was_loaded_is_answered_in_full(ledger_file: Path) -> None:
    environ = environ_for(ledger_file)
    with raw_server(environ, hello=False) as server:
        server.send(HELLO + ping(1) + call(2, "list_fleets") + line("tools/list", 3)[:-5])
        assert [server.receive()["id"] for _ in range(3)] == ["hello", 1, 2]
        server.send(line("tools/list", 3)[-5:])
        assert server.receive()["id"] == 3
