"""What an agent's own server lets it start, wait for and stop: its own fleets, and nothing more than it may itself."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest

from meshfleet.mesh.cancelling import cancel
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.specs import AgentSpec, FleetOptions
from tests.mesh.fleets import fleet_of, open_ledger, row, start_all, supervisor
from tests.server.serving import RawServer, environ_for, raw_server, refusal_in, said_in
from tests.server.streams_helpers import call, line

CHILD: Final = [{"role": "Child", "prompt": "go"}]


class Mesh:
    """A ledger with an agent, its peer and a stranger, all at work under somebody who lives."""

    def __init__(self, ledger_file: Path) -> None:
        self.ledger = open_ledger(ledger_file)
        self.ledger_file = ledger_file
        self.fleet_id, (self.me, self.peer) = fleet_of(self.ledger, "Me", "Peer", by=supervisor())
        self.other_fleet, (self.stranger,) = fleet_of(self.ledger, "Stranger", by=supervisor())
        start_all(self.ledger)


@pytest.fixture
def mesh(ledger_file: Path) -> Mesh:
    return Mesh(ledger_file)


@pytest.fixture
def server(mesh: Mesh) -> Generator[RawServer]:
    """The server of an agent."""
    with raw_server(environ_for(mesh.ledger_file, MESHFLEET_AGENT_ID=mesh.me)) as running:
        yield running


def test_what_an_agent_spawns_is_its_own_and_waits_for_a_top_level_server(mesh: Mesh, server: RawServer) -> None:
    said = said_in(server.call("spawn_fleet", agents=CHILD, max_tokens=1000))
    fleet = row(mesh.ledger, "fleets", said["fleet_id"])
    assert (fleet["parent_agent_id"], fleet["depth"], fleet["max_tokens"]) == (mesh.me, 2, 1000)
    child = row(mesh.ledger, "agents", said["agent_ids"][0])
    assert (child["status"], "supervisor" in child) == ("pending", False)


@pytest.mark.parametrize("more", [{"env": {"A": "b"}}, {"cwd": "/"}, {"model": "a/b"}])
def test_what_an_agent_spawns_is_given_nothing_the_agent_has_not(server: RawServer, more: dict[str, object]) -> None:
    (name,) = more
    assert f"{name} is nothing spawn_fleet knows" in refusal_in(
        server.call("spawn_fleet", agents=[{**CHILD[0], **more}])
    )
    assert "allow_all is no argument of spawn_fleet" in refusal_in(
        server.call("spawn_fleet", agents=CHILD, allow_all=True)
    )


def test_the_depth_of_fleets_has_a_limit_that_can_be_set(mesh: Mesh, server: RawServer) -> None:
    own = said_in(server.call("spawn_fleet", agents=CHILD))
    child = own["agent_ids"][0]
    with raw_server(environ_for(mesh.ledger_file, MESHFLEET_AGENT_ID=child)) as below:
        assert "your fleet is at level 2 of 2" in refusal_in(below.call("spawn_fleet", agents=CHILD))
    with raw_server(environ_for(mesh.ledger_file, MESHFLEET_AGENT_ID=child, MESHFLEET_MAX_DEPTH="3")) as below:
        assert said_in(below.call("spawn_fleet", agents=CHILD))["agent_ids"]
    with raw_server(environ_for(mesh.ledger_file, MESHFLEET_AGENT_ID=mesh.me, MESHFLEET_MAX_DEPTH="1")) as none:
        assert "your fleet is at level 1 of 1" in refusal_in(none.call("spawn_fleet", agents=CHILD))


def test_an_agent_adds_agents_to_its_own_fleet_and_those_it_spawned_only(mesh: Mesh, server: RawServer) -> None:
    own = said_in(server.call("spawn_fleet", agents=CHILD))["fleet_id"]
    for fleet_id in (own, mesh.fleet_id):
        said = said_in(server.call("attach_agent", fleet_id=fleet_id, role="More", prompt="help"))
        assert row(mesh.ledger, "agents", said["agent_id"])["fleet_id"] == fleet_id
    refused = refusal_in(server.call("attach_agent", fleet_id=mesh.other_fleet, role="More", prompt="help"))
    assert refused.endswith("is not of a fleet you spawned, and only those are yours to command")
    assert "is no fleet" in refusal_in(server.call("attach_agent", fleet_id="x", role="More", prompt="help"))


def test_an_agent_that_was_cancelled_adds_nobody_in_the_time_it_has_left(mesh: Mesh, server: RawServer) -> None:
    cancel(mesh.ledger, agent_id=mesh.me)
    refused = refusal_in(server.call("attach_agent", role="More", prompt="help"))
    assert refused == "you have been cancelled or have ended, so you start nothing more"
    assert refusal_in(server.call("spawn_fleet", agents=CHILD)) == refused


def test_an_agent_cancels_what_it_spawned_and_neither_peers_nor_strangers(mesh: Mesh, server: RawServer) -> None:
    own = said_in(server.call("spawn_fleet", agents=[*CHILD, *CHILD]))
    first, second = own["agent_ids"]
    assert said_in(server.call("cancel", agent_id=first))["cancelled"] == [first]
    assert said_in(server.call("cancel", fleet_id=own["fleet_id"]))["cancelled"] == [second]
    for others in (
        {"fleet_id": mesh.fleet_id},
        {"fleet_id": mesh.other_fleet},
        {"agent_id": mesh.peer},
        {"agent_id": mesh.stranger},
        {"agent_id": mesh.me},
    ):
        assert "only those are yours to command" in refusal_in(server.call("cancel", **others))
    assert "name either" in refusal_in(server.call("cancel"))
    assert {row(mesh.ledger, "agents", each)["status"] for each in (mesh.me, mesh.peer, mesh.stranger)} == {"running"}


def test_an_agent_waits_for_what_it_spawned_but_not_for_its_own_fleet_s_end(mesh: Mesh, server: RawServer) -> None:
    own = said_in(server.call("spawn_fleet", agents=CHILD))["fleet_id"]
    said_in(server.call("cancel", fleet_id=own))
    assert said_in(server.call("wait", fleet_id=own))["status"] == "failed"
    assert "your own fleet, which can't end before you do" in refusal_in(server.call("wait", fleet_id=mesh.fleet_id))
    assert said_in(server.call("wait", fleet_id=mesh.fleet_id, until="any", timeout_ms=1))["timed_out"] is True


def test_a_fleet_that_is_being_cancelled_spawns_nothing_more(mesh: Mesh, server: RawServer) -> None:
    with raw_server(environ_for(mesh.ledger_file, MESHFLEET_OPENCODE="/nowhere/opencode")) as orchestrator:
        said_in(orchestrator.call("cancel", fleet_id=mesh.fleet_id))
        assert "is being stopped" in refusal_in(server.call("spawn_fleet", agents=CHILD))


def test_nothing_shows_the_variables_an_agent_was_given(mesh: Mesh) -> None:
    specs = [AgentSpec("A", "go", env={"TOKEN": "hush-hush"})]
    fleet_id, (agent_id,) = create_fleet(mesh.ledger, specs, cwd="/", supervisor=supervisor(), options=FleetOptions())
    with raw_server(environ_for(mesh.ledger_file)) as server:
        asked = [
            call(1, "fleet_status", fleet_id=fleet_id),
            call(1, "collect_results", fleet_id=fleet_id),
            call(1, "list_fleets"),
            call(1, "agent_output", agent_id=agent_id),
            call(1, "cancel", agent_id=agent_id),
            call(1, "wait", fleet_id=fleet_id),
            line("resources/read", 1, uri=f"meshfleet://fleets/{fleet_id}"),
            line("resources/read", 1, uri=f"meshfleet://agents/{agent_id}/output"),
        ]
        answers = [json.dumps(server.ask(each)) for each in asked]
    assert all("result" in json.loads(answer) for answer in answers)
    assert not any("hush-hush" in answer for answer in answers)
    assert row(mesh.ledger, "agents", agent_id)["env"] == {"TOKEN": "hush-hush"}


def test_a_wait_is_answered_at_once_when_the_client_has_said_its_last_word(mesh: Mesh) -> None:
    with raw_server(environ_for(mesh.ledger_file)) as server:
        server.send(call("last", "wait", fleet_id=mesh.fleet_id))
        server.call("ping")
        [answer] = server.end()
        assert answer["id"] == "last"
        assert said_in(answer["result"])["timed_out"] is True
        assert server.process.wait(5) == 0
