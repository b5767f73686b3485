"""What a session leaves behind is what v0.9.0's own reader, its event log's readers and its configuration rely on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.agents.fake_runtime import install
from tests.ledger.v2_reader import read_as_v2
from tests.server.serving import PATIENCE_S, RawServer, environ_for, raw_server, said_in, wait_until
from tests.server.streams_helpers import call, line

TABLES: Final = {"fleets", "agents", "messages", "inboxes", "capabilities", "receipts", "templates"}
LOGGED: Final = {"fleet_created", "spawn_fleet_called", "agent_spawned", "receipt_written", "fleet_timeout_set"}
"""The names v0.9.0 wrote that come up in a session in which nothing goes wrong."""
AGENTS: Final = [{"role": "React expert", "prompt": "answer a", "agent": "critic"}, {"role": "B", "prompt": "answer b"}]


def ask(server: RawServer, tool: str, /, **arguments: object) -> dict[str, Any]:
    """Call a tool that is not to refuse."""
    return said_in(server.ask(line("tools/call", 1, name=tool, arguments=arguments))["result"])


def live(server: RawServer) -> tuple[str, list[str], str]:
    """A session that writes a row of every kind; the fleet, its agents, and a message both of them have acked."""
    said = ask(server, "spawn_fleet", agents=AGENTS)
    fleet_id, (a, b) = said["fleet_id"], said["agent_ids"]
    wait_until(lambda: bool(ask(server, "fleet_status", fleet_id=fleet_id)["fleet"]["status"] == "complete"))
    ask(server, "set_fleet_timeout", fleet_id=fleet_id, timeout_ms=5000)
    message = {"from_agent_id": "me", "fleet_id": fleet_id, "type": "request_help", "payload": "größer"}
    sent: str = ask(server, "send_message", to_agent_id="*", **message)["message_id"]
    ask(server, "send_message", to_agent_id=a, correlation_id=sent, **message)
    for agent_id in (a, b):
        ask(server, "receipt", agent_id=agent_id, message_id=sent, action="seen", note="on it")
        ask(server, "ack_message", agent_id=agent_id, message_id=sent)
    about = {"agent_id": a, "fleet_id": fleet_id, "role": "DBA", "skills": ["sql"], "model": "m"}
    ask(server, "register_capability", **about, context_window=1000)
    ask(server, "record_routing_outcome", agent_id=a, capability_key="sql", success=True)
    for _ in range(2):
        ask(server, "save_fleet_template", name="duo", agents=AGENTS)
    ask(server, "delete_fleet_template", name="duo", version=2)
    return fleet_id, [a, b], sent


@pytest.fixture
def environ(ledger_file: Path, tmp_path: Path) -> dict[str, str]:
    """A server's environment whose agents do what their prompts say, at once."""
    return environ_for(ledger_file, MESHFLEET_OPENCODE=str(install(tmp_path)), MESHFLEET_START_STAGGER_MS="0")


@pytest.mark.slow
def test_v090_can_read_what_a_session_leaves_row_by_row(environ: dict[str, str], ledger_file: Path) -> None:
    with raw_server(environ) as server:
        fleet_id, (a, b), sent = live(server)
        server.end()
        assert server.process.wait(PATIENCE_S) == 0
    document = read_as_v2(ledger_file)
    assert document.keys() >= {"schema_version", *TABLES}
    assert document["schema_version"] == 2
    assert type(document["generation"]) is int
    assert document["fleets"][fleet_id]["status"] == "complete"
    assert document["fleets"][fleet_id]["timeout_ms"] == 5000
    assert [document["agents"][one]["output"] for one in (a, b)] == ["a", "b"]
    assert (document["agents"][a]["agent_file"], "agent_file" in document["agents"][b]) == ("critic", False)
    assert document["messages"][sent]["recipients"] == [a, b]
    assert document["messages"][sent]["acknowledged"] is True
    assert {key for key in document["receipts"] if key.startswith(sent)} == {
        f"{sent}:{one}:{action}" for one in (a, b) for action in ("seen", "ack")
    }
    [waiting] = [key for key, row in document["messages"].items() if row.get("correlation_id") == sent]
    assert document["inboxes"][a] == [waiting]
    assert not document["inboxes"].get(b)
    assert document["capabilities"][a]["skills"] == ["sql"]
    assert document["templates"].keys() == {"duo@v1"}


@pytest.mark.slow
def test_the_event_log_lies_beside_the_ledger_and_keeps_v090_s_names(
    environ: dict[str, str], ledger_file: Path
) -> None:
    with raw_server(environ) as server:
        live(server)
    events = [json.loads(text) for text in ledger_file.with_name("agent-mesh.events.log").read_text().splitlines()]
    assert all(isinstance(event["event"], str) and type(event["timestamp"]) is int for event in events)
    assert {event["event"] for event in events} >= LOGGED


@pytest.mark.slow
def test_the_old_names_of_the_settings_and_the_old_place_of_the_ledger_stand(ledger_file: Path, tmp_path: Path) -> None:
    environ = environ_for(ledger_file)
    del environ["MESHFLEET_DATA_FILE"]
    old_place = Path(environ["HOME"]) / ".config" / "opencode" / "agent-mesh.json"
    for named, file in (
        ({}, old_place),
        ({"AGENT_MESH_DATA_DIR": str(tmp_path / "dir")}, tmp_path / "dir" / "agent-mesh.json"),
        ({"AGENT_MESH_DATA_FILE": str(tmp_path / "own.json")}, tmp_path / "own.json"),
    ):
        with raw_server({**environ, **named}) as server:
            ask(server, "save_fleet_template", name="duo", agents=AGENTS)
            server.end()
            assert server.process.wait(PATIENCE_S) == 0
        assert list(read_as_v2(file)["templates"]) == ["duo@v1"]


@pytest.mark.slow
def test_whoever_polls_is_not_starved(ledger_file: Path) -> None:
    with raw_server(environ_for(ledger_file)) as server:
        server.send(b"".join(call(number, "list_fleets") for number in range(700)))
        answers = [server.receive() for _ in range(700)]
    assert [answer["result"]["isError"] for answer in answers] == [False] * 700


@pytest.mark.slow
def test_outcomes_and_templates_survive_a_restart(environ: dict[str, str]) -> None:
    with raw_server(environ) as server:
        _, (a, _), _ = live(server)
    with raw_server(environ) as server:
        [match] = ask(server, "route_work", description="sql")["matches"]
        assert (match["agent_id"], match["score"], match["weight"]) == (a, 1, 1.1)
        assert [row["version"] for row in ask(server, "list_fleet_templates")["templates"]] == [1]
        assert ask(server, "save_fleet_template", name="duo", agents=AGENTS)["template"]["version"] == 3
