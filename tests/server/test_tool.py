"""What a tool tells of itself: tight schemas that a model can afford, and nothing converted behind its back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import pytest
from pydantic import Field

from meshfleet.server.tool import Arguments, tight_schema
from meshfleet.server.tools import TOOLS, offered_tools

KIB: Final = 1024
MOST_FOR_ORCHESTRATORS: Final = 20 * KIB
MOST_FOR_AGENTS: Final = 8 * KIB
EXPLAINED_ELSEWHERE: Final = {"send_messages"}
"""Tools that take many of what another one takes."""
PEERS_TOOLS: Final = [
    "whoami",
    "send_message",
    "get_inbox",
    "wait_for_messages",
    "ack_message",
    "receipt",
    "get_receipts",
    "route_work",
    "register_capability",
    "fleet_status",
    "collect_results",
    "list_agents",
    "spawn_fleet",
    "attach_agent",
    "wait",
    "cancel",
]


def told_to_models(*, in_agent_mode: bool) -> bytes:
    """What every turn of a model pays for."""
    tools = [tool.on_the_wire() for tool in offered_tools(in_agent_mode=in_agent_mode).values()]
    told = [
        {"name": tool["name"], "description": tool["description"], "parameters": tool["inputSchema"]} for tool in tools
    ]
    return json.dumps(told).encode()


def schemas_in(schema: object) -> Iterator[dict[str, Any]]:
    """Every object within a JSON schema."""
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from schemas_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from schemas_in(value)


def test_all_tools_together_cost_a_model_less_than_20_kib() -> None:
    assert len(told_to_models(in_agent_mode=False)) < MOST_FOR_ORCHESTRATORS


def test_the_tools_of_an_agent_cost_it_less_than_8_kib() -> None:
    assert len(told_to_models(in_agent_mode=True)) < MOST_FOR_AGENTS


def test_an_agent_is_offered_what_a_peer_needs() -> None:
    assert list(offered_tools(in_agent_mode=True)) == PEERS_TOOLS
    assert list(offered_tools(in_agent_mode=False)) == list(TOOLS)


def test_what_an_agent_starts_can_t_be_given_more_than_the_agent_has() -> None:
    offered = offered_tools(in_agent_mode=True)
    told = json.dumps([offered[name].on_the_wire()["inputSchema"] for name in ("spawn_fleet", "attach_agent")])
    assert [name for name in ("allow_all", "env", "cwd", "model") if f'"{name}"' in told] == []


@pytest.mark.parametrize("name", TOOLS)
def test_an_input_schema_is_closed_described_and_without_references(name: str) -> None:
    schema = TOOLS[name].on_the_wire()["inputSchema"]
    assert schema["type"] == "object"
    for part in schemas_in(schema):
        assert not {"$ref", "$defs", "anyOf", "title"} & (part.keys() - part.get("properties", {}).keys())
        if part.get("additionalProperties") == {"type": "string"}:
            assert "properties" not in part  # names and values of the caller's own
        elif part.get("type") == "object":
            assert part["additionalProperties"] is False
            assert set(part.get("required", [])) <= part.get("properties", {}).keys()
            for argument in part["properties"].values():
                assert name in EXPLAINED_ELSEWHERE or argument["description"].strip()
                assert argument.get("default", 0) is not None


@pytest.mark.parametrize("name", TOOLS)
def test_a_schema_requires_what_the_tool_refuses_to_go_without(name: str) -> None:
    tool = TOOLS[name]
    required = [key for key, field in tool.arguments.model_fields.items() if field.is_required()]
    assert tool.on_the_wire()["inputSchema"].get("required", []) == required


@pytest.mark.parametrize("name", TOOLS)
def test_an_output_schema_describes_an_object_and_lets_more_be_added(name: str) -> None:
    for part in schemas_in(TOOLS[name].on_the_wire()["outputSchema"]):
        if part.get("type") == "object":
            assert set(part.get("required", [])) <= part.get("properties", {}).keys()
            assert "additionalProperties" not in part


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_that_only_reads_says_so_and_is_repeatable(name: str) -> None:
    annotations = TOOLS[name].on_the_wire()["annotations"]
    assert annotations["idempotentHint"] or not annotations["readOnlyHint"]


class Inner(Arguments):
    """Told to nobody."""

    title: Annotated[str, Field(description="A heading")]


class Sample(Arguments):
    """Told to nobody either."""

    inner: Annotated[Inner, Field(description="One")]
    several: Annotated[list[Inner], Field(description="Some")]
    kind: Annotated[Literal["a", "b"] | None, Field(description="Which")] = None
    count: Annotated[int, Field(description="How many", ge=1)] = 5


def test_tightening_resolves_references_and_keeps_an_argument_called_title() -> None:
    inner = {
        "type": "object",
        "properties": {"title": {"type": "string", "description": "A heading"}},
        "required": ["title"],
        "additionalProperties": False,
    }
    tight = tight_schema(Sample.model_json_schema())
    several = tight["properties"].pop("several")
    assert several["description"] == "Some"
    assert several["type"] == "array"
    assert {key: value for key, value in several["items"].items() if key != "description"} == inner
    assert tight == {
        "type": "object",
        "properties": {
            "inner": {**inner, "description": "One"},
            "kind": {"type": "string", "enum": ["a", "b"], "description": "Which"},
            "count": {"type": "integer", "minimum": 1, "default": 5, "description": "How many"},
        },
        "required": ["inner", "several"],
        "additionalProperties": False,
    }
