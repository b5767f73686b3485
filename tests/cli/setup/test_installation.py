from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from meshfleet import __version__
from meshfleet.cli.setup.installation import server_command
from meshfleet.errors import Unavailable

ANSWERS = f"#!/bin/sh\necho meshfleet {__version__}\n"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment of Python's in which meshfleet is installed."""
    prefix = tmp_path / "tools" / "meshfleet"
    program(prefix / "bin" / "meshfleet")
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setattr("sysconfig.get_path", lambda _name, *_: str(prefix / "bin"))
    return prefix


def program(path: Path, script: str = ANSWERS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)
    return path


def test_this_meshfleet_is_started_by_the_program_beside_its_python() -> None:
    assert server_command(os.environ) == [str(Path(sys.executable).with_name("meshfleet")), "serve"]


def test_the_program_of_a_plain_environment_comes_before_any_on_path(environment: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin" / "meshfleet")
    command = server_command({"PATH": f"{tmp_path / 'bin'}:/bin"})
    assert command == [str(environment / "bin" / "meshfleet"), "serve"]


@pytest.mark.parametrize("mark", ["uv-receipt.toml", "pipx_metadata.json"])
def test_a_tool_s_link_comes_before_the_program_it_leads_to(environment: Path, tmp_path: Path, mark: str) -> None:
    (environment / mark).touch()
    link = tmp_path / "local" / "bin" / "meshfleet"
    link.parent.mkdir(parents=True)
    link.symlink_to(environment / "bin" / "meshfleet")
    path = {"PATH": f"{link.parent}:/bin"}
    assert server_command(path) == [str(link), "serve"]
    assert server_command({"PATH": "/bin"}) == [str(environment / "bin" / "meshfleet"), "serve"]
    link.unlink()
    program(link)
    assert server_command(path) == [str(environment / "bin" / "meshfleet"), "serve"]


@pytest.mark.parametrize("script", ["exit 3", "echo meshfleet 0.9.0", "exec /nowhere/python"])
def test_a_program_that_does_not_start_this_version_is_passed_over(environment: Path, script: str) -> None:
    program(environment / "bin" / "meshfleet", f"#!/bin/sh\n{script}\n")
    assert server_command(os.environ) == [sys.executable, "-P", "-m", "meshfleet", "serve"]


def test_python_s_variables_of_this_shell_are_not_relied_on(environment: Path) -> None:
    program(environment / "bin" / "meshfleet", f'#!/bin/sh\ntest -z "$PYTHONPATH" && echo meshfleet {__version__}\n')
    command = server_command({"PATH": "/bin", "PYTHONPATH": "/somewhere"})
    assert command == [str(environment / "bin" / "meshfleet"), "serve"]


def test_where_nothing_starts_it_all_that_was_tried_is_told(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(environment / "bin" / "meshfleet", "#!/bin/sh\necho no luck >&2\nexit 3\n")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(Unavailable, match=r"failed with 3: no luck; /nowhere/python: .*; install it again$"):
        server_command(os.environ)


@pytest.mark.parametrize("cache", ["home/.cache/pipx/1f2e", "uv/archive-v0/xyz"])
def test_an_environment_in_a_cache_is_refused(tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / cache))
    with pytest.raises(Unavailable, match=r"runs from a cache .* uv tool install or pipx install"):
        server_command(os.environ)
