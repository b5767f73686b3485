"""How this meshfleet was installed, and so which command starts its server from anywhere, also tomorrow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from meshfleet import __version__
from meshfleet.errors import Unavailable

PROGRAM: Final = "meshfleet"
SERVE: Final = "serve"
START_TIMEOUT_S: Final = 30.0
_TOOL_MARKS: Final = ("uv-receipt.toml", "pipx_metadata.json")
"""What uv tool and pipx leave in an environment that they link to from a folder of the user's."""
_CACHES: Final = (".cache", "archive-v0", "environments-v2")
"""Folders in which uvx and pipx run put environments that nobody keeps."""


def server_command(environ: Mapping[str, str]) -> list[str]:
    """The command that starts this meshfleet's server, tried out.

    The link of a tool's environment (uv tool, pipx), which outlives an upgrade, comes before the program in it; then
    the program of this Python's environment (venv, editable, --user), and Python with the module where there is none.

    Raises:
        Unavailable: This meshfleet is not installed to stay, or none of these starts it.
    """
    if set(_CACHES) & set(Path(sys.prefix).parts):
        raise Unavailable(
            f"this meshfleet runs from a cache ({sys.prefix}) that is emptied some day; install it with "
            "uv tool install or pipx install, and run meshfleet init again"
        )
    tried: list[str] = []
    for command in _commands(environ):
        trouble = _trouble_with(command, environ)
        if trouble is None:
            return [*command, SERVE]
        tried.append(trouble)
    raise Unavailable(f"no command starts this meshfleet from another folder: {'; '.join(tried)}; install it again")


def _commands(environ: Mapping[str, str]) -> Iterator[list[str]]:
    own = [program for program in _own_programs() if os.access(program, os.X_OK)]
    is_tool = any(Path(sys.prefix, mark).exists() for mark in _TOOL_MARKS)
    found = shutil.which(PROGRAM, path=environ.get("PATH", os.defpath))
    if is_tool and found and any(program.samefile(found) for program in own):
        yield [os.path.abspath(found)]  # noqa: PTH100 - the same for a path that leads through ..
    for program in own:
        yield [str(program)]
    yield [sys.executable, "-P", "-m", PROGRAM]


def _own_programs() -> list[Path]:
    """Where the program of this Python's packages lies, the likeliest first."""
    folders = [sysconfig.get_path("scripts")]
    if sys.prefix == sys.base_prefix:  # in an environment the user's own folder is somebody else's
        folders.append(sysconfig.get_path("scripts", f"{os.name}_user"))
    started = Path(sys.argv[0])
    programs = [Path(folder, PROGRAM) for folder in folders]
    return [*programs, started.absolute()] if started.name == PROGRAM else programs


def _trouble_with(command: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Why a command does not start this meshfleet from another folder; None where it does."""
    # a client has neither the folder nor the PYTHONPATH of this shell
    clean = {name: value for name, value in environ.items() if not name.startswith("PYTHON")}
    try:
        answer = subprocess.run(
            [*command, "--version"],
            env=clean,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return f"{command[0]}: {error}"
    said = answer.stdout.strip()
    if answer.returncode != 0:
        last = answer.stderr.strip().rpartition("\n")[2]
        return f"{' '.join(command)} --version failed with {answer.returncode}: {last}"
    return None if said == f"{PROGRAM} {__version__}" else f"{' '.join(command)} is {said!r}, not {__version__}"
