"""A client written for v0.9.0 works unchanged: one test for each of its tools, over the wire as it speaks it.

It greets with the protocol of its day, reads nothing of a result but its one text, and gives no argument and knows no
field that v0.9.0 had not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import pytest

from meshfleet.model import now_ms
from tests.agents.fake_runtime import install
from tests.server.push_readers import reading
from tests.server.serving import SERVE, RawServer, environ_for, raw_server, wait_until
from tests.server.streams_helpers import call, line

HELLO: Final = line(
    "initialize",
    "hello",
    protocolVersion="2024-11-05",
    capabilities={},
    clientInfo={"name": "opencode", "version": "0.9"},
) + line("notifications/initialized")
TOOLS: Final = (
    *("spawn_fleet", "fleet_status", "list_fleets", "set_fleet_timeout", "collect_results", "attach_agent"),
    *("list_agents", "send_message", "get_inbox", "ack_message", "receipt", "get_receipts", "register_capability"),
    *("route_work", "record_routing_outcome", "save_fleet_template", "list_fleet_templates", "spawn_from_template"),
    *("subscribe_inbox", "get_health", "ping"),
)
FLEET: Final = {"id", "status", "created_at"}
AGENT: Final = {"id", "fleet_id", "role", "prompt", "status"}
MESSAGE: Final = {"id", "from_agent_id", "to_agent_id", "fleet_id", "type", "payload", "timestamp", "acknowledged"}
TEMPLATE: Final = ["name", "description", "agents", "created_at", "version"]


class Client(NamedTuple):
    """What a script for v0.9.0 would be made of."""

    server: RawServer
    project: Path
    ledger_file: Path

    def ask(self, tool: str, /, **arguments: object) -> dict[str, Any]:
        """Call a tool that is not to refuse; what its text holds, which is compact JSON."""
        result = self._result(tool, arguments)
        assert not result.get("isError"), result
        return self._text_of(result)

    def refused(self, tool: str, /, **arguments: object) -> str:
        """Call a tool that is to refuse; why it did."""
        result = self._result(tool, arguments)
        assert result["isError"] is True
        told = self._text_of(result)
        assert list(told) == ["error"]
        error: str = told["error"]
        return error

    def finished(self, *prompts: str) -> tuple[str, list[str]]:
        """A fleet of agents that did what their prompts say, and have ended; its id and theirs."""
        agents = [{"role": f"Agent {place}", "prompt": prompt} for place, prompt in enumerate(prompts)]
        said = self.ask("spawn_fleet", agents=agents)
        wait_until(lambda: self.ask("fleet_status", fleet_id=said["fleet_id"])["fleet"]["status"] != "running")
        return said["fleet_id"], said["agent_ids"]

    def _result(self, tool: str, arguments: dict[str, object]) -> dict[str, Any]:
        answer = self.server.ask(line("tools/call", 1, name=tool, arguments=arguments))
        result: dict[str, Any] = answer["result"]
        return result

    def _text_of(self, result: dict[str, Any]) -> dict[str, Any]:
        [content] = result["content"]
        assert content.keys() == {"type", "text"}
        assert content["type"] == "text"
        told = json.loads(content["text"])
        assert content["text"] in {
            json.dumps(told, separators=(",", ":"), ensure_ascii=ensure_ascii) for ensure_ascii in (False, True)
        }
        assert isinstance(told, dict)
        return told


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Generator[Client]:
    """A session as v0.9.0's configuration starts one, in a project with premade agents."""
    folder = tmp_path_factory.mktemp("v090")
    ledger_file = folder / "ledger" / "agent-mesh.json"
    project = folder / "project"
    for path in (ledger_file.parent, project / ".git"):
        path.mkdir(parents=True)
    environ = environ_for(ledger_file, MESHFLEET_OPENCODE=str(install(folder)), MESHFLEET_START_STAGGER_MS="0")
    environ["AGENT_MESH_RETRY_BASE_MS"] = "1"
    environ["AGENT_MESH_DATA_FILE"] = environ.pop("MESHFLEET_DATA_FILE")
    home = Path(environ["HOME"])
    for agents, names in ((project / ".opencode/agent", "critic reader"), (home / ".config/opencode/agents", "critic")):
        agents.mkdir(parents=True)
        for name in names.split():
            text = f"---\ndescription: {name} of {agents.parts[-2]}\nmode: subagent\n---\nBe one."
            (agents / f"{name}.md").write_text(text)
    in_project = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(project), *SERVE]
    with raw_server(environ, in_project, hello=False) as server:
        greeting = server.ask(HELLO)["result"]
        assert greeting["protocolVersion"] == "2024-11-05"
        assert greeting["serverInfo"]["name"] == "meshfleet"
        yield Client(server, project, ledger_file)


