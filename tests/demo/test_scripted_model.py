"""The loopback server that plays a model, for a plain HTTP client."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from meshfleet.demo.conversation import Call, Calls, Conversation, Fail, Reply, Say
from meshfleet.demo.scripted_model import SESSION_TITLE, ScriptedModel, opencode_config

CLIENT_TIMEOUT_S = 10


def request(model: ScriptedModel, method: str, path: str, body: bytes | None = None) -> tuple[int, str, bytes]:
    address = urlsplit(model.base_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=CLIENT_TIMEOUT_S)
    try:
        connection.request(method, address.path + path, body)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read()
    finally:
        connection.close()


def complete(model: ScriptedModel, **body: Any) -> tuple[int, Any]:
    body.setdefault("messages", [{"role": "user", "content": "go"}])
    status, _, answer = request(model, "POST", "/chat/completions", json.dumps(body).encode())
    return status, json.loads(answer)


def stream(model: ScriptedModel) -> list[Mapping[str, Any]]:
    body = json.dumps({"stream": True, "messages": [{"role": "user", "content": "go"}]}).encode()
    status, content_type, answer = request(model, "POST", "/chat/completions", body)
    assert (status, content_type) == (200, "text/event-stream")
    events = answer.decode().removesuffix("\n\n").split("\n\n")
    assert events.pop() == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


def test_words_come_as_one_completion() -> None:
    with ScriptedModel(lambda _: Say("hello")) as model:
        status, answer = complete(model)

    assert status == 200
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "hello"}
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["total_tokens"] > 0


def test_words_stream_and_end_with_a_count_of_tokens() -> None:
    with ScriptedModel(lambda _: Say("hellö")) as model:
        chunks = stream(model)

    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == "hellö"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] > 0


def test_several_calls_stream_under_indices_and_ids_of_their_own() -> None:
    calls = Calls((Call("read", {"filePath": "a"}), Call("read", {"filePath": "b"})), saying="two files")
    with ScriptedModel(lambda _: calls) as model:
        chunks = stream(model)

    assert chunks[0]["choices"][0]["delta"]["content"] == "two files"
    asked = [call for chunk in chunks[:-1] for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert [call["index"] for call in asked] == [0, 1]
    assert [json.loads(call["function"]["arguments"])["filePath"] for call in asked] == ["a", "b"]
    assert asked[0]["id"] != asked[1]["id"]
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_failure_reaches_the_client_with_its_status_and_text() -> None:
    with ScriptedModel(lambda _: Fail(429, "slow down")) as model:
        status, answer = complete(model)

    assert (status, answer["error"]["message"]) == (429, "slow down")


def test_a_script_that_raises_fails_the_request_and_is_remembered() -> None:
    def broken(_: Conversation) -> Reply:
        raise LookupError("no such step")

    with ScriptedModel(broken) as model:
        status, answer = complete(model)

    assert status == 400
    assert answer["error"]["message"] == "the script failed: LookupError: no such step"
    assert [str(error) for error in model.script_errors] == ["no such step"]


def test_a_title_request_is_answered_without_the_script() -> None:
    with ScriptedModel(lambda _: Fail(400, "the script was asked")) as model:
        status, answer = complete(model, messages=[{"role": "system", "content": "You are a title generator."}])

    assert status == 200
    assert answer["choices"][0]["message"]["content"] == SESSION_TITLE


def test_requests_are_remembered_in_order_and_can_be_waited_for() -> None:
    with ScriptedModel(lambda _: Say("ok")) as model:
        late = threading.Timer(
            0.05, complete, args=(model,), kwargs={"messages": [{"role": "user", "content": "second"}]}
        )
        complete(model, messages=[{"role": "user", "content": "first"}])
        late.start()
        found = model.wait_for_request(lambda conversation: conversation.prompt == "second", timeout_s=5)
        late.join()

    assert found.prompt == "second"
    assert [conversation.prompt for conversation in model.requests] == ["first", "second"]


def test_waiting_for_a_request_that_never_comes_ends() -> None:
    with ScriptedModel(lambda _: Say("ok")) as model, pytest.raises(TimeoutError, match="no such request"):
        model.wait_for_request(lambda _: True, timeout_s=0.01)


def test_a_reply_is_held_back_for_as_long_as_the_script_says() -> None:
    with ScriptedModel(lambda _: Say("late", after_s=0.2)) as model:
        began = time.monotonic()
        complete(model)

    assert time.monotonic() - began >= 0.2


def test_stopping_does_not_wait_for_a_held_back_reply() -> None:
    with ScriptedModel(lambda _: Say("never", after_s=3600)) as model:
        client = threading.Thread(target=complete, args=(model,))
        client.start()
        model.wait_for_request(lambda _: True, timeout_s=5)
    client.join(timeout=5)

    assert not client.is_alive()


def test_the_models_are_listed_and_other_paths_are_not_found() -> None:
    with ScriptedModel(lambda _: Say("ok")) as model:
        assert json.loads(request(model, "GET", "/models")[2])["data"][0]["id"] == "m"
        assert request(model, "GET", "/nothing")[0] == 404
        assert request(model, "POST", "/nothing", b"{}")[0] == 404


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b'{"messages": 1}', b'{"messages": [], "tools": [1]}'])
def test_a_request_that_is_no_chat_request_is_refused(body: bytes) -> None:
    with ScriptedModel(lambda _: Say("ok")) as model:
        assert request(model, "POST", "/chat/completions", body)[0] == 400
        assert model.requests == ()


def test_every_model_opencode_may_ask_for_is_the_scripted_one() -> None:
    config = opencode_config("http://127.0.0.1:1/v1")

    assert config["model"] == config["small_model"] == "scripted/m"
    assert config["provider"]["scripted"]["options"]["baseURL"] == "http://127.0.0.1:1/v1"
    assert config["autoupdate"] is False
    assert config["share"] == "disabled"
