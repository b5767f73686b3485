"""docs/tools.md, made from what the server itself tells its clients: `python -m meshfleet.server.reference FILE`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meshfleet.server import prompts
from meshfleet.server.resources import KINDS
from meshfleet.server.tool import Tool
from meshfleet.server.tools import FOR_AGENTS, TOOLS

if TYPE_CHECKING:
    from mcp_types import Prompt

_HEAD: Final = """\
# Tools, resources and prompts

<!-- Made by `make docs` from the server's own schemas; change those, not this file. -->

What `meshfleet serve` offers over MCP. A result is one JSON object, as text and as `structuredContent`. A refusal is a
result with `isError` and `{"error": "<what is wrong, and what would be right>"}`; nothing is written then. Times are ms
since the epoch, durations ms, ids UUIDs. Objects in results may have more fields than are told here.

"""


def reference() -> str:
    """The whole page."""
    every = {**TOOLS, **{name: tool for name, tool in FOR_AGENTS.items() if name not in TOOLS}}
    parts = [
        _HEAD,
        *_overview(every.values()),
        *(line for tool in every.values() for line in _tool(tool)),
        *_resources(),
        *_prompts(),
    ]
    return "".join(parts).rstrip("\n") + "\n"


def form(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words: `string`, `array of {role, prompt, agent?}`."""
    match schema:
        case {"enum": values}:
            return " or ".join(f"`{value}`" for value in values)
        case {"anyOf": options}:
            return " or ".join(form(option) for option in options)
        case {"type": list(kinds)}:
            return " or ".join(kinds)
        case {"type": "array", "items": items}:
            return f"array of {form(items)}"
        case {"type": "object", "properties": {**fields}}:
            required = schema.get("required", [])
            return f"`{{{', '.join(f'{name}' if name in required else f'{name}?' for name in fields)}}}`"
        case _:
            return str(schema.get("type", "any"))


def _overview(tools: Iterable[Tool[Any]]) -> Iterator[str]:
    yield "| tool | arguments | an agent's server has it |\n| --- | --- | --- |\n"
    for tool in tools:
        schema = tool.on_the_wire()["inputSchema"]
        arguments = form(schema).strip("`{}") if schema.get("properties") else "none"
        yield f"| [`{tool.name}`](#{tool.name}) | {arguments} | {_who_has(tool)} |\n"
    yield "\n"


def _who_has(tool: Tool[Any]) -> str:
    if tool.name not in TOOLS:
        return "only there"
    return "yes" if tool.name in FOR_AGENTS else ""


def _tool(tool: Tool[Any]) -> Iterator[str]:
    told = tool.on_the_wire()
    yield f"## {tool.name}\n\n{told['description']}\n\n"
    yield from _arguments(told["inputSchema"])
    yield "| result | form |\n| --- | --- |\n"
    yield from (f"| {name} | {what} |\n" for name, what, _ in _rows(told["outputSchema"]))
    effect = _effect(tool)
    yield f"\n{effect}\n\n" if effect else "\n"


def _arguments(schema: dict[str, Any]) -> Iterator[str]:
    if not schema.get("properties"):
        yield "No arguments.\n\n"
        return
    yield "| argument | form | meaning |\n| --- | --- | --- |\n"
    for name, what, meaning in _rows(schema):
        yield f"| {name} | {what} | {meaning} |\n"
    yield "\n"


def _effect(tool: Tool[Any]) -> str:
    hints = tool.on_the_wire()["annotations"]
    told = ["It changes nothing."] if hints["readOnlyHint"] else []
    told += ["A repeat changes nothing more."] if hints["idempotentHint"] and not hints["readOnlyHint"] else []
    told += ["It ends or deletes something, so a client may ask first."] if hints["destructiveHint"] else []
    told += ["It starts processes that act for themselves."] if hints["openWorldHint"] else []
    agents_own = FOR_AGENTS.get(tool.name)
    if agents_own is None:
        return " ".join(told)
    if tool.name not in TOOLS:
        return " ".join([*told, "Only an agent's server has it."])
    told.append("An agent's server has it too.")
    if agents_own is not tool:
        told.append(f"There it takes {form(agents_own.on_the_wire()['inputSchema'])}.")
    return " ".join(told)


def _rows(schema: dict[str, Any], before: str = "") -> Iterator[tuple[str, str, str]]:
    """Each field, with those of nested objects after it: its name, its form and what it means."""
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        optional = "" if name in required else ", optional"
        yield f"`{before}{name}`{optional}", f"{form(field)}{_limits(field)}", field.get("description", "")
        inner, path = (
            (field.get("items", {}), f"{before}{name}[].") if "items" in field else (field, f"{before}{name}.")
        )
        yield from _rows(inner, path)


def _limits(schema: dict[str, Any]) -> str:
    words = {"minimum": "at least {}", "maximum": "at most {}", "minItems": "at least {}", "maxItems": "at most {}"}
    told = [text.format(schema[key]) for key, text in words.items() if key in schema]
    told += ["not empty"] if schema.get("minLength") == 1 else []
    told += [f"by default `{json.dumps(schema['default'])}`"] if "default" in schema else []
    return f", {', '.join(told)}" if told else ""


def _resources() -> Iterator[str]:
    yield "## Resources\n\n"
    yield (
        "For a person who picks them; an agent's server has none. They can be subscribed to, and a client that has\n"
        "asked for the list is told when it changes.\n\n| resource | form | what it is |\n| --- | --- | --- |\n"
    )
    for kind in KINDS:
        yield f"| `{kind.template}` | {kind.mime_type} | {kind.description} |\n"
    yield "\n"


def _prompts() -> Iterator[str]:
    yield "## Prompts\n\nEach fills in a call of `spawn_fleet`. An agent's server has none.\n\n"
    for prompt in prompts.listed():
        yield f"### {prompt.name}\n\n{prompt.description}\n\n| argument | meaning |\n| --- | --- |\n"
        yield from _prompt_rows(prompt)
        yield "\n"


def _prompt_rows(prompt: Prompt) -> Iterator[str]:
    for argument in prompt.arguments or ():
        optional = "" if argument.required else ", optional"
        yield f"| `{argument.name}`{optional} | {argument.description} |\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