def is_time(value: object) -> bool:
    """A whole number of ms since the epoch, not long ago."""
    return type(value) is int and now_ms() - 120_000 < value <= now_ms()


def is_id(value: object) -> bool:
    """The text of a UUID."""
    return isinstance(value, str) and str(UUID(value)) == value


def test_every_tool_of_v090_is_listed_and_has_a_test_here(client: Client) -> None:
    listed = {tool["name"] for tool in client.server.ask(line("tools/list", 1))["result"]["tools"]}
    assert len(TOOLS) == 21
    assert set(TOOLS) <= listed
    tests = [name for name in globals() if name.startswith("test_")]
    assert [tool for tool in TOOLS if not any(name.startswith(f"test_{tool}_") for name in tests)] == []


def test_an_unknown_tool_is_an_error_of_json_rpc(client: Client) -> None:
    answer = client.server.ask(call(1, "no_such_tool"))
    assert answer.keys() == {"jsonrpc", "id", "error"}
    assert type(answer["error"]["code"]) is int


def test_spawn_fleet_gives_the_fleet_s_id_and_the_agents_in_the_order_given(client: Client) -> None:
    agents = [{"role": f"R{n}", "prompt": f"answer {n}", "agent": "critic"} for n in range(3)]
    said = client.ask("spawn_fleet", agents=[*agents, {"role": "R3", "prompt": "answer 3"}])
    assert list(said) == ["fleet_id", "agent_ids"]
    assert all(is_id(one) for one in (said["fleet_id"], *said["agent_ids"]))
    rows = client.ask("fleet_status", fleet_id=said["fleet_id"])["agents"]
    assert [row["id"] for row in rows] == said["agent_ids"]
    assert [(row["role"], row["prompt"]) for row in rows] == [(f"R{n}", f"answer {n}") for n in range(4)]
    assert [row.get("agent_file") for row in rows] == ["critic", "critic", "critic", None]


def test_fleet_status_gives_the_rows_of_the_fleet_and_its_agents(client: Client) -> None:
    fleet_id, agent_ids = client.finished("answer größer als 1 < 2", "exit 3")
    said = client.ask("fleet_status", fleet_id=fleet_id)
    assert list(said) == ["fleet", "agents"]
    assert said["fleet"].keys() >= FLEET
    assert (said["fleet"]["id"], said["fleet"]["status"]) == (fleet_id, "failed")
    assert is_time(said["fleet"]["created_at"])
    assert is_time(said["fleet"]["completed_at"])
    good, bad = said["agents"]
    for agent, agent_id in zip(said["agents"], agent_ids, strict=True):
        assert agent.keys() >= AGENT
        assert (agent["id"], agent["fleet_id"]) == (agent_id, fleet_id)
        assert is_time(agent["started_at"])
        assert is_time(agent["completed_at"])
        assert type(agent["retry_count"]) is int
    assert (good["status"], good["output"], good["retry_count"]) == ("complete", "größer als 1 < 2", 0)
    assert bad["status"] == "failed"
    assert bad["error"]
    assert "fleet_id" in client.refused("fleet_status", fleet_id="no such fleet")


