"""An MCP client of a meshfleet server of its own, started over stdio; what is asked of it is others' business."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError
from mcp_types import Implementation, TextContent

from meshfleet import __version__
from meshfleet.errors import Unavailable

#: Seconds a call may take, as with most clients; the longest is a wait, of 50.
CALL_TIMEOUT_S: Final = 60.0

OWN_SERVER: Final = (sys.executable, "-P", "-m", "meshfleet", "serve")


class MeshClient:
    """The tools of a meshfleet server as calls that return their result or raise.

    Attributes:
        called: The names of the tools it called, in their order.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.called: list[str] = []

    @property
    def server(self) -> tuple[str, str]:
        """The server's name and version, as it says itself."""
        info = self._client.server_info
        return ("", "") if info is None else (info.name, info.version)

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool; returns its result.

        Raises:
            Unavailable: The tool refused, or the server is gone.
        """
        self.called.append(tool)
        try:
            result = await self._client.call_tool(tool, arguments)
        except (MCPError, OSError) as error:
            raise Unavailable(f"the meshfleet server did not answer {tool}: {error}") from error
        text = "".join(part.text for part in result.content if isinstance(part, TextContent))
        answer = json.loads(text)
        if result.is_error:
            raise Unavailable(f"the meshfleet server refused {tool}: {answer.get('error', text)}")
        return dict(answer)


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
    program, *arguments = command
    started = StdioServerParameters(command=program, args=arguments, env=dict(environment), cwd=cwd)
    with log.open("w", encoding="utf-8") as stderr:
        try:
            async with Client(
                stdio_client(started, errlog=stderr),
                read_timeout_seconds=CALL_TIMEOUT_S,
                client_info=Implementation(name="meshfleet", version=__version__),
            ) as client:
                yield MeshClient(client)
        except (MCPError, OSError, BaseExceptionGroup) as error:
            # the SDK's task groups wrap whatever is raised inside them
            leaf = _first_leaf(error)
            if not isinstance(leaf, MCPError | OSError):
                raise leaf from error
            raise Unavailable(f"the meshfleet server did not start: {leaf}") from error


def _first_leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
