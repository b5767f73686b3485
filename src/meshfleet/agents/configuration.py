"""OpenCode's configuration: the files it reads, which one of them to write, and what they come to in the end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from meshfleet.agents.definitions import up_to_the_worktree
from meshfleet.agents.opencode import COMMAND_TIMEOUT_S
from meshfleet.errors import Unavailable

NAMES: Final = ("opencode.json", "opencode.jsonc")
"""What a configuration file is called; of two in one folder the later counts more."""
USER_NAMES: Final = ("config.json", *NAMES)
SCHEMA: Final = "https://opencode.ai/config.json"
"""What a file names as its schema; OpenCode writes it into each that it reads and that names none."""
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")


def user_files(environ: Mapping[str, str]) -> list[Path]:
    """Where OpenCode looks for what a user has configured; what comes later counts more."""
    home = Path(environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 - Path raises for a missing home
    folder = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "opencode"
    files = [folder / name for name in USER_NAMES]
    if named := environ.get("OPENCODE_CONFIG"):
        files.append(Path(named).absolute())
    if named := environ.get("OPENCODE_CONFIG_DIR"):
        files += [Path(named).absolute() / name for name in NAMES]
    return files


def project_files(project_dir: Path) -> list[Path]:
    """Where OpenCode looks for what a project configures; what comes later counts more.

    Outside of a git worktree it goes up to the root of all; here it stays in the folder, since what lies above is no
    part of the project.
    """
    folders = list(up_to_the_worktree(project_dir))
    if not (folders[-1] / ".git").exists():
        folders = folders[:1]
    plain = [folder / name for folder in reversed(folders) for name in NAMES]
    return plain + [folder / ".opencode" / name for folder in reversed(folders) for name in NAMES]


def file_to_write(files: list[Path], holds_entry: Callable[[Path], bool]) -> Path:
    """The file in which an entry takes effect: the last that holds it, else the last there is, else `opencode.json`.

    A file that only a variable names holds it or is left alone: where the variable is not set, nothing of it counts.
    """
    new = next(file for file in files if file.name == NAMES[0])
    lasting = [file for file in files if file.name in USER_NAMES and _is_below(file, new.parent)]
    holding = [file for file in files if file.exists() and holds_entry(file)]
    return (holding or [file for file in lasting if file.exists()] or [new])[-1]


def _is_below(file: Path, folder: Path) -> bool:
    return folder in file.parents


def resolved_configuration(binary: Path, environ: Mapping[str, str], project_dir: Path) -> dict[str, Any]:
    """What OpenCode makes of all its configuration in a folder, as it says itself.

    Raises:
        Unavailable: It can't read one of its files, or does not answer; the text is its own.
    """
    answer = _ask(binary, ["debug", "config"], environ, project_dir)
    try:
        found = json.loads(answer)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Unavailable(f"{binary} debug config printed no JSON object")
    return found


def known_models(binary: Path, environ: Mapping[str, str], project_dir: Path) -> list[str]:
    """The models OpenCode could use now, as `provider/model`.

    Raises:
        Unavailable: It does not answer.
    """
    return [line.strip() for line in _ask(binary, ["models"], environ, project_dir).splitlines() if "/" in line]


def _ask(binary: Path, arguments: list[str], environ: Mapping[str, str], folder: Path) -> str:
    """What OpenCode answers; into files, since it ends before a long answer is through a pipe."""
    asked = f"{binary} {' '.join(arguments)}"
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            code = subprocess.run(
                [str(binary), *arguments],
                env={**environ, "PWD": str(folder)},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
            ).returncode
        except (OSError, subprocess.SubprocessError) as error:
            raise Unavailable(f"{asked} failed: {error}") from error
        if code != 0:
            errors.seek(0)
            raise Unavailable(_in_one_line(errors.read().decode(errors="replace")) or f"{asked} failed with {code}")
        output.seek(0)
        return output.read().decode(errors="replace")


def _in_one_line(said: str) -> str:
    """What OpenCode complains of, without the copy of the file it puts in between, which may hold a key."""
    plain = re.sub(r"--- JSONC Input ---.*?--- Errors ---", "", _COLOUR.sub("", said), flags=re.DOTALL)
    lines = [line.strip() for line in plain.splitlines() if not re.match(r"\s*(Line \d+:|\^|--- )", line)]
    return " ".join(line for line in lines if line).removeprefix("Error: ")
