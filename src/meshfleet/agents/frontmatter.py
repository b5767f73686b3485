"""Reads single fields out of a Markdown file's front matter: the part of YAML that people write there.

A YAML library would refuse what OpenCode takes: descriptions with an unquoted colon are the most common kind.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

OPENING: Final = re.compile(r"---(?:yaml)?[ \t]*\n")
CLOSING: Final = re.compile(r"^---[ \t]*$", re.MULTILINE)
KEY: Final = re.compile(r"""(?P<quote>["']?)(?P<key>[\w-]+)(?P=quote)[ \t]*:(?:[ \t]+(?P<value>.*)|[ \t]*)$""")
BLOCK: Final = re.compile(r"(?P<style>[|>])[0-9+-]{0,2}[ \t]*(?:#.*)?")
COMMENT: Final = re.compile(r"(?:^|[ \t])#.*")
DOUBLE_QUOTED: Final = re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL)
SINGLE_QUOTED: Final = re.compile(r"'((?:''|[^'])*)'", re.DOTALL)
ESCAPE: Final = re.compile(r"\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|\n[ \t]*|.)", re.DOTALL)
PLAIN_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "0": "", "e": "\x1b", "_": " "}
NOTHING: Final = frozenset({"", "~", "null", "Null", "NULL"})
LARGEST_CHARACTER: Final = 0x10FFFF
SURROGATES: Final = range(0xD800, 0xE000)


def read_front_matter(text: str, wanted: Collection[str]) -> dict[str, str]:
    """Return the wanted top-level fields that have a value; nothing where there is no front matter, or no end of it."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    opening = OPENING.match(text)
    closing = CLOSING.search(text, opening.end()) if opening else None
    if opening is None or closing is None:
        return {}
    fields: dict[str, str] = {}
    for key, lines in _entries(text[opening.end() : closing.start()]):
        if key in wanted and key not in fields:
            value = _value(lines)
            if value:
                fields[key] = value
    return fields


def _entries(matter: str) -> Iterator[tuple[str, list[str]]]:
    """Split into top-level keys, each with its value's lines: its own, and the indented or blank ones below it."""
    key, lines = None, list[str]()
    for line in matter.split("\n"):
        found = None if line[:1] in {" ", "\t"} else KEY.fullmatch(line)
        if found is not None:
            if key is not None:
                yield key, lines
            key, lines = found["key"], [found["value"] or ""]
        else:
            lines.append(line)
    if key is not None:
        yield key, lines


def _value(lines: list[str]) -> str:
    first = lines[0].strip()
    block = BLOCK.fullmatch(first)
    if block is not None:
        return _block(lines[1:], folded=block["style"] == ">")
    whole = "\n".join([first, *(line.strip() for line in lines[1:])])
    for quoted, unescape in ((DOUBLE_QUOTED, _unescaped), (SINGLE_QUOTED, _undoubled)):
        found = quoted.match(whole)
        if found is not None and whole.startswith(found[0][0]):
            return unescape(found[1]).strip()
    plain = [COMMENT.sub("", line).strip() for line in (first, *_indented(lines[1:]))]
    value = _folded(plain)
    return "" if value in NOTHING else value


def _indented(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.strip() or line[0] in " \t"]


def _block(lines: list[str], *, folded: bool) -> str:
    inside = _indented(lines)
    indents = [len(line) - len(line.lstrip()) for line in inside if line.strip()]
    indent = min(indents, default=0)
    kept = [line[indent:].rstrip() for line in inside]
    return _folded(kept) if folded else "\n".join(kept).strip()


def _folded(lines: list[str]) -> str:
    """Join lines by blanks, and keep a newline for each empty line between."""
    paragraphs = re.split(r"\n{2,}", "\n".join(lines).strip())
    return "\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)


def _undoubled(text: str) -> str:
    return _folded(text.split("\n")).replace("''", "'")


def _unescaped(text: str) -> str:
    return ESCAPE.sub(_escape, re.sub(r"(?<!\\)\n", " ", text))


def _escape(found: re.Match[str]) -> str:
    code = found[1]
    if len(code) > 1 and code[0] in "xuU":
        number = int(code[1:], 16)
        return "\ufffd" if number > LARGEST_CHARACTER or number in SURROGATES else chr(number)
    return "" if code[0] == "\n" else PLAIN_ESCAPES.get(code, code)
