"""A `meshfleet serve` as a process of its own, on a ledger and in a home of its own: greeted, asked, and ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from meshfleet.agents.process import environment_has, process_table

_INSTALLED: Final = Path(sys.executable).with_name("meshfleet")
PROGRAM: Final = (str(_INSTALLED),) if _INSTALLED.exists() else (sys.executable, "-P", "-m", "meshfleet")
"""What a user runs, where it is installed beside this Python."""
SERVE: Final = (*PROGRAM, "serve")
PATIENCE_S: Final = 30.0
SLEEPER: Final = """#!/bin/sh
printf '{"type":"step_start","timestamp":1,"sessionID":"ses_sleeper","part":{}}\\n'
exec sleep 3600
"""
"""A stand-in for OpenCode that says one word and sleeps."""
_OF_THE_USER: Final = ("MESHFLEET_", "AGENT_MESH_", "OPENCODE", "XDG_")


def environment(folder: Path, opencode: Path, data_file: Path, **more: str) -> dict[str, str]:
    """The environment of servers whose home is below a folder, without any variable of the user's."""
    home = folder / "home"
    database = home / ".local" / "share" / "opencode" / "opencode.db"
    database.parent.mkdir(parents=True, exist_ok=True)
    # where OpenCode never ran all others wait for its first run
    database.touch()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_USER)}
    own = {"HOME": str(home), "MESHFLEET_OPENCODE": str(opencode), "MESHFLEET_DATA_FILE": str(data_file)}
    return {**inherited, **own, **more}


def kill_all_of(data_file: Path) -> None:
    """End what servers of ours and their agents have left running: whoever carries the name of this ledger."""
    for entry in process_table():
        pid = entry.identity.pid
        if pid != os.getpid() and environment_has(pid, "MESHFLEET_DATA_FILE", str(data_file)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Server:
    """A top-level server.

    Args:
        environ: Its environment.
        cwd: The folder its agents work in.
        complaints: The file its stderr is added to.

    Attributes:
        answers: What it has answered so far, by the id of the call.
    """

    def __init__(self, environ: Mapping[str, str], cwd: Path, complaints: Path) -> None:
        with complaints.open("ab") as errors:
            self.process = subprocess.Popen(
                SERVE, cwd=cwd, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
        self.answers: dict[str, dict[str, Any]] = {}
        self._heard = threading.Condition()
        self._greeted = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        about = {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "benchmark", "version": "1"},
        }
        self._send({"id": "hello", "method": "initialize", "params": about})
        self._send({"method": "notifications/initialized"})

    def ask(self, call_id: str, tool: str, **arguments: Any) -> None:
        """Call a tool without waiting for what it says, which `answers` will have under the call's id."""
        self._send({"id": call_id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})

    def answer(self, call_id: str) -> dict[str, Any]:
        """What it answers to a call, once it has."""
        with self._heard:
            assert self._heard.wait_for(lambda: call_id in self.answers, PATIENCE_S), f"{call_id} was not answered"
        return self.answers[call_id]

    def greet(self) -> None:
        """Wait until it serves, or has ended."""
        assert self._greeted.wait(PATIENCE_S), f"the server did not greet within {PATIENCE_S:.0f} s"

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self._bury()

    def leave(self) -> int:
        """Close its standard input, as a client that ends does; returns its exit code."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return self._bury()

    def _bury(self) -> int:
        code = self.process.wait()
        self._listener.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()
        return code

    def _send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
            self.process.stdin.flush()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if "id" in message and "method" not in message:
                with self._heard:
                    self.answers[message["id"]] = message
                    self._heard.notify_all()
                self._greeted.set()
        self._greeted.set()
