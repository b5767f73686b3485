"""Whatever a client sends as arguments, the server answers it, says nothing else on stdout, and goes on."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshfleet.server.tools import TOOLS
from tests.server.serving import SERVE, Prepared, RawServer, environ_for, prepare, raw_server
from tests.server.streams_helpers import line

NAMES: Final = sorted({name for tool in TOOLS.values() for name in tool.arguments.model_fields})
ODD: Final = [
    "",
    " ",
    "*",
    "orchestrator",
    "__proto__",
    "../../etc/passwd",
    "\0",
    "\x1b[31m",
    "\ud800",
    "ü" * 300,
    "-x",
]
SCALARS: Final = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=()), max_size=40)
    | st.sampled_from(ODD)
)
VALUES: Final = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["role", "prompt", "x", *ODD]), inner),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A ledger with rows to name."""
    return prepare(tmp_path_factory.mktemp("fuzz") / "ledger" / "agent-mesh.json")


@pytest.fixture(scope="module")
def server(prepared: Prepared) -> Generator[RawServer]:
    """A server that can start no agent."""
    folder = prepared.ledger_file.parent.parent / "project"
    folder.mkdir()
    environ = environ_for(prepared.ledger_file, MESHFLEET_OPENCODE="/nowhere/opencode", MESHFLEET_SSE_PORT="0")
    environ["MESHFLEET_DURABILITY"] = "process"
    from_folder = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(folder), *SERVE]
    with raw_server(environ, from_folder) as running:
        yield running
        assert running.end() == []
        assert running.process.wait(20) == 0
        # not a traceback, not a stray word
        assert running.stderr == ""


@pytest.mark.slow
@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_any_arguments_of_any_tool_are_answered_in_the_one_form_of_results(
    data: st.DataObject, server: RawServer, prepared: Prepared
) -> None:
    name = data.draw(st.sampled_from(sorted(TOOLS)))
    own = sorted(TOOLS[name].arguments.model_fields)
    ids = st.sampled_from([prepared.fleet_id, *prepared.agents, prepared.message_id, "team"])
    arguments: dict[str, Any] = {argument: data.draw(VALUES | ids) for argument in own if data.draw(st.integers(0, 9))}
    if not data.draw(st.integers(0, 5)):
        arguments |= data.draw(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), VALUES, max_size=3))
    if TOOLS[name].wait is not None and type(arguments.get("timeout_ms", 0)) is int:
        arguments["timeout_ms"] = 1  # what is fine would be waited for
    answer = server.ask(line("tools/call", 1, name=name, arguments=arguments))
    assert answer["id"] == 1
    result = answer["result"]
    [content] = result["content"]
    told = json.loads(content["text"])
    if result["isError"]:
        assert told.keys() == {"error"}
        assert told["error"].isprintable()
        assert len(told["error"]) < 1000
        assert "is a bug" not in told["error"], (name, arguments)
    else:
        assert told == result["structuredContent"]
