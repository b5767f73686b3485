"""The prompts: each fills in a call of spawn_fleet that the tool takes as it stands."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, PromptReference, TextContent

from meshfleet.mesh.identity import Caller
from meshfleet.server.app import build_server
from meshfleet.server.prompts import LONGEST_TASK, MOST_ROLES
from meshfleet.server.tool import Context
from tests.mesh.fleets import open_ledger

pytestmark = pytest.mark.anyio

NAMES = ("pipeline", "debate", "rescue")
TASK = 'Find out why "größer" < 2\n```json\n{"agents": []}\n```\n\u2028 😀'


@pytest.fixture(params=["legacy", "auto"])
async def client(request: pytest.FixtureRequest, ledger_file: Path, tmp_path: Path) -> AsyncGenerator[Client]:
    """The SDK's client of a server that supervises nothing, so that what is spawned waits."""
    server = build_server(Context(open_ledger(ledger_file), Caller(), None, {}, tmp_path), "")
    async with Client(server, mode=request.param) as client:
        yield client


async def text_of(client: Client, name: str, **arguments: str) -> str:
    """The one message of a prompt."""
    [message] = (await client.get_prompt(name, arguments)).messages
    assert message.role == "user"
    assert isinstance(message.content, TextContent)
    return message.content.text


async def call_in(client: Client, name: str, **arguments: str) -> dict[str, Any]:
    """The arguments the message tells the model to call spawn_fleet with."""
    text = await text_of(client, name, **arguments)
    assert "spawn_fleet" in text
    [block] = re.findall(r"^```json\n(.*?)\n```$", text, re.DOTALL | re.MULTILINE)
    call: dict[str, Any] = json.loads(block)
    return call


async def refusal_of(client: Client, name: str, **arguments: str) -> str:
    """Why a prompt is not given."""
    with pytest.raises(MCPError) as refused:
        await client.get_prompt(name, arguments)
    assert refused.value.error.code == INVALID_PARAMS
    return refused.value.error.message


async def test_the_three_patterns_are_listed_with_their_arguments(client: Client) -> None:
    prompts = (await client.list_prompts()).prompts
    assert tuple(prompt.name for prompt in prompts) == NAMES
    for prompt in prompts:
        assert prompt.title
        assert prompt.description
        arguments = prompt.arguments or []
        assert [(argument.name, argument.required) for argument in arguments] == [("task", True), ("roles", False)]
        assert all(argument.description for argument in arguments)


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("pipeline", ["Explorer", "Analyst", "Engineer"]),
        ("debate", ["Advocate", "Skeptic", "Judge"]),
        ("rescue", ["Fixer", "Second Fixer", "Rescuer"]),
    ],
)
async def test_spawn_fleet_takes_what_a_prompt_fills_in(client: Client, name: str, roles: list[str]) -> None:
    call = await call_in(client, name, task=TASK)
    assert [agent["role"] for agent in call["agents"]] == roles
    result = await client.call_tool("spawn_fleet", call)
    assert not result.is_error, result.content
    status = await client.call_tool("fleet_status", {"fleet_id": (result.structured_content or {})["fleet_id"]})
    stored = (status.structured_content or {})["agents"]
    assert [(agent["role"], agent["prompt"]) for agent in stored] == [
        (agent["role"], agent["prompt"]) for agent in call["agents"]
    ]
    assert [agent.get("start") for agent in stored] == [agent.get("start") for agent in call["agents"]]


@pytest.mark.parametrize("name", NAMES)
async def test_nobody_is_told_to_look_again_and_again(client: Client, name: str) -> None:
    text = await text_of(client, name, task="x")
    assert "Then call wait with its fleet_id" in text
    assert not {"get_inbox", "fleet_status", "`sleep"} & set(re.findall(r"`?\w+", text))


@pytest.mark.parametrize("name", NAMES)
async def test_every_agent_is_told_the_task_who_it_is_and_how_to_talk(client: Client, name: str) -> None:
    for agent in (await call_in(client, name, task=f"  {TASK}\n"))["agents"]:
        assert TASK in agent["prompt"]
        assert re.match(rf"You are (the )?{agent['role']}\b", agent["prompt"])
        for word in ("wait_for_messages", "ack_message", "meshfleet instructions"):
            assert word in agent["prompt"]


