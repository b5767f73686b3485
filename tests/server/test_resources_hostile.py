"""Resources that are asked for in odd ways, that vanish, and that rows of another program make impossible to read."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest

from meshfleet.ledger.state import Version
from meshfleet.ledger.watching import Watch
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.templates import TemplateDraft, delete_fleet_template, save_fleet_template
from meshfleet.server.resources import Library
from meshfleet.server.subscriptions import Subscriptions
from tests.mesh.fleets import open_ledger
from tests.server.serving import PATIENCE_S, RawServer, environ_for, raw_server
from tests.server.streams_helpers import line
from tests.server.test_resources import raw_listen

UNDECODABLE = "meshfleet://agents/%ff/output"


def updated(uri: str) -> dict[str, object]:
    """What a subscriber is told when a resource says something else."""
    return {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}}


def test_a_listener_of_what_no_uri_can_be_hears_the_rest_of_what_it_asked_for(ledger_file: Path) -> None:
    with raw_server(environ_for(ledger_file), hello=False) as server:
        told = server.ask(raw_listen("one", UNDECODABLE, "meshfleet://fleets", "file:///etc/passwd"))
        assert told["method"] == "notifications/subscriptions/acknowledged"
        assert told["params"]["notifications"] == {"resourceSubscriptions": ["meshfleet://fleets"]}
        assert server.stderr == ""


@pytest.fixture(scope="module")
def without_resources(tmp_path_factory: pytest.TempPathFactory) -> Generator[RawServer]:
    """A server on an empty ledger, which nothing is written to."""
    with raw_server(environ_for(tmp_path_factory.mktemp("empty") / "ledger" / "agent-mesh.json")) as server:
        yield server


@pytest.mark.parametrize("uri", [UNDECODABLE, "meshfleet://templates/nothing", ""])
def test_what_is_not_there_can_not_be_subscribed_to_but_be_unsubscribed_from(
    without_resources: RawServer, uri: str
) -> None:
    server = without_resources
    refused = server.ask(line("resources/subscribe", 1, uri=uri))["error"]
    assert (refused["code"], refused["data"]) == (-32002, {"uri": uri})
    assert server.ask(line("resources/unsubscribe", 2, uri=uri))["result"] == {}
    assert server.stderr == ""


@pytest.mark.slow
def test_a_subscriber_hears_that_a_resource_has_vanished_and_that_it_is_there_again(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    uri = "meshfleet://templates/bash"
    draft = TemplateDraft("bash", [AgentSpec("A", "go")])
    save_fleet_template(ledger, draft)
    with raw_server(environ_for(ledger_file)) as server:
        assert server.ask(line("resources/subscribe", 1, uri=uri))["result"] == {}
        delete_fleet_template(ledger, "bash")
        assert server.receive() == updated(uri)
        assert server.ask(line("resources/read", 2, uri=uri))["error"]["code"] == -32002
        save_fleet_template(ledger, draft)
        assert server.receive() == updated(uri)
        assert "result" in server.ask(line("resources/read", 3, uri=uri))
    ledger.close()


def output_of(server: RawServer, agent_id: str) -> str:
    """What the server says an agent has said."""
    answer = server.ask(line("resources/read", 1, uri=f"meshfleet://agents/{agent_id.replace('/', '%2F')}/output"))
    text: str = answer["result"]["contents"][0]["text"]
    return text


def test_rows_of_another_program_lead_to_no_file_and_break_nothing(ledger_file: Path) -> None:
    outside = ledger_file.parent / "1" / "events.ndjson"
    outside.parent.mkdir()
    outside.write_text(json.dumps({"type": "text", "part": {"type": "text", "text": "secret"}}) + "\n")
    rows: dict[str, dict[str, object]] = {
        "..": {"status": "running", "attempt": 1},
        "../agent-mesh.runs/..": {"status": "running", "attempt": 1},
        "nul": {"status": "running", "attempt": "\0"},
        "path": {"status": "running", "attempt": "../../1"},
        "number": {"status": "complete", "output": 5},
    }
    agents = {key: {"id": key, "fleet_id": "f", "role": "R", "prompt": "p", **row} for key, row in rows.items()}
    fleets = {"f": {"id": "f", "status": "running", "created_at": 1}}
    ledger_file.write_text(json.dumps({"schema_version": 2, "fleets": fleets, "agents": agents}))
    with raw_server(environ_for(ledger_file)) as server:
        assert [output_of(server, agent_id) for agent_id in rows] == [""] * len(rows)
        assert server.stderr == ""


class BrokenLibrary(Library):
    """Resources of which nothing can be read any more, for a reason nobody foresaw."""

    looks = 0

    def version(self) -> Version:
        self.looks += 1
        raise RuntimeError("nobody foresaw this")


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_look_that_fails_is_told_once_on_the_log_and_ends_nothing(
    ledger_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    library = BrokenLibrary(open_ledger(ledger_file))
    subscriptions = Subscriptions(library, anyio.CapacityLimiter(1), Watch(poll_s=0.01))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(subscriptions.watch)
        async with subscriptions._wanting(["meshfleet://fleets"]):
            with anyio.fail_after(PATIENCE_S):
                while library.looks < 3:
                    await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    library.ledger.close()
    [told] = caplog.messages
    assert told == "changes of resources can't be seen: nobody foresaw this"
