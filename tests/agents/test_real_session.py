"""A session of the real OpenCode that spawns a fleet and ends: OpenCode ends all its servers started, but no agent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from meshfleet.agents.launch import read_exit
from meshfleet.agents.starting import server_command
from meshfleet.demo.conversation import Call, Conversation, Reply, Say
from meshfleet.demo.project import create_demo_folder, scripted_environment
from meshfleet.demo.scripted_model import ScriptedModel
from meshfleet.ledger import Ledger
from meshfleet.settings import Settings
from tests.agents.agents_helpers import eventually_within, members_of

pytestmark = [pytest.mark.opencode, pytest.mark.slow]

WAIT_S = 90.0
SPAWN = Call("meshfleet_spawn_fleet", {"agents": [{"role": "Worker", "prompt": "take your time"}]})


def test_an_agent_outlives_the_session_that_spawned_it(tmp_path: Path, opencode_binary: Path) -> None:
    (tmp_path / "session").mkdir()
    folder = create_demo_folder(tmp_path / "session")
    settings = Settings(folder.ledger)
    agent_works, session_is_over = threading.Event(), threading.Event()

    def script(conversation: Conversation) -> Reply:
        if conversation.prompt == "take your time":
            agent_works.set()
            session_is_over.wait(WAIT_S)
            return Say("I outlived the session")
        if not conversation.tools:
            return Say("a title")
        if not conversation.calls:
            return SPAWN
        agent_works.wait(WAIT_S)
        return Say("spawned")

    ledger = Ledger.from_settings(settings)
    with ScriptedModel(script) as model:
        entry = {"type": "local", "command": server_command(), "enabled": True}
        environ = {
            **scripted_environment(folder, model.base_url, os.environ),
            "MESHFLEET_OPENCODE": str(opencode_binary),
            "OPENCODE_CONFIG_CONTENT": json.dumps({"mcp": {"meshfleet": entry}}),
        }
        marker = ""
        try:
            command = [str(opencode_binary), "run", "--title=a session", "start a fleet"]
            subprocess.run(
                command, env=environ, cwd=folder.project, stdin=subprocess.DEVNULL, timeout=WAIT_S, check=True
            )
            (agent,) = ledger.read(lambda view: list(view.rows("agents")))
            marker, run_dir = f"{agent['id']}/1", settings.runs_dir / agent["id"] / "1"
            assert agent_works.is_set()
            assert read_exit(run_dir) is None
            assert len(members_of(marker, None)) >= 2
            session_is_over.set()
            eventually_within(WAIT_S, lambda: read_exit(run_dir) is not None, "the agent ends")
            assert read_exit(run_dir) == 0
            assert "I outlived the session" in (run_dir / "events.ndjson").read_text()
        finally:
            session_is_over.set()
            ledger.close()
            for process in members_of(marker, None) if marker else ():
                os.kill(process.pid, signal.SIGKILL)
