"""The same session over stdio with two official clients in both eras: the Python SDK's and the Inspector's."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
from anyio import to_thread
from mcp import StdioServerParameters
from mcp.client import Client

from tests.agents.fake_runtime import install
from tests.server.scripted_session import McpClient, get_to_know, have_a_fleet_work, run_session
from tests.server.serving import PATIENCE_S, SERVE, environ_for

if TYPE_CHECKING:
    from pydantic import BaseModel

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

Part = Callable[[McpClient], Awaitable[None]]

INSPECTOR: Final = Path(__file__).parents[2] / ".tools/inspector/node_modules/.bin/mcp-inspector"
LONGEST_CALL_S: Final = 60
"""How long one run of the Inspector may take, which is 1.5 s on an idle machine."""
METHODS: Final = {
    "tools": ("tools/list", "tools"),
    "prompts": ("prompts/list", "prompts"),
    "resources": ("resources/list", "resources"),
    "resource templates": ("resources/templates/list", "resourceTemplates"),
}


@pytest.fixture
def environ(ledger_file: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a server whose agents answer with their prompts."""
    return environ_for(ledger_file, MESHFLEET_OPENCODE=str(install(tmp_path)))


class SdkClient:
    """The client of the official Python SDK."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def initialize(self) -> dict[str, Any]:
        client = self._client
        server_info, capabilities = client.server_info, client.server_capabilities
        assert server_info is not None
        return {
            "serverInfo": _on_the_wire(server_info),
            "capabilities": _on_the_wire(capabilities),
            "instructions": client.instructions,
        }

    async def list(self, what: str) -> list[dict[str, Any]]:
        asking = {
            "tools": self._client.list_tools,
            "prompts": self._client.list_prompts,
            "resources": self._client.list_resources,
            "resource templates": self._client.list_resource_templates,
        }
        listed: list[dict[str, Any]] = _on_the_wire(await asking[what]())[METHODS[what][1]]
        return listed

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return _on_the_wire(await self._client.call_tool(tool, arguments))

    async def read(self, uri: str) -> dict[str, Any]:
        [contents] = (await self._client.read_resource(uri)).contents
        return _on_the_wire(contents)

    async def prompt(self, name: str, arguments: dict[str, str]) -> dict[str, Any]:
        return _on_the_wire(await self._client.get_prompt(name, arguments))


class InspectorClient:
    """The command line of the official Inspector, which starts a server for each question.

    The questions are asked in one era and the other by turns: either takes 1.5 s, and the ledger does not care.
    """

    def __init__(self, environ: dict[str, str]) -> None:
        self._environ = environ
        self._eras = itertools.cycle(("legacy", "modern"))

    async def initialize(self) -> dict[str, Any]:
        return await self._ask("initialize")

    async def list(self, what: str) -> list[dict[str, Any]]:
        method, field = METHODS[what]
        # it then also fails where a schema is one that providers of models refuse
        options = ["--strict"] if what == "tools" else []
        listed: list[dict[str, Any]] = (await self._ask(method, *options))[field]
        return listed

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return await self._ask("tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments))

    async def read(self, uri: str) -> dict[str, Any]:
        [contents] = (await self._ask("resources/read", "--uri", uri))["contents"]
        assert isinstance(contents, dict)
        return contents

    async def prompt(self, name: str, arguments: dict[str, str]) -> dict[str, Any]:
        pairs = [f"{key}={value}" for key, value in arguments.items()]
        return await self._ask("prompts/get", "--prompt-name", name, "--prompt-args", *pairs)

    async def _ask(self, method: str, *options: str) -> dict[str, Any]:
        return await to_thread.run_sync(self._run, method, *options)

    def _run(self, method: str, *options: str) -> dict[str, Any]:
        own = {name: value for name, value in self._environ.items() if name.startswith("MESHFLEET_")}
        pairs = [part for name, value in own.items() for part in ("-e", f"{name}={value}")]
        command = [str(INSPECTOR), "--cli", *pairs, *SERVE, "--method", method, *options]
        ended = subprocess.run(
            [*command, "--protocol-era", next(self._eras), "--format", "json"],
            env={**self._environ, "PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_CALL_S,
            check=False,
        )
        assert ended.stdout, ended.stderr
        answer: dict[str, Any] = json.loads(ended.stdout)
        result: dict[str, Any] = answer.get("result", answer)
        # it says by its exit status that the tool refused
        assert (ended.returncode != 0) == (result.get("isError") is True), ended.stderr
        return result


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_python_sdk_s_client_follows_the_script(environ: dict[str, str], mode: str) -> None:
    program = StdioServerParameters(command=SERVE[0], args=SERVE[1:], env=environ)
    with anyio.fail_after(2 * PATIENCE_S):
        async with Client(program, mode=mode, read_timeout_seconds=PATIENCE_S) as client:
            await run_session(SdkClient(client))


@pytest.mark.parametrize("part", [get_to_know, have_a_fleet_work])
async def test_the_inspector_s_command_line_follows_the_script(environ: dict[str, str], part: Part) -> None:
    assert INSPECTOR.exists(), "there is no MCP Inspector; run make setup"
    await part(InspectorClient(environ))


def _on_the_wire(value: BaseModel) -> dict[str, Any]:
    return value.model_dump(by_alias=True, exclude_none=True, mode="json")
