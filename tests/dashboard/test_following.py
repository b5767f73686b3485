"""Following an agent's output through its attempts, and the event log."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from meshfleet.dashboard.following import EventFeed, OutputFeed, lines_of
from meshfleet.dashboard.listing import Tone
from meshfleet.settings import beside
from tests.dashboard.meshes import ANALYST, CRAWLER, EXPLORER, document, open_mesh, output_line


def run_folder(ledger_file: Path, agent_id: str, number: int) -> Path:
    return beside(ledger_file, "runs") / agent_id / str(number)


def texts(feed: OutputFeed) -> list[str]:
    return [text for text, _ in feed.listen().lines]


def test_what_was_printed_is_told_once_and_then_what_is_new(ledger_file: Path) -> None:
    feed = OutputFeed(open_mesh(ledger_file), ANALYST)
    first = texts(feed)
    with (run_folder(ledger_file, ANALYST, 1) / "events.ndjson").open("a") as file:
        file.write(output_line("text", id="3", text="done"))
    assert first[:3] == ["I read what the Explorer found.", "The discount is in till.py.", "▸ read till.py"]
    assert texts(feed) == ["done"]
    assert texts(feed) == []


def test_the_next_attempt_is_followed_and_said_to_be_one(ledger_file: Path) -> None:
    rows = document()
    rows["agents"][ANALYST]["attempt"] = 2
    rows["attempts"][f"{ANALYST}/1"]["ended_at"] = 1
    rows["attempts"][f"{ANALYST}/2"] = {"agent_id": ANALYST, "number": 2, "started_at": 2}
    ledger = open_mesh(ledger_file, rows)
    folder = run_folder(ledger_file, ANALYST, 2)
    folder.mkdir()
    (folder / "events.ndjson").write_text(output_line("text", id="1", text="again"))
    assert texts(OutputFeed(ledger, ANALYST)) == ["── attempt 2 ──", "again"]


def test_of_a_run_whose_files_are_gone_the_ledger_s_words_are_shown(ledger_file: Path) -> None:
    assert texts(OutputFeed(open_mesh(ledger_file), EXPLORER)) == ["seven files, one bug"]


def test_files_that_go_while_somebody_looks_begin_it_anew(ledger_file: Path) -> None:
    feed = OutputFeed(open_mesh(ledger_file), ANALYST)
    feed.listen()
    shutil.rmtree(beside(ledger_file, "runs"))
    assert feed.listen().anew
    assert feed.listen().lines == []


def test_an_agent_that_is_none_is_told_of_once(ledger_file: Path) -> None:
    feed = OutputFeed(open_mesh(ledger_file), "nobody")
    assert len(feed.listen().lines) == 1
    assert feed.listen().lines == []


def test_an_agent_that_has_not_begun_says_nothing(ledger_file: Path) -> None:
    rows = document()
    del rows["agents"][CRAWLER]["attempt"]
    assert texts(OutputFeed(open_mesh(ledger_file, rows), CRAWLER)) == []


def test_events_become_lines_that_a_terminal_obeys_not() -> None:
    text = {"type": "text", "part": {"text": "one\x1b[2J\ntwo"}}
    failed = {"type": "tool_use", "part": {"tool": "bash", "state": {"status": "error", "error": "no\nsuch"}}}
    error = {"type": "error", "error": {"data": {"message": "overloaded"}}}
    assert [line for line, _ in lines_of(text)] == ["one\\x1b[2J", "two"]
    assert list(lines_of(failed)) == [("✗ bash no such", Tone.BAD)]
    assert [tone for _, tone in lines_of(error)] == [Tone.BAD]
    assert list(lines_of({"type": "unreadable", "bytes": 9})) == [("(9 bytes that are no event)", Tone.DIM)]
    assert list(lines_of({"type": "step_start"})) == []


def test_the_log_is_followed_and_the_same_list_means_nothing_new(tmp_path: Path) -> None:
    log = tmp_path / "agent-mesh.events.log"
    feed = EventFeed(log)
    try:
        assert feed.listen() == ((), None)
        log.write_text(json.dumps({"event": "one", "timestamp": 1}) + "\n")
        first, _ = feed.listen()
        again, _ = feed.listen()
        with log.open("a") as file:
            file.write(json.dumps({"event": "two", "timestamp": 2}) + "\nhalf a li")
        second, _ = feed.listen()
    finally:
        feed.close()
    assert [event.name for event in first] == ["one"]
    assert again is first
    assert [event.name for event in second] == ["one", "two"]
    assert feed.listen() == (second, None)


def test_a_log_that_can_not_be_read_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "events.log").symlink_to(tmp_path / "events.log")
    feed = EventFeed(tmp_path / "events.log")
    events, trouble = feed.listen()
    assert events == ()
    assert trouble is not None
    assert "can't read the event log" in trouble
