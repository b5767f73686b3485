"""What a line may be, and what the server says of one that is no message."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.streams_helpers import ping, served_from_file

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("bad", "request_id", "wrong"),
    [
        (b"ping", None, "expected value at byte 1"),
        (b'{"jsonrpc":"2.0","id":4,"method":"pi', None, "EOF while parsing a string"),
        (b'{"jsonrpc":"2.0","id":4,"method":"ping"} {}', None, "trailing characters"),
        (b'{"jsonrpc":"2.0","id":4,"method":"ping","params":{"x":NaN}}', 4, "expected value at byte 55"),
        (b'{"jsonrpc":"2.0","id":"a","method":"ping","params":{"x":-Infinity}}', "a", "invalid number"),
        (b'{"jsonrpc":"2.0","id":4,"method":"ping","x":"\\ud800"}', 4, "half of a surrogate pair"),
        (b'{"jsonrpc":"2.0","id":4,"method":"ping","x":"\\udc00"}', 4, "half of a surrogate pair"),
        (b'{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}', None, "half of a surrogate pair"),
        (b'{"jsonrpc":"2.0","id":4,"method":"\xff"}', 4, "not UTF-8"),
        (b'{"jsonrpc":"2.0","id":"\xff","method":"ping"}', None, "not UTF-8"),
        (b'\xef\xbb\xbf{"jsonrpc":"2.0","id":4,"method":"ping"}', 4, "expected value at byte 1"),
        (b'{"jsonrpc":"2.0","id":4,"method":"ping","x":"a\tb"}', 4, "control character"),
        (b'{"jsonrpc":"2.0","id":4,"method":"ping","x":%b}' % (b"9" * 5001), 4, "more than 4300 digits"),
        (b'{"jsonrpc":"2.0","id":%b,"method":"ping"}' % (b"9" * 5001), None, "more than 4300 digits"),
        (b"[" * 100_000, None, "nested deeper than 200 levels"),
        (b'{"jsonrpc":"2.0","id":4,"method":"ping","x":%b1%b}' % (b"[" * 300, b"]" * 300), 4, "nested"),
    ],
)
async def test_a_line_that_is_no_json_is_a_parse_error_with_the_id_it_still_shows(
    tmp_path: Path, bad: bytes, request_id: object, wrong: str
) -> None:
    answers = await served_from_file(tmp_path, bad + b"\n" + ping("after"))

    assert [answer["id"] for answer in answers] == [request_id, "after"]
    assert answers[0]["error"]["code"] == -32700
    assert wrong in answers[0]["error"]["message"]
    assert "one JSON object on one line" in answers[0]["error"]["message"]


@pytest.mark.parametrize(
    ("bad", "request_id", "wrong"),
    [
        (b"[]", None, "a JSON array is no message, and batches are not part of MCP"),
        (b'[{"jsonrpc":"2.0","id":4,"method":"ping"}]', None, "a JSON array is no message"),
        (b'"ping"', None, '"ping" is no message'),
        (b"null", None, "missing or null is no message"),
        (b"{}", None, "jsonrpc is missing or null"),
        (b'{"jsonrpc":"2.0","id":4}', 4, "method is missing"),
        (b'{"id":4,"method":"ping"}', 4, 'jsonrpc is missing or null; it must be "2.0"'),
        (b'{"jsonrpc":2.0,"id":4,"method":"ping"}', 4, "jsonrpc is 2.0;"),
        (b'{"jsonrpc":"1.0","id":"a","method":"ping"}', "a", 'jsonrpc is "1.0";'),
        (b'{"jsonrpc":"2.0","id":4,"method":5}', 4, "method is 5; it must be a string"),
        (b'{"jsonrpc":"2.0","method":["ping"]}', None, "method is an array;"),
        (b'{"jsonrpc":"2.0","id":4,"method":null}', 4, "method is missing or null;"),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', None, "id is 1.5; it must be a string or an integer"),
        (b'{"jsonrpc":"2.0","id":1e999,"method":"ping"}', None, "id is Infinity;"),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', None, "id is true;"),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', None, "id is missing or null;"),
        (b'{"jsonrpc":"2.0","id":[1],"method":"ping"}', None, "id is an array;"),
        (b'{"jsonrpc":"2.0","id":4,"method":"ping","params":[1]}', 4, "params is an array;"),
        (b'{"jsonrpc":"2.0","id":4,"method":"ping","params":"%b"}' % (b"y" * 999), 4, f'is "{"y" * 59}…;'),
        (b'{"jsonrpc":"2.0","id":4,"result":[]}', None, "malformed at result: input should be a valid dict"),
        (b'{"jsonrpc":"2.0","id":4,"error":"no"}', None, "malformed at error:"),
        (b'{"jsonrpc":"2.0","id":2.5,"result":{}}', None, "malformed at id"),
    ],
)
async def test_json_that_is_no_message_is_an_invalid_request_saying_what_would_be_right(
    tmp_path: Path, bad: bytes, request_id: object, wrong: str
) -> None:
    answers = await served_from_file(tmp_path, bad + b"\n" + ping("after"))

    assert [answer["id"] for answer in answers] == [request_id, "after"]
    assert answers[0]["error"]["code"] == -32600
    assert wrong in answers[0]["error"]["message"]


async def test_a_response_that_nobody_waits_for_is_ignored(tmp_path: Path) -> None:
    late = b'{"jsonrpc":"2.0","id":9,"result":{}}\n'
    refused = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"we erred"}}\n'

    answers = await served_from_file(tmp_path, ping(1) + late + refused + ping(2))

    assert [answer["id"] for answer in answers] == [1, 2]


async def test_line_ends_and_blank_lines_may_be_of_any_kind_and_the_last_may_be_missing(
    tmp_path: Path,
) -> None:
    answers = await served_from_file(
        tmp_path, b"\r\n\n  \t\n" + ping(1)[:-1] + b"\r\n" + ping(2) + b"\n" + ping(3)[:-1]
    )

    assert [answer["id"] for answer in answers] == [1, 2, 3]


async def test_of_a_repeated_key_the_last_value_counts(tmp_path: Path) -> None:
    answers = await served_from_file(tmp_path, b'{"jsonrpc":"2.0","id":1,"method":"nonsense","method":"ping","id":2}\n')

    assert answers == [{"jsonrpc": "2.0", "id": 2, "result": {}}]


async def test_an_id_of_4000_digits_and_an_endless_exponent_are_taken(tmp_path: Path) -> None:
    request_id = int("7" * 4000)
    data = b'{"jsonrpc":"2.0","id":%d,"method":"ping","params":{"x":[1e99999999999,-1e999]}}\n' % request_id

    assert await served_from_file(tmp_path, data) == [{"jsonrpc": "2.0", "id": request_id, "result": {}}]
