"""The clients an entry can be written for: which file of theirs, in which format, under which name, saying what."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from meshfleet.agents.configuration import SCHEMA, file_to_write, project_files, user_files
from meshfleet.cli.clients import Client
from meshfleet.cli.setup import jsonc, toml
from meshfleet.cli.setup.files import read_whole
from meshfleet.errors import Invalid, MeshfleetError

NAME: Final = "meshfleet"


class Format(Protocol):
    """How a client's configuration is written."""

    def has_entry(self, text: str) -> bool:
        """Whether there is an entry.

        Raises:
            Invalid: The text is not in this format.
        """

    def has_servers(self, text: str) -> bool:
        """Whether there is what all servers are in.

        Raises:
            Invalid: The text is not in this format.
        """

    def put(self, text: str, command: Sequence[str]) -> str:
        """The text with an entry for this command; what else the entry says stays, unless it is of another kind.

        Raises:
            Invalid: The text is not in this format, or what is there leaves no place for it.
        """

    def drop(self, text: str, *, with_servers: bool) -> str:
        """The text without the entry, and without what all servers are in where that is left bare and is to go too.

        Raises:
            Invalid: The text is not in this format.
        """


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """JSON with comments.

    Attributes:
        servers: What all servers are in.
        entry: What starts a command.
        beginning: What a new file holds before them.
    """

    servers: str
    entry: Callable[[Sequence[str]], dict[str, Any]]
    beginning: Mapping[str, Any]

    def has_entry(self, text: str) -> bool:
        """Whether there is an entry."""
        return jsonc.value_at(text, (self.servers, NAME)) is not None

    def has_servers(self, text: str) -> bool:
        """Whether there is what all servers are in."""
        return jsonc.value_at(text, (self.servers,)) is not None

    def put(self, text: str, command: Sequence[str]) -> str:
        """The text with an entry for this command."""
        entry, path = self.entry(command), (self.servers, NAME)
        if not text.strip():
            return jsonc.put(text, (), {**self.beginning, self.servers: {NAME: entry}})
        present = jsonc.value_at(text, path)
        if not isinstance(present, dict) or "url" in present or present.get("type", entry["type"]) != entry["type"]:
            return jsonc.put(text, path, entry)
        for key, value in entry.items():
            text = jsonc.put(text, (*path, key), value)
        return text

    def drop(self, text: str, *, with_servers: bool) -> str:
        """The text without the entry."""
        text = jsonc.drop(text, (self.servers, NAME))
        is_left_bare = with_servers and jsonc.is_bare(text, (self.servers,))
        return jsonc.drop(text, (self.servers,)) if is_left_bare else text


class CodexFormat:
    """Codex's TOML."""

    _PATH: Final = ("mcp_servers", NAME)

    def has_entry(self, text: str) -> bool:
        """Whether there is an entry."""
        return toml.value_at(text, self._PATH) is not None

    def has_servers(self, text: str) -> bool:
        """Whether there is what all servers are in."""
        return toml.value_at(text, self._PATH[:1]) is not None

    def put(self, text: str, command: Sequence[str]) -> str:
        """The text with an entry for this command."""
        if toml.value_at(text, (*self._PATH, "url")) is not None:
            text = toml.drop(text, self._PATH)
        return toml.put(text, self._PATH, _of_others(command))

    def drop(self, text: str, *, with_servers: bool) -> str:  # noqa: ARG002 - a heading goes with its last table
        """The text without the entry."""
        return toml.drop(text, self._PATH)


def _of_opencode(command: Sequence[str]) -> dict[str, Any]:
    return {"type": "local", "command": list(command), "enabled": True}


def _of_others(command: Sequence[str]) -> dict[str, Any]:
    return {"command": command[0], "args": list(command[1:])}


def _of_claude(command: Sequence[str]) -> dict[str, Any]:
    return {"type": "stdio", **_of_others(command)}


OPENCODE_FORMAT: Final = JsonFormat("mcp", _of_opencode, {"$schema": SCHEMA})
FORMATS: Final[Mapping[Client, Format]] = {
    Client.OPENCODE: OPENCODE_FORMAT,
    Client.CLAUDE_CODE: JsonFormat("mcpServers", _of_claude, {}),
    Client.CODEX: CodexFormat(),
}


def files_of(client: Client, environ: Mapping[str, str], project_dir: Path | None) -> list[Path]:
    """Where a client looks for the user's configuration, or a project's; what comes later counts more.

    Empty where meshfleet is not to write it: Claude Code rewrites the user's file all the time, and has a command.
    """
    home = Path(environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 - Path raises for a missing home
    if client is Client.OPENCODE:
        return user_files(environ) if project_dir is None else project_files(project_dir)
    if client is Client.CODEX and project_dir is None:
        return [Path(environ.get("CODEX_HOME") or home / ".codex") / "config.toml"]
    if project_dir is None or client is Client.GENERIC:
        return []
    # .git, or the folder itself, says where a project begins
    root = next((one for one in (project_dir, *project_dir.parents) if (one / ".git").exists()), project_dir)
    return [root / ".mcp.json" if client is Client.CLAUDE_CODE else root / ".codex" / "config.toml"]


def file_for_entry(client: Client, files: list[Path]) -> Path:
    """The one of a client's files to put the entry into."""
    if client is not Client.OPENCODE:
        return files[-1]
    return file_to_write(files, partial(holds_entry, OPENCODE_FORMAT))


def holds_entry(form: Format, file: Path) -> bool:
    """Whether a file holds an entry, as far as it can be read."""
    try:
        return form.has_entry(text_of(file, read_whole(file)))
    except MeshfleetError:
        return False


def text_of(file: Path, data: bytes | None) -> str:
    """A file's text; empty where there is no file.

    Raises:
        Invalid: It is no UTF-8.
    """
    try:
        return (data or b"").decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"{file} is no UTF-8 at byte {error.start}; save it as UTF-8 and try again") from None


def printed_for(client: Client, command: Sequence[str]) -> str:
    """What a person has to do where no file is written."""
    if client is Client.CLAUDE_CODE:
        return f"claude mcp add --scope user {NAME} -- {shlex.join(command)}"
    return json.dumps({"mcpServers": {NAME: _of_others(command)}}, indent=2, ensure_ascii=False)
