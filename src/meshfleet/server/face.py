"""What the server says of itself to who greets it, from prepared words: nothing has to be loaded for that.

The words are the SDK's own (prepare.py has it say them). Only a greeting that is beyond doubt is answered with them;
any other one is left to the SDK.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from meshfleet import __version__

SERVER_NAME: Final = "meshfleet"
VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Versions of the protocol whose clients are told exactly the prepared words."""
INITIALIZE: Final = "initialize"
_FOLDER: Final = Path(__file__).with_name("prepared")
_CLIENT_INFO: Final = frozenset({"name", "version", "title", "description", "websiteUrl"})


class Face:
    """One server's words, for the orchestrator or for an agent.

    Args:
        in_agent_mode: Whether the server serves an agent.
        instructions: What it tells a model about itself.
    """

    def __init__(self, *, in_agent_mode: bool, instructions: str) -> None:
        self._file = prepared_file(in_agent_mode=in_agent_mode)
        self._instructions = instructions

    def greeting(self, request_id: str | int, params: object) -> bytes | None:
        """The line that answers `initialize`; None where it takes the SDK to tell what is right."""
        version = _asked_version(params)
        if version is None:
            return None
        result = {
            "protocolVersion": version,
            "capabilities": self._prepared["capabilities"],
            "serverInfo": {"name": SERVER_NAME, "version": __version__},
            "instructions": self._instructions,
        }
        return _response(request_id, _compact(result))

    def listing(self, request_id: str | int) -> bytes:
        """The line that answers `tools/list`."""
        return _response(request_id, self._tools)

    @cached_property
    def _prepared(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._file.read_bytes())
        return found

    @cached_property
    def _tools(self) -> str:
        return _compact({"tools": self._prepared["tools"]})


def prepared_file(*, in_agent_mode: bool) -> Path:
    """Where the words of the orchestrator's server or of an agent's lie."""
    return _FOLDER / ("agent.json" if in_agent_mode else "orchestrator.json")


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _response(request_id: str | int, result: str) -> bytes:
    return f'{{"jsonrpc":"2.0","id":{json.dumps(request_id)},"result":{result}}}\n'.encode()


def _asked_version(params: object) -> str | None:
    match params:
        case {"protocolVersion": str(version), "capabilities": dict(capabilities), "clientInfo": dict(info), **rest}:
            is_plain = not rest and _are_plain_capabilities(capabilities) and _is_plain_info(info)
            return version if version in VERSIONS and is_plain else None
    return None


def _is_plain_info(info: Mapping[str, object]) -> bool:
    has_name = isinstance(info.get("name"), str) and isinstance(info.get("version"), str)
    return has_name and info.keys() <= _CLIENT_INFO and all(isinstance(value, str) for value in info.values())


def _are_plain_capabilities(capabilities: Mapping[str, object]) -> bool:
    return all(key in _PLAIN and _PLAIN[key](value) for key, value in capabilities.items())


def _are_roots(value: object) -> bool:
    return value == {} or (
        isinstance(value, dict) and value.keys() == {"listChanged"} and _is_flag(value["listChanged"])
    )


def _are_objects(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())


def _are_modes(value: object) -> bool:
    return value in ({}, {"form": {}}, {"url": {}}, {"form": {}, "url": {}})


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


_PLAIN: Final[Mapping[str, Callable[[object], bool]]] = {
    "roots": _are_roots,
    "experimental": _are_objects,
    "sampling": lambda value: value == {},
    "elicitation": _are_modes,
}