def test_list_fleets_counts_each_fleet_s_agents(client: Client) -> None:
    fleet_id, _ = client.finished("answer a", "answer b")
    said = client.ask("list_fleets")
    assert list(said) == ["fleets"]
    [fleet] = [fleet for fleet in said["fleets"] if fleet["id"] == fleet_id]
    counts = {"agent_count": 2, "agents_complete": 2, "agents_failed": 0, "agents_running": 0}
    assert fleet.keys() == {*FLEET, "completed_at", *counts}
    assert {name: fleet[name] for name in counts} == counts
    assert fleet["status"] == "complete"


def test_set_fleet_timeout_says_what_was_set(client: Client) -> None:
    fleet_id, _ = client.finished("answer a")
    assert client.ask("set_fleet_timeout", fleet_id=fleet_id, timeout_ms=1000) == {"ok": True, "timeout_ms": 1000}
    assert client.ask("fleet_status", fleet_id=fleet_id)["fleet"]["timeout_ms"] == 1000


def test_collect_results_gives_role_status_output_and_error_of_each(client: Client) -> None:
    fleet_id, agent_ids = client.finished("answer well", "exit 3")
    said = client.ask("collect_results", fleet_id=fleet_id)
    assert list(said) == ["fleet_id", "results"]
    assert said["fleet_id"] == fleet_id
    for result, agent_id in zip(said["results"], agent_ids, strict=True):
        assert result.keys() == {"role", "status", "output", "error", "agent_id"}
        assert result["agent_id"] == agent_id
    good, bad = said["results"]
    assert (good["role"], good["status"], good["output"], good["error"]) == ("Agent 0", "complete", "well", None)
    assert (bad["role"], bad["status"]) == ("Agent 1", "failed")
    assert bad["error"]


def test_attach_agent_adds_one_while_the_fleet_runs_and_is_refused_afterwards(client: Client) -> None:
    fleet_id = client.ask("spawn_fleet", agents=[{"role": "A", "prompt": "begin\nhang"}])["fleet_id"]
    said = client.ask("attach_agent", fleet_id=fleet_id, role="B", prompt="answer b", agent="critic")
    assert list(said) == ["agent_id", "fleet_id", "role", "agent_file", "message"]
    assert (said["fleet_id"], said["role"], said["agent_file"]) == (fleet_id, "B", "critic")
    assert is_id(said["agent_id"])
    assert said["message"]
    client.ask("set_fleet_timeout", fleet_id=fleet_id, timeout_ms=1)
    wait_until(lambda: client.ask("fleet_status", fleet_id=fleet_id)["fleet"]["status"] == "failed")
    assert "running" in client.refused("attach_agent", fleet_id=fleet_id, role="C", prompt="answer c")


def test_list_agents_lists_the_premade_ones_the_project_s_before_the_user_s(client: Client) -> None:
    said = client.ask("list_agents")
    assert said == {
        "count": 2,
        "agents": [
            {"filename": name, "name": name, "description": f"{name} of .opencode", "mode": "subagent"}
            for name in ("critic", "reader")
        ],
    }


def sent(client: Client, to: str | None = None) -> tuple[dict[str, Any], str, list[str]]:
    """A message in a fleet of three that has ended: what sending it said, the fleet and the agents."""
    fleet_id, agent_ids = client.finished("answer a", "answer b", "answer c")
    said = client.ask(
        "send_message",
        from_agent_id=agent_ids[0],
        to_agent_id=to or agent_ids[1],
        fleet_id=fleet_id,
        type="handoff",
        payload="größer\n\x1b",
        correlation_id="c-1",
    )
    return said, fleet_id, agent_ids


def test_send_message_gives_the_message_s_id_and_its_recipients(client: Client) -> None:
    for to in (None, "*", "orchestrator"):
        said, _, (_, b, c) = sent(client, to)
        assert list(said)[:2] == ["message_id", "recipients"]
        assert is_id(said["message_id"])
        assert said["recipients"] == {None: [b], "*": [b, c], "orchestrator": ["orchestrator"]}[to]


