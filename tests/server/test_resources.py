"""What the mesh holds as MCP resources, in both eras of the protocol, and how a client hears that one has changed."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final, NamedTuple

import anyio
import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    PROTOCOL_VERSION_META_KEY,
    ResourceTemplateReference,
    TextResourceContents,
)
from mcp_types.version import LATEST_MODERN_VERSION

from meshfleet.ledger import Ledger
from meshfleet.ledger.state import Version
from meshfleet.ledger.watching import Watch
from meshfleet.mesh.fleets import fleet_status, list_fleets
from meshfleet.mesh.identity import Caller
from meshfleet.mesh.receipts import ack_message
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.templates import TemplateDraft, get_fleet_template, save_fleet_template
from meshfleet.mesh.texts import shown
from meshfleet.model import ORCHESTRATOR
from meshfleet.server.app import build_server
from meshfleet.server.lines import GRACE_S
from meshfleet.server.offers import RESOURCE_NOT_FOUND
from meshfleet.server.resources import PAGE_SIZE, Library
from meshfleet.server.subscriptions import LOOK_S, MOST_WATCHED, Subscriptions
from meshfleet.server.tool import Context
from tests.mesh.fleets import fleet_of, inbox_of, open_ledger, send, start_all, supervisor
from tests.server.serving import PATIENCE_S, SERVE, environ_for, raw_server
from tests.server.streams_helpers import line

pytestmark = pytest.mark.anyio

QUIET_S: Final = 3 * LOOK_S
"""How long nothing has to come before nothing is taken to come."""
ENVELOPE: Final = {
    PROTOCOL_VERSION_META_KEY: LATEST_MODERN_VERSION,
    CLIENT_INFO_META_KEY: {"name": "test", "version": "1"},
    CLIENT_CAPABILITIES_META_KEY: {},
}


class Session(NamedTuple):
    client: Client
    ledger: Ledger
    legacy: bool


@pytest.fixture(params=["legacy", "auto"])
async def session(request: pytest.FixtureRequest, ledger_file: Path, tmp_path: Path) -> AsyncGenerator[Session]:
    """The SDK's client of the server's own code, in each protocol mode, and another hold on its ledger."""
    ledger = open_ledger(ledger_file)
    server = build_server(Context(ledger, Caller(), None, {}, tmp_path), "")
    async with Client(server, mode=request.param) as client:
        yield Session(client, open_ledger(ledger_file), request.param == "legacy")


async def text_of(client: Client, uri: str, mime_type: str = "application/json") -> str:
    """What a resource says."""
    [contents] = (await client.read_resource(uri)).contents
    assert isinstance(contents, TextResourceContents)
    assert (contents.uri, contents.mime_type) == (uri, mime_type)
    return contents.text


async def json_of(client: Client, uri: str) -> Any:
    """What a resource of rows says."""
    return json.loads(await text_of(client, uri))


async def output_of(client: Client, agent_id: str) -> str:
    """What an agent has said."""
    return await text_of(client, f"meshfleet://agents/{agent_id}/output", "text/plain")


def say(ledger: Ledger, marker: str, text: str) -> None:
    """Append a text to the event stream of an attempt."""
    folder = ledger.data_file.with_name("agent-mesh.runs") / marker
    folder.mkdir(parents=True, exist_ok=True)
    event = {"type": "text", "timestamp": 1, "sessionID": "s", "part": {"type": "text", "text": text}}
    with (folder / "events.ndjson").open("a") as file:
        file.write(json.dumps(event) + "\n")


def save_template(ledger: Ledger, name: str, *roles: str) -> None:
    """Save a version of a template."""
    save_fleet_template(ledger, TemplateDraft(name, [AgentSpec(role, "go") for role in roles or ("A",)]))


def raw_listen(request_id: str, *uris: str) -> bytes:
    """A request of the modern era that stays open."""
    return line("subscriptions/listen", request_id, _meta=ENVELOPE, notifications={"resourceSubscriptions": uris})


async def test_fleets_an_agent_s_inbox_and_templates_say_what_the_tools_say(session: Session) -> None:
    fleet_id, (a, b) = fleet_of(session.ledger, "Explorer", "Analyst", by=supervisor())
    send(session.ledger, fleet_id, b, "größer\n\u2028 😀", sender=a)
    send(session.ledger, fleet_id, ORCHESTRATOR, "done", sender=a)
    save_template(session.ledger, "bash", "A")
    save_template(session.ledger, "bash", "A", "B")
    client = session.client
    assert await json_of(client, "meshfleet://fleets") == list_fleets(session.ledger)
    assert await json_of(client, f"meshfleet://fleets/{fleet_id}") == fleet_status(session.ledger, fleet_id)
    for agent_id in (a, b, ORCHESTRATOR):
        said = await json_of(client, f"meshfleet://agents/{agent_id}/inbox")
        assert said == {"agent_id": agent_id, **inbox_of(session.ledger, agent_id)}
    template = await json_of(client, "meshfleet://templates/bash")
    assert template == get_fleet_template(session.ledger, "bash", 2)["template"]


async def test_what_an_agent_says_can_be_read_while_it_says_it_and_after_it_has_ended(session: Session) -> None:
    _, (a, b) = fleet_of(session.ledger, "Explorer", "Analyst", by=supervisor())
    assert await output_of(session.client, a) == ""
    start_all(session.ledger)
    assert await output_of(session.client, a) == ""
    say(session.ledger, f"{a}/1", "first")
    say(session.ledger, f"{b}/1", "somebody else's")
    assert await output_of(session.client, a) == "first"
    say(session.ledger, f"{a}/1", "second")
    assert await output_of(session.client, a) == "first\nsecond"
    settle_attempt(session.ledger, a, 1, Outcome(ok=True, output="as the ledger has it"))
    assert await output_of(session.client, a) == "as the ledger has it"


async def test_an_agent_that_ended_without_a_word_has_said_nothing(session: Session) -> None:
    _, (a,) = fleet_of(session.ledger, "Explorer", by=supervisor())
    start_all(session.ledger)
    session.ledger.transact(
        lambda transaction: transaction.put(
            "agents", a, {**(transaction.get("agents", a) or {}), "status": "interrupted"}
        )
    )
    say(session.ledger, f"{a}/1", "before it was interrupted")
    assert await output_of(session.client, a) == ""


@pytest.mark.parametrize(
    "uri",
    [
        "meshfleet://fleets/nothing",
        "meshfleet://fleets/",
        "meshfleet://fleets/a/b",
        "meshfleet://agents/nothing/inbox",
        "meshfleet://agents/nothing/output",
        "meshfleet://agents/*/inbox",
        "meshfleet://agents/..%2F..%2Fetc/output",
        "meshfleet://agents//inbox",
        "meshfleet://agents/orchestrator/output",
        "meshfleet://templates/nothing",
        "meshfleet://templates/%00",
        "meshfleet://agents/%ff%fe/output",
        "meshfleet://agents/%ed%a0%80/inbox",
        "meshfleet://fleets?x=1",
        "meshfleet://fleets/" + "x" * 100_000,
        "meshfleet://templates/\x1b[31m\u202e",
        "meshfleet://ledger",
        "MESHFLEET://fleets",
        "file:///etc/passwd",
        "",
    ],
)
async def test_an_unknown_resource_is_not_found_by_an_error_that_names_it(session: Session, uri: str) -> None:
    with pytest.raises(MCPError) as refused:
        await session.client.read_resource(uri)
    assert refused.value.error.code == (RESOURCE_NOT_FOUND if session.legacy else INVALID_PARAMS)
    assert refused.value.error.data == {"uri": uri}
    message = refused.value.error.message
    assert message.startswith(f"uri {shown(uri)} is no resource: ")
    assert message.isprintable()
    assert len(message) < 300


async def test_fleets_are_listed_from_the_newest_on_after_templates(session: Session) -> None:
    assert [one.uri for one in (await session.client.list_resources()).resources] == ["meshfleet://fleets"]
    first, _ = fleet_of(session.ledger, "Explorer\nof everything", "Analyst", by=supervisor())
    second, _ = fleet_of(session.ledger, "R" * 100, by=supervisor())
    for name in ("b", "a", "b"):
        save_template(session.ledger, name)
    listed = (await session.client.list_resources(cache_mode="refresh")).resources
    assert [(one.uri, one.name, one.title) for one in listed] == [
        ("meshfleet://fleets", "fleets", None),
        ("meshfleet://templates/a", "template a", None),
        ("meshfleet://templates/b", "template b", None),
        (f"meshfleet://fleets/{second}", f"fleet {second}", "R" * 79 + "…"),
        (f"meshfleet://fleets/{first}", f"fleet {first}", "Explorer of everything, Analyst"),
    ]
    for one in listed:
        assert await text_of(session.client, one.uri, one.mime_type or "")


async def test_many_fleets_are_listed_by_pages_that_miss_none(session: Session) -> None:
    ids = [fleet_of(session.ledger, "A", by=supervisor())[0] for _ in range(2 * PAGE_SIZE)]
    page = await session.client.list_resources()
    seen = [one.uri for one in page.resources]
    newer, _ = fleet_of(session.ledger, "A", by=supervisor())
    while page.next_cursor is not None:
        page = await session.client.list_resources(cursor=page.next_cursor)
        assert len(page.resources) <= PAGE_SIZE
        seen += [one.uri for one in page.resources]
    assert seen == ["meshfleet://fleets", *(f"meshfleet://fleets/{fleet_id}" for fleet_id in reversed(ids))]
    assert f"meshfleet://fleets/{newer}" not in seen


async def test_a_cursor_that_is_none_is_refused(session: Session) -> None:
    for asking in (
        session.client.list_tools,
        session.client.list_resources,
        session.client.list_resource_templates,
        session.client.list_prompts,
    ):
        with pytest.raises(MCPError, match=r"cursor is ") as refused:
            await asking(cursor="nonsense")
        assert refused.value.error.code == INVALID_PARAMS


async def test_the_kinds_that_are_many_are_told_as_uri_templates(session: Session) -> None:
    told = (await session.client.list_resource_templates()).resource_templates
    assert [(one.uri_template, one.mime_type) for one in told] == [
        ("meshfleet://fleets/{id}", "application/json"),
        ("meshfleet://agents/{id}/inbox", "application/json"),
        ("meshfleet://agents/{id}/output", "text/plain"),
        ("meshfleet://templates/{name}", "application/json"),
    ]
    assert all(one.description for one in told)


async def test_ids_and_names_are_completed(session: Session) -> None:
    async def proposed(template: str, variable: str, typed: str) -> list[str]:
        ref = ResourceTemplateReference(uri=template)
        return (await session.client.complete(ref, {"name": variable, "value": typed})).completion.values

    older, (a, b) = fleet_of(session.ledger, "A", "B", by=supervisor())
    newer, (c,) = fleet_of(session.ledger, "C", by=supervisor())
    save_template(session.ledger, "bash")
    save_template(session.ledger, "bug")
    assert await proposed("meshfleet://fleets/{id}", "id", "") == [newer, older]
    assert await proposed("meshfleet://fleets/{id}", "id", older[:20]) == [older]
    assert await proposed("meshfleet://agents/{id}/output", "id", "") == [c, b, a]
    assert await proposed("meshfleet://agents/{id}/inbox", "id", "orc") == [ORCHESTRATOR]
    assert await proposed("meshfleet://templates/{name}", "name", "bu") == ["bug"]
    for template, variable in (("meshfleet://fleets/{id}", "name"), ("meshfleet://fleets", ""), ("nonsense", "id")):
        with pytest.raises(MCPError, match="is no resource template") as refused:
            await proposed(template, variable, "")
        assert refused.value.error.code == INVALID_PARAMS


async def test_odd_ids_and_bytes_of_an_old_ledger_do_not_keep_a_client_from_reading(session: Session) -> None:
    fleet = {"id": "a/b ü\ud800", "status": "complete", "created_at": 1}
    agent = {"id": "x/y", "fleet_id": fleet["id"], "role": "R\ud800\x1b", "prompt": "\ud800", "status": "complete"}
    session.ledger.transact(lambda transaction: transaction.put("fleets", "a/b ü\ud800", fleet))
    session.ledger.transact(lambda transaction: transaction.put("agents", "x/y", {**agent, "output": "o\ud800"}))
    _, one = (await session.client.list_resources()).resources
    assert (one.uri, one.title) == ("meshfleet://fleets/a%2Fb%20%C3%BC%ED%A0%80", "R?")
    assert (await json_of(session.client, one.uri))["agents"][0]["prompt"] == "?"
    assert await output_of(session.client, "x%2Fy") == "o?"


async def test_an_agent_s_server_has_neither_resources_nor_prompts(ledger_file: Path, tmp_path: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (a, _) = fleet_of(ledger, "A", "B", by=supervisor())
    async with Client(build_server(Context(ledger, Caller(a), None, {}, tmp_path), "")) as client:
        assert client.server_capabilities.resources is None
        assert client.server_capabilities.prompts is None
        assert client.server_capabilities.completions is None
        for asking in (client.list_resources(), client.list_prompts(), client.read_resource("meshfleet://fleets")):
            with pytest.raises(MCPError) as refused:
                await asking
            assert refused.value.error.code == METHOD_NOT_FOUND


@pytest.mark.slow
def test_a_subscriber_of_the_handshake_eras_hears_what_another_process_changes(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B", by=supervisor())
    inbox = f"meshfleet://agents/{b}/inbox"
    with raw_server(environ_for(ledger_file)) as server:
        for number in range(2):
            assert server.ask(line("resources/subscribe", number, uri=inbox))["result"] == {}
        send(ledger, fleet_id, a, "not for b", sender=b)
        message_id = send(ledger, fleet_id, b, "for b", sender=a)["message_id"]
        updated = {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": inbox}}
        assert server.receive() == updated
        ack_message(ledger, b, message_id)
        assert server.receive() == updated
        assert server.ask(line("resources/unsubscribe", 2, uri=inbox))["result"] == {}
        send(ledger, fleet_id, b, "unheard", sender=a)
        assert server.end() == []
        assert server.process.wait(2) == 0


@pytest.mark.slow
def test_the_output_of_a_running_agent_is_watched_although_the_ledger_stays_as_it_is(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (a,) = fleet_of(ledger, "A", by=supervisor())
    start_all(ledger)
    uri = f"meshfleet://agents/{a}/output"
    with raw_server(environ_for(ledger_file)) as server:
        assert server.ask(line("resources/subscribe", 1, uri=uri))["result"] == {}
        say(ledger, f"{a}/1", "something")
        assert server.receive()["params"] == {"uri": uri}


@pytest.mark.slow
def test_who_has_asked_for_the_list_hears_that_it_has_changed(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    with raw_server(environ_for(ledger_file)) as server:
        server.ask(line("resources/list", 1))
        save_template(ledger, "bash")
        changed = {"jsonrpc": "2.0", "method": "notifications/resources/list_changed"}
        assert server.receive() == changed
        fleet_id, (a,) = fleet_of(ledger, "A", by=supervisor())
        assert server.receive() == changed
        send(ledger, fleet_id, a)
        assert server.ask(line("resources/subscribe", 2, uri="meshfleet://fleets/nothing"))["error"]["code"] == -32002
        assert server.end() == []


@pytest.mark.slow
async def test_a_listener_of_the_modern_era_hears_what_it_asked_for(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B", by=supervisor())
    inbox, fleet = f"meshfleet://agents/{b}/inbox", f"meshfleet://fleets/{fleet_id}"
    program = StdioServerParameters(command=SERVE[0], args=SERVE[1:], env=environ_for(ledger_file))
    async with Client(program) as client:
        with anyio.fail_after(PATIENCE_S):
            wanted = [inbox, "meshfleet://templates/later", "nonsense://x", inbox]
            async with client.listen(
                resources_list_changed=True, tools_list_changed=True, resource_subscriptions=wanted
            ) as heard:
                assert heard.honored.resource_subscriptions == [inbox, "meshfleet://templates/later"]
                assert heard.honored.resources_list_changed
                assert not heard.honored.tools_list_changed
                send(ledger, fleet_id, b, "for b", sender=a)
                assert await anext(heard) == ResourceUpdated(inbox)
                save_template(ledger, "later")
                assert {await anext(heard), await anext(heard)} == {
                    ResourceUpdated("meshfleet://templates/later"),
                    ResourcesListChanged(),
                }
            async with client.listen(resource_subscriptions=[fleet]) as heard:
                send(ledger, fleet_id, b, "no change of the fleet", sender=a)
                start_all(ledger)
                assert await anext(heard) == ResourceUpdated(fleet)
                with anyio.move_on_after(QUIET_S) as quiet:
                    await anext(heard)
                assert quiet.cancelled_caught


def test_a_listener_that_still_listens_when_stdin_closes_keeps_nobody_waiting(ledger_file: Path) -> None:
    asking = line("resources/read", "last", _meta=ENVELOPE, uri="meshfleet://fleets")
    with raw_server(environ_for(ledger_file), hello=False) as server:
        assert (
            server.ask(raw_listen("one", "meshfleet://fleets"))["method"] == "notifications/subscriptions/acknowledged"
        )
        server.send(raw_listen("two", *(f"meshfleet://fleets/{number}" for number in range(MOST_WATCHED))))
        assert server.receive()["error"]["message"].startswith(f"more than {MOST_WATCHED} resources would be watched")
        server.send(raw_listen("three", "meshfleet://fleets"))
        assert server.receive()["method"] == "notifications/subscriptions/acknowledged"
        server.send(line("notifications/cancelled", requestId="three") + asking)
        began = time.monotonic()
        answers = server.end()
        assert time.monotonic() - began < GRACE_S / 2
        assert server.process.wait(2) == 0
    assert "last" in {answer.get("id") for answer in answers}


class CountingLibrary(Library):
    """Resources that count how often somebody looks whether the ledger has changed."""

    looks = 0

    def version(self) -> Version:
        self.looks += 1
        return super().version()


@pytest.mark.slow
async def test_nobody_looks_at_the_ledger_unless_somebody_wants_to_hear_and_it_has_changed(ledger_file: Path) -> None:
    library = CountingLibrary(open_ledger(ledger_file))
    subscriptions = Subscriptions(library, anyio.CapacityLimiter(1), Watch(poll_s=3600))

    async def until_looked(times: int) -> None:
        with anyio.fail_after(PATIENCE_S):
            while library.looks < times:
                await anyio.sleep(0.01)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(subscriptions.watch)
        await anyio.sleep(2 * LOOK_S)
        assert library.looks == 0
        async with subscriptions._wanting(["meshfleet://fleets"]):
            await until_looked(1)
            await anyio.sleep(3 * LOOK_S)
            # the wish itself may have come while it was looked
            before = library.looks
            assert before <= 2
            fleet_of(library.ledger, "A")
            await until_looked(before + 1)
        await anyio.sleep(3 * LOOK_S)
        before = library.looks
        fleet_of(library.ledger, "B")
        await anyio.sleep(3 * LOOK_S)
        assert library.looks <= before + 1
        tasks.cancel_scope.cancel()
