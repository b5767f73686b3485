"""The OpenCode program: where it is, how a run is spelled, what environment it gets; launch.py starts it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from meshfleet.errors import Invalid, Unavailable
from meshfleet.mesh.texts import shown

COMMAND_TIMEOUT_S: Final = 30.0
#: OpenCode takes it for connecting (its default is 30 s, short on a machine where many agents start at once) and for
#: each call (60 s).
MCP_TIMEOUT_MS: Final = 120_000
SERVER_NAME: Final = "meshfleet"

#: Where an environment that brings OpenCode along has it; its interpreter is a link out of it, so nothing is resolved.
BESIDE_PYTHON: Final = Path(sys.executable).with_name("opencode")
HOW_TO_GET_IT: Final = "install it with npm install -g opencode-ai, or set MESHFLEET_OPENCODE to its path"

#: What configures OpenCode and so is the user's will for every run. The rest of OPENCODE_* tells one running instance
#: about itself (OPENCODE_PID, OPENCODE_CLIENT, OPENCODE_WORKSPACE_ID, ...), and misleads another.
CONFIGURING: Final = re.compile(
    r"""OPENCODE_(
        CONFIG(_DIR|_CONTENT)? | PERMISSION | AUTH_CONTENT | API_KEY | CONSOLE_TOKEN | MODELS_(PATH|URL) | DB | PURE
        | GIT_BASH_PATH | GITLAB_AUTH_CLIENT_ID | REPO_CLONE_GITHUB_BASE_URL | WEBSEARCH_PROVIDER | LOG_LEVEL
        | DISABLE_\w+ | ENABLE_\w+ | EXPERIMENTAL | EXPERIMENTAL_(?!WORKSPACES$)\w+
    )""",
    re.VERBOSE,
)
OTHER_NAMES_OF_THE_LEDGER: Final = ("AGENT_MESH_DATA_FILE", "AGENT_MESH_DATA_DIR", "MESHFLEET_DATA_DIR")
INLINE_CONFIG: Final = "OPENCODE_CONFIG_CONTENT"
COMMENT: Final = r"//[^\n]*+|/\*(?s:.*?)\*/"
#: A string, to be kept, or what JSON lacks, to be dropped: a comment, or a comma before a closing bracket.
JSONC_TOKEN: Final = re.compile(rf'(?P<string>"(?:\\.|[^"\\])*+")|{COMMENT}|,(?=(?>\s|(?>{COMMENT}))*+[}}\]])')


def find_opencode(environ: Mapping[str, str]) -> Path:
    """Find the program: the one MESHFLEET_OPENCODE names, else `opencode` on PATH, else beside this Python.

    Raises:
        Unavailable: There is none, or the one that was named can't be run.
    """
    named = environ.get("MESHFLEET_OPENCODE")
    search = environ.get("PATH", os.defpath)
    if named:
        found = shutil.which(os.path.expanduser(named), path=search)  # noqa: PTH111 - Path raises for a missing home
        if found is None:
            raise Unavailable(f"MESHFLEET_OPENCODE is {named!r}, which is not an executable file; {HOW_TO_GET_IT}")
        return Path(found).absolute()
    found = shutil.which("opencode", path=search) or shutil.which(BESIDE_PYTHON)
    if found is None:
        raise Unavailable(f"no opencode on PATH; {HOW_TO_GET_IT}")
    return Path(found).absolute()


def has_run_before(environ: Mapping[str, str]) -> bool:
    """Tell whether OpenCode has made its database; the runs that make it lock each other out, and some then fail."""
    if environ.get("OPENCODE_DB"):
        return True
    home = Path(environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 - Path raises for a missing home
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return (data / "opencode" / "opencode.db").exists()


def opencode_version(binary: Path, environ: Mapping[str, str] | None = None) -> str:
    """Ask the program for its version.

    Raises:
        Unavailable: It can't be run, answers with an error, or not within 30 s.
    """
    command = [str(binary), "--version"]
    try:
        answer = subprocess.run(
            command,
            env=None if environ is None else dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{binary} --version took over {COMMAND_TIMEOUT_S:g} s; {HOW_TO_GET_IT}") from None
    except OSError as error:
        raise Unavailable(f"{binary} can't be run: {os.strerror(error.errno or 0).lower()}; {HOW_TO_GET_IT}") from None
    if answer.returncode:
        complaint = answer.stderr.decode("utf-8", errors="replace").strip().splitlines()
        said = f": {shown(complaint[-1])}" if complaint else ""
        raise Unavailable(f"{binary} --version exited with status {answer.returncode}{said}; {HOW_TO_GET_IT}")
    words = answer.stdout.decode("utf-8", errors="replace").split()
    if not words:
        raise Unavailable(f"{binary} --version printed nothing, so it is no opencode; {HOW_TO_GET_IT}")
    return words[-1]


def run_arguments(
    binary: Path,
    *,
    agent_file: str | None,
    model: str | None = None,
    session_id: str | None = None,
    title: str | None = None,
    allow_all: bool = False,
) -> list[str]:
    """Spell the command of one run, whose prompt is to come from stdin.

    Args:
        binary: The program.
        agent_file: The agent's name as OpenCode knows it (`runtime_name` of definitions.py).
        model: `provider/model`, else what OpenCode is configured for.
        session_id: The session to continue.
        title: The session's title; without one OpenCode asks the model for it, one more request for each run.
        allow_all: Let the run do what it would have to ask for; only where the user asked for that.
    """
    # name and value in one argument: a value with a leading dash stays a value
    options = {"agent": agent_file, "model": model, "session": session_id, "title": title}
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    return [str(binary), "run", "--format", "json", *given, *(["--auto"] if allow_all else [])]


def child_environment(  # noqa: PLR0913 - one keyword for each thing an agent is told
    environ: Mapping[str, str],
    *,
    agent_id: str,
    fleet_id: str,
    attempt: str,
    data_file: Path,
    server_command: Sequence[str],
    agent_file: str | None = None,
    mode_override: bool = False,
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Make the environment of one attempt: the user's, without a trace of the OpenCode this one was started from.

    Args:
        environ: The starting process's environment.
        agent_id: The agent; its own meshfleet server learns from this whom it serves.
        fleet_id: The agent's fleet.
        attempt: The attempt's marker, `<agent>/<n>`, by which its processes are found (`attempt_key` of model.py).
        data_file: The ledger.
        server_command: What starts the agent's meshfleet server.
        agent_file: The agent's name as OpenCode knows it.
        mode_override: Let OpenCode run that agent although it is declared a subagent.
        extra: Variables the spawn asked for; those that say who the agent is can't be changed by it.

    Raises:
        Invalid: OPENCODE_CONFIG_CONTENT is there already and is not a JSON object.
    """
    inherited = {name: value for name, value in environ.items() if not _is_of_another_run(name)}
    told = {
        "MESHFLEET_AGENT_ID": agent_id,
        "MESHFLEET_FLEET_ID": fleet_id,
        "MESHFLEET_ATTEMPT": attempt,
        "MESHFLEET_DATA_FILE": str(data_file.absolute()),
    }
    child = {**inherited, **(extra or {}), **told}
    for name in OTHER_NAMES_OF_THE_LEDGER:
        child.pop(name, None)
    config = parse_inline_config(child.get(INLINE_CONFIG, ""))
    _give_server(config, server_command, told)
    if mode_override and agent_file is not None:
        _merge(config, {"agent": {agent_file: {"mode": "all"}}})
    child[INLINE_CONFIG] = json.dumps(config, ensure_ascii=False, separators=(",", ":"))
    return child