def test_get_inbox_gives_the_rows_of_what_waits_oldest_first(client: Client) -> None:
    said, fleet_id, (a, b, _) = sent(client)
    message = {"from_agent_id": "me", "to_agent_id": "*", "fleet_id": fleet_id, "type": "alert", "payload": "second"}
    client.ask("send_message", **message)
    inbox = client.ask("get_inbox", agent_id=b)
    assert list(inbox) == ["messages"]
    first, second = inbox["messages"]
    assert first.keys() == MESSAGE | {"correlation_id"}
    assert second.keys() == MESSAGE | {"recipients"}
    assert (first["id"], first["from_agent_id"], first["to_agent_id"]) == (said["message_id"], a, b)
    assert (first["type"], first["payload"], first["correlation_id"]) == ("handoff", "größer\n\x1b", "c-1")
    assert first["acknowledged"] is False
    assert is_time(first["timestamp"])
    assert client.ask("get_inbox", agent_id=b, since=second["timestamp"]) == {"messages": []}


def test_ack_message_is_ok_also_on_a_repeat_and_false_for_an_unknown_message(client: Client) -> None:
    said, _, (_, b, _) = sent(client)
    for _ in range(2):
        assert client.ask("ack_message", agent_id=b, message_id=said["message_id"]) == {"ok": True}
    assert client.ask("get_inbox", agent_id=b) == {"messages": []}
    assert client.ask("ack_message", agent_id=b, message_id="unknown")["ok"] is False


def test_receipt_gives_the_one_that_stands_and_leaves_ack_to_its_own_tool(client: Client) -> None:
    said, _, (_, b, _) = sent(client)
    about = {"agent_id": b, "message_id": said["message_id"]}
    first = client.ask("receipt", **about, action="seen", note="first")
    assert list(first) == ["receipt"]
    assert first["receipt"].keys() == {"message_id", "agent_id", "action", "timestamp", "note"}
    assert client.ask("receipt", **about, action="seen", note="second") == first
    assert client.ask("receipt", **about, action="r-ack")["receipt"].keys() == first["receipt"].keys() - {"note"}
    assert "ack_message" in client.refused("receipt", **about, action="ack")
    assert "message_id" in client.refused("receipt", agent_id=b, message_id="unknown", action="seen")
    assert len(client.ask("get_inbox", agent_id=b)["messages"]) == 1


def test_get_receipts_gives_them_oldest_first_then_by_agent(client: Client) -> None:
    said, _, (_, b, c) = sent(client, "*")
    for agent_id in (c, b):
        client.ask("receipt", agent_id=agent_id, message_id=said["message_id"], action="seen")
        client.ask("ack_message", agent_id=agent_id, message_id=said["message_id"])
    trail = client.ask("get_receipts", message_id=said["message_id"])
    assert list(trail) == ["receipts"]
    assert {(one["agent_id"], one["action"]) for one in trail["receipts"]} == {
        (agent_id, action) for agent_id in (b, c) for action in ("seen", "ack")
    }
    assert trail["receipts"] == sorted(trail["receipts"], key=lambda one: (one["timestamp"], one["agent_id"]))


def registered(client: Client, **more: object) -> str:
    """An agent whose skill nobody else has, so that it alone is found by it; its id."""
    fleet_id, (agent_id, _) = client.finished("answer a", "answer b")
    about = {"agent_id": agent_id, "fleet_id": fleet_id, "role": "Dowser", "skills": ["dowsing", "css"], **more}
    assert client.ask("register_capability", **about) == {"ok": True}
    return agent_id


def test_register_capability_takes_a_model_and_its_context_window(client: Client) -> None:
    registered(client, model="anthropic/claude", context_window=200_000)
    assert client.ask("get_health")["capabilities"] >= 1


def test_route_work_names_the_best_first_and_nobody_who_does_not_fit(client: Client) -> None:
    agent_id = registered(client)
    said = client.ask("route_work", description="Dowsing for bugs in CSS", top_n=5)
    assert list(said) == ["matches"]
    for match in said["matches"]:
        assert match.keys() >= {"agent_id", "score", "role", "weight"}
        assert match["score"] > 0
    assert agent_id in [match["agent_id"] for match in said["matches"]]
    assert [match["weight"] for match in said["matches"]] == sorted(
        (match["weight"] for match in said["matches"]), reverse=True
    )
    assert len(client.ask("route_work", description="dowsing")["matches"]) == 1
    assert client.ask("route_work", description="cobol") == {"matches": []}


