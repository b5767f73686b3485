"""What a tool of the server is, and how its arguments are checked; the tools themselves are in `tools/`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from mcp_types import Tool as WireTool
from mcp_types import ToolAnnotations
from pydantic import BaseModel, ConfigDict, ValidationError

from meshfleet.agents.supervisor import Supervisor
from meshfleet.errors import Invalid
from meshfleet.ledger import Ledger
from meshfleet.mesh.identity import Caller
from meshfleet.mesh.texts import shown
from meshfleet.model import now_ms
from meshfleet.server.push import Push

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

JsonObject = dict[str, Any]

_TOLD: Final = 5
"""Wrong arguments that a refusal tells of one by one."""
_LONGEST_PLAIN_NAME: Final = 64
"""Characters of an argument's name that a refusal tells as it is."""


class Arguments(BaseModel):
    """The arguments of a tool: nothing is converted, and nothing unknown is let through."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


A = TypeVar("A", bound=Arguments)


class NoArguments(Arguments):
    """For tools that take none."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a tool works with.

    Attributes:
        ledger: The ledger of this server.
        caller: On whose behalf it acts.
        supervisor: Who starts agents; None where this server supervises none.
        environ: The environment the server was started with.
        cwd: The folder the server was started in.
        started_at: When it was started, in ms since the epoch.
        push: Who streams inboxes; None where this server streams none.
    """

    ledger: Ledger
    caller: Caller
    supervisor: Supervisor | None
    environ: Mapping[str, str]
    cwd: Path
    started_at: int = field(default_factory=now_ms)
    push: Push | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool(Generic[A]):
    """A tool as the server offers it.

    Attributes:
        name: Its name on the wire.
        description: What a model is told of it.
        arguments: The form of its arguments.
        result: The JSON schema of its result.
        call: Does it, without waiting for anything but the ledger.
        for_agents: Whether an agent's own server offers it too.
        read_only: Whether it leaves everything as it is.
        idempotent: Whether a repeat changes nothing more.
        destructive: Whether something is gone afterwards that can't be had back.
        open_world: Whether it sets something going that reaches beyond the mesh: agents may do what OpenCode lets them.
    """

    name: str
    description: str
    arguments: type[A]
    result: JsonObject
    call: Callable[[Context, A], JsonObject]
    for_agents: bool = True
    read_only: bool = False
    idempotent: bool = False
    destructive: bool = False
    open_world: bool = False

    def run(self, context: Context, arguments: Mapping[str, Any]) -> JsonObject:
        """Check the arguments and do it.

        Raises:
            MeshfleetError: The arguments, or the state of the mesh, forbid it.
        """
        try:
            checked = self.arguments.model_validate(dict(arguments))
        except ValidationError as error:
            raise Invalid(self._refusal(error)) from None
        return self.call(context, checked)

    def on_the_wire(self) -> WireTool:
        """The tool as `tools/list` tells of it."""
        return WireTool(
            name=self.name,
            description=self.description,
            input_schema=tight_schema(self.arguments.model_json_schema()),
            output_schema=self.result,
            annotations=ToolAnnotations(
                read_only_hint=self.read_only,
                destructive_hint=self.destructive,
                idempotent_hint=self.idempotent or self.read_only,
                open_world_hint=self.open_world,
            ),
        )

    def _refusal(self, error: ValidationError) -> str:
        problems = [self._problem(problem) for problem in error.errors(include_url=False)]
        more = [f"and {len(problems) - _TOLD} more"] if len(problems) > _TOLD else []
        return "; ".join(problems[:_TOLD] + more)

    def _problem(self, problem: ErrorDetails) -> str:
        name = _path(problem["loc"])
        match problem["type"]:
            case "missing":
                return f"{name} is missing; {self.name} needs it"
            case "extra_forbidden" if len(problem["loc"]) > 1:
                return f"{name} is nothing {self.name} knows; leave it out"
            case "extra_forbidden":
                known = ", ".join(self.arguments.model_fields) or "none"
                return f"{name} is no argument of {self.name}, which takes {known}"
            case _:
                return f"{name} is {shown(problem['input'])}; {_expected(problem)}"


def tight_schema(schema: JsonObject) -> JsonObject:
    """The same JSON schema with references resolved and nothing in it that tells a model nothing."""
    definitions = schema.pop("$defs", {})

    def tighten(node: Any) -> Any:
        if isinstance(node, list):
            return [tighten(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            node = definitions[node["$ref"].rpartition("/")[2]] | {k: v for k, v in node.items() if k != "$ref"}
        options = [option for option in node.get("anyOf", []) if option != {"type": "null"}]
        if len(options) == 1:
            rest = {k: v for k, v in node.items() if k not in {"anyOf", "default"}}
            node = options[0] | rest
        return {
            key: {name: tighten(sub) for name, sub in value.items()} if key == "properties" else tighten(value)
            for key, value in node.items()
            if not (key == "title" and isinstance(value, str)) and not (key == "default" and value is None)
        }

    tightened: JsonObject = tighten(schema)
    tightened.pop("description", None)
    return tightened


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        name = part if isinstance(part, int) or _is_plain(part) else shown(part)
        path += f"[{name}]" if isinstance(part, int) else f".{name}" if path else f"{name}"
    return path or "arguments"


def _is_plain(name: str) -> bool:
    return name.isascii() and name.isidentifier() and len(name) <= _LONGEST_PLAIN_NAME


def _expected(problem: ErrorDetails) -> str:
    context = problem.get("ctx", {})
    expectations = {
        "string_type": "it has to be a string",
        "string_unicode": "it has to be valid Unicode, without lone surrogates",
        "int_type": "it has to be a whole number",
        "bool_type": "it has to be true or false",
        "list_type": "it has to be an array",
        "model_type": "it has to be an object",
        "dict_type": "it has to be an object",
        "string_too_short": "it can't be empty",
        "too_short": "it can't be empty",
        "greater_than_equal": f"it has to be at least {context.get('ge')}",
        "literal_error": f"it has to be {context.get('expected')}",
    }
    message = problem["msg"]
    return expectations.get(problem["type"], f"{message[:1].lower()}{message[1:]}")
