"""The loopback server that plays a model, for the real OpenCode."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from meshfleet.demo.conversation import Call, Conversation, Reply, Say
from meshfleet.demo.project import create_demo_folder, scripted_environment
from meshfleet.demo.scripted_model import ScriptedModel


@pytest.mark.opencode
def test_the_real_opencode_takes_it_for_a_model(tmp_path: Path, opencode_binary: Path) -> None:
    def read_and_repeat(conversation: Conversation) -> Reply:
        if not conversation.calls:
            return Call("read", {"filePath": str(folder.project / "README.md")})
        return Say(f"it says: {conversation.calls[0].result}")

    root = tmp_path / "demo"
    root.mkdir()
    folder = create_demo_folder(root)
    before = {path.name for path in folder.project.iterdir()}
    prompt = root / "prompt.txt"
    prompt.write_text('-- say "what"\nthe file says\n', encoding="utf-8")
    with ScriptedModel(read_and_repeat) as model, prompt.open("rb") as stdin:
        run = subprocess.run(
            [opencode_binary, "run", "--format", "json"],
            cwd=folder.project,
            env=scripted_environment(folder, model.base_url, os.environ),
            stdin=stdin,
            capture_output=True,
            timeout=120,
            check=False,
        )
        asked = [conversation for conversation in model.requests if not conversation.is_title_request]

    assert run.returncode == 0, run.stderr.decode()
    events = [json.loads(line) for line in run.stdout.splitlines()]
    words = [event["part"]["text"] for event in events if event["type"] == "text"]
    assert len(words) == 1
    assert words[0].startswith("it says: ")
    assert "7: An order of 100.00 or more gets 10 % off." in words[0]
    assert events[-1]["part"]["reason"] == "stop"
    assert events[-1]["part"]["tokens"]["total"] > 0
    assert asked[0].prompt == prompt.read_text(encoding="utf-8")
    assert len(asked) == 2
    assert {path.name for path in folder.project.iterdir()} == before
    # it took its plugin package for installed, which costs a twelfth of its processor otherwise
    (log,) = (folder.home / ".local/share/opencode/log").iterdir()
    assert "install" not in log.read_text(encoding="utf-8")
    assert list((folder.home / ".config/opencode/node_modules").iterdir()) == []