async def test_each_station_of_a_pipeline_hands_on_to_the_next(client: Client) -> None:
    call = await call_in(client, "pipeline", task="x", roles=" Scout ,Cook,  Waiter,Guest ")
    prompts = {agent["role"]: agent["prompt"] for agent in call["agents"]}
    assert list(prompts) == ["Scout", "Cook", "Waiter", "Guest"]
    assert "Begin at once" in prompts["Scout"]
    for before, after in (("Scout", "Cook"), ("Cook", "Waiter"), ("Waiter", "Guest")):
        assert f'Then send {after} a message of type "handoff"' in prompts[before]
        assert f'You begin with the message of type "handoff" from {before}, which started you' in prompts[after]
    assert 'send "orchestrator" a message of type "result"' in prompts["Guest"]
    how = [(agent.get("start"), agent.get("wake")) for agent in call["agents"]]
    assert how == [(None, True), ("on_message", True), ("on_message", True), ("on_message", None)]


async def test_a_judge_starts_after_all_debaters_and_a_rescuer_when_a_worker_calls(client: Client) -> None:
    roles = "Red, Green, Blue"
    *debaters, judge = (await call_in(client, "debate", task="x", roles=roles))["agents"]
    *workers, rescuer = (await call_in(client, "rescue", task="x", roles=roles))["agents"]
    assert [agent["role"] for agent in debaters] == [agent["role"] for agent in workers] == roles.split(", ")
    assert f"debate of {roles}" in judge["prompt"]
    assert (judge["after"], "start" in judge) == (roles.split(", "), False)
    assert all(agent["wake"] for agent in debaters)
    assert "Send your case to Red and Blue as" in debaters[1]["prompt"]
    assert f"Rescuer of {roles}" in rescuer["prompt"]
    assert (rescuer["start"], rescuer["wake"]) == ("on_message", True)
    assert all(agent.keys() == {"role", "prompt"} for agent in workers)
    assert all("Judge" in agent["prompt"] for agent in debaters)
    assert all("request_help" in agent["prompt"] for agent in workers)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("roles", ["", "  "])
async def test_roles_that_are_left_empty_are_the_usual_ones(client: Client, name: str, roles: str) -> None:
    assert await text_of(client, name, task="x", roles=roles) == await text_of(client, name, task="x")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "task is missing"),
        ({"task": " \n"}, "task is blank"),
        ({"task": "a\0b"}, "task holds a NUL at character 1"),
        ({"task": "x" * (LONGEST_TASK + 1)}, f"task has {LONGEST_TASK + 1} bytes"),
        ({"task": "x", "rolls": "A, B"}, "'rolls' is no argument"),
        ({"task": "x", "__proto__": "A, B"}, "'__proto__' is no argument"),
        ({"task": "x", "roles": "A,,B"}, "roles has nothing between two commas"),
        ({"task": "x", "roles": "A, B, A"}, "roles names 'A' twice"),
        ({"task": "x", "roles": ",".join(f"A{n}" for n in range(MOST_ROLES + 1))}, f"roles names {MOST_ROLES + 1}"),
        ({"task": "x", "roles": "A, B\0"}, "roles holds a NUL at character 1"),
        ({"task": "x", "roles": "A," + "B" * 300}, "roles has 300 bytes"),
    ],
)
async def test_an_argument_that_can_t_be_is_refused_by_its_name(
    client: Client, name: str, arguments: dict[str, str], told: str
) -> None:
    assert (await refusal_of(client, name, **arguments)).startswith(told)


@pytest.mark.parametrize(("name", "roles"), [("pipeline", "A"), ("debate", "A"), ("debate", "A, Judge")])
async def test_too_few_roles_and_those_a_pattern_has_anyway_are_refused(client: Client, name: str, roles: str) -> None:
    assert (await refusal_of(client, name, task="x", roles=roles)).startswith("roles names ")


async def test_an_unknown_prompt_is_refused_with_those_there_are(client: Client) -> None:
    told = "there is no prompt 'party'; there are pipeline, debate, rescue"
    assert await refusal_of(client, "party", task="x") == told


async def test_the_usual_roles_are_proposed(client: Client) -> None:
    async def proposed(argument: str, typed: str) -> list[str]:
        ref = PromptReference(name="debate")
        return (await client.complete(ref, {"name": argument, "value": typed})).completion.values

    assert await proposed("roles", "Adv") == ["Advocate, Skeptic"]
    assert await proposed("roles", "Z") == []
    assert await proposed("task", "") == []
    with pytest.raises(MCPError, match="'rolls' is no argument of debate"):
        await proposed("rolls", "")
