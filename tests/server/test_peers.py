"""An agent's own server: it is itself by default, waits without asking again, and what it reads is witnessed."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from meshfleet.ledger import Ledger
from meshfleet.mesh.receipts import get_receipts
from tests.mesh.fleets import open_ledger, row, send
from tests.server.serving import Prepared, RawServer, environ_for, prepare, raw_server, refusal_in, said_in
from tests.server.streams_helpers import call


def server_of(prepared: Prepared, agent_id: str) -> Any:
    return raw_server(environ_for(prepared.ledger_file, MESHFLEET_AGENT_ID=agent_id))


class Refusing(NamedTuple):
    """An orchestrator's server and an agent's on one ledger, which never write: they refuse all they are asked."""

    ledger_file: Path
    orchestrator: RawServer
    agent: RawServer


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Generator[Refusing]:
    prepared = prepare(tmp_path_factory.mktemp("refusing") / "ledger" / "agent-mesh.json")
    environ = environ_for(prepared.ledger_file)
    with raw_server(environ) as orchestrator, server_of(prepared, prepared.agents[0]) as agent:
        yield Refusing(prepared.ledger_file, orchestrator, agent)


def actions(ledger: Ledger, message_id: str) -> list[str]:
    return [receipt["action"] for receipt in get_receipts(ledger, message_id)["receipts"]]


def test_an_agent_need_not_say_who_it_is_nor_in_which_fleet(ledger_file: Path) -> None:
    prepared = prepare(ledger_file)
    explorer, analyst, _ = prepared.agents
    ledger = open_ledger(ledger_file)
    with server_of(prepared, explorer) as one, server_of(prepared, analyst) as other:
        told = said_in(one.call("whoami"))
        assert (told["agent_id"], told["role"], told["fleet_id"]) == (explorer, "Explorer", prepared.fleet_id)
        assert [peer["role"] for peer in told["peers"]] == ["Analyst", "Engineer"]
        sent = said_in(one.call("send_message", to_agent_id="Analyst", type="question", payload="why?"))
        assert sent["recipients"] == [analyst]
        message_id = sent["message_id"]
        assert row(ledger, "messages", message_id)["from_agent_id"] == explorer
        [message] = said_in(other.call("get_inbox", type="question"))["messages"]
        assert message["id"] == message_id
        assert actions(ledger, message_id) == ["seen"]
        answer = {"type": "result", "payload": "because", "correlation_id": message_id}
        said_in(other.call("send_message", to_agent_id="Explorer", **answer))
        assert said_in(other.call("ack_message", message_id=message_id)) == {"ok": True}
        [reply] = said_in(one.call("wait_for_messages", correlation_id=message_id))["messages"]
        assert (reply["payload"], reply["from_agent_id"]) == ("because", analyst)
        assert said_in(one.call("fleet_status"))["fleet"]["id"] == prepared.fleet_id
        assert said_in(one.call("register_capability", skills=["maps"])) == {"ok": True}
        [capable] = [peer for peer in said_in(other.call("whoami"))["peers"] if peer["role"] == "Explorer"]
        assert capable["skills"] == ["maps"]
    assert sorted(actions(ledger, message_id)) == ["ack", "seen"]


def test_what_an_orchestrator_looks_at_is_witnessed_by_nobody(ledger_file: Path) -> None:
    prepared = prepare(ledger_file)
    ledger = open_ledger(ledger_file)
    message_id = send(ledger, prepared.fleet_id, prepared.agents[1])["message_id"]
    with raw_server(environ_for(ledger_file)) as server:
        assert said_in(server.call("get_inbox", agent_id=prepared.agents[1]))["messages"]
        waited = said_in(server.call("wait_for_messages", agent_id=prepared.agents[1]))
        assert waited["timed_out"] is False
    assert actions(ledger, message_id) == []


def ask_to_wait(server: RawServer, **arguments: object) -> None:
    server.send(call("waiting", "wait_for_messages", **arguments))


def test_a_wait_ends_as_soon_as_another_process_has_sent_what_is_waited_for(ledger_file: Path) -> None:
    prepared = prepare(ledger_file)
    ledger = open_ledger(ledger_file)
    engineer = prepared.agents[2]
    with server_of(prepared, engineer) as server:
        ask_to_wait(server, correlation_id="thread")
        assert said_in(server.call("whoami"))["unread"] == 0
        send(ledger, prepared.fleet_id, engineer, "something else")
        with server_of(prepared, prepared.agents[0]) as other:
            thread = {"type": "result", "payload": "at last", "correlation_id": "thread"}
            said_in(other.call("send_message", to_agent_id="Engineer", **thread))
        answer = server.receive()
        assert answer["id"] == "waiting"
        said = said_in(answer["result"])
        assert ([one["payload"] for one in said["messages"]], said["timed_out"]) == (["at last"], False)


def test_a_wait_that_nothing_comes_of_says_so(ledger_file: Path) -> None:
    prepared = prepare(ledger_file)
    with server_of(prepared, prepared.agents[2]) as server:
        assert said_in(server.call("wait_for_messages", timeout_ms=1)) == {"messages": [], "timed_out": True}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"timeout_ms": 0}, "timeout_ms is 0; it has to be at least 1"),
        ({"timeout_ms": -5}, "timeout_ms is -5; it has to be at least 1"),
        ({"timeout_ms": 50_001}, "timeout_ms is 50001; it has to be at most 50000"),
        ({"timeout_ms": "1"}, "timeout_ms is '1'; it has to be a whole number"),
        ({"since": -1}, "since is -1; it has to be at least 0"),
        ({"since": 10**30}, f"since is {10**30}; it has to be a time in ms since the epoch"),
        ({"correlation_id": " "}, "correlation_id is blank; it has to say something"),
        ({"agent_id": "Analyst"}, "agent_id is 'Analyst', but you are agent"),
    ],
)
def test_a_wait_that_can_t_be_is_refused_by_name(refusing: Refusing, arguments: dict[str, object], told: str) -> None:
    assert refusal_in(refusing.agent.call("wait_for_messages", **arguments)).startswith(told)


def test_an_agent_hears_that_nobody_reads_what_it_sent(ledger_file: Path) -> None:
    prepared = prepare(ledger_file)
    explorer, _, engineer = prepared.agents
    with server_of(prepared, explorer) as server:
        sent = said_in(server.call("send_message", to_agent_id="Engineer", type="handoff", payload="x"))
        assert sent["warning"].startswith(f"nobody reads this: Engineer ({engineer}) ")
        lost = {one["message_id"]: one for one in said_in(server.call("whoami"))["undeliverable"]}[sent["message_id"]]
        assert (lost["to_agent_id"], lost["role"]) == (engineer, "Engineer")
    with raw_server(environ_for(ledger_file)) as orchestrator:
        assert said_in(orchestrator.call("get_health"))["undeliverable"] >= 1


@pytest.mark.parametrize(
    ("agents", "told"),
    [
        ([{"role": "A", "prompt": "a", "after": ["B"]}], "agents[0].after names 'B', a role that no agent"),
        ([{"role": "A", "prompt": "a", "start": "later"}], "agents[0].start is 'later'; it has to be"),
        ([{"role": "A", "prompt": "a", "start": "on_message"}], "no agent starts at once"),
        (
            [{"role": "A", "prompt": "a", "after": ["B"]}, {"role": "B", "prompt": "b", "after": ["A"]}],
            "after goes in a circle: 'A' after 'B' after 'A'",
        ),
        ([{"role": "A", "prompt": "a", "wake": "yes"}], "agents[0].wake is 'yes'; it has to be"),
        ([{"role": "A", "prompt": "a", "after": "B"}], "agents[0].after is 'B'; it has to be"),
    ],
)
@pytest.mark.parametrize("of_agent", [False, True])
def test_a_fleet_whose_order_can_t_be_is_refused_and_nothing_is_written(
    refusing: Refusing, agents: list[dict[str, object]], told: str, of_agent: bool
) -> None:
    server = refusing.agent if of_agent else refusing.orchestrator
    assert refusal_in(server.call("spawn_fleet", agents=agents)).startswith(told)
    assert open_ledger(refusing.ledger_file).read(lambda view: view.count("fleets")) == 2
