"""What a call is answered, as an object and as a line: the same, and JSON whatever is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshfleet.mesh.identity import Caller
from meshfleet.server.calls import Answer, run_tool
from meshfleet.server.tool import Context, NoArguments, Tool
from tests.mesh.fleets import open_ledger

SCALARS: Final = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20)
)
VALUES: Final = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("ab"), inner)),
    max_size=4,
)


@pytest.fixture
def context(ledger_file: Path, tmp_path: Path) -> Context:
    return Context(open_ledger(ledger_file), Caller(), None, {}, tmp_path)


def answer_of(context: Context, value: dict[str, Any]) -> Answer:
    """What a tool that says so is answered."""
    tool = Tool(name="say", description="", arguments=NoArguments, result={}, call=lambda *_: value)
    return run_tool(tool, context, {})


@given(value=VALUES, request_id=st.integers() | st.text(st.characters(codec="utf-8"), max_size=20))
def test_a_line_holds_the_result_and_the_result_the_value(value: dict[str, Any], request_id: int | str) -> None:
    answer = answer_of(Context.__new__(Context), value)
    line = answer.as_line(request_id)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {"jsonrpc": "2.0", "id": request_id, "result": answer.as_result()}
    assert answer.as_result()["structuredContent"] == value
    assert json.loads(answer.text) == value


@pytest.mark.parametrize(
    ("value", "told"),
    [({"x": float("nan")}, {"x": None}), ({"x": [float("inf")]}, {"x": [None]}), ({"\ud800": "é\udfff"}, {"?": "é?"})],
    ids=["NaN", "infinity", "half a character"],
)
def test_what_no_protocol_can_carry_is_told_as_what_it_can(
    context: Context, value: dict[str, Any], told: dict[str, Any]
) -> None:
    result = json.loads(answer_of(context, value).as_line(1))["result"]
    assert result["structuredContent"] == told
    assert json.loads(result["content"][0]["text"]) == told
