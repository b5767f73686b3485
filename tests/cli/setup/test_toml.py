from __future__ import annotations

import tomllib
from typing import Final

import pytest

from meshfleet.cli.setup.toml import drop, put, value_at
from meshfleet.errors import Invalid

PATH: Final = ("mcp_servers", "meshfleet")
ENTRY: Final = {"command": '/opt/a "b"/meshfleet', "args": ["serve"]}
BLOCK: Final = '[mcp_servers.meshfleet]\ncommand = "/opt/a \\"b\\"/meshfleet"\nargs = ["serve"]\n'

NEW: Final = {
    "nothing": ("", BLOCK),
    "no last line end": ('model = "x"', f'model = "x"\n\n{BLOCK}'),
    "another server and a table behind it": (
        '# c\n[mcp_servers.other]\ncommand = "a" # c\n\n[z]\na = 1\n',
        f'# c\n[mcp_servers.other]\ncommand = "a" # c\n\n[z]\na = 1\n\n{BLOCK}',
    ),
    "dotted names": ('mcp_servers.o.command = "x"\n[z]\na=1\n', f'mcp_servers.o.command = "x"\n[z]\na=1\n\n{BLOCK}'),
    "CRLF": ("[a]\r\nb = 1\r\n", "[a]\r\nb = 1\r\n\r\n" + BLOCK.replace("\n", "\r\n")),
}


@pytest.mark.parametrize("name", NEW)
def test_a_new_table_comes_last_and_goes_again(name: str) -> None:
    before, after = NEW[name]
    assert put(before, PATH, ENTRY) == after
    assert put(after, PATH, ENTRY) == after
    assert value_at(after, PATH) == ENTRY
    ended = before if not before or before.endswith("\n") else before + "\n"
    assert drop(after, PATH) == ended


def test_what_else_a_table_says_stays() -> None:
    before = (
        '[mcp_servers.meshfleet]\ncommand = "old" # mine\nargs = ["serve"]\nenv = { A = "b" }\n\n# about z\n[z]\nb=1'
    )
    after = put(before, PATH, ENTRY)
    assert after == before.replace('"old"', '"/opt/a \\"b\\"/meshfleet"')
    assert drop(after, PATH) == "# about z\n[z]\nb=1"


def test_tables_below_it_go_with_it() -> None:
    before = (
        '[a]\nx=1\n[mcp_servers.meshfleet]\ncommand="c"\n[mcp_servers.meshfleet.env]\nA="b"\n[mcp_servers.mesh]\ny=2\n'
    )
    assert drop(before, PATH) == "[a]\nx=1\n[mcp_servers.mesh]\ny=2\n"


def test_an_inline_table_is_edited_too() -> None:
    after = put('mcp_servers.meshfleet = { command = "x" } # c\n', PATH, ENTRY)
    assert tomllib.loads(after) == {"mcp_servers": {"meshfleet": ENTRY}}
    assert after.endswith("} # c\n")
    assert "meshfleet" not in drop(f"a = 1\n{after}", PATH)


def test_lines_of_a_text_that_look_like_headings_are_none() -> None:
    text = f'[a]\nb = """\n[mcp_servers.meshfleet]\ncommand = "no"\n"""\n\n{BLOCK}'
    assert put(text, PATH, ENTRY) == text
    out = drop(text, PATH)
    assert tomllib.loads(out) == {"a": {"b": '[mcp_servers.meshfleet]\ncommand = "no"\n'}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = ", "it is no TOML: invalid value"),
        ("mcp_servers = 5", "mcp_servers is no table"),
        ("[[mcp_servers]]\na = 1", "mcp_servers is no table"),
        ("mcp_servers.meshfleet = 5", "meshfleet is no table"),
        ('mcp_servers = { o = { command = "x" } }', "edit it by hand"),
    ],
)
def test_what_leaves_no_place_for_a_table_is_refused(text: str, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        put(text, PATH, ENTRY)