def test_record_routing_outcome_repeats_what_it_was_told_and_weighs(client: Client) -> None:
    agent_id = registered(client)
    outcome = {"agent_id": agent_id, "capability_key": "dowsing", "success": True}
    assert client.ask("record_routing_outcome", **outcome) == {"ok": True, **outcome}
    [best] = client.ask("route_work", description="dowsing")["matches"]
    assert best["agent_id"] == agent_id
    assert best["weight"] == pytest.approx(best["score"] * (1 + 0.5 / 5))


def saved(client: Client, name: str, **more: object) -> dict[str, Any]:
    """A template of one agent; what saving it said."""
    return client.ask("save_fleet_template", name=name, agents=[{"role": "A", "prompt": "answer a"}], **more)


def test_save_fleet_template_makes_a_new_version_each_time(client: Client) -> None:
    first, second = saved(client, "v090-save", description="for bugs"), saved(client, "v090-save")
    for version, said in enumerate((first, second), start=1):
        assert list(said) == ["template"]
        assert list(said["template"]) == TEMPLATE
        assert said["template"]["version"] == version
        assert said["template"]["agents"] == [{"role": "A", "prompt": "answer a"}]
        assert is_time(said["template"]["created_at"])
    assert first["template"]["description"] == "for bugs"


def test_list_fleet_templates_lists_every_version_by_name(client: Client) -> None:
    rows = [saved(client, name)["template"] for name in ("v090-list-b", "v090-list-a", "v090-list-b")]
    listed = client.ask("list_fleet_templates")
    assert list(listed) == ["templates"]
    ours = [row for row in listed["templates"] if row["name"].startswith("v090-list-")]
    assert ours == [rows[1], rows[0], rows[2]]


def test_spawn_from_template_gives_a_spec_that_spawn_fleet_takes(client: Client) -> None:
    saved(client, "v090-spawn")
    said = client.ask("spawn_from_template", name="v090-spawn")
    assert said == {"spec": {"agents": [{"role": "A", "prompt": "answer a"}]}}
    assert len(client.ask("spawn_fleet", **said["spec"])["agent_ids"]) == 1
    assert "name" in client.refused("spawn_from_template", name="v090-none")


def test_subscribe_inbox_gives_a_stream_of_the_contract_s_events(client: Client) -> None:
    message, _, (a, b, _) = sent(client)
    said = client.ask("subscribe_inbox", agent_id=b)
    assert list(said) == ["agent_id", "stream_url", "instructions"]
    assert said["agent_id"] == b
    assert re.fullmatch(rf"http://127\.0\.0\.1:\d+/inbox/{b}/stream\?token=\S+", said["stream_url"])
    with reading(said["stream_url"]) as reader:
        told = reader.next()
    assert told.event == "message"
    assert list(told.data) == ["type", "message_id", "from_agent_id", "payload", "timestamp"]
    assert (told.data["type"], told.data["message_id"]) == ("message", message["message_id"])
    assert (told.data["from_agent_id"], is_time(told.data["timestamp"])) == (a, True)
    assert json.loads(told.data["payload"]) == {"type": "handoff", "payload": "größer\n\x1b"}
    assert "agent_id" in client.refused("subscribe_inbox", agent_id="nobody")


def test_get_health_has_every_figure(client: Client) -> None:
    said = client.ask("get_health")
    rows = ["fleets", "agents", "messages", "capabilities", "undeliverable", "events"]
    counts = ["uptime_ms", *rows, "ledger_bytes", "events_log_bytes", "last_event_timestamp"]
    assert list(said) == ["status", *counts, "problems"]
    assert said["status"] in {"ok", "degraded", "error"}
    assert all(type(said[name]) is int for name in counts)


def test_ping_says_ok_and_the_time(client: Client) -> None:
    said = client.ask("ping")
    assert list(said) == ["status", "timestamp"]
    assert said["status"] == "ok"
    assert is_time(said["timestamp"])
