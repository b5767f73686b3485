"""The tools' results as the contract has them, over the official client against the real server."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import anyio
import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from mcp_types import TextContent

from meshfleet.demo.leaving import stop_all_attempts
from meshfleet.ledger import Ledger
from meshfleet.mesh.receipts import ack_message, write_receipt
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.model import now_ms
from tests.mesh.fleets import fleet_of, open_ledger, send, start_all, supervisor
from tests.server.serving import SERVE, environ_for, fake_opencode, kill_group, wait_until

pytestmark = pytest.mark.anyio
READ_ONLY: Final = {
    "fleet_status",
    "list_fleets",
    "wait",
    "collect_results",
    "agent_output",
    "list_agents",
    "get_inbox",
    "wait_for_messages",
    "get_receipts",
    "route_work",
    "list_fleet_templates",
    "list_fleet_template_versions",
    "get_fleet_template",
    "get_health",
    "ping",
}
IDEMPOTENT: Final = READ_ONLY | {
    "ack_message",
    "receipt",
    "cancel",
    "set_fleet_timeout",
    "register_capability",
    "subscribe_inbox",
}
OPEN_WORLD: Final = {"spawn_fleet", "attach_agent", "spawn_from_template", "resume"}
DESTRUCTIVE: Final = {"delete_fleet_template", "cancel"}
NAMES: Final = [
    "spawn_fleet",
    "fleet_status",
    "list_fleets",
    "wait",
    "collect_results",
    "agent_output",
    "cancel",
    "resume",
    "set_fleet_timeout",
    "attach_agent",
    "list_agents",
    "send_message",
    "send_messages",
    "get_inbox",
    "wait_for_messages",
    "ack_message",
    "receipt",
    "get_receipts",
    "subscribe_inbox",
    "register_capability",
    "route_work",
    "record_routing_outcome",
    "save_fleet_template",
    "list_fleet_templates",
    "list_fleet_template_versions",
    "get_fleet_template",
    "delete_fleet_template",
    "export_fleet_template",
    "import_fleet_template",
    "spawn_from_template",
    "get_health",
    "ping",
]


class Session(NamedTuple):
    client: Client
    ledger: Ledger


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """As in conftest, for as long as the module's sessions last."""
    return "asyncio"


@pytest.fixture(scope="module", params=["legacy", "auto"])
async def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Session]:
    """A session of the SDK's client in each of its protocol modes, and another process's hold on the same ledger."""
    folder = tmp_path_factory.mktemp("contract")
    file = folder / "ledger" / "agent-mesh.json"
    environ = environ_for(_made(file), MESHFLEET_OPENCODE=str(fake_opencode(folder)))
    program = StdioServerParameters(command=SERVE[0], args=SERVE[1:], env=environ)
    ledger = open_ledger(file)
    async with Client(program, mode=request.param, read_timeout_seconds=20) as client:
        yield Session(client, ledger)
    # one that was just cancelled, or resumed, may outlive the server
    await stop_all_attempts(ledger)
    ledger.close()


def _made(file: Path) -> Path:
    file.parent.mkdir()
    return file


async def called(session: Session, name: str, **arguments: object) -> dict[str, Any]:
    """Call a tool; what it says has to be the same as text and as structured content, which fits its schema."""
    result = await session.client.call_tool(name, arguments)
    assert not result.is_error, result.content
    [content] = result.content
    assert isinstance(content, TextContent)
    said = result.structured_content
    assert isinstance(said, dict)
    assert content.text == json.dumps(said, ensure_ascii=False, separators=(",", ":"))
    return said


def is_time(value: object) -> bool:
    """A whole number of ms since the epoch, not long ago."""
    return type(value) is int and now_ms() - 60_000 < value <= now_ms()


def ended_fleet(ledger: Ledger) -> tuple[str, list[str]]:
    """A fleet of which one agent completed and one failed."""
    fleet_id, agent_ids = fleet_of(ledger, "Explorer", "Analyst", by=supervisor())
    start_all(ledger)
    settle_attempt(ledger, agent_ids[1], 1, Outcome(ok=False, error="it broke"))
    settle_attempt(ledger, agent_ids[0], 1, Outcome(ok=True, output="größer\nals 1 < 2"))
    return fleet_id, agent_ids


async def test_the_tools_are_offered_with_schemas_and_annotations(session: Session) -> None:
    tools = (await session.client.list_tools()).tools
    assert [tool.name for tool in tools] == NAMES
    for tool in tools:
        assert tool.description
        assert tool.output_schema is not None
        assert tool.output_schema["type"] == "object"
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is (tool.name in READ_ONLY)
        assert tool.annotations.idempotent_hint is (tool.name in IDEMPOTENT)
        assert tool.annotations.destructive_hint is (tool.name in DESTRUCTIVE)
        assert tool.annotations.open_world_hint is (tool.name in OPEN_WORLD)


