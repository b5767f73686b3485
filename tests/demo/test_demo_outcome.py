"""The JSON object of a demo: one line of ASCII, of the same form however the demo went."""

from __future__ import annotations

import json
from dataclasses import replace

from meshfleet.demo.pipeline import EXPLORER
from tests.demo.observations import outcome, success, with_agent, with_message


def test_a_success_is_one_line_that_holds_every_row() -> None:
    seen = success()
    line = outcome().as_json()
    told = json.loads(line)

    assert "\n" not in line
    assert line.isascii()
    assert (told["ok"], told["failure"], told["fleet_id"]) == (True, None, "id-fleet")
    assert (told["opencode_version"], told["ledger"]) == ("1.2.3", "/demo/ledger/agent-mesh.json")
    assert told["called"] == ["spawn_fleet", "wait"]
    assert told["messages"] == list(seen.messages)
    assert told["receipts"] == list(seen.receipts)
    explorer = told["agents"][0]
    assert {key: explorer[key] for key in ("id", "role", "status", "duration_ms", "tokens")} == {
        "id": "id-Explorer",
        "role": EXPLORER,
        "status": "complete",
        "duration_ms": 12_250,
        "tokens": 12_345,
    }
    assert explorer["logs"] == "/demo/ledger/agent-mesh.runs/id-Explorer/1"


def test_a_failure_has_the_same_keys() -> None:
    told = json.loads(outcome(failure="boom").as_json())
    empty = json.loads(replace(outcome(), failure="it never began", opencode_version=None, seen=None).as_json())

    assert (told["ok"], told["failure"]) == (False, "boom")
    assert (empty["fleet_id"], empty["agents"], empty["messages"], empty["receipts"]) == (None, [], [], [])
    assert told.keys() == empty.keys() == json.loads(outcome().as_json()).keys()


def test_an_agent_that_never_ran_has_no_duration_and_no_tokens() -> None:
    seen = replace(success(), agents=({"id": "a", "role": "R", "status": "pending"},))
    agent = json.loads(outcome(seen).as_json())["agents"][0]

    assert (agent["duration_ms"], agent["tokens"], agent["logs"]) == (None, 0, None)


def test_a_running_agent_has_no_duration_yet() -> None:
    seen = success()
    running = {key: value for key, value in seen.agents[0].items() if key != "completed_at"}

    assert json.loads(outcome(replace(seen, agents=(running,))).as_json())["agents"][0]["duration_ms"] is None


def test_words_in_any_language_and_lone_surrogates_survive() -> None:
    seen = with_agent(with_message(success(), "m1", payload="žluťoučký\n🐎"), EXPLORER, output="\ud800")
    told = json.loads(outcome(seen).as_json())

    assert told["messages"][0]["payload"] == "žluťoučký\n🐎"
    assert told["agents"][0]["output"] == "\ud800"
