"""Two readers of JSON: the quick one says what the careful one would, or leaves it to that one."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshfleet.ledger import snapshot
from meshfleet.ledger.jsontext import quickly_read
from meshfleet.ledger.schema import Malformed
from meshfleet.ledger.state import State

DIGITS: Final = sys.get_int_max_str_digits()
ODD: Final = [
    *("NaN", "Infinity", "-Infinity", "nan", "-", "01", "-01", "+1", "1.", ".5", "1e", "0x10", "1_0", "True", "nul"),
    *("-0", "-0.0", "0e999999999999", "1E5", "1e+5", "1.5e-7", "1e400", "-1e400", "1e-400", "4.9e-324", "2.4e-324"),
    *("1.7976931348623157e308", "1.7976931348623159e308", "1e99999999999999999999", "0." + "0" * 400 + "1e400"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "18446744073709551616", "9" * 400 + ".5"),
    *("9007199254740993.0", "123456789012345678901234567890.5", "9" * DIGITS, "9" * (DIGITS + 1)),
    *(r'"\ud800"', r'"\udc00\ud800"', r'"\ud83d\ude00"', r'"\u0000"', r'"\x"', r'"\/"', '"a\tb"', '"a\x00"', '"\x7f"'),
    *('"', "{", "]", "[1,]", '{"a":1,}', "{1:2}", "1 2", "", " ", "\ufeff1", "\u00a01", "\v1", "[" * 250 + "]" * 250),
    *('{"a":1,"b":2,"a":[3]}', '{"a":1e400,"a":1}'),
]
ESCAPES: Final = st.sampled_from([r"\ud83d", r"\ude00", r"\n", r"\"", r"\\", "é", "日本", "😀", "NaN", "\\u00e9"])


def of_texts() -> st.SearchStrategy[str]:
    plain = st.text(st.characters(exclude_characters='"\\', exclude_categories=["Cs", "Cc"]), max_size=8)
    return st.lists(plain | ESCAPES, max_size=4).map(lambda parts: f'"{"".join(parts)}"')


def of_numbers() -> st.SearchStrategy[str]:
    some = st.from_regex(r"\A-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][-+]?[0-9]{1,4})?\Z")
    return some | st.floats(allow_nan=False).map(repr) | st.integers().map(str)


def inside(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    blank = st.sampled_from(["", " ", "\n", "\r\n\t"])
    keys = of_texts() | st.sampled_from(['"id"', '"a"'])
    members = st.builds(lambda key, gap, value: f"{key}:{gap}{value}", keys, blank, values)
    lists = st.builds(lambda gap, items: f"[{gap}{','.join(items)}]", blank, st.lists(values, max_size=4))
    return lists | st.builds(lambda gap, items: f"{{{','.join(items)}{gap}}}", blank, st.lists(members, max_size=4))


def documents(*odd: str) -> st.SearchStrategy[str]:
    words = st.sampled_from(["true", "false", "null", *odd])
    return st.recursive(of_numbers() | of_texts() | words, inside, max_leaves=12)


def told(read: Any, data: bytes) -> tuple[Any, ...]:
    """What a reader makes of bytes, in which 1, 1.0 and true are different things, and the order of keys counts."""
    try:
        return "read", repr(read(data))
    except Malformed as malformed:
        return "refused", str(malformed), malformed.line


def assert_read_alike(data: bytes) -> None:
    """Of twins the last one counts; only that a number before it is too large may be overlooked."""
    quick, careful = told(snapshot._document, data), told(snapshot._carefully_read, data)
    if quick != careful:
        assert (quick[0], careful[0]) == ("read", "refused")
        assert "larger than a number can be" in careful[1]
        with pytest.raises(Malformed, match="is there twice"):
            json.loads(data, parse_float=float, object_pairs_hook=snapshot._without_twins)


@given(documents(*ODD))
def test_a_document_is_read_alike_by_both_readers(text: str) -> None:
    data = text.encode(errors="surrogatepass")
    assert_read_alike(data)


@given(documents(), st.data())
def test_so_it_is_with_a_document_of_which_a_byte_is_wrong(text: str, data: st.DataObject) -> None:
    damaged = bytearray(text.encode())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    assert_read_alike(bytes(damaged))


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize(
    "around", ["{}", "[{}]", '{{"rows":{{"a":{{"cost":{}}}}}}}', '{{"deep":[[{{"x":[1.5,{}]}}]]}}']
)
def test_what_is_odd_is_read_alike_wherever_it_stands(text: str, around: str) -> None:
    data = around.format(text).encode()
    assert_read_alike(data)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
def test_so_it_is_in_other_encodings(encoding: str) -> None:
    data = '{"fleets":{"f":1}}'.encode(encoding)
    assert_read_alike(data)


def test_a_ledger_of_ours_needs_no_other_reader_than_the_quick_one() -> None:
    state, text = State(), "späť 😀 NaN 1e999 \u2028"
    state.put("messages", "m", {"id": "m", "fleet_id": "f", "payload": text, "recipients": ["a"], "cost": 0.1})
    data = b"".join(snapshot.write(state, 3, 7))
    assert quickly_read(data)["messages"]["m"]["payload"] == text
