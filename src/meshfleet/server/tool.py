"""What a tool of the server is, and how its arguments are checked; the tools themselves are in `tools/`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from meshfleet.errors import Invalid
from meshfleet.ledger import Ledger
from meshfleet.mesh.identity import Caller
from meshfleet.mesh.specs import MOST_DEPTH
from meshfleet.model import now_ms
from meshfleet.server.lane import Lane
from meshfleet.server.refusals import wrong_arguments
from meshfleet.server.waits import Report, Waits

if TYPE_CHECKING:
    from meshfleet.agents.supervisor import Supervisor
    from meshfleet.server.push import Push

JsonObject = dict[str, Any]


class Arguments(BaseModel):
    """The arguments of a tool: nothing is converted, and nothing unknown is let through.

    Their check is put together when it is first needed: a session calls few of the tools.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


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
        max_depth: How many levels of fleets there may be.
        waits: The calls that wait for something to happen in the ledger.
        lane: Where the other calls take effect one after another.
    """

    ledger: Ledger
    caller: Caller
    supervisor: Supervisor | None
    environ: Mapping[str, str]
    cwd: Path
    started_at: int = field(default_factory=now_ms)
    push: Push | None = None
    max_depth: int = MOST_DEPTH
    waits: Waits = field(default_factory=Waits)
    lane: Lane = field(default_factory=Lane)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool(Generic[A]):
    """A tool as the server offers it.

    Attributes:
        name: Its name on the wire.
        description: What a model is told of it.
        arguments: The form of its arguments.
        result: The JSON schema of its result.
        call: Does it, without waiting for anything but the ledger; None where it waits.
        in_thread: Whether its call needs a worker thread, since it has the event loop do something.
        wait: Does it where it takes its time; it runs beside all other calls, and may be cancelled.
        read_only: Whether it leaves everything as it is.
        idempotent: Whether a repeat changes nothing more.
        destructive: Whether something is gone afterwards that can't be had back.
        open_world: Whether it sets something going that reaches beyond the mesh: agents may do what OpenCode lets them.
    """

    name: str
    description: str
    arguments: type[A]
    result: JsonObject
    call: Callable[[Context, A], JsonObject] | None = None
    in_thread: bool = False
    wait: Callable[[Context, A, Report], Awaitable[JsonObject]] | None = None
    read_only: bool = False
    idempotent: bool = False
    destructive: bool = False
    open_world: bool = False

    def run(self, context: Context, arguments: Mapping[str, Any]) -> JsonObject:
        """Check the arguments and do it.

        Raises:
            MeshfleetError: The arguments, or the state of the mesh, forbid it.
        """
        if self.call is None:
            raise RuntimeError(f"{self.name} waits; run it as one that does")
        return self.call(context, self._checked(arguments))

    async def run_waiting(self, context: Context, arguments: Mapping[str, Any], report: Report) -> JsonObject:
        """Check the arguments and do it, taking the time that takes.

        Raises:
            MeshfleetError: The arguments, or the state of the mesh, forbid it.
        """
        if self.wait is None:
            raise RuntimeError(f"{self.name} does not wait; run it as one that does not")
        return await self.wait(context, self._checked(arguments), report)

    def _checked(self, arguments: Mapping[str, Any]) -> A:
        try:
            return self.arguments.model_validate(dict(arguments))
        except ValidationError as error:
            raise Invalid(wrong_arguments(self.name, list(self.arguments.model_fields), error)) from None

    def on_the_wire(self) -> JsonObject:
        """The tool as `tools/list` tells of it."""
        return {
            "name": self.name,
            "description": self.description,
            "inputSchema": tight_schema(self.arguments.model_json_schema()),
            "outputSchema": self.result,
            "annotations": {
                "readOnlyHint": self.read_only,
                "destructiveHint": self.destructive,
                "idempotentHint": self.idempotent or self.read_only,
                "openWorldHint": self.open_world,
            },
        }


def tight_schema(schema: JsonObject) -> JsonObject:
    """The same JSON schema with references resolved and nothing in it that tells a model nothing."""
    # what a class says of itself is for whoever reads the code
    definitions = {
        name: {key: value for key, value in definition.items() if key != "description"}
        for name, definition in schema.pop("$defs", {}).items()
    }

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
