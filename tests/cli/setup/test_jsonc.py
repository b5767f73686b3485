from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshfleet.cli.setup.jsonc import drop, is_bare, parse, put, value_at
from meshfleet.errors import Invalid

PATH: Final = ("mcp", "meshfleet")
ENTRY: Final = {"type": "local", "command": ["/opt/mesh fleet", "serve"], "enabled": True}
ONE_LINE: Final = '{"type": "local", "command": ["/opt/mesh fleet", "serve"], "enabled": true}'


def block(indent: str, unit: str, eol: str = "\n") -> str:
    """The entry as it stands over several lines, its name at an indentation."""
    inner = indent + unit
    lines = [
        '"meshfleet": {',
        f'{inner}"type": "local",',
        f'{inner}"command": ["/opt/mesh fleet", "serve"],',
        f'{inner}"enabled": true',
        f"{indent}}}",
    ]
    return eol.join(lines)


COMMENTED: Final = """\
// before
/* and */ { // open
  /* a */ "model" /* b */ : /* c */ "p/m" /* d */ , // e
  // "mcp": {} is commented out }
  "url": "http://x//y /* no comment */", // last
  /* end
     of it */
"""
COMMENTED_END: Final = "} // close\n// after"

AWKWARD: Final[dict[str, tuple[str, str]]] = {
    "comments everywhere": (
        COMMENTED + COMMENTED_END,
        COMMENTED + '  "mcp": {\n    ' + block("    ", "  ") + "\n  },\n" + COMMENTED_END,
    ),
    "no comma behind the last, a comment behind it": (
        '{\n  "model": "p/m" // the best, so far\n}\n',
        '{\n  "model": "p/m", // the best, so far\n  "mcp": {\n    ' + block("    ", "  ") + "\n  }\n}\n",
    ),
    "trailing commas": (
        '{\n    "mcp": {\n        "other": {"type": "remote", "url": "u",},\n    },\n}\n',
        '{\n    "mcp": {\n        "other": {"type": "remote", "url": "u",},\n        '
        + block("        ", "    ")
        + ",\n    },\n}\n",
    ),
    "tabs": (
        '{\n\t"mcp": {\n\t\t"other": {}\n\t},\n\t"model": "p/m"\n}\n',
        '{\n\t"mcp": {\n\t\t"other": {},\n\t\t' + block("\t\t", "\t") + '\n\t},\n\t"model": "p/m"\n}\n',
    ),
    "CRLF": (
        '{\r\n  "model": "p/m", // x\r\n}\r\n',
        '{\r\n  "model": "p/m", // x\r\n  "mcp": {\r\n    ' + block("    ", "  ", "\r\n") + "\r\n  },\r\n}\r\n",
    ),
    "CR alone": (
        '{\r  "model": "p/m"\r}\r',
        '{\r  "model": "p/m",\r  "mcp": {\r    ' + block("    ", "  ", "\r") + "\r  }\r}\r",
    ),
    "another entry, and comments that end the object": (
        '{\n  "mcp": {\n    "other": { "type": "local" }, // keep\n    // "old": {}\n  }\n}',
        '{\n  "mcp": {\n    "other": { "type": "local" }, // keep\n    // "old": {}\n    '
        + block("    ", "  ")
        + ",\n  }\n}",
    ),
    "an object with nothing but a comment": (
        '{\n  "mcp": {\n    // none yet\n  }\n}\n',
        '{\n  "mcp": {\n    // none yet\n    ' + block("    ", "  ") + "\n  }\n}\n",
    ),
    "an empty object within": (
        '{\n  "mcp": {},\n  "model": "p/m"\n}\n',
        '{\n  "mcp": {\n    ' + block("    ", "  ") + '\n  },\n  "model": "p/m"\n}\n',
    ),
    "all in one line": (
        '{"model":"p/m","x":[1,2]}',
        f'{{"model":"p/m","x":[1,2], "mcp": {{"meshfleet": {ONE_LINE}}}}}',
    ),
    "one line within many": (
        '{\n  "mcp": { "other": {} }\n}\n',
        f'{{\n  "mcp": {{ "other": {{}}, "meshfleet": {ONE_LINE} }}\n}}\n',
    ),
    "commas first": (
        '{ "model": "p/m"\n, "x": 1\n}\n',
        '{ "model": "p/m"\n, "x": 1,\n  "mcp": {\n    ' + block("    ", "  ") + "\n  }\n}\n",
    ),
    "a byte order mark": (
        '\ufeff{\n "model": "ö"\n}',
        '\ufeff{\n "model": "ö",\n "mcp": {\n  ' + block("  ", " ") + "\n }\n}",
    ),
    "a name twice, of which the last counts": (
        '{\n  "mcp": {"dead": 1},\n  "mcp": {\n    "other": {}\n  }\n}\n',
        '{\n  "mcp": {"dead": 1},\n  "mcp": {\n    "other": {},\n    ' + block("    ", "  ") + "\n  }\n}\n",
    ),
    "escapes in names": (
        '{\n  "\\u006dcp": {\n    "a\\"}": "\\\\"\n  }\n}\n',
        '{\n  "\\u006dcp": {\n    "a\\"}": "\\\\",\n    ' + block("    ", "  ") + "\n  }\n}\n",
    ),
    "the bracket on the last member's line": (
        '{\n  "model": "p/m" }\n',
        '{\n  "model": "p/m",\n  "mcp": {\n    ' + block("    ", "  ") + "\n  } }\n",
    ),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_an_awkward_file_gets_the_entry_and_keeps_every_other_byte(name: str) -> None:
    before, after = AWKWARD[name]
    assert put(before, PATH, ENTRY) == after
    assert put(after, PATH, ENTRY) == after
    assert value_at(after, PATH) == ENTRY


@pytest.mark.parametrize("name", [name for name in AWKWARD if name != "an empty object within"])
def test_taking_the_entry_out_of_an_awkward_file_gives_back_what_was_there(name: str) -> None:
    before, after = AWKWARD[name]
    out = drop(after, PATH)
    assert (drop(out, PATH[:1]) if value_at(before, PATH[:1]) is None else out) == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"a": 1, "m": 2, "b": 3}', '{"a": 1, "b": 3}'),
        ('{ "m": 2, "b": 3 }', '{ "b": 3 }'),
        ('{"m": 2}', "{}"),
        ('{"m": 1, "m": 2}', "{}"),
        ('{\n  "m": 2\n}\n', "{}\n"),
        ('{\n  // mine\n  "m": 2\n}\n', "{\n  // mine\n}\n"),
        ('{\n  "a": 1,\n  "m": 2, // about m\n  "b": 3\n}\n', '{\n  "a": 1,\n  // about m\n  "b": 3\n}\n'),
        ('{\n  "a": 1, // about a\n  "m": 2 }', '{\n  "a": 1 // about a\n  }'),
        ('{\n  "a": 1,\n  "m": 2 }', '{\n  "a": 1 }'),
        ('{\n  "m": 1, "b": 2\n}', '{\n  "b": 2\n}'),
        ('{ "a": 1\n, "m": 2\n, "b": 3\n}', '{ "a": 1\n, "b": 3\n}'),
        ('{"a": 1, /* c */ "m": 2}', '{"a": 1 /* c */}'),
        ('{"a": 1}', '{"a": 1}'),
        ("// nothing\n", "// nothing\n"),
    ],
)
def test_a_member_goes_alone(before: str, after: str) -> None:
    assert drop(before, ("m",)) == after


