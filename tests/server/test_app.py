"""The server around the tools: order, failures inside, odd bytes of old ledgers, and what a call leaves running."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from meshfleet.mesh.identity import Caller
from meshfleet.server.calls import run_tool
from meshfleet.server.tool import Context
from meshfleet.server.tools import TOOLS
from tests.mesh.fleets import fleet_of, open_ledger, payloads, supervisor
from tests.server.serving import Prepared, environ_for, prepare, raw_server, refusal_in, said_in
from tests.server.streams_helpers import HELLO, call, line, ping

BROKEN_SERVER: Final = """
import dataclasses, os, sys
from meshfleet.cli import main
from meshfleet.server import tools

def fail(context, arguments):
    print("a stray print")
    os.write(1, b"a stray write")
    raise RuntimeError("it broke: \\ud800 \\x1b[31m")

tools.TOOLS["ping"] = dataclasses.replace(tools.TOOLS["ping"], call=fail)
sys.argv = ["meshfleet", "serve"]
sys.exit(main())
"""


@pytest.fixture
def prepared(ledger_file: Path) -> Prepared:
    """A ledger with a fleet of three that have ended, and a message."""
    return prepare(ledger_file)


def sending(number: int, prepared: Prepared, payload: str) -> bytes:
    """A request that sends a message to the third agent."""
    return call(
        number,
        "send_message",
        from_agent_id=prepared.agents[0],
        to_agent_id=prepared.agents[2],
        fleet_id=prepared.fleet_id,
        type="result",
        payload=payload,
    )


def test_pipelined_calls_take_effect_in_the_order_they_came(prepared: Prepared) -> None:
    with raw_server(environ_for(prepared.ledger_file, MESHFLEET_DURABILITY="process")) as server:
        server.send(b"".join(sending(number, prepared, str(number)) for number in range(300)))
        answers = [server.receive() for _ in range(300)]
    ids = [said_in(answer["result"])["message_id"] for answer in sorted(answers, key=lambda answer: answer["id"])]
    ledger = open_ledger(prepared.ledger_file)
    assert payloads(ledger, prepared.agents[2]) == [str(number) for number in range(300)]
    assert ledger.read(lambda view: list(view.inbox(prepared.agents[2]))) == ids


def test_a_call_sees_what_the_one_before_it_did_without_waiting_for_its_answer(prepared: Prepared) -> None:
    asking = call("inbox", "get_inbox", agent_id=prepared.agents[2])
    with raw_server(environ_for(prepared.ledger_file)) as server:
        server.send(sending(1, prepared, "x") + asking)
        answers = {answer["id"]: answer["result"] for answer in (server.receive(), server.receive())}
    [message] = said_in(answers["inbox"])["messages"]
    assert message["id"] == said_in(answers[1])["message_id"]


def test_calls_that_are_in_flight_when_stdin_closes_are_answered(prepared: Prepared) -> None:
    with raw_server(environ_for(prepared.ledger_file)) as server:
        server.send(b"".join(sending(number, prepared, str(number)) for number in range(50)))
        answers = server.end()
        assert server.process.wait(10) == 0
    assert sorted(answer["id"] for answer in answers) == list(range(50))
    assert len(payloads(open_ledger(prepared.ledger_file), prepared.agents[2])) == 50


def test_a_cancelled_call_happens_whole_or_not_at_all_and_the_next_one_is_served(prepared: Prepared) -> None:
    with raw_server(environ_for(prepared.ledger_file)) as server:
        cancelled = line("notifications/cancelled", requestId=7, reason="changed my mind")
        server.send(sending(7, prepared, "maybe") + cancelled + ping("still there"))
        answered = []
        while "still there" not in answered:
            answered.append(server.receive()["id"])
        said = said_in(server.call("get_inbox", agent_id=prepared.agents[2]))
    assert set(answered) <= {7, "still there"}
    assert [message["payload"] for message in said["messages"]] in ([], ["maybe"])


def test_an_id_that_is_used_twice_is_answered_twice(prepared: Prepared) -> None:
    with raw_server(environ_for(prepared.ledger_file)) as server:
        for _ in range(2):
            answer = server.ask(call("same", "ping"))
            assert answer["id"] == "same"
            assert said_in(answer["result"])["status"] == "ok"


@pytest.mark.parametrize("level", ["debug", "error"])
def test_a_tool_that_fails_inside_is_a_refusal_and_stdout_stays_protocol(ledger_file: Path, level: str) -> None:
    environ = environ_for(ledger_file, MESHFLEET_LOG_LEVEL=level)
    with raw_server(environ, [sys.executable, "-c", BROKEN_SERVER]) as server:
        error = refusal_in(server.call("ping"))
        assert error.startswith("ping failed inside meshfleet (RuntimeError: it broke: ")
        assert error.endswith("; this is a bug: report it")
        assert said_in(server.call("list_fleets")) == {"fleets": []}
        assert server.end() == []
        assert server.process.wait(10) == 0
        assert "RuntimeError: it broke" in server.stderr
        assert "a stray print" in server.stderr
        assert "a stray write" in server.stderr


def test_with_every_log_on_stdout_carries_protocol_only(prepared: Prepared) -> None:
    with raw_server(environ_for(prepared.ledger_file, MESHFLEET_LOG_LEVEL="debug")) as server:
        server.send(b"not json\n" + call(1, "no_such_tool") + call(2, "fleet_status") + sending(3, prepared, "x"))
        server.send(line("no/such/method", 4) + line("tools/list", 5))
        answers = [server.receive() for _ in range(6)]
        assert server.end() == []
        assert server.stderr
    assert {answer["id"]: "error" in answer for answer in answers} == {
        None: True,
        1: True,
        2: False,
        3: False,
        4: True,
        5: False,
    }


@pytest.mark.slow
def test_a_message_sent_through_one_server_is_in_the_inbox_of_another_at_once(prepared: Prepared) -> None:
    environ = environ_for(prepared.ledger_file)
    with raw_server(environ) as one, raw_server(environ) as two:
        for number in range(6):
            sender, receiver = (one, two) if number % 2 else (two, one)
            answer = sender.ask(sending(number, prepared, str(number)))
            waiting = said_in(receiver.call("get_inbox", agent_id=prepared.agents[2]))["messages"]
            assert waiting[-1]["id"] == said_in(answer["result"])["message_id"]
            assert len(waiting) == number + 1


def test_what_a_killed_server_had_answered_stays_in_the_ledger(prepared: Prepared) -> None:
    with raw_server(environ_for(prepared.ledger_file)) as killed:
        sent = said_in(killed.ask(sending(1, prepared, "x"))["result"])
        killed.process.kill()
    ledger = open_ledger(prepared.ledger_file)
    assert ledger.read(lambda view: list(view.inbox(prepared.agents[2]))) == [sent["message_id"]]


def test_a_lone_surrogate_of_an_old_ledger_is_shown_as_a_question_mark(ledger_file: Path, tmp_path: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a,) = fleet_of(ledger, "A", by=supervisor())
    row = {**ledger.read(lambda view: view.agents_of(fleet_id))[0], "role": "A\ud800", "output": "\udfff"}
    ledger.transact(lambda transaction: transaction.put("agents", a, row))
    context = Context(ledger, Caller(), None, {}, tmp_path)
    result = run_tool(TOOLS["collect_results"], context, {"fleet_id": fleet_id})
    told: dict[str, Any] = result.value or {}
    assert [(agent["role"], agent["output"]) for agent in told["results"]] == [("A?", "?")]
    result.as_line(1).decode()


def test_a_damaged_ledger_is_a_refusal_that_says_so(prepared: Prepared) -> None:
    prepared.ledger_file.write_bytes(prepared.ledger_file.read_bytes()[:-20])
    with raw_server(environ_for(prepared.ledger_file)) as server:
        error = refusal_in(server.call("list_fleets"))
        assert str(prepared.ledger_file) in error
        assert said_in(server.call("ping"))["status"] == "ok"
        assert server.end() == []
        assert server.process.wait(10) == 0


def test_before_it_was_greeted_the_server_runs_no_tool(prepared: Prepared) -> None:
    with raw_server(environ_for(prepared.ledger_file), hello=False) as server:
        answer = server.ask(sending(1, prepared, "too early"))
        assert "error" in answer
        server.send(HELLO)
        assert "result" in server.receive()
        said = said_in(server.call("get_inbox", agent_id=prepared.agents[2]))
    assert json.dumps(said) == '{"messages": []}'
