"""Requests of the protocol with parameters that can't be: an error of the protocol that names the wrong one."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.server.serving import RawServer, environ_for, raw_server
from tests.server.streams_helpers import line


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RawServer]:
    """A server on a ledger that is not there."""
    folder = tmp_path_factory.mktemp("protocol") / "ledger"
    folder.mkdir()
    with raw_server(environ_for(folder / "agent-mesh.json")) as running:
        yield running


@pytest.mark.parametrize(
    ("method", "params", "told"),
    [
        ("tools/call", {}, "params is missing; tools/call needs it"),
        ("tools/call", {"arguments": {}}, "name is missing; tools/call needs it"),
        ("tools/call", {"name": 5}, "name is 5; it has to be a string"),
        ("tools/call", {"name": "ping", "arguments": "{}"}, "arguments is '{}'; it has to be an object"),
        ("tools/list", {"cursor": "x"}, "cursor is 'x', but this list is told at once; leave it out"),
        ("tools/list", {"cursor": 5}, "cursor is 5; it has to be a string"),
        ("resources/list", {"cursor": [1]}, "cursor is [1]; it has to be a string"),
        ("resources/read", {"url": "x"}, "uri is missing; resources/read needs it"),
        ("resources/read", {"uri": None}, "uri is None; it has to be a string"),
        ("resources/subscribe", {"uri": {}}, "uri is {}; it has to be a string"),
        ("prompts/get", {"arguments": {}}, "name is missing; prompts/get needs it"),
        ("prompts/get", {"name": "debate", "arguments": {"task": 5}}, "arguments.task is 5; it has to be a string"),
        ("prompts/get", {"name": "debate", "arguments": {"a\x1b": 5}}, "arguments.'a\\x1b' is 5; it has to"),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "debate"}}, "argument is missing; completion/"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_would_be_right(
    server: RawServer, method: str, params: dict[str, Any], told: str
) -> None:
    error = server.ask(line(method, 1, **params))["error"]
    assert error["code"] == -32602
    assert error["message"].startswith(told)


def test_of_many_wrong_parameters_a_few_are_told(server: RawServer) -> None:
    arguments = {f"a{number}": number for number in range(1000)}
    error = server.ask(line("prompts/get", 1, name="debate", arguments=arguments))["error"]
    assert error["message"].count("it has to be a string") == 5
    assert error["message"].endswith("; and 995 more")


@pytest.mark.parametrize("method", ["nothing/here", "roots/list", "", "tools/call ", "__proto__"])
def test_a_method_there_is_not_is_not_found(server: RawServer, method: str) -> None:
    assert server.ask(line(method, 1))["error"]["code"] == -32601


@pytest.mark.parametrize("params", [{}, {"requestId": None}, {"requestId": [1]}, {"requestId": "unheard of"}])
def test_a_cancellation_of_nothing_changes_nothing(server: RawServer, params: dict[str, Any]) -> None:
    server.send(line("notifications/cancelled", **params))
    assert server.ask(line("ping", 1)) == {"jsonrpc": "2.0", "id": 1, "result": {}}
