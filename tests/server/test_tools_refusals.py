"""What the tools refuse: each wrong argument by its name, as a result, with not a byte of the ledger changed."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any, Final, NamedTuple

import pytest

from meshfleet.server.tools import TOOLS
from tests.mesh.fleets import bytes_of
from tests.server.serving import Prepared, RawServer, environ_for, fake_opencode, prepare, raw_server, refusal_in
from tests.server.streams_helpers import call, line


class Face(NamedTuple):
    server: RawServer
    prepared: Prepared
    before: dict[str, bytes]


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Generator[Face]:
    """A server that never writes, since everything asked of it here is refused."""
    folder = tmp_path_factory.mktemp("refusals")
    prepared = prepare(folder / "ledger" / "agent-mesh.json")
    opencode = fake_opencode(folder)
    with raw_server(environ_for(prepared.ledger_file, MESHFLEET_OPENCODE=str(opencode))) as server:
        server.call("list_fleets")
        yield Face(server, prepared, bytes_of(prepared.ledger_file.parent))


MISSING: Final = object()
GOOD: Final[dict[str, dict[str, Any]]] = {
    "spawn_fleet": {
        "agents": [{"role": "A", "prompt": "go"}],
        "name": "night shift",
        "timeout_ms": 1000,
        "max_attempts": 2,
        "max_cost_usd": 1.5,
        "max_tokens": 1000,
        "allow_all": False,
        "idempotency_key": "monday",
    },
    "fleet_status": {"fleet_id": "FLEET"},
    "list_fleets": {},
    "wait": {"fleet_id": "FLEET", "until": "any", "timeout_ms": 1000, "cursor": 0},
    "collect_results": {"fleet_id": "FLEET"},
    "agent_output": {"agent_id": "AGENT", "attempt": 1, "tail_bytes": 1000, "cursor": "1:0"},
    "cancel": {"fleet_id": "FLEET", "agent_id": "AGENT"},
    "resume": {"fleet_id": "FLEET", "agent_id": "AGENT", "prompt": "go on", "fresh": True},
    "set_fleet_timeout": {"fleet_id": "FLEET", "timeout_ms": 1000},
    "attach_agent": {
        "fleet_id": "FLEET",
        "role": "A",
        "prompt": "go",
        "agent": "reviewer",
        "model": "some/model",
        "cwd": "/",
        "env": {"TOKEN": "secret"},
        "idempotency_key": "monday",
    },
    "list_agents": {},
    "send_message": {
        "from_agent_id": "AGENT",
        "to_agent_id": "PEER",
        "fleet_id": "FLEET",
        "type": "result",
        "payload": "x",
        "correlation_id": "MESSAGE",
        "idempotency_key": "monday",
    },
    "send_messages": {
        "messages": [
            {
                "from_agent_id": "me",
                "to_agent_id": "orchestrator",
                "fleet_id": "nowhere",
                "type": "result",
                "payload": "x",
            }
        ]
    },
    "get_inbox": {"agent_id": "PEER", "since": 0, "correlation_id": "MESSAGE", "type": "result", "limit": 5},
    "wait_for_messages": {"agent_id": "PEER", "timeout_ms": 1000, "since": 0, "correlation_id": "MESSAGE"},
    "ack_message": {"agent_id": "PEER", "message_id": "MESSAGE"},
    "receipt": {"agent_id": "PEER", "message_id": "MESSAGE", "action": "seen", "note": "x"},
    "get_receipts": {"message_id": "MESSAGE"},
    "subscribe_inbox": {"agent_id": "PEER"},
    "register_capability": {
        "agent_id": "AGENT",
        "fleet_id": "FLEET",
        "role": "React expert",
        "skills": ["react"],
        "model": "m",
        "context_window": 1000,
    },
    "route_work": {"description": "ui bug", "top_n": 1, "include_ended": True, "fleet_id": "FLEET"},
    "record_routing_outcome": {"agent_id": "AGENT", "capability_key": "sql", "success": True},
    "get_health": {},
    "ping": {},
}
"""Templates have a table of their own, in test_templates.py."""
OPTIONAL: Final = {
    *(("spawn_fleet", name) for name in GOOD["spawn_fleet"] if name != "agents"),
    *(("attach_agent", name) for name in ("agent", "model", "cwd", "env", "idempotency_key")),
    *(("wait", name) for name in ("until", "timeout_ms", "cursor")),
    *(("agent_output", name) for name in ("attempt", "tail_bytes", "cursor")),
    *((tool, name) for tool in ("cancel", "resume") for name in GOOD[tool]),
    *(("send_message", name) for name in ("correlation_id", "idempotency_key")),
    *(("get_inbox", name) for name in GOOD["get_inbox"] if name != "agent_id"),
    *(("wait_for_messages", name) for name in GOOD["wait_for_messages"] if name != "agent_id"),
    ("receipt", "note"),
    ("register_capability", "model"),
    ("register_capability", "context_window"),
    ("route_work", "top_n"),
    ("route_work", "include_ended"),
    ("route_work", "fleet_id"),
}
MAY_BE_BLANK: Final = {"payload", "note"}
NO_ERROR: Final = {("ack_message", "message_id")}
"""Unknown messages are answered with ok: false, as v0.9.0 does."""
NAME_A_ROW: Final = {"fleet_id", "message_id", "to_agent_id"}
EITHER: Final = {"fleet_id": "agent_id", "agent_id": "fleet_id"}
"""Of what cancel and resume take one only is good."""
MAY_BE_LONG: Final = {("attach_agent", "prompt"), ("resume", "prompt")}
TEXTS: Final = [(tool, name) for tool, good in GOOD.items() for name, value in good.items() if type(value) is str]
NUMBERS: Final = [(tool, name) for tool, good in GOOD.items() for name, value in good.items() if type(value) is int]
ALL: Final = [(tool, name) for tool, good in GOOD.items() for name in good]


def filled(face: Face, tool: str, changes: dict[str, object]) -> dict[str, object]:
    """Good arguments but for these, with the ids there are."""
    known = {
        "FLEET": face.prepared.fleet_id,
        "AGENT": face.prepared.agents[0],
        "PEER": face.prepared.agents[1],
        "MESSAGE": face.prepared.message_id,
        "STRANGER": face.prepared.stranger,
    }
    if tool in {"cancel", "resume"}:
        changes = {EITHER["agent_id" if "agent_id" in changes else "fleet_id"]: MISSING, **changes}
    return {
        name: known.get(value, value) if isinstance(value, str) else value
        for name, value in {**GOOD[tool], **changes}.items()
        if value is not MISSING
    }


def checked(face: Face, result: dict[str, Any]) -> str:
    """Why a call was refused, which has the form of all refusals and changed nothing."""
    error = refusal_in(result)
    assert bytes_of(face.prepared.ledger_file.parent) == face.before
    assert len(error) < 1000
    assert error[0] != error[0].upper() or not error[0].isalpha()
    assert not error.endswith((".", "!"))
    return error


def refused(face: Face, tool: str, **changes: object) -> str:
    """Call a tool with good arguments but for these; returns why it was refused."""
    return checked(face, face.server.call(tool, **filled(face, tool, changes)))


def written(face: Face, tool: str, name: str, literal: str) -> dict[str, Any]:
    """The answer to a call with good arguments but for one, which is written as it is given."""
    text = line("tools/call", 1, name=tool, arguments=filled(face, tool, {name: "HERE"}))
    return face.server.ask(text.replace(b'"HERE"', literal.encode()))


def with_agent(**more: object) -> list[dict[str, object]]:
    """The agents of a fleet of one, which is given this besides."""
    return [{"role": "A", "prompt": "go", **more}]


def test_the_table_knows_every_tool_and_argument() -> None:
    assert GOOD.keys() == {name for name in TOOLS if "template" not in name}
    for name, good in GOOD.items():
        assert good.keys() == TOOLS[name].arguments.model_fields.keys()


@pytest.mark.parametrize(("tool", "name"), [pair for pair in ALL if pair not in OPTIONAL])
def test_a_missing_argument_is_named(face: Face, tool: str, name: str) -> None:
    assert refused(face, tool, **{name: MISSING}) == f"{name} is missing; {tool} needs it"


@pytest.mark.parametrize("tool", GOOD)
@pytest.mark.parametrize("name", ["colour", "__proto__", "constructor", "fleetId"])
def test_an_unknown_argument_is_named_and_so_are_the_known_ones(face: Face, tool: str, name: str) -> None:
    known = ", ".join(GOOD[tool]) or "none"
    assert refused(face, tool, **{name: {"x": 1}}) == f"{name} is no argument of {tool}, which takes {known}"


@pytest.mark.parametrize(("tool", "name"), [pair for pair in TEXTS if pair[1] in NAME_A_ROW and pair not in NO_ERROR])
@pytest.mark.parametrize(
    "value", ["__proto__", "constructor", "\x1b[31mred", "a\nb", "../../etc/passwd", "\u202e"], ids=ascii
)
def test_what_names_no_row_is_refused_whatever_it_could_mean_elsewhere(
    face: Face, tool: str, name: str, value: str
) -> None:
    error = refused(face, tool, **{name: value})
    assert error.startswith(f"{name} ")
    assert error.isprintable()


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\x1b[31m", "x" * 100_000, "ü", "fleetId"])
def test_an_odd_name_of_an_argument_is_shown_short_and_printable(face: Face, name: str) -> None:
    error = refused(face, "ping", **{name: 1})
    assert "is no argument of ping" in error
    assert error.isprintable()
    assert error.isascii()


@pytest.mark.parametrize(("tool", "name"), TEXTS)
@pytest.mark.parametrize("value", [7, 1.5, True, [], ["x"], {}, {"x": "y"}], ids=json.dumps)
def test_what_is_no_string_is_not_taken_for_one(face: Face, tool: str, name: str, value: object) -> None:
    error = refused(face, tool, **{name: value})
    assert error.startswith(f"{name} is {value!r}; ")
    assert "it has to be" in error


@pytest.mark.parametrize(("tool", "name"), [pair for pair in TEXTS if pair not in OPTIONAL])
def test_null_is_no_value_of_a_required_argument(face: Face, tool: str, name: str) -> None:
    assert refused(face, tool, **{name: None}).startswith(f"{name} is None; it has to be ")


@pytest.mark.parametrize("value", ["0", True, False, 1.0, 0.5, [], {}, -1, -(10**30)], ids=json.dumps)
def test_since_is_a_whole_number_and_nothing_that_looks_like_one(face: Face, value: object) -> None:
    assert refused(face, "get_inbox", since=value).startswith(f"since is {value!r}; it has to be ")


@pytest.mark.parametrize(("tool", "name"), NUMBERS)
@pytest.mark.parametrize("literal", ["1e999", "-1e999", "1.0", "1e2", "-0.0", "0.5", "-1", '"1"', "true", "[]", "{}"])
def test_a_number_is_a_whole_one_however_it_is_written(face: Face, tool: str, name: str, literal: str) -> None:
    assert checked(face, written(face, tool, name, literal)["result"]).startswith(f"{name} is ")


@pytest.mark.parametrize(("tool", "name"), ALL)
@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_of_json_makes_the_line_none_and_is_nowhere_written(
    face: Face, tool: str, name: str, literal: str
) -> None:
    answer = written(face, tool, name, literal)
    assert (answer["id"], answer["error"]["code"]) == (1, -32700)
    assert bytes_of(face.prepared.ledger_file.parent) == face.before


@pytest.mark.parametrize("name", ["success", "include_ended", "allow_all", "fresh"])
@pytest.mark.parametrize("value", [0, 1, "true", None, [], {}, 1.0], ids=json.dumps)
def test_a_flag_is_true_or_false_and_nothing_that_looks_like_it(face: Face, name: str, value: object) -> None:
    [tool] = [tool for tool, good in GOOD.items() if name in good]
    assert refused(face, tool, **{name: value}) == f"{name} is {value!r}; it has to be true or false"


@pytest.mark.parametrize(
    ("skills", "told"),
    [
        ("sql", "skills is 'sql'; it has to be an array"),
        (None, "skills is None; it has to be an array"),
        ({"__proto__": []}, "skills is {'__proto__': []}; it has to be an array"),
        ([None], "skills[0] is None; it has to be a string"),
        (["a", ["b"]], "skills[1] is ['b']; it has to be a string"),
        (["a", ""], "skills[1] is blank"),
        (["a\0b"], "skills[0] holds a NUL"),
        (["a", "\ud800"], "skills[1] holds a lone surrogate at character 0"),
        (["x" * 100_000], "skills[0] has 100000 bytes; at most 256"),
        (["x"] * 101, "skills has 101 entries; at most 100 are possible"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_skills_are_an_array_of_names(face: Face, skills: object, told: str) -> None:
    assert refused(face, "register_capability", skills=skills).startswith(told)


@pytest.mark.parametrize(
    ("tool", "name"), [pair for pair in TEXTS if pair[1] not in MAY_BE_BLANK and pair not in NO_ERROR]
)
@pytest.mark.parametrize("value", ["", "  ", "\n\t"], ids=repr)
def test_an_empty_or_blank_argument_is_named(face: Face, tool: str, name: str, value: str) -> None:
    assert refused(face, tool, **{name: value}).startswith(name)


@pytest.mark.parametrize(("tool", "name"), [pair for pair in TEXTS if pair not in NO_ERROR])
def test_a_nul_is_refused(face: Face, tool: str, name: str) -> None:
    assert refused(face, tool, **{name: "a\0b"}).startswith(name)


@pytest.mark.parametrize(("tool", "name"), [pair for pair in TEXTS if pair not in NO_ERROR | MAY_BE_LONG])
def test_a_huge_argument_is_refused_and_not_repeated_in_full(face: Face, tool: str, name: str) -> None:
    assert refused(face, tool, **{name: "ü" * 500_000}).startswith(name)


@pytest.mark.parametrize(("tool", "name"), [pair for pair in ALL if pair not in NO_ERROR])
@pytest.mark.parametrize("value", ["\ud800", "cut \ud83d", "\udc00\ud800"], ids=ascii)
def test_a_lone_surrogate_is_refused_under_its_argument(face: Face, tool: str, name: str, value: str) -> None:
    assert refused(face, tool, **{name: value}).startswith(f"{name} ")


@pytest.mark.parametrize("name", ["\ud800", "a\udfff"], ids=ascii)
def test_a_lone_surrogate_in_the_name_of_an_argument_is_shown_as_its_escape(face: Face, name: str) -> None:
    told = f"arguments is {name!a}; it has to be valid Unicode, without lone surrogates"
    assert refused(face, "ping", **{name: "\udfff"}) == told


@pytest.mark.parametrize(
    "broken",
    [
        rb'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"ping\ud800","arguments":{}}}',
        rb'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"ping","arguments":{"x":"\ud800","y":NaN}}}',
        rb'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"ping","arguments":["\ud800"]}}',
        rb'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":["\ud800"]}',
        rb'{"jsonrpc":"2.0","id":7,"method":"tools/call","x":"\ud800"}',
        rb'{"jsonrpc":"2.0","id":7,"method":"resources/read","params":{"uri":"\ud800","arguments":{}}}',
    ],
)
def test_a_lone_surrogate_elsewhere_is_no_json_text_and_answered_as_such(face: Face, broken: bytes) -> None:
    answer = face.server.ask(broken + b"\n")
    assert (answer["id"], answer["error"]["code"]) == (7, -32700)
    assert "surrogate" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("tool", "changes", "told"),
    [
        ("fleet_status", {"fleet_id": "nowhere"}, "fleet_id 'nowhere' is no fleet; list_fleets lists them"),
        ("collect_results", {"fleet_id": "nowhere"}, "fleet_id 'nowhere' is no fleet; list_fleets lists them"),
        ("send_message", {"fleet_id": "nowhere"}, "fleet_id 'nowhere' is no fleet"),
        ("send_message", {"to_agent_id": "nobody"}, "to_agent_id 'nobody' is no agent"),
        ("send_message", {"to_agent_id": "STRANGER"}, "is an agent of another fleet"),
        ("send_message", {"from_agent_id": "*"}, "from_agent_id is '*'"),
        ("send_message", {"type": "gossip"}, "type is 'gossip'; it has to be 'handoff', 'question', 'result'"),
        ("send_message", {"type": "RESULT"}, "type is 'RESULT'; it has to be "),
        ("send_message", {"payload": "x" * 65_537}, "payload has 65537 bytes; at most 65536 are possible"),
        ("send_message", {"payload": "€" * 21_846}, "payload has 65538 bytes; at most 65536 are possible"),
        ("receipt", {"message_id": "nothing"}, "message_id 'nothing' is no message"),
        ("receipt", {"action": "ack"}, "use ack_message"),
        ("receipt", {"action": "a:b"}, "can't hold a colon"),
        ("receipt", {"note": "x" * 65_537}, "note has 65537 bytes; at most 65536"),
        ("get_receipts", {"message_id": "nothing"}, "message_id 'nothing' is no message"),
    ],
)
def test_a_value_that_names_nothing_or_is_not_allowed_is_refused_with_what_would_be_right(
    face: Face, tool: str, changes: dict[str, Any], told: str
) -> None:
    assert told in refused(face, tool, **changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"max_attempts": 0}, "max_attempts is 0; it has to be at least 1"),
        ({"max_attempts": 101}, "max_attempts is 101; it has to be at most 100"),
        ({"max_attempts": 10**30}, "max_attempts is 1"),
        ({"max_tokens": -5}, "max_tokens is -5; it has to be at least 1"),
        ({"max_tokens": 2**53}, "max_tokens is 9007199254740992; it has to be from 1 to"),
        ({"timeout_ms": 0}, "timeout_ms is 0; it has to be at least 1"),
        ({"timeout_ms": 2**53}, "timeout_ms is 9007199254740992; it has to be"),
        ({"max_cost_usd": 0}, "max_cost_usd is 0.0; it has to be more than 0"),
        ({"max_cost_usd": -0.01}, "max_cost_usd is -0.01; it has to be more than 0"),
        ({"max_cost_usd": 1e300}, "max_cost_usd is 1e+300; it has to be"),
        ({"max_cost_usd": "5"}, "max_cost_usd is '5'; it has to be a number"),
        ({"max_cost_usd": True}, "max_cost_usd is True; it has to be a number"),
    ],
)
def test_a_limit_is_a_number_that_something_can_reach(face: Face, changes: dict[str, Any], told: str) -> None:
    assert refused(face, "spawn_fleet", **changes).startswith(told)


@pytest.mark.parametrize("literal", ["1e999", "-1e999"])
def test_a_cost_without_bounds_is_none(face: Face, literal: str) -> None:
    answer = written(face, "spawn_fleet", "max_cost_usd", literal)
    assert checked(face, answer["result"]).startswith("max_cost_usd is ")


@pytest.mark.parametrize("tool", ["cancel", "resume"])
@pytest.mark.parametrize("changes", [{"fleet_id": "FLEET", "agent_id": "AGENT"}, {"fleet_id": None}])
def test_what_is_cancelled_or_resumed_is_either_a_fleet_or_an_agent(
    face: Face, tool: str, changes: dict[str, Any]
) -> None:
    assert refused(face, tool, **changes).startswith("name either fleet_id or agent_id: ")


@pytest.mark.parametrize(
    ("tool", "changes", "told"),
    [
        ("cancel", {"agent_id": "nobody"}, "agent_id 'nobody' is no agent"),
        ("resume", {"agent_id": "nobody"}, "agent_id 'nobody' is no agent"),
        (
            "resume",
            {"agent_id": "AGENT"},
            "is complete; only one that was interrupted, failed or was cancelled goes on",
        ),
        ("resume", {}, "has no agent that was interrupted, failed or was cancelled"),
        ("agent_output", {"agent_id": "nobody"}, "agent_id 'nobody' is no agent"),
        ("agent_output", {"agent_id": "../../etc"}, "agent_id '../../etc' is no agent"),
        ("agent_output", {"attempt": 2, "cursor": MISSING}, "has no attempt 2"),
        ("agent_output", {"attempt": 2}, "cursor is of attempt 1, but attempt is 2; leave one of them out"),
        ("agent_output", {"cursor": "1:7"}, "cursor is at byte 7, but there are 0"),
        ("agent_output", {"cursor": "0:0", "attempt": None}, "cursor is '0:0'; give the one of an earlier answer"),
        ("agent_output", {"cursor": "1:-1"}, "cursor is '1:-1'; give the one"),
        ("agent_output", {"cursor": "1:" + "9" * 30}, "cursor is '1:999"),
        ("agent_output", {"tail_bytes": 0}, "tail_bytes is 0; it has to be at least 1"),
        ("agent_output", {"tail_bytes": 262_145}, "tail_bytes is 262145; it has to be at most 262144"),
        ("wait", {"until": "never"}, "until is 'never'; it has to be 'any' or 'all'"),
        ("wait", {"timeout_ms": 50_001}, "timeout_ms is 50001; it has to be at most 50000"),
        ("wait", {"timeout_ms": 0}, "timeout_ms is 0; it has to be at least 1"),
        ("wait", {"cursor": 4}, "cursor is 4, and the fleet has had 3 endings"),
        ("wait", {"fleet_id": "nowhere"}, "fleet_id 'nowhere' is no fleet"),
    ],
)
def test_what_can_not_be_waited_for_shown_or_changed_is_refused_with_the_reason(
    face: Face, tool: str, changes: dict[str, Any], told: str
) -> None:
    assert told in refused(face, tool, **changes)


@pytest.mark.parametrize("space", [" {}", "{} ", "{}\n", "\t{}"])
def test_an_id_with_spaces_around_it_is_another_id(face: Face, space: str) -> None:
    spaced = space.format(face.prepared.fleet_id)
    assert refused(face, "fleet_status", fleet_id=spaced).startswith("fleet_id '")


@pytest.mark.parametrize(
    ("agents", "told"),
    [
        ([], "agents is []; it can't be empty"),
        ({}, "agents is {}; it has to be an array"),
        ("A", "agents is 'A'; it has to be an array"),
        (None, "agents is None; it has to be an array"),
        ([None], "agents[0] is None; it has to be an object"),
        (["A"], "agents[0] is 'A'; it has to be an object"),
        ([{}], "agents[0].role is missing; spawn_fleet needs it; agents[0].prompt is missing; spawn_fleet needs it"),
        ([{"role": "A"}], "agents[0].prompt is missing; spawn_fleet needs it"),
        ([{"prompt": "go"}], "agents[0].role is missing; spawn_fleet needs it"),
        ([{"role": "", "prompt": "go"}], "agents[0].role is ''; it can't be empty"),
        ([{"role": " \n", "prompt": "go"}], "agents[0].role is blank; it has to say something"),
        ([{"role": "A", "prompt": ""}], "agents[0].prompt is ''; it can't be empty"),
        ([{"role": "A", "prompt": "\t"}], "agents[0].prompt is blank; it has to say what the agent is to do"),
        ([{"role": 5, "prompt": "go"}], "agents[0].role is 5; it has to be a string"),
        ([{"role": "A", "prompt": ["go"]}], "agents[0].prompt is ['go']; it has to be a string"),
        ([{"role": "A", "prompt": "go", "agent": 1}], "agents[0].agent is 1; it has to be a string"),
        ([{"role": "A", "prompt": "go", "agent": ""}], "agents[0].agent is blank; it has to say something"),
        ([{"role": "A", "prompt": "go", "agent": "-x"}], "agents[0].agent is '-x'; the name of an agent"),
        ([{"role": "A", "prompt": "go", "colour": "m"}], "agents[0].colour is nothing spawn_fleet knows; leave it out"),
        (with_agent(model="m"), "agents[0].model is 'm'; it has to be provider/model"),
        (with_agent(model=""), "agents[0].model is blank"),
        (with_agent(cwd="/nowhere/at/all"), "agents[0].cwd is '/nowhere/at/all', where there is no folder; make it"),
        (with_agent(cwd="."), "agents[0].cwd is '.'; it has to be the absolute path"),
        (with_agent(cwd=__file__), "agents[0].cwd is "),
        (with_agent(cwd="/\0"), "agents[0].cwd holds a NUL"),
        (with_agent(cwd=["/"]), "agents[0].cwd is ['/']; it has to be a string"),
        (with_agent(env=[]), "agents[0].env is []; it has to be an object"),
        (with_agent(env="A=b"), "agents[0].env is 'A=b'; it has to be an object"),
        (with_agent(env={"A": 5}), "agents[0].env.A is not shown, but it has to be a string"),
        (with_agent(env={"A": None}), "agents[0].env.A is not shown, but it has to be a string"),
        (with_agent(env={"": "b"}), "agents[0].env has the name ''; a variable's name is letters"),
        (with_agent(env={"A B": "b"}), "agents[0].env has the name 'A B'"),
        (with_agent(env={"A=": "b"}), "agents[0].env has the name 'A='"),
        (with_agent(env={"1A": "b"}), "agents[0].env has the name '1A'"),
        (with_agent(env={"\x1b[31m": "b"}), "agents[0].env has the name '\\x1b[31m'"),
        (with_agent(env={"MESHFLEET_AGENT_ID": "b"}), "agents[0].env has MESHFLEET_AGENT_ID, by which meshfleet tells"),
        (with_agent(env={"AGENT_MESH_DATA_FILE": "b"}), "agents[0].env has AGENT_MESH_DATA_FILE"),
        (with_agent(env={"A": "b\0"}), "agents[0].env.A holds a NUL"),
        ([{"role": "A\0", "prompt": "go"}], "agents[0].role holds a NUL at character 1"),
        ([{"role": "x" * 257, "prompt": "go"}], "agents[0].role has 257 bytes; at most 256"),
        ([{"role": "A", "prompt": "x" * 4_194_305}], "agents[0].prompt has 4194305 bytes; at most 4194304"),
        ([{"role": "A", "prompt": "go"}, {"role": "B", "prompt": "\0"}], "agents[1].prompt holds a NUL"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused_with_the_place_of_what_is_wrong(
    face: Face, agents: object, told: str
) -> None:
    assert refused(face, "spawn_fleet", agents=agents).startswith(told)


def test_many_wrong_arguments_are_told_a_few_at_a_time(face: Face) -> None:
    error = refused(face, "spawn_fleet", agents=[None] * 1000)
    assert error.count("it has to be an object") == 5
    assert error.endswith("; and 995 more")


@pytest.mark.parametrize(("agent", "message"), [("AGENT", None), ("STRANGER", None), ("PEER", "nothing")])
def test_an_ack_that_cannot_be_is_false_with_the_reason_and_writes_nothing(
    face: Face, agent: str, message: str | None
) -> None:
    who = {"AGENT": face.prepared.agents[0], "STRANGER": face.prepared.stranger, "PEER": face.prepared.agents[1]}
    result = face.server.call("ack_message", agent_id=who[agent], message_id=message or face.prepared.message_id)
    assert result["isError"] is False
    assert result["structuredContent"].keys() == {"ok", "reason"}
    assert result["structuredContent"]["ok"] is False
    assert bytes_of(face.prepared.ledger_file.parent) == face.before


@pytest.mark.parametrize("arguments", [[], ["x"], "x", 5, True], ids=repr)
def test_arguments_that_are_no_object_are_invalid_parameters(face: Face, arguments: object) -> None:
    answer = face.server.ask(line("tools/call", 1, name="ping", arguments=arguments))
    assert answer["error"] == {"code": -32602, "message": f"arguments is {arguments!r}; it has to be an object"}


@pytest.mark.parametrize("params", [{"name": "ping", "arguments": None}, {"name": "ping"}])
def test_a_tool_without_arguments_may_be_called_without_any(face: Face, params: dict[str, Any]) -> None:
    assert face.server.ask(line("tools/call", 1, **params))["result"]["structuredContent"]["status"] == "ok"


@pytest.mark.parametrize("name", ["no_such_tool", "", "Ping", "ping ", "../ping", "x" * 100_000, "a\x1b[31mb"])
def test_an_unknown_tool_is_an_error_of_the_protocol_that_names_the_known_ones(face: Face, name: str) -> None:
    error = face.server.ask(call(1, name))["error"]
    assert error["code"] == -32602
    assert error["message"].startswith("there is no tool '")
    assert error["message"].endswith("there are " + ", ".join(TOOLS))
    assert len(error["message"]) < 1000
    assert error["message"].isprintable()
    assert bytes_of(face.prepared.ledger_file.parent) == face.before


@pytest.mark.parametrize("value", [0, -1, "1000", 1.5, True, None, 2**53, 10**4000], ids=lambda value: str(value)[:40])
def test_a_timeout_is_a_positive_whole_number_that_a_clock_reaches(face: Face, value: object) -> None:
    error = refused(face, "set_fleet_timeout", timeout_ms=value)
    assert error.startswith("timeout_ms is ")
    assert "it has to be" in error


def test_an_agent_is_attached_to_a_fleet_that_runs_only(face: Face) -> None:
    assert "is no fleet" in refused(face, "attach_agent", fleet_id="nowhere")