def test_a_value_that_says_the_same_in_other_words_is_left_alone() -> None:
    text = '{"m": { "enabled" : true, /* c */ "command": [ "a" , ], }}'
    assert put(text, ("m",), {"command": ["a"], "enabled": True}) == text
    assert put('{"m": 1}', ("m",), True) == '{"m": true}'


def test_an_empty_document_is_begun_below_its_comments() -> None:
    assert put("", ("a", "b"), 1) == '{\n  "a": {\n    "b": 1\n  }\n}\n'
    assert put("// c\r\n\r\n", ("a",), 1) == '// c\r\n{\r\n  "a": 1\r\n}\r\n'


def test_bare_is_an_object_with_nothing_in_it_not_even_a_comment() -> None:
    assert is_bare('{"a": { \n }}', ("a",))
    assert not any(is_bare(text, ("a",)) for text in ('{"a": {/* c */}}', '{"a": {"b": 1}}', '{"a": []}', "{}", ""))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": 1,,}', "line 1, column 9: a name in double quotes is missing"),
        ('{"a" 1}', "line 1, column 6: a colon is missing"),
        ('{\n  "a": tru\n}', "line 2, column 8: a value is missing or misspelt"),
        ('{"a": 01}', "line 1, column 7: a value is missing or misspelt"),
        ('{"a": "x\ty"}', "line 1, column 7: this text has no end"),
        ('{"a": "\\x"}', "line 1, column 7: this text has no end"),
        ('{"a": 1\r\n', "line 2, column 1: a comma or } is missing"),
        ("[1 2]", "line 1, column 4: a comma or ] is missing"),
        ("{} {}", "line 1, column 4: something follows the end"),
        ("{'a': 1}", "line 1, column 2: a name in double quotes is missing"),
        ("/* no end", "line 1, column 1: a value is missing or misspelt"),
        ("[" * 5_000, "nested more than 100 levels deep"),
        ("[]", "line 1, column 1: the whole is an array; it has to be an object"),
        ("// c\n5", "line 2, column 1: the whole is 5; it has to be an object"),
        ('{"mcp": null}', "line 1, column 9: mcp is null; it has to be an object"),
    ],
)
def test_what_is_no_configuration_is_refused_with_its_place(text: str, told: str) -> None:
    with pytest.raises(Invalid, match=re.escape(told)):
        put(text, PATH, ENTRY)


