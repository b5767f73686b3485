"""Reading what an attempt prints while it prints it: whole lines, bounded pages, and whatever else lies in the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import pytest

from meshfleet.agents.output import (
    LONGEST_DETAIL,
    MOST_EVENTS,
    compact,
    events_file,
    look_at,
    read_page,
    text_of,
)
from meshfleet.agents.standing import fleet_status
from meshfleet.errors import Invalid, NotFound
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.specs import AgentSpec
from tests.mesh.fleets import fleet_of, open_ledger, start_all, supervisor

SIZE: Final = 1000


def text(words: str, **more: Any) -> bytes:
    part = {"id": "prt_1", "type": "text", "text": words, **more}
    return json.dumps({"type": "text", "timestamp": 7, "sessionID": "s", "part": part}).encode() + b"\n"


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    return tmp_path / "events.ndjson"


def words_in(events: list[dict[str, Any]]) -> list[str]:
    return [text_of(event) for event in events]


def test_a_stream_that_grows_is_read_to_its_end_each_line_once(stream: Path) -> None:
    read: list[str] = []
    offset = 0
    for number in range(50):
        with stream.open("ab") as file:
            file.write(text(f"word {number}"))
        page = read_page(stream, offset, 100)
        offset = page.end
        read += words_in(page.events)
        assert page.more is False
    assert read == [f"word {number}" for number in range(50)]


def test_a_line_that_is_being_written_is_left_for_later(stream: Path) -> None:
    whole = text("first") + text("second")
    stream.write_bytes(whole[:-5])
    page = read_page(stream, 0, SIZE)
    assert (words_in(page.events), page.more) == (["first"], False)
    stream.write_bytes(whole)
    assert words_in(read_page(stream, page.end, SIZE).events) == ["second"]


def test_a_page_has_about_as_many_bytes_as_asked_for_and_says_that_there_is_more(stream: Path) -> None:
    stream.write_bytes(b"".join(text(f"word {number}") for number in range(100)))
    read: list[str] = []
    page = read_page(stream, 0, SIZE)
    while True:
        assert page.end - page.start <= SIZE
        read += words_in(page.events)
        if not page.more:
            break
        page = read_page(stream, page.end, SIZE)
    assert read == [f"word {number}" for number in range(100)]


def test_the_end_of_a_stream_begins_with_a_whole_line(stream: Path) -> None:
    stream.write_bytes(b"".join(text(f"word {number}") for number in range(100)))
    page = read_page(stream, None, SIZE)
    assert words_in(page.events) == [f"word {number}" for number in range(100 - len(page.events), 100)]
    assert 0 < len(page.events) < 100
    assert (page.end, page.more) == (stream.stat().st_size, False)


@pytest.mark.parametrize("offset", [0, None])
def test_a_line_longer_than_a_page_is_read_whole(stream: Path, offset: int | None) -> None:
    stream.write_bytes(text("ü" * 300_000))
    page = read_page(stream, offset, SIZE)
    assert words_in(page.events) == ["ü" * 300_000]
    assert page.end == stream.stat().st_size


def test_a_line_that_nobody_can_read_whole_is_passed_over(stream: Path) -> None:
    stream.write_bytes(b"x" * (40 * 1024 * 1024) + b"\n" + text("after"))
    page, read = read_page(stream, 0, SIZE), []
    while page.more:
        read += page.events
        page = read_page(stream, page.end, SIZE)
    read += page.events
    assert {event["type"] for event in read} == {"unreadable", "text"}
    assert sum(event.get("bytes", 0) for event in read) == 40 * 1024 * 1024
    assert words_in(read)[-1] == "after"


def test_bytes_that_are_no_utf_8_no_json_or_no_event_are_told_as_such(stream: Path) -> None:
    odd = [b"\xff\xfe", b"not json", b"5", b"[]", b"NaN", b'{"type":' + b"[" * 100_000, b"\0"]
    stream.write_bytes(b"\n".join(odd) + b"\n\n \n" + text("\ud800 good"))
    page = read_page(stream, 0, 1_000_000)
    assert [event["type"] for event in page.events] == ["unreadable"] * len(odd) + ["text"]
    assert words_in(page.events)[-1] == "\ufffd good"
    json.dumps([compact(event) for event in page.events], ensure_ascii=False).encode()


def test_many_tiny_lines_are_told_a_page_at_a_time(stream: Path) -> None:
    stream.write_bytes(b"{}\n" * 20_000)
    page = read_page(stream, 0, 100_000)
    assert (len(page.events), page.end, page.more) == (MOST_EVENTS, 3 * MOST_EVENTS, True)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "tool_use", "part": {"tool": "bash", "state": {"status": "error", "input": {"a": "x" * 9999}}}},
        {"type": "tool_use", "part": []},
        {"type": "text", "part": {"text": 5}},
        {"type": "text", "part": {"text": "x" * 9999}},
        {"type": "step_finish", "part": {"reason": None, "tokens": {"total": 1e300}}},
        {"type": "step_finish", "timestamp": 10**400, "part": {"tokens": []}},
        {"type": "error", "error": ["x" * 9999]},
        {"type": {"a": []}, "timestamp": "yesterday"},
        {},
    ],
)
def test_a_compact_event_is_small_whatever_it_was(event: dict[str, Any]) -> None:
    told = compact(event)
    assert told.keys() >= {"at", "type"}
    assert all(len(value) <= LONGEST_DETAIL for value in told.values() if isinstance(value, str))
    assert all(value is None or isinstance(value, str) or 0 <= value < 2**53 for value in told.values())


def test_what_opencode_says_to_the_model_is_none_of_the_agent_s_words() -> None:
    assert text_of(json.loads(text("compacted", synthetic=True))) == ""


def test_an_agent_whose_run_folder_is_gone_is_shown_by_what_the_ledger_kept(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (agent_id,) = fleet_of(ledger, "A")
    [(_, number)] = start_all(ledger)
    settle_attempt(ledger, agent_id, number, Outcome(ok=True, output="größer " * 1000))
    said = look_at(ledger, agent_id).as_result(100)
    assert (said["events"], said["cursor"], said["more"]) == ([], "1:0", False)
    assert said["text"].startswith("[8900 bytes cut here")
    assert len(said["text"].encode()) < 200


def test_words_are_cut_to_what_was_asked_for(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (agent_id,) = fleet_of(ledger, "A")
    start_all(ledger)
    path = events_file(ledger_file, agent_id, 1)
    path.parent.mkdir(parents=True)
    path.write_bytes(text("ü" * 300_000))
    said = look_at(ledger, agent_id).as_result(SIZE)
    assert said["text"].endswith("ü")
    assert len(said["text"].encode()) < SIZE + 100


@pytest.mark.parametrize("cursor", ["", "1", "1:", ":0", "a:b", "1:0 ", "0:1", "1:-1", "1:1.5", "٣:0", "1:" + "9" * 40])
def test_a_cursor_that_no_answer_gave_is_refused(ledger_file: Path, cursor: str) -> None:
    ledger = open_ledger(ledger_file)
    _, (agent_id,) = fleet_of(ledger, "A")
    start_all(ledger)
    with pytest.raises(Invalid, match=r"^cursor is "):
        look_at(ledger, agent_id, cursor=cursor)


def test_an_attempt_there_was_not_and_an_agent_there_is_not_are_not_found(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (agent_id,) = fleet_of(ledger, "A")
    start_all(ledger)
    with pytest.raises(NotFound, match="has no attempt 2"):
        look_at(ledger, agent_id, cursor="2:0")
    with pytest.raises(NotFound, match="is no agent"):
        look_at(ledger, "../../etc")


def test_an_id_that_another_program_wrote_leads_to_no_file(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (agent_id,) = fleet_of(ledger, "A")
    start_all(ledger)
    agent = ledger.read(lambda view: view.get("agents", agent_id))
    assert agent is not None
    odd = {**agent, "id": "../outside"}
    ledger.transact(lambda transaction: transaction.put("agents", "../outside", odd))
    path = ledger_file.parent / "outside" / "1" / "events.ndjson"
    path.parent.mkdir(parents=True)
    path.write_bytes(text("secret"))
    assert look_at(ledger, "../outside").as_result(SIZE)["text"] == ""
    assert fleet_id


def test_an_agent_whose_supervisor_is_gone_is_said_to_be_unsupervised(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    gone = supervisor(2**22 + 1)
    specs = [AgentSpec("A", "go"), AgentSpec("B", "go")]
    fleet_id, (running, ended) = create_fleet(ledger, specs, cwd="/project", supervisor=gone)
    start_all(ledger, by=gone)
    settle_attempt(ledger, ended, 1, Outcome(ok=True, output="done"))
    supervised, _ = create_fleet(ledger, specs, cwd="/project", supervisor=supervisor())
    start_all(ledger)
    rows = {agent["id"]: agent for agent in fleet_status(ledger, fleet_id)["agents"]}
    assert (rows[running]["condition"], rows[running]["supervised"]) == ("unsupervised", False)
    assert not {"condition", "supervised"} & rows[ended].keys()
    assert not any({"condition", "supervised"} & agent.keys() for agent in fleet_status(ledger, supervised)["agents"])


def test_a_named_pipe_in_place_of_the_stream_is_shown_as_an_empty_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events.ndjson")
    assert read_page(tmp_path / "events.ndjson", None, 1000).events == []
