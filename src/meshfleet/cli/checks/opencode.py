"""Looking at OpenCode: is it there, does it have a working entry for this server, and which model does it use."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio

from meshfleet import __version__
from meshfleet.agents.configuration import known_models, project_files, resolved_configuration, user_files
from meshfleet.agents.opencode import INLINE_CONFIG, find_opencode, opencode_version, parse_inline_config
from meshfleet.cli.checks.check import Check, failure, refused, warning, well
from meshfleet.cli.setup import jsonc
from meshfleet.cli.setup.clients import NAME, OPENCODE_FORMAT, holds_entry, text_of
from meshfleet.cli.setup.files import read_whole
from meshfleet.errors import Invalid, MeshfleetError, Unavailable
from meshfleet.settings import LEDGER_NAME

SERVER_TIMEOUT_S: Final = 45.0
"""How long a server may take to start, answer and end."""
MADE_FOR: Final = "1"
"""The major version of OpenCode this was made for."""
_RUN_INIT: Final = "run meshfleet init"
_OF_AN_AGENT: Final = ("AGENT_ID", "FLEET_ID", "ATTEMPT")
_LEDGER_VARIABLES: Final = ("DATA_FILE", "DATA_DIR")
_MODEL_HELP: Final = (
    'name one as "model" in opencode.json (opencode models lists them), or log in with opencode auth login'
)


def look_at_opencode(environ: Mapping[str, str], folder: Path) -> Iterator[Check]:
    """OpenCode, its entry for this server, that server, and the model, as OpenCode sees them in a folder."""
    try:
        binary = find_opencode(environ)
        version = opencode_version(binary, environ)
    except Unavailable as error:
        yield refused("opencode", error, "install OpenCode again")
        yield from _look_at_entry(_from_files(environ, folder), environ, folder)
        return
    if version.split(".")[0] == MADE_FOR:
        yield well("opencode", f"{version}, {binary}")
    else:
        yield warning("opencode", f"{version}, {binary}", f"meshfleet was made for OpenCode {MADE_FOR}.x; install one")
    try:
        configuration = resolved_configuration(binary, environ, folder)
    except Unavailable as error:
        yield failure("configuration", f"OpenCode can't read its configuration: {error}", "mend what it names")
        return
    yield from _look_at_entry(configuration, environ, folder)
    yield _look_at_model(configuration, binary, environ, folder)


def _look_at_entry(configuration: Mapping[str, Any], environ: Mapping[str, str], folder: Path) -> Iterator[Check]:
    entry, where = _entry_of(configuration), _file_of_entry(environ, folder)
    if entry is None:
        yield failure("entry", f"OpenCode's configuration has no entry {NAME} for this server", _RUN_INIT)
        return
    command = entry.get("command")
    if entry.get("type") != "local" or not command or not all(isinstance(word, str) for word in command):
        yield failure("entry", f"the entry {NAME}{where} starts no command", _RUN_INIT)
        return
    if entry.get("enabled") is False:
        yield failure("entry", f"the entry {NAME}{where} is disabled", f"{_RUN_INIT}, which enables it")
        return
    yield well("entry", f"{shlex.join(command)}{where}")
    variables = entry.get("environment")
    own = {str(key): str(value) for key, value in variables.items()} if isinstance(variables, dict) else {}
    yield from _look_at_server(command, {**environ, **own}, folder)
    yield from _compare_ledgers(environ, own)


def _look_at_server(command: Sequence[str], environ: Mapping[str, str], folder: Path) -> Iterator[Check]:
    """Start the server as OpenCode would, but on an empty ledger, so that it adopts and starts no agent."""
    with tempfile.TemporaryDirectory(prefix="meshfleet-doctor-") as scratch:
        log = Path(scratch, "stderr.log")
        clean = {name: value for name, value in environ.items() if not _is_of_the_mesh(name)}
        own = {**clean, "MESHFLEET_DATA_FILE": str(Path(scratch, "ledger", LEDGER_NAME)), "PWD": str(folder)}
        begun = time.monotonic()
        try:
            name, version, problems = anyio.run(partial(_pinged, command, own, folder, log))
        except Unavailable as error:
            said = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2] if log.exists() else ""
            yield failure("server", f"{error}{f': {said}' if said else ''}", f"{_RUN_INIT}, or mend the command")
            return
    seconds = time.monotonic() - begun
    if (name, version) == (NAME, __version__):
        yield well("server", f"{name} {version} started and answered ping in {seconds:.1f} s")
    else:
        yield warning("server", f"the entry starts {name} {version}, and this is {NAME} {__version__}", _RUN_INIT)
    for problem in problems:
        yield warning("server", f"it says: {problem}", "mend that where OpenCode is started")


async def _pinged(
    command: Sequence[str], environ: Mapping[str, str], folder: Path, log: Path
) -> tuple[str, str, list[str]]:
    from meshfleet.demo.client import serving

    try:
        with anyio.fail_after(SERVER_TIMEOUT_S):
            async with serving(environ, folder, log, command) as client:
                answer = await client.call("ping")
                if answer.get("status") != "ok":
                    raise Unavailable(f"the server answered ping with {answer}")
                health = await client.call("get_health")
                return *client.server, [str(problem) for problem in health.get("problems", [])]
    except TimeoutError:
        raise Unavailable(f"the server did not answer within {SERVER_TIMEOUT_S:.0f} s") from None


def _is_of_the_mesh(name: str) -> bool:
    """Whether a variable says which ledger or which agent a server serves."""
    prefix = next((one for one in ("MESHFLEET_", "AGENT_MESH_") if name.startswith(one)), None)
    return prefix is not None and name.removeprefix(prefix) in {*_OF_AN_AGENT, *_LEDGER_VARIABLES}


def _compare_ledgers(environ: Mapping[str, str], own: Mapping[str, str]) -> Iterator[Check]:
    """Say so where the entry names another ledger than this shell."""
    from meshfleet.settings import Settings

    try:
        ours, theirs = (Settings.from_environ(variables).data_file for variables in (environ, {**environ, **own}))
    except Invalid:
        return  # said elsewhere, or by the server
    if ours != theirs:
        yield warning(
            "two-ledgers",
            f"OpenCode's server is on {theirs}, commands in this shell are on {ours}",
            f"set MESHFLEET_DATA_FILE={shlex.quote(str(theirs))} here, or the same in the entry",
        )


def _look_at_model(configuration: Mapping[str, Any], binary: Path, environ: Mapping[str, str], folder: Path) -> Check:
    model = configuration.get("model")
    try:
        known = known_models(binary, environ, folder)
    except Unavailable as error:
        return warning("model", f"OpenCode does not list its models: {error}", "try opencode models")
    if not known:
        return failure("model", "OpenCode knows no model it could use", _MODEL_HELP)
    if not isinstance(model, str):
        return warning("model", f"none is configured, so OpenCode picks one of {len(known)}", _MODEL_HELP)
    if model not in known:
        return failure("model", f"OpenCode does not know {model!r}, which is configured", _MODEL_HELP)
    return well("model", model)


def _entry_of(configuration: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The server's entry in a configuration of OpenCode; None where there is none."""
    servers = configuration.get("mcp")
    entry = servers.get(NAME) if isinstance(servers, dict) else None
    return entry if isinstance(entry, dict) else None


def _from_files(environ: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """The entry as the files have it, where OpenCode can't be asked."""
    for file in reversed(_files(environ, folder)):
        if holds_entry(OPENCODE_FORMAT, file):
            return {"mcp": {NAME: jsonc.value_at(text_of(file, read_whole(file)), ("mcp", NAME))}}
    return {}


def _file_of_entry(environ: Mapping[str, str], folder: Path) -> str:
    inline = environ.get(INLINE_CONFIG, "")
    with suppress(Invalid):
        if _entry_of(parse_inline_config(inline)) is not None:
            return f" (in {INLINE_CONFIG})"
    holding = [file for file in _files(environ, folder) if holds_entry(OPENCODE_FORMAT, file)]
    return f" (in {holding[-1]})" if holding else ""


def _files(environ: Mapping[str, str], folder: Path) -> list[Path]:
    try:
        return [*user_files(environ), *project_files(folder)]
    except (MeshfleetError, OSError):
        return []