async def test_fleet_status_gives_the_fleet_and_its_agents(session: Session) -> None:
    fleet_id, agent_ids = ended_fleet(session.ledger)
    said = await called(session, "fleet_status", fleet_id=fleet_id)
    assert list(said) == ["fleet", "agents"]
    fleet = said["fleet"]
    assert {"id", "status", "created_at", "completed_at"} <= fleet.keys()
    assert (fleet["id"], fleet["status"]) == (fleet_id, "failed")
    assert is_time(fleet["created_at"])
    assert is_time(fleet["completed_at"])
    assert [agent["id"] for agent in said["agents"]] == agent_ids
    complete, failed = said["agents"]
    for agent in said["agents"]:
        assert {
            "id",
            "fleet_id",
            "role",
            "prompt",
            "status",
            "started_at",
            "completed_at",
            "retry_count",
        } <= agent.keys()
        assert (agent["fleet_id"], agent["retry_count"]) == (fleet_id, 0)
    assert (complete["role"], complete["status"], complete["output"]) == ("Explorer", "complete", "größer\nals 1 < 2")
    assert (failed["role"], failed["status"], failed["error"]) == ("Analyst", "failed", "it broke")


async def test_list_fleets_counts_the_agents_of_every_fleet(session: Session) -> None:
    ended, _ = ended_fleet(session.ledger)
    running, _ = fleet_of(session.ledger, "A", "B", "C", by=supervisor())
    start_all(session.ledger)
    said = await called(session, "list_fleets")
    assert list(said) == ["fleets"]
    *_, one, two = said["fleets"]
    counts = ["agent_count", "agents_complete", "agents_failed", "agents_running"]
    assert list(one) == ["id", "status", "created_at", "completed_at", *counts]
    assert list(two) == ["id", "status", "created_at", *counts]
    assert (one["id"], one["status"], [one[key] for key in counts]) == (ended, "failed", [2, 1, 1, 0])
    assert (two["id"], two["status"], [two[key] for key in counts]) == (running, "running", [3, 0, 0, 3])
    assert is_time(one["created_at"])
    assert is_time(one["completed_at"])


async def test_collect_results_gives_what_each_agent_came_to(session: Session) -> None:
    fleet_id, (explorer, analyst) = ended_fleet(session.ledger)
    said = await called(session, "collect_results", fleet_id=fleet_id)
    assert list(said) == ["fleet_id", "results"]
    assert said["fleet_id"] == fleet_id
    assert said["results"] == [
        {
            "agent_id": explorer,
            "role": "Explorer",
            "status": "complete",
            "output": "größer\nals 1 < 2",
            "error": None,
        },
        {"agent_id": analyst, "role": "Analyst", "status": "failed", "output": "", "error": "it broke"},
    ]


async def test_send_message_gives_the_message_s_id_and_who_it_went_to(session: Session) -> None:
    fleet_id, (a, b) = ended_fleet(session.ledger)
    message = {"from_agent_id": a, "fleet_id": fleet_id, "type": "handoff", "payload": "x"}
    for to, recipients in ((b, [b]), ("*", [b]), ("orchestrator", ["orchestrator"])):
        said = await called(session, "send_message", to_agent_id=to, **message)
        assert list(said)[:2] == ["message_id", "recipients"]
        assert ("warning" in said) == (to != "orchestrator")
        assert str(UUID(said["message_id"])) == said["message_id"]
        assert said["recipients"] == recipients


async def test_get_inbox_gives_the_rows_of_what_waits_oldest_first(session: Session) -> None:
    fleet_id, (a, b) = ended_fleet(session.ledger)
    odd = 'quotes "\\ newline\n tab\t \u2028 ü € 😀 \x1b[31m \x7f ' + "€" * 21_000
    first = await called(
        session,
        "send_message",
        from_agent_id=a,
        to_agent_id=b,
        fleet_id=fleet_id,
        type="question",
        payload=odd,
        correlation_id="m-0",
    )
    second = send(session.ledger, fleet_id, "*", "all", sender=a)
    said = await called(session, "get_inbox", agent_id=b)
    assert list(said) == ["messages"]
    one, two = said["messages"]
    assert is_time(one.pop("timestamp"))
    assert one == {
        "id": first["message_id"],
        "from_agent_id": a,
        "to_agent_id": b,
        "fleet_id": fleet_id,
        "type": "question",
        "payload": odd,
        "acknowledged": False,
        "correlation_id": "m-0",
    }
    assert (two["id"], two["to_agent_id"], two["recipients"]) == (second["message_id"], "*", [b])
    assert await called(session, "get_inbox", agent_id=b, since=two["timestamp"]) == {"messages": []}
    assert len((await called(session, "get_inbox", agent_id=b, since=0))["messages"]) == 2
    assert len((await called(session, "get_inbox", agent_id=b, since=None))["messages"]) == 2
    assert await called(session, "get_inbox", agent_id=b, since=10**15) == {"messages": []}


