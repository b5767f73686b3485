from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from meshfleet.agents.stream import CHUNK_BYTES, LONGEST_LINE_BYTES, EventStream, RunReport
from meshfleet.agents.words import WORDS_LIMIT_BYTES, readable_error

# As OpenCode 1.18.33 wrote them, cut down to what matters.
STEP_START = '{"type":"step_start","timestamp":1000,"sessionID":"ses_1","part":{"id":"prt_1","type":"step-start"}}'
TEXT = '{"type":"text","timestamp":1001,"sessionID":"ses_1","part":{"id":"prt_2","type":"text","text":"Hello \u00f6"}}'
TOOL = (
    '{"type":"tool_use","timestamp":1002,"sessionID":"ses_1","part":{"type":"tool","tool":"bash","callID":"call_0",'
    '"state":{"status":"completed","input":{"command":"echo hi"},"output":"hi\\n"},"id":"prt_3"}}'
)
FAILED_TOOL = (
    '{"type":"tool_use","timestamp":1003,"sessionID":"ses_1","part":{"type":"tool","tool":"read","callID":"call_1",'
    '"state":{"status":"error","input":{},"error":"The user rejected permission"},"id":"prt_4"}}'
)
STEP_FINISH = (
    '{"type":"step_finish","timestamp":1004,"sessionID":"ses_1","part":{"id":"prt_5","reason":"%s","type":"step-finish",'
    '"tokens":{"total":120,"input":70,"output":15,"reasoning":5,"cache":{"write":0,"read":30}},"cost":0.000285}}'
)
BROKEN_OFF = (
    '{"type":"step_finish","timestamp":1004,"sessionID":"ses_1","part":{"id":"prt_6","reason":"unknown",'
    '"tokens":{"input":1,"output":2,"reasoning":0,"cache":{"write":4,"read":8}},"cost":0}}'
)
ERROR = (
    '{"type":"error","timestamp":1005,"sessionID":"ses_1","error":{"name":"APIError","data":{"message":"boom",'
    '"statusCode":500,"isRetryable":true,"responseBody":"{}"}}}'
)
FINISH = STEP_FINISH % "stop"


def text(words: str, part: str | None = None, **more: Any) -> str:
    return json.dumps({"type": "text", "part": {"id": part, "text": words, **more}})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.ndjson"


def read(file: Path) -> RunReport:
    stream = EventStream(file)
    while stream.advance():
        pass
    return stream.report


def told(file: Path, *lines: str) -> RunReport:
    file.write_text("".join(line + "\n" for line in lines), encoding="utf-8", errors="surrogatepass")
    return read(file)


def test_a_whole_run_is_reported(file: Path) -> None:
    report = told(file, STEP_START, TEXT, TOOL, STEP_FINISH % "tool-calls", FAILED_TOOL, text("Bye", "p"), FINISH)
    assert report.words == "Hello \u00f6\nBye"
    assert report.last_words == "Bye"
    assert report.session_id == "ses_1"
    assert report.tokens == {
        "total": 240,
        "input": 140,
        "output": 30,
        "reasoning": 10,
        "cache_read": 60,
        "cache_write": 0,
    }
    assert report.cost == pytest.approx(0.00057)
    assert (report.steps, report.tool_calls, report.last_tool) == (2, 2, "read")
    assert (report.finished, report.finish_reason, report.error) == (True, "stop", None)
    assert report.last_event_at == 1004


def test_nothing_yet_is_an_empty_report(file: Path) -> None:
    report = read(file)
    assert (report.words, report.last_words, report.steps, report.session_id) == ("", "", 0, None)
    assert not report.finished
    file.touch()
    assert not EventStream(file).advance()


def test_a_line_counts_once_it_is_whole(file: Path) -> None:
    stream = EventStream(file)
    whole = (TEXT + "\n").encode()
    middle = whole.index("\u00f6".encode()) + 1
    file.write_bytes(whole[:middle])
    assert stream.advance()
    assert stream.report.words == ""
    with file.open("ab") as more:
        more.write(whole[middle:])
    assert stream.advance()
    assert stream.report.words == "Hello \u00f6"
    assert not stream.advance()