def parse_inline_config(text: str) -> dict[str, Any]:
    """Read an OPENCODE_CONFIG_CONTENT as OpenCode does: JSON, comments and trailing commas allowed; empty is nothing.

    Raises:
        Invalid: It is not a JSON object.
    """
    if not text.strip():
        return {}
    plain = JSONC_TOKEN.sub(lambda token: token["string"] or " ", text)
    try:
        config = json.loads(plain)
    except (ValueError, RecursionError) as error:
        raise Invalid(
            f"the inherited {INLINE_CONFIG} is not JSON: {error}; correct it or unset it, agents can't start with it"
        ) from error
    if not isinstance(config, dict):
        raise Invalid(f"the inherited {INLINE_CONFIG} must be a JSON object, not {type(config).__name__}")
    return config


def _is_of_another_run(name: str) -> bool:
    if name == "OPENCODE" or name.startswith("OPENCODE_"):
        return CONFIGURING.fullmatch(name) is None
    return False


def _give_server(config: dict[str, Any], server_command: Sequence[str], told: Mapping[str, str]) -> None:
    entry = {
        "type": "local",
        "command": list(server_command),
        "enabled": True,
        "timeout": MCP_TIMEOUT_MS,
        "environment": dict(told),
    }
    # replaced, not merged: an entry of another type would leave keys of its own behind
    servers = config.get("mcp")
    config["mcp"] = {**(servers if isinstance(servers, dict) else {}), SERVER_NAME: entry}


def _merge(config: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        present = config.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            _merge(present, value)
        else:
            config[key] = value
