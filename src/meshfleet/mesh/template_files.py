"""Templates as files, to be kept beside a project or given to others; what a template may say is templates.py's.

A file is `{schema: "meshfleet-template-v1", name, version, description, agents, exported_at}`, as v0.9.0 wrote it.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from meshfleet.errors import Conflict, Invalid, NotFound, Unavailable
from meshfleet.ledger import Ledger
from meshfleet.ledger.files import PRIVATE_FILE
from meshfleet.ledger.jsontext import why_no_json
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.templates import (
    TemplateDraft,
    agents_as_json,
    check_template_name,
    get_fleet_template,
    read_agents,
    save_imported_template,
    specs_of_template,
)
from meshfleet.mesh.texts import checked_text, shown
from meshfleet.model import Row, new_id, now_ms
from meshfleet.settings import beside

SCHEMA: Final = "meshfleet-template-v1"
LARGEST_FILE: Final = 1_048_576
"""Bytes of a file that is read."""
LONGEST_PATH: Final = 4_096
"""Bytes of a path."""

_FIELDS: Final = ("schema", "name", "version", "description", "agents", "exported_at")
_ELSEWHERE: Final = "name a file elsewhere"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHOWN_PATH: Final = 300
"""Characters of a path that a refusal shows: its end tells more than its beginning."""


def export_fleet_template(
    ledger: Ledger, name: str, file_path: str, version: int | None = None, *, cwd: Path
) -> dict[str, Any]:
    """Write a version of a template, the latest without a number, to a private file; it is there whole or not at all.

    Args:
        ledger: Where the template is.
        name: Of the template.
        file_path: Absolute, or relative to `cwd`; only another exported template is replaced.
        version: Which one.
        cwd: The folder relative paths start from.

    Raises:
        Conflict: Something else lies there.
        Invalid: The path names no file that could be written; nothing is.
        NotFound: There is no such template, or no such version of it.
        Unavailable: The system refuses to write.
    """
    path = _path(file_path, cwd)
    template = get_fleet_template(ledger, name, version)["template"]
    data = _document(template)
    try:
        _require_replaceable(path, ledger.data_file)
        _write(path, data)
    except OSError as error:
        raise _unavailable(error, "write", path) from None
    return {"name": template["name"], "version": template["version"], "file_path": str(path)}


def import_fleet_template(ledger: Ledger, file_path: str, rename: str | None = None, *, cwd: Path) -> dict[str, Any]:
    """Save the template in a file; a name that is taken gets the time as a suffix, unless `rename` gives one.

    Args:
        ledger: Where it is saved.
        file_path: Absolute, or relative to `cwd`.
        rename: The name to save it under, as one more version if there is one of that name.
        cwd: The folder relative paths start from.

    Raises:
        Invalid: The file is no exported template, or a name can't be; nothing is written.
        NotFound: There is no such file.
        Unavailable: The system refuses to read it.
    """
    if rename is not None:
        check_template_name("rename", rename)
    path, data = _contents(file_path, cwd)
    try:
        draft = _draft(read_json(data), needs_name=rename is None)
        return save_imported_template(ledger, draft, rename=rename, source=str(path))
    except Invalid as error:
        raise Invalid(f"file_path {_shown(path)} can't be imported: {error}") from None


def read_agents_file(file_path: str, *, cwd: Path) -> tuple[list[AgentSpec], str]:
    """The agents, and the description or "", in a file that `read_agents_json` can read.

    Raises:
        Invalid: The file is something else.
        NotFound: There is no such file.
        Unavailable: The system refuses to read it.
    """
    path, data = _contents(file_path, cwd)
    try:
        return read_agents_json(data)
    except Invalid as error:
        raise Invalid(f"{_shown(path)} holds no agents: {error}") from None


def read_agents_json(data: bytes) -> tuple[list[AgentSpec], str]:
    """The agents, and the description or "", in a JSON text: an array of agents, or `{agents, description?}`.

    Raises:
        Invalid: It is something else.
    """
    value = read_json(data)
    if not isinstance(value, dict):
        return read_agents(value), ""
    for key in value:
        if key not in {"agents", "description"}:
            hint = "; an exported template is for meshfleet template import" if key == "schema" else ""
            raise Invalid(f"the unknown key {shown(key)} is there; there may be agents and description{hint}")
    return _agents_in(value), _text_in(value, "description", "")


def read_json_file(file_path: str, *, cwd: Path) -> object:
    """The JSON value in a file.

    Raises:
        Invalid: It holds no JSON, or more of it than any file of a fleet's.
        NotFound: There is no such file.
        Unavailable: The system refuses to read it.
    """
    path, data = _contents(file_path, cwd)
    try:
        return read_json(data)
    except Invalid as error:
        raise Invalid(f"{_shown(path)} can't be read: {error}") from None


def exported_agents(value: object) -> list[AgentSpec] | None:
    """The agents of an exported template; None where a JSON value is something else.

    Raises:
        Invalid: It is one, but a damaged one.
    """
    is_exported = isinstance(value, dict) and value.get("schema") == SCHEMA
    return [*_draft(value, needs_name=False).agents] if is_exported else None


def _document(template: Row) -> bytes:
    document = {
        "schema": SCHEMA,
        "name": template["name"],
        "version": template["version"],
        "description": template["description"] or "",
        "agents": agents_as_json(specs_of_template(template)),
        "exported_at": now_ms(),
    }
    return json.dumps(document, ensure_ascii=False, indent=2).encode(errors="replace") + b"\n"


def _draft(value: object, *, needs_name: bool) -> TemplateDraft:
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        found = shown(value.get("schema")) if isinstance(value, dict) else "missing"
        raise Invalid(f"schema is {found}; an exported template has {SCHEMA!r}")
    for key in value:
        if key not in _FIELDS:
            raise Invalid(f"the unknown key {shown(key)} is there; a template has {', '.join(_FIELDS)}")
    for field in ("version", "exported_at"):
        number = value.get(field, 1)
        if type(number) is not int or number < 1:
            raise Invalid(f"{field} is {shown(number)}; it has to be a positive whole number")
    name = _text_in(value, "name")
    if needs_name:
        check_template_name("name", name)
    return TemplateDraft(name, _agents_in(value), _text_in(value, "description", ""))


def _agents_in(value: dict[str, Any]) -> list[AgentSpec]:
    if "agents" not in value:
        raise Invalid("agents is missing; it has to be an array of {role, prompt, agent?}")
    return read_agents(value["agents"])


def _text_in(value: dict[str, Any], field: str, default: str | None = None) -> str:
    text = value.get(field, default)
    if field not in value and default is None:
        raise Invalid(f"{field} is missing; it has to be a string")
    if not isinstance(text, str):
        raise Invalid(f"{field} is {shown(text)}; it has to be a string")
    return text


def read_json(data: bytes) -> object:
    """The value of a JSON text that holds a template or a fleet, in which no key is there twice.

    Raises:
        Invalid: It is no JSON, or too large.
    """
    if len(data) > LARGEST_FILE:
        raise Invalid(f"it has more than {LARGEST_FILE} bytes, and no template or fleet has")
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_without_twins, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise Invalid(f"it is no JSON: {why_no_json(error)}") from None
    except UnicodeDecodeError as error:
        raise Invalid(f"it is no JSON: byte {error.start} is no UTF-8") from None
    except RecursionError:
        raise Invalid("it is nested too deeply for a template") from None
    except ValueError:
        raise Invalid("it holds a number of too many digits") from None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twin = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise Invalid(f"the key {shown(twin)} is there more than once")
    return found


def _no_constant(name: str) -> Any:
    raise Invalid(f"it is no JSON: {name} is no JSON value")


def _path(file_path: str, cwd: Path) -> Path:
    """The absolute path a caller means, if it can name a file at all."""
    checked_text("file_path", file_path, LONGEST_PATH)
    if not file_path.strip():
        raise Invalid("file_path is blank; it has to name a file")
    if _CONTROL.search(file_path):
        raise Invalid(f"file_path is {shown(file_path)}, which holds a control character; leave it out")
    if ".." in Path(file_path).parts:
        raise Invalid(f"file_path is {shown(file_path)}; name the file without '..'")
    if file_path.endswith(("/", "/.")) or file_path == ".":
        raise Invalid(f"file_path is {shown(file_path)}, which names a folder; name a file in it")
    return cwd / file_path


def _contents(file_path: str, cwd: Path) -> tuple[Path, bytes]:
    path = _path(file_path, cwd)
    try:
        return path, _read(path)
    except FileNotFoundError:
        raise NotFound(f"file_path {_shown(path)} does not exist; name a file that does") from None
    except OSError as error:
        raise _unavailable(error, "read", path) from None


def _require_replaceable(path: Path, data_file: Path) -> None:
    """Refuse a path where nothing may be put; OSError where it can't be told."""
    if not path.parent.is_dir():
        raise Invalid(f"file_path {_shown(path)} lies in no folder that exists; create it first, or {_ELSEWHERE}")
    if path.name.startswith(beside(data_file, "").name) and path.parent.samefile(data_file.parent):
        raise Conflict(f"file_path {_shown(path)} is one of the ledger's own names; {_ELSEWHERE}")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise Conflict(f"file_path {_shown(path)} is a symlink, which is not followed; name the file itself")
    if stat.S_ISDIR(mode):
        raise Conflict(f"file_path {_shown(path)} is a folder; name a file in it")
    if not (stat.S_ISREG(mode) and _is_template(path)):
        raise Conflict(f"file_path {_shown(path)} exists and is no exported template, so it stays; {_ELSEWHERE}")


def _is_template(path: Path) -> bool:
    try:
        value = read_json(_read(path))
    except Invalid:
        return False
    return isinstance(value, dict) and value.get("schema") == SCHEMA


def _read(path: Path) -> bytes:
    """A regular file's first bytes, one more than a template may have; nothing else is waited for."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Invalid(f"file_path {_shown(path)} is no regular file; name one that holds agents or a template")
    with os.fdopen(fd, "rb") as file:
        return file.read(LARGEST_FILE + 1)


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".meshfleet-{new_id()}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _unavailable(error: OSError, deed: str, path: Path) -> Unavailable:
    reason = os.strerror(error.errno or 0).lower()
    return Unavailable(f"file_path {_shown(path)} can't be used: to {deed} it failed with {reason!r}; {_ELSEWHERE}")


def _shown(path: Path) -> str:
    text = str(path)
    return repr(text if len(text) <= _SHOWN_PATH else f"...{text[-_SHOWN_PATH:]}")
