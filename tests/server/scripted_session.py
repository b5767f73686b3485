"""One session with a server, as a script that any MCP client can follow, and what has to come of it."""

from __future__ import annotations

import json
from typing import Any, Final, Protocol

from meshfleet import __version__
from meshfleet.server.resources import KINDS
from meshfleet.server.tools import TOOLS

ROLES: Final = ("Explorer", "Analyst")


class McpClient(Protocol):
    """What the script asks of a client; everything is given back as it was on the wire."""

    async def initialize(self) -> dict[str, Any]:
        """The server's name and version, its capabilities and instructions."""

    async def list(self, what: str) -> list[dict[str, Any]]:
        """What the server lists: tools, prompts, resources or resource templates."""

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The result of a tool."""

    async def read(self, uri: str) -> dict[str, Any]:
        """The contents of a resource."""

    async def prompt(self, name: str, arguments: dict[str, str]) -> dict[str, Any]:
        """A prompt that is filled in."""


async def run_session(client: McpClient) -> None:
    """Follow the script from beginning to end."""
    await greet(client)
    await look_at_tools(client)
    assert [prompt["name"] for prompt in await client.list("prompts")] == ["pipeline", "debate", "rescue"]
    await fill_in_a_prompt(client)
    fleet_id, agent_ids = await spawn(client)
    await talk(client, fleet_id, agent_ids)
    await be_refused(client)
    await look_at_resources(client, fleet_id, agent_ids)


async def ask_in_passing(client: McpClient) -> None:
    """The part of the script whose questions have nothing to do with each other."""
    await greet(client)
    await look_at_tools(client)
    await be_refused(client)
    assert await said_by(client, "list_fleets") == {"fleets": []}
    await fill_in_a_prompt(client)


async def greet(client: McpClient) -> None:
    """The server says who it is, what it can do and how it is used."""
    told = await client.initialize()
    assert told["serverInfo"]["name"] == "meshfleet"
    assert told["serverInfo"]["version"] == __version__
    assert told["capabilities"].keys() >= {"tools", "resources", "prompts", "completions"}
    assert told["capabilities"]["resources"] == {"subscribe": True, "listChanged": True}
    assert "spawn_fleet" in told["instructions"]


async def look_at_tools(client: McpClient) -> None:
    """Every tool comes with its schemas."""
    tools = {tool["name"]: tool for tool in await client.list("tools")}
    assert list(tools) == list(TOOLS)
    for tool in tools.values():
        assert tool["description"]
        assert tool["inputSchema"]["type"] == tool["outputSchema"]["type"] == "object"
        assert tool["annotations"].keys() >= {"readOnlyHint", "destructiveHint", "idempotentHint"}


async def spawn(client: McpClient) -> tuple[str, list[str]]:
    """A fleet is started, listed and told of."""
    agents = [{"role": role, "prompt": f"{role}: größer, 1 < 2"} for role in ROLES]
    said = await said_by(client, "spawn_fleet", agents=agents)
    fleet_id, agent_ids = said["fleet_id"], said["agent_ids"]
    status = await said_by(client, "fleet_status", fleet_id=fleet_id)
    assert [(agent["id"], agent["role"]) for agent in status["agents"]] == list(zip(agent_ids, ROLES, strict=True))
    assert fleet_id in [fleet["id"] for fleet in (await said_by(client, "list_fleets"))["fleets"]]
    return fleet_id, agent_ids


async def talk(client: McpClient, fleet_id: str, agent_ids: list[str]) -> None:
    """A message is sent, found, seen, acted on, and all of it is witnessed."""
    explorer, analyst = agent_ids
    payload = 'found:\n"3" < 4 and größer 😀'
    sent = await said_by(
        client,
        "send_message",
        from_agent_id=explorer,
        to_agent_id=analyst,
        fleet_id=fleet_id,
        type="handoff",
        payload=payload,
    )
    assert sent["recipients"] == [analyst]
    about = {"agent_id": analyst, "message_id": sent["message_id"]}
    [message] = (await said_by(client, "get_inbox", agent_id=analyst))["messages"]
    assert (message["id"], message["payload"]) == (sent["message_id"], payload)
    [waiting] = json.loads((await client.read(f"meshfleet://agents/{analyst}/inbox"))["text"])["messages"]
    assert waiting == message
    await said_by(client, "receipt", **about, action="seen", note="on it")
    assert await said_by(client, "ack_message", **about) == {"ok": True}
    trail = (await said_by(client, "get_receipts", message_id=sent["message_id"]))["receipts"]
    assert [receipt["action"] for receipt in trail] == ["seen", "ack"]
    assert (await said_by(client, "get_inbox", agent_id=analyst))["messages"] == []


async def be_refused(client: McpClient) -> None:
    """Nonsense is refused."""
    refused = await client.call("fleet_status", {"fleet_id": 5})
    assert refused["isError"] is True
    assert json.loads(refused["content"][0]["text"]) == {"error": "fleet_id is 5; it has to be a string"}


async def look_at_resources(client: McpClient, fleet_id: str, agent_ids: list[str]) -> None:
    """What there is can be listed and read."""
    listed = {one["uri"]: one for one in await client.list("resources")}
    assert list(listed) == ["meshfleet://fleets", f"meshfleet://fleets/{fleet_id}"]
    templates = [one["uriTemplate"] for one in await client.list("resource templates")]
    assert templates == [kind.template for kind in KINDS if kind.variable]
    fleet = await client.read(f"meshfleet://fleets/{fleet_id}")
    assert fleet["mimeType"] == "application/json"
    assert [agent["id"] for agent in json.loads(fleet["text"])["agents"]] == agent_ids
    output = await client.read(f"meshfleet://agents/{agent_ids[0]}/output")
    assert output["mimeType"] == "text/plain"
    # by now the agent may have said something, or not have been started
    assert output["text"] in {"", f"{ROLES[0]}: größer, 1 < 2"}


async def fill_in_a_prompt(client: McpClient) -> None:
    """A prompt makes a call of spawn_fleet."""
    filled_in = await client.prompt("debate", {"task": "tabs or spaces", "roles": "Tabs, Spaces"})
    [message] = filled_in["messages"]
    assert "spawn_fleet" in message["content"]["text"]
    assert "tabs or spaces" in message["content"]["text"]


async def said_by(client: McpClient, tool: str, **arguments: object) -> dict[str, Any]:
    """What a tool said that did not refuse, which is the same as text and as structured content."""
    result = await client.call(tool, arguments)
    assert result.get("isError", False) is False, result
    [content] = result["content"]
    said: dict[str, Any] = result["structuredContent"]
    assert json.loads(content["text"]) == said
    return said
