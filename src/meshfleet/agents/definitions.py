"""Premade agents: the Markdown files OpenCode reads, and the names it knows them by."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from meshfleet.agents.frontmatter import read_front_matter
from meshfleet.mesh.specs import AgentSpec

LARGEST_FILE_BYTES: Final = 1024 * 1024
AGENT_FOLDERS: Final = ("agent", "agents")
SUBAGENT: Final = "subagent"
#: What OpenCode brings along and runs only as another agent's helper, unless told otherwise; an override was seen to
#: work for both with OpenCode 1.18.
BUILT_IN_SUBAGENTS: Final = frozenset({"general", "explore"})
#: A definition that says nothing may be run, and may be called by other agents.
DEFAULT_MODE: Final = "all"


@dataclass(frozen=True, slots=True)
class AgentDefinition:
    """One premade agent.

    Attributes:
        filename: Its path below the agents folder without `.md`: `reviewer`, `team/reviewer`.
        name: What OpenCode calls it: the front matter's `name`, else the filename.
        description: What it is for.
        mode: `primary`, `subagent` or `all`, as declared.
        path: The file.
    """

    filename: str
    name: str
    description: str
    mode: str
    path: Path


def find_agent_files(project_dir: Path, environ: Mapping[str, str]) -> list[AgentDefinition]:
    """List the premade agents OpenCode would find for a project.

    The project's come before the user's, in each folder by name; of several with one filename the first counts. What
    can't be read, is larger than 1 MiB or is no text is left out.
    """
    found: dict[str, AgentDefinition] = {}
    for folder in _config_folders(project_dir, environ):
        for definition in _in_folder(folder):
            found.setdefault(definition.filename, definition)
    return list(found.values())


def described(specs: Sequence[AgentSpec], project_dir: Path, environ: Mapping[str, str]) -> list[AgentSpec]:
    """The same agents with the descriptions of the premade ones they are to run as, by which work finds them."""
    if all(spec.agent is None for spec in specs):
        return list(specs)
    found = find_agent_files(project_dir, environ)
    descriptions = {one.filename: one.description for one in reversed(found)} | {
        one.name: one.description for one in reversed(found)
    }
    return [replace(spec, description=descriptions.get(spec.agent or "", "")) for spec in specs]


def runtime_name(agent_file: str, definitions: Iterable[AgentDefinition]) -> str:
    """Say what `opencode run --agent` has to be given: a definition's own name, should a file with this name have one.

    OpenCode knows `reviewer.md` with `name: Critic` only as `Critic`.
    """
    definitions = list(definitions)
    if any(one.name == agent_file for one in definitions):
        return agent_file
    return next((one.name for one in definitions if one.filename == agent_file), agent_file)


def needs_mode_override(name: str, definitions: Iterable[AgentDefinition]) -> bool:
    """Tell whether OpenCode would refuse to run this agent, and fall back to another, unless its mode is overridden.

    False for a name nobody defines: an override would make OpenCode invent an empty agent of that name, which then
    runs without a complaint.
    """
    definitions = list(definitions)
    wanted = runtime_name(name, definitions)
    declared = {one.mode for one in definitions if one.name == wanted and one.mode}
    # OpenCode merges the files of one name, so any of them may decide
    return SUBAGENT in declared or (wanted in BUILT_IN_SUBAGENTS and not declared - {DEFAULT_MODE})


def _config_folders(project_dir: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    home = Path(environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 - Path raises for a missing home
    if not environ.get("OPENCODE_DISABLE_PROJECT_CONFIG"):
        for folder in up_to_the_worktree(project_dir.absolute()):
            yield folder / ".opencode"
    named = environ.get("OPENCODE_CONFIG_DIR")
    if named:
        yield Path(named).absolute()
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "opencode"
    yield home / ".opencode"


def up_to_the_worktree(folder: Path) -> Iterator[Path]:
    """Go up to the root of the git worktree as OpenCode does; outside of one it goes up to the root of all."""
    for above in (folder, *folder.parents):
        yield above
        if (above / ".git").exists():
            return


def _in_folder(folder: Path) -> Iterator[AgentDefinition]:
    for name in AGENT_FOLDERS:
        base = folder / name
        for path in sorted(_markdown_files(base)):
            definition = _definition(path, path.relative_to(base).with_suffix("").as_posix())
            if definition is not None:
                yield definition


def _markdown_files(base: Path) -> Iterator[Path]:
    # links are followed, as OpenCode follows them; a folder met again under another path is not gone into again
    seen: set[str] = set()
    for root, folders, files in os.walk(base, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(root) / name for name in files if name.endswith(".md"))


def _definition(path: Path, filename: str) -> AgentDefinition | None:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_FILE_BYTES:
            return None
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError):
        return None
    if "\0" in text:
        return None
    fields = read_front_matter(text, ("name", "description", "mode"))
    mode = fields.get("mode", "")
    return AgentDefinition(
        filename=filename,
        name=fields.get("name") or filename,
        description=fields.get("description", ""),
        mode=mode if mode in {"primary", SUBAGENT, "all"} else DEFAULT_MODE,
        path=path,
    )
