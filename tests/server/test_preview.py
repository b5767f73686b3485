"""The four items of v0.9.0's preview, each demonstrated: batch writes, the taxonomy, synonyms, a ledger per version."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import pytest

from meshfleet.mesh.messages import Draft, send_message
from meshfleet.mesh.verify import verify
from tests.ledger.v2_reader import read_as_v2
from tests.mesh.fleets import fleet_of, open_ledger, payloads, supervisor
from tests.mesh.routing.routes import agents_with
from tests.server.serving import PATIENCE_S, environ_for, raw_server, refusal_in, said_in

MANY: Final = 10_000
FIXTURES: Final = Path(__file__).parents[1] / "ledger" / "fixtures"
RELEASED: Final = {0: "ledger-v0.json", 1: "ledger-v1.json", 2: "ledger-v2.json"}
"""A ledger of every schema version there has been."""
TREE: Final = """
{
  "frontend": { "react": ["nextjs", "remix"], "vue": ["nuxt"] },
  "backend": { "node": ["express", "fastify"] }
}
"""
"""As the preview has it."""
TOLD: Final = Path(__file__).parents[2] / "COMPATIBILITY.md"


@pytest.mark.slow
def test_item_1_batch_writes_ten_thousand_messages_and_none_is_dropped_nor_costs_a_rewrite_of_the_ledger(
    ledger_file: Path,
) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    for number in range(MANY):
        send_message(ledger, Draft(a, b, fleet_id, "result", f"message {number}"))
    assert payloads(ledger, b) == [f"message {number}" for number in range(MANY)]
    ledger.close()
    document = read_as_v2(ledger_file)
    assert len(document["messages"]) == len(document["inboxes"][b]) == MANY
    # v0.9.0 rewrote its file for every message; here only when what was appended has outgrown it
    assert document["generation"] < 20


def matches(environ: dict[str, str], description: str) -> dict[str, float]:
    """Whom route_work names for a description, with their weights, best first."""
    with raw_server(environ) as server:
        found = said_in(server.call("route_work", description=description, top_n=9))["matches"]
    return {match["agent_id"]: match["weight"] for match in found}


def test_item_2_the_skill_taxonomy_is_wired_into_route_work(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (frontend,) = fleet_of(ledger, "frontend", by=supervisor())
    react, nextjs, vue, node = agents_with(ledger, ["react"], ["nextjs"], ["vue"], ["node"])
    found = matches(environ_for(ledger_file, MESHFLEET_TAXONOMY=TREE), "nextjs")
    assert list(found) == [nextjs, react, frontend]
    found = matches(environ_for(ledger_file, MESHFLEET_TAXONOMY=TREE), "react")
    assert found[react] > found[nextjs] > 0
    assert {vue, node}.isdisjoint(found)


@pytest.mark.parametrize("description", ["a jsx problem", "ReactJS"])
def test_item_3_synonyms_are_wired_into_role_and_skill_parsing(ledger_file: Path, description: str) -> None:
    ledger = open_ledger(ledger_file)
    _, (by_role, other) = fleet_of(ledger, "react", "database", by=supervisor())
    (by_skill,) = agents_with(ledger, ["react"])
    found = matches(environ_for(ledger_file), description)
    assert found.keys() == {by_role, by_skill}
    assert other not in found


@pytest.mark.parametrize(("version", "name"), RELEASED.items())
def test_item_4_per_version_fixture_a_ledger_of_every_released_schema_version_is_read_and_written(
    ledger_file: Path, version: int, name: str
) -> None:
    fixture: dict[str, Any] = json.loads((FIXTURES / name).read_text())
    assert fixture.get("schema_version", 0) == version
    shutil.copyfile(FIXTURES / name, ledger_file)
    with raw_server(environ_for(ledger_file)) as server:
        fleets = said_in(server.call("list_fleets"))["fleets"]
        assert [fleet["id"] for fleet in fleets] == list(fixture["fleets"])
        for fleet in fleets:
            told = said_in(server.call("fleet_status", fleet_id=fleet["id"]))["agents"]
            agents = [row for row in fixture["agents"].values() if row["fleet_id"] == fleet["id"]]
            for field in ("id", "role", "prompt", "output"):
                assert [row.get(field) for row in told] == [row.get(field) for row in agents]
        for agent_id, waiting in fixture["inboxes"].items():
            inbox = said_in(server.call("get_inbox", agent_id=agent_id))["messages"]
            assert [message["id"] for message in inbox] == waiting
        message = {"to_agent_id": "orchestrator", "fleet_id": fleets[0]["id"], "type": "alert", "payload": "new"}
        said_in(server.call("send_message", from_agent_id="me", **message))
        server.end()
        assert server.process.wait(PATIENCE_S) == 0
    document = read_as_v2(ledger_file)
    assert document["messages"].keys() > fixture["messages"].keys()
    assert verify(ledger_file).clean


def test_item_4_per_version_fixture_a_ledger_of_a_version_that_is_yet_to_come_is_read_and_left_alone(
    ledger_file: Path,
) -> None:
    newer = FIXTURES / "ledger-v3-newer.json"
    shutil.copyfile(newer, ledger_file)
    with raw_server(environ_for(ledger_file)) as server:
        fleet_id = said_in(server.call("list_fleets"))["fleets"][0]["id"]
        assert "upgrade" in refusal_in(server.call("set_fleet_timeout", fleet_id=fleet_id, timeout_ms=5))
        server.end()
        assert server.process.wait(PATIENCE_S) == 0
    assert ledger_file.read_bytes() == newer.read_bytes()


def test_item_4_per_version_fixtures_are_those_of_compatibility_md_and_none_is_missing() -> None:
    versions = {json.loads(path.read_text()).get("schema_version", 0) for path in FIXTURES.glob("ledger-v*.json")}
    assert versions >= {*RELEASED, max(RELEASED) + 1}
    told = TOLD.read_text()
    assert [path.name for path in FIXTURES.glob("ledger-v*.json") if f"`{path.name}`" not in told] == []
    assert all(f"| `{name}` |" in told for name in RELEASED.values())