async def test_ack_message_says_ok_also_on_a_repeat_and_the_reason_when_not(session: Session) -> None:
    fleet_id, (a, b) = ended_fleet(session.ledger)
    message_id = send(session.ledger, fleet_id, b, sender=a)["message_id"]
    for _ in range(2):
        assert await called(session, "ack_message", agent_id=b, message_id=message_id) == {"ok": True}
    assert (await called(session, "get_inbox", agent_id=b)) == {"messages": []}
    for agent_id, unknown in ((a, message_id), (b, "nothing")):
        said = await called(session, "ack_message", agent_id=agent_id, message_id=unknown)
        assert list(said) == ["ok", "reason"]
        assert said["ok"] is False
        assert said["reason"]


async def test_receipt_gives_the_receipt_that_stands(session: Session) -> None:
    fleet_id, (a, b) = ended_fleet(session.ledger)
    message_id = send(session.ledger, fleet_id, b, sender=a)["message_id"]
    about = {"agent_id": b, "message_id": message_id, "action": "seen"}
    said = await called(session, "receipt", note="first", **about)
    assert list(said) == ["receipt"]
    assert list(said["receipt"]) == ["message_id", "agent_id", "action", "timestamp", "note"]
    assert said["receipt"] == {**about, "note": "first", "timestamp": said["receipt"]["timestamp"]}
    assert is_time(said["receipt"]["timestamp"])
    assert await called(session, "receipt", note="second", **about) == said
    assert len((await called(session, "get_inbox", agent_id=b))["messages"]) == 1


async def test_get_receipts_gives_the_trail_oldest_first(session: Session) -> None:
    fleet_id, (a, b) = ended_fleet(session.ledger)
    message_id = send(session.ledger, fleet_id, b, sender=a)["message_id"]
    assert await called(session, "get_receipts", message_id=message_id) == {"receipts": []}
    write_receipt(session.ledger, b, message_id, "seen", "on it")
    ack_message(session.ledger, b, message_id)
    said = await called(session, "get_receipts", message_id=message_id)
    assert list(said) == ["receipts"]
    times = [receipt["timestamp"] for receipt in said["receipts"]]
    assert times == sorted(times)
    told = {receipt["action"]: receipt for receipt in said["receipts"]}
    assert told.keys() == {"seen", "ack"}
    assert told["seen"].keys() == {"message_id", "agent_id", "action", "timestamp", "note"}
    assert told["ack"].keys() == {"message_id", "agent_id", "action", "timestamp"}


async def test_ping_says_ok_and_the_time(session: Session) -> None:
    said = await called(session, "ping")
    assert list(said) == ["status", "timestamp"]
    assert said["status"] == "ok"
    assert is_time(said["timestamp"])


async def test_spawn_fleet_answers_at_once_and_its_agents_then_run(session: Session) -> None:
    agents: list[dict[str, str | None]] = [
        {"role": "Explorer", "prompt": "look"},
        {"role": "Analyst", "prompt": "think", "agent": None},
        {"role": "Engineer", "prompt": "build"},
    ]
    said = await called(session, "spawn_fleet", agents=agents, max_attempts=1)
    assert list(said) == ["fleet_id", "agent_ids"]
    for id_ in (said["fleet_id"], *said["agent_ids"]):
        assert str(UUID(id_)) == id_

    def rows() -> list[dict[str, Any]]:
        return session.ledger.read(lambda view: view.agents_of(said["fleet_id"]))

    try:
        assert [row["id"] for row in rows()] == said["agent_ids"]
        assert [(row["role"], row["prompt"]) for row in rows()] == [
            (agent["role"], agent["prompt"]) for agent in agents
        ]
        await anyio.to_thread.run_sync(wait_until, lambda: all("pid" in row for row in rows()))
        status = await called(session, "fleet_status", fleet_id=said["fleet_id"])
        assert status["fleet"]["status"] == "running"
        assert {agent["status"] for agent in status["agents"]} == {"running"}
    finally:
        for row in rows():
            if "pid" in row:
                kill_group(row["pid"])
    await anyio.to_thread.run_sync(wait_until, lambda: all(row["status"] == "failed" for row in rows()))
    results = (await called(session, "collect_results", fleet_id=said["fleet_id"]))["results"]
    assert [result["agent_id"] for result in results] == said["agent_ids"]
    assert all(result["error"] for result in results)


