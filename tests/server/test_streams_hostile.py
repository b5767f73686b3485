"""Garbage between valid requests, through real pipes to a real process."""

from __future__ import annotations

import json
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.server.streams_helpers import HELLO, PROGRAM, answers_in, ping, run_program

BAD, REQUEST, SILENT = "bad", "request", "silent"
ERROR_CODES = {-32700, -32600}

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
flat = st.none() | st.booleans() | numbers | st.text()
lists = st.recursive(flat, lambda inner: st.lists(inner, max_size=3), max_leaves=8).map(lambda value: [value])
objects = st.dictionaries(st.text(), flat | lists, max_size=3)


def as_line(value: object) -> bytes:
    return json.dumps(value).encode()


def is_json_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


# binary that may hold anything but a newline, and is neither blank nor, by some chance, an object
binary_lines = st.binary(min_size=1, max_size=200).filter(
    lambda line: b"\n" not in line and line.strip() != b"" and not is_json_object(line)
)
broken_json = st.builds(
    lambda value, cut: as_line({"jsonrpc": "2.0", "id": value, "method": "ping"})[: -1 - cut],
    st.integers() | st.text(),
    st.integers(min_value=0, max_value=20),
)
nonsense_numbers = st.sampled_from([b"NaN", b"Infinity", b"-Infinity", b"9" * 5000, b"01", b".5", b"1e", b"+1"])
bad_numbers = nonsense_numbers.map(lambda number: b'{"jsonrpc":"2.0","method":"ping","params":{"n":%b}}' % number)
nested = st.integers(min_value=300, max_value=100_000).map(lambda depth: b"[" * depth)


def ping_with(**members: object) -> bytes:
    return as_line({"jsonrpc": "2.0", "method": "ping", **members})


bad_shapes = st.one_of(
    (flat | lists).map(as_line),
    objects.filter(lambda value: value.get("jsonrpc") != "2.0").map(as_line),
    (flat.filter(lambda value: value != "2.0") | lists | objects).map(lambda value: ping_with(jsonrpc=value)),
    (st.none() | st.booleans() | numbers | lists | objects).map(lambda value: ping_with(method=value)),
    (st.booleans() | numbers | st.text() | lists).map(lambda value: ping_with(params=value)),
    (st.none() | st.booleans() | st.just(0.5) | lists | objects).map(lambda value: ping_with(id=value)),
    st.just(b"[%b]" % ping_with(id=1)),
    st.just(b'{"jsonrpc":"2.0","method":"ping","x":"\\ud800"}'),
)
bad_lines = st.one_of(binary_lines, broken_json, bad_numbers, nested, bad_shapes).map(lambda line: (BAD, line))
silent_lines = st.sampled_from(
    [
        b"",
        b"   ",
        b"\r",
        as_line({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        as_line({"jsonrpc": "2.0", "method": "no/such/notification", "params": {}}),
        as_line({"jsonrpc": "2.0", "id": 5, "result": {}}),
        as_line({"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": "nobody asked"}}),
    ]
).map(lambda line: (SILENT, line))
requests = st.sampled_from(["ping", "tools/list", "no/such/method"]).map(lambda method: (REQUEST, method.encode()))


class Session:
    """The server as a process that answers one batch of lines after another; it lives as long as the test."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.batches = 0
        self.ask(HELLO, "hello")

    def ask(self, data: bytes, last_id: str) -> list[dict[str, Any]]:
        """Send lines of which the last is a request, and return all answers up to the one for it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        sender = threading.Thread(target=self._send, args=(data,))
        sender.start()
        output = b""
        while not output or answers_in(output)[-1]["id"] != last_id:
            line = self.process.stdout.readline()
            assert line, "the server has ended"
            output += line
        sender.join()
        return answers_in(output)

    def _send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def end(self) -> int:
        """Return the exit code after the end of input."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(timeout=20)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    talking = Session()
    yield talking
    try:
        assert talking.end() == 0
    finally:
        talking.process.kill()
        talking.process.wait()
        assert talking.process.stdout is not None
        talking.process.stdout.close()


@settings(max_examples=200)
@given(lines=st.lists(st.one_of(bad_lines, silent_lines, requests), max_size=30))
@example(lines=[(BAD, b"[" * 100_000), (REQUEST, b"ping"), (BAD, b"9" * 1_000_000), (REQUEST, b"ping")])
def test_every_request_gets_one_answer_and_every_bad_line_one_error(
    session: Session, lines: list[tuple[str, bytes]]
) -> None:
    session.batches += 1
    asked = []
    data = b""
    for number, (kind, line) in enumerate(lines):
        if kind == REQUEST:
            asked.append(f"{session.batches}/{number}")
            data += as_line({"jsonrpc": "2.0", "id": asked[-1], "method": line.decode()}) + b"\n"
        else:
            data += line + b"\n"
    end = f"{session.batches}/end"

    answers = session.ask(data + ping(end), end)

    # the SDK answers its requests as their handlers end, so the last ping may overtake one
    known = {*asked, end}
    missing = len(asked) + 1 - sum(answer["id"] in known for answer in answers)
    if missing:
        answers += session.ask(ping(f"{end}+"), f"{end}+")[:-1]
    by_id = Counter(answer["id"] for answer in answers if answer["id"] in known)
    assert by_id == Counter(known)
    errors = [answer for answer in answers if answer["id"] not in known]
    assert len(errors) == sum(kind == BAD for kind, _ in lines)
    assert {answer["error"]["code"] for answer in errors} <= ERROR_CODES


def test_garbage_that_ends_without_a_newline_is_answered_and_the_server_exits_with_0() -> None:
    ended = run_program(b"\x00\xff\n" + ping(1) + b"\n\n[1]\n" + ping("two") + b'{"jsonrpc": "2.0", "id": 3')

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == b""
    answers = answers_in(ended.stdout)
    assert Counter(answer["id"] for answer in answers) == Counter({None: 3, 1: 1, "two": 1})
    assert [answer["error"]["code"] for answer in answers if "error" in answer] == [-32700, -32600, -32700]
