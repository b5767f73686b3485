"""A chat-completions request as a scripted model sees it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshfleet.demo.conversation import PastCall, parse_conversation

TITLE_SYSTEM = "You are a title generator. You output ONLY a thread title. Nothing else."


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {}}}


def asked(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def answered(call_id: str, content: object) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def test_system_prompt_user_prompt_and_tools_are_told_apart() -> None:
    seen = parse_conversation(
        {
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "system", "content": "be kind"},
                {"role": "user", "content": "find the bug\n"},
            ],
            "tools": [tool("read"), tool("meshfleet_get_inbox")],
        }
    )

    assert seen.system == "be brief\nbe kind"
    assert seen.prompt == "find the bug\n"
    assert seen.tools == ("read", "meshfleet_get_inbox")
    assert seen.calls == ()


def test_content_in_parts_reads_as_one_text() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]

    seen = parse_conversation({"messages": [{"role": "user", "content": parts}]})

    assert seen.prompt == "one two"


def test_results_belong_to_their_calls_whatever_their_order() -> None:
    seen = parse_conversation(
        {
            "messages": [
                {"role": "user", "content": "go"},
                asked("a", "read", '{"filePath": "x"}'),
                asked("b", "bash", ""),
                answered("b", "second"),
                answered("a", [{"type": "text", "text": "first"}]),
                asked("c", "write", "{}"),
            ]
        }
    )

    assert seen.calls == (
        PastCall("read", {"filePath": "x"}, "first"),
        PastCall("bash", {}, "second"),
        PastCall("write", {}, None),
    )


def test_a_continued_session_has_its_own_turn() -> None:
    seen = parse_conversation(
        {
            "messages": [
                {"role": "user", "content": "first"},
                asked("a", "read", "{}"),
                answered("a", "old"),
                {"role": "assistant", "content": "done"},
                {"role": "user", "content": "second"},
                asked("b", "write", "{}"),
                answered("b", "new"),
            ]
        }
    )

    assert seen.prompts == ("first", "second")
    assert seen.prompt == "second"
    assert [call.result for call in seen.calls] == ["old", "new"]
    assert [call.result for call in seen.calls_of_turn] == ["new"]


def test_a_title_request_comes_from_the_title_generator_and_without_tools() -> None:
    title = {"messages": [{"role": "system", "content": TITLE_SYSTEM}]}

    assert parse_conversation(title).is_title_request
    assert not parse_conversation({**title, "tools": [tool("read")]}).is_title_request
    assert not parse_conversation({"messages": [{"role": "user", "content": TITLE_SYSTEM}]}).is_title_request


def test_a_result_is_read_as_json_only_where_it_is_json() -> None:
    assert PastCall("t", {}, '{"messages": []}').result_json() == {"messages": []}
    assert PastCall("t", {}, "ripgrep execution failed").result_json() is None
    assert PastCall("t", {}, None).result_json() is None


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ([], "JSON object"),
        ({}, "messages"),
        ({"messages": ["hello"]}, "messages"),
        ({"messages": [{"role": "user", "content": 7}]}, "content is a int"),
        ({"messages": [asked("a", "read", "{")]}, "arguments of read"),
        ({"messages": [asked("a", "read", json.dumps([1]))]}, "arguments of read"),
    ],
)
def test_what_is_no_chat_request_is_refused_by_name(body: object, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse_conversation(body)
