"""The same session over stdio with two official clients in both eras: the Python SDK's and the Inspector's."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
from anyio import to_thread
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp import StdioServerParameters
from mcp.client import Client

from tests.agents.fake_runtime import install
from tests.server.scripted_session import ask_in_passing, run_session
from tests.server.serving import PATIENCE_S, SERVE, environ_for

if TYPE_CHECKING:
    from anyio.abc import Process
    from pydantic import BaseModel

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MODULES: Final = Path(__file__).parents[2] / ".tools/inspector/node_modules"
INSPECTOR: Final = MODULES / ".bin/mcp-inspector"
MCPDO: Final = MODULES / "@modelcontextprotocol/inspector/clients/mcpdo/build"
SESSION: Final = Path(__file__).with_name("inspector_session.mjs")
LONGEST_CALL_S: Final = 60
"""How long one run of the Inspector may take, which is 1.5 s on an idle machine."""
LONGEST_ANSWER: Final = 10_000_000
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
    """What the Inspector's two programs have in common: how one of them is asked is for `ask` to know.

    The results are the Inspector's own: its client has validated what the server said.
    """

    async def ask(self, method: str, *options: str) -> dict[str, Any]:
        raise NotImplementedError

    async def list(self, what: str) -> list[dict[str, Any]]:
        method, field = METHODS[what]
        listed: list[dict[str, Any]] = (await self.ask(method))[field]
        return listed

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return await self.ask("tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments))

    async def read(self, uri: str) -> dict[str, Any]:
        [contents] = (await self.ask("resources/read", "--uri", uri))["contents"]
        assert isinstance(contents, dict)
        return contents

    async def prompt(self, name: str, arguments: dict[str, str]) -> dict[str, Any]:
        pairs = [f"{key}={value}" for key, value in arguments.items()]
        return await self.ask("prompts/get", "--prompt-name", name, "--prompt-args", *pairs)


class OneShotClient(InspectorClient):
    """`mcp-inspector --cli`, which starts a server for each question: in one era and the other by turns."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._environ = environ
        self._eras = itertools.cycle(("legacy", "modern"))

    async def initialize(self) -> dict[str, Any]:
        return await self.ask("initialize")

    async def ask(self, method: str, *options: str) -> dict[str, Any]:
        # it then also fails where a schema is one that providers of models refuse
        strictly = ["--strict"] if method == "tools/list" else []
        return await to_thread.run_sync(self._run, method, [*options, *strictly])

    def _run(self, method: str, options: Sequence[str]) -> dict[str, Any]:
        command = [str(INSPECTOR), "--cli", *variables(self._environ), *SERVE, "--method", method, *options]
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


class SessionClient(InspectorClient):
    """`mcpdo`, the Inspector that keeps a session: one server is asked everything."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._from = process.stdin, BufferedByteReceiveStream(process.stdout)

    async def initialize(self) -> dict[str, Any]:
        return await self.ask("connections/show")

    async def ask(self, method: str, *options: str) -> dict[str, Any]:
        told = await self.run("@it", method, *options, "--format", "json")
        result: dict[str, Any] = json.loads(told["printed"])
        assert told["failed"] == ("tool_is_error" if result.get("isError") else None)
        return result

    async def run(self, *arguments: str) -> dict[str, Any]:
        """Run one command; returns what it printed, and what made it fail."""
        with anyio.fail_after(LONGEST_CALL_S):
            await self._to.send(json.dumps(arguments).encode() + b"\n")
            told: dict[str, Any] = json.loads(await self._from.receive_until(b"\n", LONGEST_ANSWER))
        return told

    async def hang_up(self) -> None:
        """Ask no more."""
        await self._to.aclose()


@asynccontextmanager
async def inspector_session(environ: dict[str, str], era: str) -> AsyncGenerator[SessionClient]:
    """A session of the Inspector with a server."""
    # the path of a socket has to be short
    with tempfile.TemporaryDirectory(prefix="mcpdo-") as folder:
        own = {"PATH": os.environ["PATH"], "MCP_INSPECTOR_DAEMON_DIR": folder, "MCP_INSPECTOR_SECRET_STORE": "file"}
        command = ["node", str(SESSION), str(MCPDO)]
        async with await anyio.open_process(command, stderr=None, env={**environ, **own}) as process:
            try:
                client = SessionClient(process)
                options = ["--era", era, "--connection", "it", "--format", "json"]
                connected = await client.run("connect", *options, *variables(environ), "--", *SERVE)
                assert connected["failed"] is None, connected
                assert json.loads(connected["printed"])["protocolEra"] == era
                yield client
                assert (await client.run("daemon", "stop"))["failed"] is None
                with anyio.fail_after(PATIENCE_S):
                    await client.hang_up()
                    assert await process.wait() == 0
            finally:
                if process.returncode is None:
                    process.kill()


def variables(environ: dict[str, str]) -> list[str]:
    """Options that have the Inspector give a server its settings."""
    own = {name: value for name, value in environ.items() if name.startswith("MESHFLEET_")}
    return [part for name, value in own.items() for part in ("-e", f"{name}={value}")]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_python_sdk_s_client_follows_the_script(environ: dict[str, str], mode: str) -> None:
    program = StdioServerParameters(command=SERVE[0], args=SERVE[1:], env=environ)
    with anyio.fail_after(2 * PATIENCE_S):
        async with Client(program, mode=mode, read_timeout_seconds=PATIENCE_S) as client:
            await run_session(SdkClient(client))


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_session_of_the_inspector_follows_the_script(environ: dict[str, str], era: str) -> None:
    assert MCPDO.exists(), "there is no MCP Inspector; run make setup"
    async with inspector_session(environ, era) as client:
        await run_session(client)


async def test_the_inspector_s_command_line_gets_its_answers_from_servers_that_are_asked_once(
    environ: dict[str, str],
) -> None:
    assert INSPECTOR.exists(), "there is no MCP Inspector; run make setup"
    await ask_in_passing(OneShotClient(environ))


def _on_the_wire(value: BaseModel) -> dict[str, Any]:
    return value.model_dump(by_alias=True, exclude_none=True, mode="json")