async def test_set_fleet_timeout_is_answered_with_what_was_set(session: Session) -> None:
    fleet_id, _ = fleet_of(session.ledger, "A", by=supervisor())
    said = await called(session, "set_fleet_timeout", fleet_id=fleet_id, timeout_ms=90_000)
    assert said == {"ok": True, "timeout_ms": 90_000}
    fleet = (await called(session, "fleet_status", fleet_id=fleet_id))["fleet"]
    assert fleet["timeout_ms"] == 90_000


async def test_attach_agent_adds_one_to_a_running_fleet_and_starts_it(session: Session) -> None:
    fleet_id, (first,) = fleet_of(session.ledger, "A", by=supervisor())
    said = await called(session, "attach_agent", fleet_id=fleet_id, role="B", prompt="help", agent="reviewer")
    assert list(said) == ["agent_id", "fleet_id", "role", "agent_file", "message"]
    assert (said["fleet_id"], said["role"], said["agent_file"]) == (fleet_id, "B", "reviewer")
    status = await called(session, "fleet_status", fleet_id=fleet_id)
    assert [agent["id"] for agent in status["agents"]] == [first, said["agent_id"]]
    with anyio.fail_after(20):
        while (await called(session, "fleet_status", fleet_id=fleet_id))["agents"][1].get("pid") is None:
            await anyio.sleep(0.02)
    agent = (await called(session, "fleet_status", fleet_id=fleet_id))["agents"][1]
    kill_group(agent["pid"])


async def test_attach_agent_to_a_fleet_that_has_ended_is_refused(session: Session) -> None:
    fleet_id, _ = ended_fleet(session.ledger)
    result = await session.client.call_tool("attach_agent", {"fleet_id": fleet_id, "role": "B", "prompt": "help"})
    assert result.is_error
    assert "only a running one" in str(result.content)


async def test_list_agents_lists_the_premade_ones_of_project_and_user(session: Session) -> None:
    said = await called(session, "list_agents")
    assert list(said) == ["count", "agents"]
    assert said["count"] == len(said["agents"])
    for agent in said["agents"]:
        assert list(agent) == ["filename", "name", "description", "mode"]


async def test_get_health_counts_what_there_is(session: Session) -> None:
    ended_fleet(session.ledger)
    said = await called(session, "get_health")
    assert (said["status"], said["problems"]) == ("ok", [])
    counts = session.ledger.read(lambda view: {name: view.count(name) for name in ("fleets", "agents", "messages")})
    assert {name: said[name] for name in counts} == counts
    assert said["capabilities"] == 0
    assert said["events"] > 0
    assert said["ledger_bytes"] > 0
    assert said["events_log_bytes"] > 0
    assert is_time(said["last_event_timestamp"])
    assert 0 <= said["uptime_ms"] < 60_000


async def test_rows_of_an_old_ledger_with_nulls_and_fractions_still_reach_the_client(tmp_path: Path) -> None:
    fleet = {"id": "f", "status": "complete", "created_at": 1700000000000.5, "completed_at": None}
    agent = {
        "id": "a",
        "fleet_id": "f",
        "role": "r",
        "prompt": "p",
        "status": "complete",
        "output": None,
        "error": None,
    }
    message = {
        "id": "m",
        "from_agent_id": "x",
        "to_agent_id": "a",
        "fleet_id": "f",
        "type": "result",
        "payload": "p",
        "timestamp": 1.5,
        "acknowledged": False,
        "correlation_id": None,
    }
    file = tmp_path / "agent-mesh.json"
    rows = {"fleets": {"f": fleet}, "agents": {"a": agent}, "messages": {"m": message}, "inboxes": {"a": ["m"]}}
    file.write_text(json.dumps({"schema_version": 2, **rows}))
    program = StdioServerParameters(command=SERVE[0], args=SERVE[1:], env=environ_for(file))
    async with Client(program, read_timeout_seconds=20) as client:
        old = Session(client, open_ledger(file))
        assert (await called(old, "list_fleets"))["fleets"][0]["id"] == "f"
        assert (await called(old, "fleet_status", fleet_id="f"))["agents"] == [agent]
        assert (await called(old, "get_inbox", agent_id="a"))["messages"] == [message]
