"""Editing JSON with comments as text: one value is put in or taken out, and every other character stays as it is.

It reads what OpenCode reads (comments, commas before a closing bracket), and refuses, with line and column, what it
refuses. Which file is edited, and what for, is left to others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from meshfleet.errors import Invalid

DEEPEST: Final = 100
"""Levels of objects and arrays; a configuration has a handful."""
BYTE_ORDER_MARK: Final = "\ufeff"
BLANK: Final = " \t\r\n"
_COMMENT: Final = r"//[^\r\n]*|/\*(?s:.*?)\*/"
_TRIVIA: Final = re.compile(rf"(?:[{BLANK}]+|{_COMMENT})*")
_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_SCALAR: Final = re.compile(r"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)(?![\w.+-])")
_LINE_BREAK: Final = re.compile(r"\r\n|\n|\r")
_DEFAULT_UNIT: Final = "  "


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands.

    Attributes:
        start: Its first character.
        end: Behind its last one.
        value: What it says; of a name that an object has twice, the last counts.
        members: What an object has, in its order; None for what is no object.
    """

    start: int
    end: int
    value: Any
    members: tuple[Member, ...] | None = None

    def member(self, name: str) -> Member | None:
        """The member that counts of this name; None where there is none."""
        return next((one for one in reversed(self.members or ()) if one.name == name), None)


@dataclass(frozen=True, slots=True)
class Member:
    """A name and its value in an object.

    Attributes:
        name: The name.
        start: The name's first character.
        node: The value.
        comma: The comma behind it; None where there is none.
    """

    name: str
    start: int
    node: Node
    comma: int | None


def parse(text: str) -> Node | None:
    """Read a document; None where there is nothing but blanks and comments.

    Raises:
        Invalid: It is no JSON with comments; the text names line and column.
    """
    return _Reader(text).document()


def value_at(text: str, path: Sequence[str]) -> Any:
    """The value at a path of names; None where there is none, or it is null.

    Raises:
        Invalid: It is no JSON with comments.
    """
    node = parse(text)
    for name in path:
        member = node.member(name) if node is not None else None
        if member is None:
            return None
        node = member.node
    return None if node is None else node.value


def put(text: str, path: Sequence[str], value: Any) -> str:
    """The text with a value at a path; objects on the way that are missing are made.

    Raises:
        Invalid: It is no JSON with comments, or what lies on the way is no object.
    """
    root = parse(text)
    if root is None:
        return _began(text, _nested(path, value))
    node = root
    for depth, name in enumerate(path):
        if node.members is None:
            what = " ".join(path[:depth]) or "the whole"
            raise Invalid(f"{_place(text, node.start)}: {what} is {_shown(node.value)}; it has to be an object")
        member = node.member(name)
        if member is None:
            return _with_member(text, root, node, name, _nested(path[depth + 1 :], value))
        node = member.node
    if _same(node.value, value):
        return text
    rendered = _rendered(value, _indent_at(text, node.start), _unit(text, root), _eol(text))
    return text[: node.start] + rendered + text[node.end :]


def drop(text: str, path: Sequence[str]) -> str:
    """The text without what is at a path, also where the name stands there twice; comments beside it stay.

    Raises:
        Invalid: It is no JSON with comments.
    """
    while True:
        node = parse(text)
        for name in path[:-1]:
            member = node.member(name) if node is not None else None
            node = member.node if member is not None else None
        if node is None or node.member(path[-1]) is None:
            return text
        names = [member.name for member in node.members or ()]
        text = _without_member(text, node, len(names) - 1 - names[::-1].index(path[-1]))


def is_bare(text: str, path: Sequence[str]) -> bool:
    """Whether an object with nothing in it, not even a comment, is at a path."""
    node = parse(text)
    for name in path:
        member = node.member(name) if node is not None else None
        node = member.node if member is not None else None
    return node is not None and node.members == () and not text[node.start + 1 : node.end - 1].strip(BLANK)


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = len(BYTE_ORDER_MARK) if text.startswith(BYTE_ORDER_MARK) else 0

    def document(self) -> Node | None:
        self._skip()
        if self._at == len(self._text):
            return None
        node = self._value(0)
        self._skip()
        if self._at < len(self._text):
            raise self._wrong("something follows the end of the document")
        return node

    def _value(self, depth: int) -> Node:
        if depth > DEEPEST:
            raise self._wrong(f"this is nested more than {DEEPEST} levels deep")
        match self._text[self._at : self._at + 1]:
            case "{":
                return self._object(depth)
            case "[":
                return self._array(depth)
            case '"':
                return self._token(_STRING, "this text has no end, or a character in it that has to be escaped")
            case _:
                return self._token(_SCALAR, "a value is missing or misspelt")

    def _object(self, depth: int) -> Node:
        start, members = self._at, list[Member]()
        self._at += 1
        while not self._closes("}"):
            begins = self._at
            name = self._token(_STRING, "a name in double quotes is missing").value
            self._skip()
            if not self._takes(":"):
                raise self._wrong("a colon is missing")
            self._skip()
            node = self._value(depth + 1)
            comma = self._comma("}")
            members.append(Member(name, begins, node, comma))
        value = {member.name: member.node.value for member in members}
        return Node(start, self._at, value, tuple(members))

    def _array(self, depth: int) -> Node:
        start, values = self._at, list[Any]()
        self._at += 1
        while not self._closes("]"):
            values.append(self._value(depth + 1).value)
            self._comma("]")
        return Node(start, self._at, values)

    def _comma(self, closing: str) -> int | None:
        self._skip()
        at = self._at
        if self._takes(","):
            return at
        if self._text[at : at + 1] != closing:
            raise self._wrong(f"a comma or {closing} is missing")
        return None

    def _closes(self, closing: str) -> bool:
        self._skip()
        return self._takes(closing)

    def _takes(self, char: str) -> bool:
        found = self._text[self._at : self._at + 1] == char
        self._at += found
        return found

    def _token(self, pattern: re.Pattern[str], missing: str) -> Node:
        start, found = self._at, pattern.match(self._text, self._at)
        if found is None:
            raise self._wrong(missing)
        self._at = found.end()
        return Node(start, self._at, json.loads(found.group()))

    def _skip(self) -> None:
        found = _TRIVIA.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _wrong(self, what: str) -> Invalid:
        return Invalid(f"{_place(self._text, self._at)}: {what}")


