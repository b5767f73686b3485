"""How a `meshfleet serve` is started on a ledger and in a home of its own, and how all it started is ended."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from meshfleet.agents.process import environment_value, process_table

_INSTALLED: Final = Path(sys.executable).with_name("meshfleet")
PROGRAM: Final = (str(_INSTALLED),) if _INSTALLED.exists() else (sys.executable, "-P", "-m", "meshfleet")
"""What a user runs, where it is installed beside this Python."""
SERVE: Final = (*PROGRAM, "serve")
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
        if pid != os.getpid() and environment_value(pid, "MESHFLEET_DATA_FILE") == str(data_file):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
