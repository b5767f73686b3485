"""An MCP client of a meshfleet server of its own, started over stdio; what is asked of it is others' business.

The SDK's client takes a second of processor to load and begins with a question for which the server has to load the
SDK too. What is needed of the protocol here, a greeting and calls of tools one after the other, is little.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio

from meshfleet import __version__
from meshfleet.demo.child import Child, Gone, running
from meshfleet.errors import Unavailable

#: Seconds a call may take, as with most clients; the longest is a wait, of 50.
CALL_TIMEOUT_S: Final = 60.0

OWN_SERVER: Final = (sys.executable, "-P", "-m", "meshfleet", "serve")
PROTOCOL: Final = "2025-11-25"
METHOD_NOT_FOUND: Final = -32601


class _Unanswered(Exception):
    """Why a request got no result."""


class MeshClient:
    """The tools of a meshfleet server as calls that return their result or raise.

    Attributes:
        called: The names of the tools it called, in their order.
        server: The server's name and version, as it says itself.
    """

    def __init__(self, child: Child) -> None:
        self._child = child
        self._requests = 0
        self._turn = anyio.Lock()
        self.called: list[str] = []
        self.server = ("", "")

    async def greet(self) -> None:
        """Begin the session.

        Raises:
            Unavailable: The server does not answer as one.
        """
        me = {"name": "meshfleet", "version": __version__}
        try:
            found = await self._ask("initialize", {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": me})
            await self._tell({"method": "notifications/initialized"})
        except _Unanswered as error:
            raise Unavailable(f"the meshfleet server did not start: {error}") from error
        info = found.get("serverInfo")
        if isinstance(info, dict):
            self.server = (str(info.get("name", "")), str(info.get("version", "")))

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool; returns its result.

        Raises:
            Unavailable: The tool refused, or the server is gone.
        """
        self.called.append(tool)
        try:
            result = await self._ask("tools/call", {"name": tool, "arguments": arguments})
        except _Unanswered as error:
            raise Unavailable(f"the meshfleet server did not answer {tool}: {error}") from error
        text = _text_of(result)
        answer = _object_in(text)
        if result.get("isError"):
            raise Unavailable(f"the meshfleet server refused {tool}: {(answer or {}).get('error', text)}")
        if answer is None:
            raise Unavailable(f"the meshfleet server answered {tool} with what is no JSON object: {text}")
        return answer

    async def _ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        try:
            with anyio.fail_after(CALL_TIMEOUT_S):
                async with self._turn:
                    self._requests += 1
                    await self._tell({"id": self._requests, "method": method, "params": params})
                    return await self._result_of(self._requests)
        except TimeoutError:
            raise _Unanswered(f"nothing came within {CALL_TIMEOUT_S:.0f} s") from None

    async def _tell(self, message: Mapping[str, Any]) -> None:
        line = json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n"
        try:
            await self._child.send(line)
        except Gone as error:
            raise _Unanswered(str(error)) from None

    async def _result_of(self, request_id: int) -> dict[str, Any]:
        """Read on until a request is answered; a server that asks for something itself is told no."""
        while True:
            try:
                message = _object_in(await self._child.receive_line())
            except Gone as error:
                raise _Unanswered(str(error)) from None
            match message:
                case {"id": found, "result": dict(result)} if found == request_id:
                    return result
                case {"id": found, "error": error} if found == request_id:
                    raise _Unanswered(str(error.get("message") if isinstance(error, dict) else error))
                case {"id": int() | str() as asked, "method": _}:
                    await self._tell({"id": asked, "error": {"code": METHOD_NOT_FOUND, "message": "Method not found"}})


@asynccontextmanager
async def serving(
    environment: Mapping[str, str], cwd: Path, log: Path, command: Sequence[str] = OWN_SERVER
) -> AsyncIterator[MeshClient]:
    """Start `meshfleet serve` in a folder and talk to it; it has ended when the block is left, however it is left.

    Args:
        environment: All it gets to see, but for HOME, PATH and the like where they are not in it.
        cwd: The folder it serves, in which its agents work.
        log: The file its stderr goes to.
        command: What starts it.

    Raises:
        Unavailable: It could not be started.
    """
    async with AsyncExitStack() as stack:
        stderr = stack.enter_context(log.open("wb"))
        try:
            child = await stack.enter_async_context(running(command, environment, cwd, stderr))
        except (OSError, ValueError) as error:
            raise Unavailable(f"the meshfleet server did not start: {error}") from error
        client = MeshClient(child)
        await client.greet()
        yield client


def _text_of(result: Mapping[str, Any]) -> str:
    parts = result.get("content")
    told = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return "".join(str(part.get("text", "")) for part in told if part.get("type") == "text")


def _object_in(text: str | bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
