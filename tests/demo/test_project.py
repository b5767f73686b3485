"""The demo's folder: a project whose check fails as promised, and environments that stay inside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from meshfleet.demo.project import DemoFolder, create_demo_folder, live_environment, scripted_environment

BASE_URL = "http://127.0.0.1:1/v1"


@pytest.fixture
def folder(tmp_path: Path) -> DemoFolder:
    root = tmp_path / "demo"
    root.mkdir()
    return create_demo_folder(root)


def check(folder: DemoFolder) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", "check_till.py"],
        cwd=folder.project,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_project_breaks_its_promise_until_the_line_is_changed(folder: DemoFolder) -> None:
    broken = check(folder)
    till = folder.project / "till.py"
    code = till.read_text(encoding="utf-8")
    till.write_text(code.replace("amount > DISCOUNT_FROM", "amount >= DISCOUNT_FROM"), encoding="utf-8")
    mended = check(folder)

    assert broken.returncode != 0
    assert "exactly 100.00 gets no discount" in broken.stderr
    assert mended.returncode == 0


def test_a_scripted_demo_sees_only_its_own_home_and_model(folder: DemoFolder) -> None:
    theirs = {
        "HTTPS_PROXY": "http://proxy.invalid",
        "MESHFLEET_AGENT_ID": "someone",
        "MESHFLEET_OPENCODE": "/somewhere/opencode",
        "OPENCODE_CONFIG_CONTENT": "{}",
        "OPENCODE_PID": "1",
        "PATH": "/bin",
        "PWD": "/elsewhere",
        "XDG_CONFIG_HOME": "/elsewhere/config",
    }
    environment = scripted_environment(folder, BASE_URL, theirs)

    assert environment["PATH"] == "/bin"
    assert environment["MESHFLEET_OPENCODE"] == "/somewhere/opencode"
    assert environment["MESHFLEET_DATA_FILE"] == str(folder.ledger)
    assert environment["PWD"] == str(folder.project)
    assert environment["XDG_CONFIG_HOME"] == str(folder.home / ".config")
    assert not {"HTTPS_PROXY", "MESHFLEET_AGENT_ID", "OPENCODE_CONFIG_CONTENT", "OPENCODE_PID"} & set(environment)
    config = json.loads((folder.home / ".config/opencode/opencode.json").read_text(encoding="utf-8"))
    assert config["provider"]["scripted"]["options"]["baseURL"] == BASE_URL


def test_a_scripted_demo_s_opencode_finds_nothing_it_would_have_to_install(folder: DemoFolder) -> None:
    environment = scripted_environment(folder, BASE_URL, {})

    beside = folder.home / ".config" / "opencode"
    assert list((beside / "node_modules").iterdir()) == []
    locked = json.loads((beside / "package-lock.json").read_text(encoding="utf-8"))
    assert locked["packages"][""]["dependencies"].keys() == {"@opencode-ai/plugin"}
    assert environment["npm_config_offline"] == "true"


def test_a_live_demo_keeps_the_user_s_configuration_and_only_moves_the_ledger(folder: DemoFolder) -> None:
    theirs = {
        "HOME": "/home/me",
        "OPENCODE_CONFIG": "/home/me/oc.json",
        "AGENT_MESH_DATA_DIR": "/home/me/mesh",
    }
    environment = live_environment(folder, theirs)

    assert environment["HOME"] == "/home/me"
    assert environment["OPENCODE_CONFIG"] == "/home/me/oc.json"
    assert "AGENT_MESH_DATA_DIR" not in environment
    assert environment["MESHFLEET_DATA_FILE"] == str(folder.ledger)
    assert list(folder.home.iterdir()) == []