@hypothesis.given(cuts=strategies.lists(strategies.integers(0, 600), max_size=8))
def test_where_the_file_is_cut_does_not_matter(cuts: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("cut") / "events.ndjson"
    whole = f"{STEP_START}\n{TEXT}\n{TOOL}\njunk\n{FINISH}\n".encode()
    stream = EventStream(file)
    for cut in [*sorted(cuts), len(whole)]:
        file.write_bytes(whole[:cut])
        while stream.advance():
            pass
    file.write_bytes(whole)
    while stream.advance():
        pass
    assert (stream.report.words, stream.report.steps, stream.report.tool_calls) == ("Hello \u00f6", 1, 1)


@pytest.mark.parametrize(
    "junk",
    [
        "",
        "not json",
        "[]",
        "null",
        "1",
        '"text"',
        "{",
        "[" * 100_000,
        '{"type":"new_thing","part":7}',
        '{"type":["text"],"part":{"text":"x"}}',
        '{"type":"text","part":{"text":7}}',
        '{"type":"text"}',
        '{"type":"tool_use","part":[]}',
        '{"type":"step_finish","part":{"tokens":7,"cost":"much"}}',
        '{"type":"step_finish","part":{"tokens":{"total":-1,"input":NaN,"cache":[]},"cost":Infinity}}',
        '{"type":"step_finish","part":{"tokens":{"total":1e400,"input":true},"cost":' + "9" * 400 + "}}",
        '{"type":"step_finish","part":{"cost":' + "9" * 5000 + "}}",
        '{"timestamp":"late","sessionID":7}',
    ],
)
def test_what_is_no_event_of_ours_harms_nothing(junk: str, file: Path) -> None:
    report = told(file, TEXT, junk, text("Bye", "p"), FINISH)
    assert report.words == "Hello \u00f6\nBye"
    assert report.finished
    assert report.tokens["total"] == 120
    assert report.cost == pytest.approx(0.000285)
    assert report.last_event_at == 1004


@pytest.mark.parametrize("session", ["", "ses\\u0000_2", "ses\\n_2", "\\ud83d", 7])
def test_a_session_nobody_could_name_is_none(session: object, file: Path) -> None:
    named = f'"{session}"' if isinstance(session, str) else session
    assert told(file, TEXT, f'{{"type":"text","sessionID":{named}}}').session_id == "ses_1"


def test_bytes_that_are_no_text_are_replaced(file: Path) -> None:
    file.write_bytes(b'{"type":"text","part":{"text":"a\xffb"}}\n{"type":"text","part":{"text":"c\\ud83dd"}}\n')
    report = read(file)
    assert report.words == "a\ufffdb\nc\ufffdd"
    assert report.words.encode("utf-8")


def test_a_line_of_many_megabytes_is_read(file: Path) -> None:
    long = json.dumps({"type": "tool_use", "part": {"tool": "read", "state": {"output": "x" * (5 * CHUNK_BYTES)}}})
    report = told(file, long, text("after"))
    assert (report.tool_calls, report.words) == (1, "after")


def test_a_line_beyond_all_bounds_is_passed_over_in_bounded_memory(file: Path) -> None:
    with file.open("wb") as lines:
        for _ in range(40):
            lines.write(b"x" * CHUNK_BYTES)
        lines.write(b"\n" + text("after").encode() + b"\n")
    tracemalloc.start()
    report = read(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.words == "after"
    assert peak < 2 * LONGEST_LINE_BYTES


def test_one_call_reads_a_bounded_piece(file: Path) -> None:
    file.write_bytes((text("x" * 1000).encode() + b"\n") * 3000)
    stream = EventStream(file)
    assert stream.advance()
    assert 0 < len(stream.report.words) < CHUNK_BYTES
    assert stream.advance()


def test_a_part_told_again_takes_its_own_place(file: Path) -> None:
    report = told(file, text("Hel", "p1"), text("other", "p2"), text("Hello", "p1"))
    assert report.words == "Hello\nother"


def test_texts_are_as_plain_opencode_prints_them_trimmed_and_never_empty(file: Path) -> None:
    assert told(file, text("\n a\n\nb \n"), text("  \n"), text(""), text("c")).words == "a\n\nb\nc"


def test_what_opencode_says_to_the_model_are_not_the_agents_words(file: Path) -> None:
    report = told(file, text("mine"), FINISH, text("Continue if you have next steps", "p", synthetic=True))
    assert report.words == "mine"
    assert not report.finished


def test_of_endless_words_the_last_are_kept_and_the_cut_is_marked(file: Path) -> None:
    report = told(file, text("first"), *(text(f"{number} " + "\u00e9" * 500) for number in range(1000)), text("last"))
    words = report.words
    mark, _, kept = words.partition("\n")
    assert len(kept.encode()) <= WORDS_LIMIT_BYTES
    assert kept.endswith("\nlast")
    assert "first" not in words
    everything = len("first") + sum(len(f"\n{number} ") + 1000 for number in range(1000)) + len("\nlast")
    assert int(mark[1:].split()[0]) == pytest.approx(everything - len(kept.encode()), abs=1010)


def test_one_text_larger_than_the_limit_is_cut_between_characters(file: Path) -> None:
    words = told(file, text("\U0001f600" * 100_000 + "end")).words
    mark, _, kept = words.partition("\n")
    assert kept == "\U0001f600" * (len(kept) - 3) + "end"
    assert len(kept.encode()) <= WORDS_LIMIT_BYTES
    assert mark == f"[{400_003 - len(kept.encode())} bytes cut here; the run's files keep all of it]"


def test_a_flood_of_words_costs_bounded_memory(file: Path) -> None:
    line = text("word " * 200) + "\n"
    file.write_text(line * 5_000, encoding="utf-8")
    tracemalloc.start()
    report = read(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.words
    assert peak < 8 * 1024 * 1024


def test_a_step_without_a_total_is_added_up(file: Path) -> None:
    assert told(file, BROKEN_OFF).tokens["total"] == 15


def test_steps_the_provider_broke_off_are_counted_while_they_follow_each_other(file: Path) -> None:
    assert told(file, FINISH, BROKEN_OFF, STEP_START, BROKEN_OFF).broken_off_in_a_row == 2
    assert told(file, BROKEN_OFF, FINISH).broken_off_in_a_row == 0


@pytest.mark.parametrize("after", [STEP_START, TEXT, TOOL, ERROR, STEP_FINISH % "length", STEP_FINISH % "tool-calls"])
def test_a_run_is_finished_only_while_the_stop_is_what_came_last(after: str, file: Path) -> None:
    assert told(file, TEXT, FINISH).finished
    assert not told(file, TEXT, FINISH, after).finished


def test_an_error_the_run_got_over_is_recovered(file: Path) -> None:
    report = told(file, ERROR, STEP_START, TEXT, FINISH)
    assert report.recovered
    assert report.error == "boom (HTTP 500)"
    assert not told(file, TEXT, FINISH, ERROR).recovered


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ({"name": "APIError", "data": {"message": "boom", "statusCode": 401}}, "boom (HTTP 401)"),
        ({"name": "APIError", "data": {"message": "429: slow down", "statusCode": 429}}, "429: slow down"),
        ({"name": "UnknownError", "data": {"message": '{"message":"overloaded","code":"500"}'}}, "overloaded"),
        ({"name": "UnknownError", "data": {"message": '{"code":"500"}'}}, '{"code":"500"}'),
        ({"name": "MessageAbortedError", "data": {}}, "MessageAbortedError"),
        ({"message": "plain"}, "plain"),
        ({"data": {"message": {"deep": 1}}}, '{"deep": 1}'),
        ("a string", "a string"),
        (None, "null"),
        ({"data": {"message": "several\n lines\t"}}, "several lines"),
        ({"data": {"message": "lone \ud800"}}, "lone \ufffd"),
        (
            {"data": {"message": "Unexpected server error. Check server logs for details."}},
            "Unexpected server error. Check server logs for details. An unknown model or provider ends like this.",
        ),
    ],
)
def test_errors_are_told_so_that_a_person_understands(error: object, sentence: str) -> None:
    assert readable_error(error) == sentence


def test_an_endless_error_is_cut() -> None:
    assert len(readable_error({"data": {"message": "x" * 100_000}})) <= 2_000


@hypothesis.settings(max_examples=50, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@hypothesis.given(
    event=strategies.dictionaries(
        strategies.sampled_from(["type", "part", "error", "timestamp", "sessionID", "x"]),
        strategies.recursive(
            strategies.none()
            | strategies.booleans()
            | strategies.floats()
            | strategies.integers()
            | strategies.sampled_from(["text", "tool_use", "step_finish", "error", "step_start", "\ud800"]),
            lambda inner: (
                strategies.lists(inner)
                | strategies.dictionaries(
                    strategies.sampled_from(
                        ["text", "id", "tokens", "cache", "read", "cost", "state", "data", "message"]
                    ),
                    inner,
                )
            ),
            max_leaves=8,
        ),
    )
)
def test_no_event_whatsoever_breaks_the_report(event: dict[str, Any]) -> None:
    report = RunReport()
    report.take_in(event)
    assert report.words.encode("utf-8") is not None
    assert report.cost >= 0


def test_a_named_pipe_in_place_of_the_stream_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events.ndjson")
    assert EventStream(tmp_path / "events.ndjson").advance() is False