def _place(text: str, at: int) -> str:
    lines = _LINE_BREAK.split(text[:at])
    return f"line {len(lines)}, column {len(lines[-1]) + 1}"


def _shown(value: Any) -> str:
    return "an array" if isinstance(value, list) else json.dumps(value, ensure_ascii=False)


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON, in which 1 is not true."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _nested(path: Sequence[str], value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def _began(text: str, value: Any) -> str:
    eol = _eol(text)
    kept = text.rstrip(BLANK)
    return (kept + eol if kept.strip(BYTE_ORDER_MARK) else kept) + _rendered(value, "", _DEFAULT_UNIT, eol) + eol


def _with_member(text: str, root: Node, node: Node, name: str, value: Any) -> str:
    close, members = node.end - 1, node.members or ()
    behind = len(text[:close].rstrip(BLANK))
    last = members[-1] if members else None
    on_one_line = _LINE_BREAK.search(text, node.start, node.end) is None
    if last is not None and on_one_line:
        added = f" {_line(name)}: {_line(value)}"
        rest = text[behind:]
    else:
        eol, base, unit = _eol(text), _indent_at(text, node.start), _unit(text, root)
        own = next((_indent_at(text, one.start) for one in reversed(members) if _begins_line(text, one.start)), None)
        indent = base + unit if own is None else own
        added = f"{eol}{indent}{_line(name)}: {_rendered(value, indent, unit, eol)}"
        is_open = last is None and _LINE_BREAK.search(text, behind, close) is None
        rest = eol + base + text[close:] if is_open else text[behind:]
    if last is None:
        return text[:behind] + added + rest
    if last.comma is not None:
        return text[:behind] + added + "," + rest
    end = last.node.end
    return text[:end] + "," + text[end:behind] + added + rest


def _without_member(text: str, node: Node, index: int) -> str:
    members = node.members or ()
    one = members[index]
    end = one.node.end if one.comma is None else one.comma + 1
    kept, rest = _around(text, one.start, end)
    comma = members[index - 1].comma if index > 0 else None
    if one.comma is None and comma is not None:
        kept = kept[:comma] + kept[comma + 1 :]
    if len(members) == 1 and not (kept[node.start + 1 :] + text[rest : node.end - 1]).strip(BLANK):
        kept, rest = kept[: node.start + 1], node.end - 1
    return kept + text[rest:]


def _around(text: str, start: int, end: int) -> tuple[str, int]:
    """What stays before a member that goes, and where that begins which stays behind it."""
    before = text[:start].rstrip(BLANK)
    if not _begins_line(text, start):
        return before, end
    rest = end + len(text[end:]) - len(text[end:].lstrip(" \t"))
    if text[rest] not in "\r\n}":  # a comment or another member follows on the line, and goes on standing there
        return text[:start], rest
    last_break = [found.start() for found in _LINE_BREAK.finditer(text, len(before), start)][-1]
    if text[rest] != "}":
        return text[:last_break], rest
    if "//" in _last_line(before):  # behind a comment that goes to the end of its line there would be no bracket
        return text[:start], rest
    return text[:last_break], end


def _begins_line(text: str, at: int) -> bool:
    before = text[:at].rstrip(" \t")
    return before.endswith(("\n", "\r"))


def _indent_at(text: str, at: int) -> str:
    """The blanks that begin the line of a place."""
    begins = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    line = text[begins:at].removeprefix(BYTE_ORDER_MARK)
    return line[: len(line) - len(line.lstrip(" \t"))]


def _last_line(text: str) -> str:
    return _LINE_BREAK.split(text)[-1]


def _unit(text: str, root: Node) -> str:
    """What one level is indented by in this document."""
    waiting = [root]
    while waiting:
        node = waiting.pop(0)
        base = _indent_at(text, node.start)
        for member in node.members or ():
            own = _indent_at(text, member.start)
            if _begins_line(text, member.start) and own.startswith(base) and own != base:
                return own[len(base) :]
            waiting.append(member.node)
    return _DEFAULT_UNIT


def _eol(text: str) -> str:
    found = _LINE_BREAK.search(text)
    return found.group() if found else "\n"


def _rendered(value: Any, indent: str, unit: str, eol: str) -> str:
    """A value as it stands at this indentation: objects over several lines, all else in one."""
    if not isinstance(value, dict) or not value:
        return _line(value)
    inner = indent + unit
    lines = [f"{inner}{_line(name)}: {_rendered(one, inner, unit, eol)}" for name, one in value.items()]
    return "{" + eol + f",{eol}".join(lines) + eol + indent + "}"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
