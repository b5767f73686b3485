"""The real OpenCode in a fleet that a shell starts: spawned, seen through, and looked at, with a scripted model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from meshfleet.demo.conversation import Call, Conversation, Reply, Say
from meshfleet.demo.parts import TOOL_PREFIX
from meshfleet.demo.project import create_demo_folder, scripted_environment
from meshfleet.demo.scripted_model import ScriptedModel

pytestmark = [pytest.mark.opencode, pytest.mark.slow]

FLEET: Final = [
    {"role": "Explorer", "prompt": "look around"},
    {"role": "Analyst", "prompt": "think about it", "start": "on_message"},
]
FOUND: Final = "till.py is off by one"


def script(conversation: Conversation) -> Reply:
    if "look around" not in conversation.prompt:
        return Say(f"heard of it: {FOUND in conversation.prompt}")
    if conversation.calls_of_turn:
        return Say("told the Analyst")
    return Call(f"{TOOL_PREFIX}send_message", {"to_agent_id": "Analyst", "type": "handoff", "payload": FOUND})


def meshfleet(environ: Mapping[str, str], cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-P", "-m", "meshfleet", *arguments]
    return subprocess.run(
        argv, env=environ, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False
    )


def told_by(environ: Mapping[str, str], cwd: Path, *arguments: str) -> dict[str, Any]:
    done = meshfleet(environ, cwd, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_fleet_from_a_file_hands_work_on_ends_and_has_a_witnessed_trail(
    tmp_path: Path, opencode_binary: Path
) -> None:
    root = tmp_path / "real"
    root.mkdir()
    folder = create_demo_folder(root)
    (folder.project / "team.json").write_text(json.dumps(FLEET))
    with ScriptedModel(script) as model:
        environ = {
            **scripted_environment(folder, model.base_url, os.environ),
            "MESHFLEET_OPENCODE": str(opencode_binary),
            "MESHFLEET_DATA_FILE": str(folder.ledger),
        }
        done = meshfleet(environ, folder.project, "spawn", "team.json", "--wait")
    assert done.returncode == 0, done.stderr
    fleet_id, *said = done.stdout.splitlines()
    assert [line for line in said if line.startswith("  ")] == ["  told the Analyst", "  heard of it: True"]
    assert any("Explorer → Analyst, handoff: " in line for line in done.stderr.splitlines())
    assert any(
        line.endswith("Analyst is dormant: waits for a message from a peer") for line in done.stderr.splitlines()
    )
    seen = told_by(environ, folder.project, "inspect", fleet_id)
    assert [(one["role"], one["status"]) for one in seen["agents"]] == [
        ("Explorer", "complete"),
        ("Analyst", "complete"),
    ]
    (message,) = seen["messages"]
    (recipient,) = message["recipients"]
    assert (message["from_role"], message["payload"], recipient["role"]) == ("Explorer", FOUND, "Analyst")
    assert message["sent_at"] <= recipient["delivered_at"]
    timeline = told_by(environ, folder.project, "inspect", "--timeline", fleet_id)["moments"]
    handed_on = [one["what"] for one in timeline if one["what"] in {"message", "receipt"} or one["role"] == "Analyst"]
    assert handed_on[:3] in (["message", "attempt_started", "receipt"], ["message", "receipt", "attempt_started"])
    assert told_by(environ, folder.project, "inspect", "--problems")["problems"] == []
