"""`meshfleet init` and `doctor` beside the real OpenCode, which is asked what came of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from meshfleet.cli.checks.check import Level
from meshfleet.cli.checks.opencode import look_at_opencode

COMMENTED = """\
// the user's own
{
\t"$schema": "https://opencode.ai/config.json",
\t"model": "p/m", // the best
\t/* reached on this machine */
\t"provider": {"p": {"npm": "@ai-sdk/openai-compatible", "options": {"baseURL": "http://127.0.0.1:9/v1"},
\t\t"models": {"m": {"name": "m",},},},},
\t"mcp": {
\t\t"other": {"type": "local", "command": ["/bin/false"], "enabled": false}, // not now
\t},
}
"""
QUIET = {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1", "npm_config_offline": "true"}


@pytest.fixture
def environ(opencode_binary: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A user's environment with the real OpenCode."""
    for name, value in {**QUIET, "MESHFLEET_OPENCODE": str(opencode_binary)}.items():
        monkeypatch.setenv(name, value)
    return dict(os.environ)


def output_of(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.opencode
@pytest.mark.parametrize(("where", "present"), [([], None), (["--project"], COMMENTED)], ids=["new", "JSONC, project"])
def test_opencode_lists_the_server_as_connected_after_init_and_no_more_after_its_removal(
    where: list[str], present: str | None, home: Path, tmp_path: Path, environ: dict[str, str]
) -> None:
    project = tmp_path / "project"
    (project / ".git").mkdir(parents=True)
    folder = project if where else home / ".config" / "opencode"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / ("opencode.json" if present is None else "opencode.jsonc")
    if present is not None:
        file.write_text(present)
    init = [sys.executable, "-P", "-m", "meshfleet", "init", *where, "--yes"]
    output_of(*init, cwd=project)
    written = file.read_bytes()
    lines = output_of(environ["MESHFLEET_OPENCODE"], "mcp", "list", cwd=project).splitlines()
    assert any("meshfleet" in line and "connected" in line for line in lines)
    assert file.read_bytes() == written, "OpenCode had nothing to add"
    output_of(*init, "--remove", cwd=project)
    assert (file.read_text() if file.exists() else None) == present
    assert "connected" not in output_of(environ["MESHFLEET_OPENCODE"], "mcp", "list", cwd=project)


@pytest.mark.opencode
def test_the_doctor_finds_what_init_wrote_and_the_model_of_the_real_opencode(
    home: Path, tmp_path: Path, environ: dict[str, str]
) -> None:
    file = home / ".config" / "opencode" / "opencode.jsonc"
    file.parent.mkdir(parents=True)
    file.write_text(COMMENTED)
    output_of(sys.executable, "-P", "-m", "meshfleet", "init", "--yes", cwd=tmp_path)
    found = {check.id: check for check in look_at_opencode(environ, tmp_path)}
    assert {check.level for check in found.values()} == {Level.OK}, found
    assert list(found) == ["opencode", "entry", "server", "model"]
    assert found["entry"].text.endswith(f"meshfleet serve (in {file})")
    assert found["model"].text == "p/m"
    file.write_text(file.read_text().replace("[", "", 1))
    refused = {check.id: check for check in look_at_opencode(environ, tmp_path)}["configuration"]
    assert refused.level is Level.FAILURE
    assert f"{file} is not valid JSON(C): " in refused.text
    assert "baseURL" not in refused.text