BLANKS: Final = st.sampled_from(["", " ", "\n", "\n\t", "\r\n  ", " // c, }\n", "/* d { */", " /* e */ \n    "])
SCALARS: Final = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=4), st.sampled_from(["//", "/*", "}"])
)
NAMES: Final = st.one_of(st.sampled_from(["mcp", "meshfleet", "other"]), st.text(max_size=3))


@st.composite
def documents(draw: st.DrawFn, depth: int = 3) -> str:
    """An object as JSON with comments, blanks and commas wherever they may stand."""
    return draw(BLANKS) + draw(objects(depth)) + draw(BLANKS)


@st.composite
def values(draw: st.DrawFn, depth: int) -> str:
    kind = draw(st.sampled_from(["object", "array", "scalar"])) if depth else "scalar"
    if kind == "object":
        return draw(objects(depth - 1))
    if kind == "array":
        return draw(filled("[]", [draw(values(depth - 1)) for _ in range(draw(st.integers(0, 2)))]))
    return json.dumps(draw(SCALARS), ensure_ascii=draw(st.booleans()))


@st.composite
def objects(draw: st.DrawFn, depth: int) -> str:
    members = []
    for name in draw(st.lists(NAMES, max_size=3)):
        value = draw(objects(depth - 1)) if depth and name == "mcp" else draw(values(depth))
        members.append(json.dumps(name) + draw(BLANKS) + ":" + draw(BLANKS) + value)
    return draw(filled("{}", members))


@st.composite
def filled(draw: st.DrawFn, brackets: str, parts: list[str]) -> str:
    inner = ",".join(draw(BLANKS) + part + draw(BLANKS) for part in parts)
    has_last_comma: bool = draw(st.booleans())
    end = "," + draw(BLANKS) if parts and has_last_comma else ""
    return brackets[0] + (inner + end if parts else draw(BLANKS)) + brackets[1]


def plain(text: str) -> Any:
    """What a document says, read in another way than the editor's: without its comments and last commas."""
    token = r'("(?:\\.|[^"\\])*")|//[^\r\n]*|/\*(?s:.*?)\*/'
    bare = re.sub(token, lambda found: found[1] or " ", text)
    return json.loads(re.sub(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])', lambda found: found[1] or "", bare))


def comments(text: str) -> list[str]:
    token = r'"(?:\\.|[^"\\])*"|(//[^\r\n]*|/\*(?s:.*?)\*/)'
    return [found[1] for found in re.finditer(token, text) if found[1]]


def is_within(part: str, whole: str) -> bool:
    """Whether one text is another with something put in between."""
    characters = iter(whole)
    return all(char in characters for char in part)


def has_room(text: str) -> bool:
    return isinstance(plain(text).get("mcp", {}), dict)


@given(documents().filter(has_room))
def test_whatever_the_layout_the_entry_is_put_in_and_nothing_else_changes(text: str) -> None:
    before = plain(text)
    was_there = "meshfleet" in before.get("mcp", {})
    after = put(text, PATH, ENTRY)
    assert plain(after) == {**before, "mcp": {**before.get("mcp", {}), "meshfleet": ENTRY}}
    assert put(after, PATH, ENTRY) == after
    if not was_there:
        assert comments(after) == comments(text)
        # the blanks of an object that had nothing but blanks may be laid out anew
        assert is_within("".join(text.split()), "".join(after.split()))


@given(documents().filter(has_room))
def test_whatever_the_layout_the_entry_is_taken_out_alone(text: str) -> None:
    before = plain(text)
    out = drop(put(text, PATH, ENTRY), PATH)
    rest = {name: value for name, value in before.get("mcp", {}).items() if name != "meshfleet"}
    assert plain(out) == {**before, "mcp": rest}
    if "meshfleet" not in before.get("mcp", {}):
        assert comments(out) == comments(text)


@given(documents())
def test_what_is_read_is_what_another_reader_reads(text: str) -> None:
    node = parse(text)
    assert node is not None
    assert node.value == plain(text)
    assert text[node.start] == "{"
    assert text[node.end - 1] == "}"
