"""Templates as files: what is written, what is never overwritten, and what an import refuses."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from meshfleet.errors import Conflict, Invalid, MeshfleetError, NotFound, Unavailable
from meshfleet.ledger import Ledger
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.template_files import export_fleet_template, import_fleet_template, read_agents_json
from meshfleet.mesh.templates import (
    LARGEST_TEMPLATE,
    TemplateDraft,
    get_fleet_template,
    list_fleet_templates,
    save_fleet_template,
    specs_of_template,
)
from meshfleet.model import now_ms
from tests.mesh.fleets import bytes_of, open_ledger

EXAMPLES: Final = sorted((Path(__file__).parents[2] / "examples").glob("*.json"))
AGENTS: Final = [AgentSpec("Explorer", "look, für 1 < 2"), AgentSpec("Analyst", "think", "thinker")]
FILE: Final = {
    "schema": "meshfleet-template-v1",
    "name": "given",
    "version": 3,
    "description": "for bugs",
    "agents": [{"role": "A", "prompt": "go"}],
    "exported_at": 1,
}


@pytest.fixture
def ledger(ledger_file: Path) -> Generator[Ledger]:
    """A ledger with two versions of one template."""
    ledger = open_ledger(ledger_file)
    save_fleet_template(ledger, TemplateDraft("team", [AgentSpec("Old", "look")], "first"))
    save_fleet_template(ledger, TemplateDraft("team", AGENTS, "second"))
    yield ledger
    ledger.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder relative paths start from."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def export(ledger: Ledger, folder: Path, file_path: str, version: int | None = None) -> dict[str, Any]:
    return export_fleet_template(ledger, "team", file_path, version, cwd=folder)


def written(path: Path, document: object = FILE, **changes: object) -> str:
    """Write a template file with these changes, those to Ellipsis left out; returns its path."""
    if isinstance(document, dict):
        document = {key: value for key, value in {**document, **changes}.items() if value is not ...}
    path.write_text(json.dumps(document))
    return str(path)


def refused(ledger: Ledger, folder: Path, act: Callable[[], object], kind: type[MeshfleetError]) -> str:
    """Why something was refused; neither the ledger nor the folder may have changed a byte."""
    before = bytes_of(ledger.data_file.parent), bytes_of(folder)
    with pytest.raises(kind) as refusal:
        act()
    assert (bytes_of(ledger.data_file.parent), bytes_of(folder)) == before
    error = str(refusal.value)
    assert error.isprintable()
    assert len(error) < 1000
    return error


def test_an_exported_template_is_a_private_file_of_the_contract(ledger: Ledger, folder: Path) -> None:
    before = now_ms()
    path = folder / "team.json"
    assert export(ledger, folder, "team.json") == {"name": "team", "version": 2, "file_path": str(path)}
    document = json.loads(path.read_text())
    assert before <= document.pop("exported_at") <= now_ms()
    template = get_fleet_template(ledger, "team")["template"]
    assert document == {
        "schema": "meshfleet-template-v1",
        "name": "team",
        "version": 2,
        "description": "second",
        "agents": template["agents"],
    }
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(folder.iterdir()) == [path]


def test_an_export_replaces_an_exported_template_and_takes_an_absolute_path(ledger: Ledger, folder: Path) -> None:
    path = folder / "team.json"
    for version, description in ((2, "second"), (1, "first")):
        export(ledger, folder.parent, str(path), version)
        assert json.loads(path.read_text())["description"] == description
    assert list(folder.iterdir()) == [path]


def test_what_is_exported_can_be_imported_elsewhere(ledger: Ledger, folder: Path, tmp_path: Path) -> None:
    export(ledger, folder, "team.json")
    other = open_ledger(tmp_path / "other" / "agent-mesh.json")
    row = import_fleet_template(other, "team.json", cwd=folder)["template"]
    assert (row["name"], row["version"], row["description"]) == ("team", 1, "second")
    assert specs_of_template(row) == AGENTS
    other.close()


def test_the_largest_template_survives_export_and_import(ledger: Ledger, folder: Path) -> None:
    agents = [AgentSpec("A", "\n" * (LARGEST_TEMPLATE // 64 - 32)) for _ in range(31)] + [AgentSpec("A", "x")]
    agents = [AgentSpec(spec.role, f"x{spec.prompt}", "b") for spec in agents]
    save_fleet_template(ledger, TemplateDraft("n" * 64, agents))
    export_fleet_template(ledger, "n" * 64, "large.json", cwd=folder)
    row = import_fleet_template(ledger, "large.json", "copy", cwd=folder)["template"]
    assert specs_of_template(row) == agents


@pytest.mark.parametrize(
    ("file_path", "told"),
    [
        ("", "file_path is blank"),
        (" \n", "file_path is blank"),
        ("a\0b", "file_path holds a NUL at character 1"),
        ("a\ud800", "file_path holds a lone surrogate"),
        ("a\nb", "holds a control character"),
        ("\x1b[31m", "holds a control character"),
        ("x" * 5_000, "file_path has 5000 bytes; at most 4096"),
        ("x" * 300, "failed with 'file name too long'"),
        ("../team.json", "name the file without '..'"),
        ("a/../team.json", "name the file without '..'"),
        ("..", "name the file without '..'"),
        (".", "names a folder"),
        ("new/", "names a folder"),
        ("/", "names a folder"),
        ("missing/team.json", "lies in no folder that exists"),
        ("plain.txt/team.json", "lies in no folder that exists"),
        ("~/team.json", "lies in no folder that exists"),
        ("folder", "is a folder; name a file in it"),
        ("link.json", "is a symlink, which is not followed"),
        ("dangling.json", "is a symlink, which is not followed"),
        ("fifo", "exists and is no exported template, so it stays"),
        ("/dev/null", "exists and is no exported template"),
        ("plain.txt", "exists and is no exported template"),
        ("empty.json", "exists and is no exported template"),
        ("ledger.json", "exists and is no exported template"),
        ("large.json", "exists and is no exported template"),
    ],
)
def test_an_export_never_touches_what_is_no_template(ledger: Ledger, folder: Path, file_path: str, told: str) -> None:
    (folder / "folder").mkdir()
    template = written(folder / "template.json")
    (folder / "link.json").symlink_to(template)
    (folder / "dangling.json").symlink_to(folder / "nothing")
    (folder / "plain.txt").write_text("precious")
    (folder / "empty.json").touch()
    written(folder / "ledger.json", {"schema_version": 2, "templates": {}})
    written(folder / "large.json", description="x" * 1_048_577)
    os.mkfifo(folder / "fifo")
    error = refused(ledger, folder, lambda: export(ledger, folder, file_path), MeshfleetError)
    assert error.startswith("file_path ")
    assert told in error


@pytest.mark.parametrize("name", ["agent-mesh.journal.7.ndjson", "agent-mesh.lock", "agent-mesh.compact.lock"])
def test_an_export_takes_no_name_the_ledger_will_want(ledger: Ledger, folder: Path, name: str) -> None:
    (folder / "way").symlink_to(ledger.data_file.parent)
    for file_path in (str(ledger.data_file.with_name(name)), f"way/{name}"):
        error = refused(ledger, folder, partial(export, ledger, folder, file_path), Conflict)
        assert "is one of the ledger's own names" in error
    written_beside = export(ledger, folder, str(ledger.data_file.with_name("team.json")))
    assert Path(written_beside["file_path"]).exists()


def test_an_export_the_system_refuses_half_way_leaves_nothing_behind(ledger: Ledger, folder: Path) -> None:
    ledger.compact()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
    try:
        with pytest.raises(Unavailable) as refusal:
            export(ledger, folder, "team.json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "team.json' can't be used: to write it failed with 'file too large'" in str(refusal.value)
    assert list(folder.iterdir()) == []


def test_an_export_of_what_is_not_there_writes_nothing(ledger: Ledger, folder: Path) -> None:
    error = refused(ledger, folder, lambda: export(ledger, folder, "x.json", 3), NotFound)
    assert error == "version 3 of 'team' does not exist; its versions are 1, 2"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schema": ...}, "schema is None; an exported template has 'meshfleet-template-v1'"),
        ({"schema": "meshfleet-template-v2"}, "schema is 'meshfleet-template-v2'; an exported template has"),
        ({"schema": ["meshfleet-template-v1"]}, "schema is ['meshfleet-template-v1']"),
        ({"name": ...}, "name is missing; it has to be a string"),
        ({"name": 5}, "name is 5; it has to be a string"),
        ({"name": None}, "name is None; it has to be a string"),
        ({"name": "Given"}, "name is 'Given'; it has to be 1 to 64 of a-z"),
        ({"name": "../given"}, "name is '../given'; it has to be 1 to 64 of a-z"),
        ({"version": "1"}, "version is '1'; it has to be a positive whole number"),
        ({"version": 0}, "version is 0; it has to be a positive whole number"),
        ({"version": True}, "version is True; it has to be a positive whole number"),
        ({"version": 1.0}, "version is 1.0; it has to be a positive whole number"),
        ({"version": 10**20, "exported_at": None}, "exported_at is None; it has to be a positive whole number"),
        ({"description": 5}, "description is 5; it has to be a string"),
        ({"description": None}, "description is None; it has to be a string"),
        ({"description": "\0"}, "description holds a NUL at character 0"),
        ({"description": "x" * 65_537}, "description has 65537 bytes; at most 65536"),
        ({"agents": ...}, "agents is missing; it has to be an array"),
        ({"agents": {}}, "agents is {}; it has to be an array"),
        ({"agents": []}, "agents has 0 entries; a template has 1 to 32 agents"),
        ({"agents": [None] * 33}, "agents has 33 entries; a template has 1 to 32 agents"),
        ({"agents": ["A"]}, "agents[0] is 'A'; it has to be an object"),
        ({"agents": [{}]}, "agents[0].role is missing; every agent needs one"),
        ({"agents": [{"role": "A"}]}, "agents[0].prompt is missing; every agent needs one"),
        ({"agents": [{"role": 5, "prompt": "go"}]}, "agents[0].role is 5; it has to be a string"),
        ({"agents": [{"role": "A", "prompt": None}]}, "agents[0].prompt is None; it has to be a string"),
        ({"agents": [{"role": " ", "prompt": "go"}]}, "agents[0].role is blank"),
        ({"agents": [{"role": "A", "prompt": "\ud800"}]}, "agents[0].prompt holds a lone surrogate at character 0"),
        ({"agents": [{"role": "A", "prompt": "go", "agent": 7}]}, "agents[0].agent is 7; it has to be a string"),
        ({"agents": [{"role": "A", "prompt": "go", "model": "x"}]}, "agents[0] has the unknown key 'model'"),
        ({"agents": [{"role": "A", "prompt": "go", "__proto__": {}}]}, "agents[0] has the unknown key '__proto__'"),
        ({"agents": [{"role": "A", "prompt": "go", "\ud800\x1b": 1}]}, r"the unknown key '\ud800\x1b'"),
        ({"colour": "red"}, "the unknown key 'colour' is there; a template has schema, name, version"),
        ({"__proto__": {"x": 1}}, "the unknown key '__proto__' is there"),
    ],
)
def test_an_import_refuses_by_name_what_a_template_cannot_be(
    ledger: Ledger, folder: Path, changes: dict[str, Any], told: str
) -> None:
    path = written(folder / "given.json", **changes)
    error = refused(ledger, folder, lambda: import_fleet_template(ledger, path, cwd=folder), Invalid)
    assert error.startswith(f"file_path {path!r} can't be imported: ")
    assert told in error


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is no JSON: line 1, column 1: expecting value"),
        (b"{", "it is no JSON: line 1, column 2"),
        (b'["\x00"]', "it is no JSON: line 1, column 3: invalid control character"),
        (b"[]", "schema is missing"),
        (b"null", "schema is missing"),
        (b'"meshfleet-template-v1"', "schema is missing"),
        (b'{"schema":"\xff"}', "it is no JSON: byte 11 is no UTF-8"),
        ("{}".encode("utf-16"), "it is no JSON: byte 0 is no UTF-8"),
        (b'{"schema":NaN}', "it is no JSON: NaN is no JSON value"),
        (b'{"version":1' + b"0" * 5_000 + b"}", "it holds a number of too many digits"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b'{"name":"a","name":"b"}', "the key 'name' is there more than once"),
        (b'{"agents":[{"role":"a","role":"b"}]}', "the key 'role' is there more than once"),
        (json.dumps(FILE).encode().ljust(1_048_577), "it has more than 1048576 bytes"),
        (b"x" * 2_000_000, "it has more than 1048576 bytes"),
    ],
)
def test_an_import_refuses_what_is_no_json_or_too_much_of_it(
    ledger: Ledger, folder: Path, content: bytes, told: str
) -> None:
    (folder / "given.json").write_bytes(content)
    error = refused(ledger, folder, lambda: import_fleet_template(ledger, "given.json", cwd=folder), Invalid)
    assert error.startswith("file_path '")
    assert told in error
    assert not error.endswith(" at")


@pytest.mark.parametrize(
    ("file_path", "kind", "told"),
    [
        ("", Invalid, "is blank"),
        ("a\0b", Invalid, "holds a NUL"),
        ("../given.json", Invalid, "without '..'"),
        ("given.json/", Invalid, "names a folder"),
        ("nothing.json", NotFound, "does not exist; name a file that does"),
        ("given.json/x", Unavailable, "failed with 'not a directory'"),
        ("folder", Invalid, "is no regular file"),
        ("fifo", Invalid, "is no regular file"),
        ("/dev/zero", Invalid, "is no regular file"),
        ("loop", Unavailable, "failed with 'too many levels of symbolic links'"),
    ],
)
def test_an_import_reads_nothing_but_a_file(
    ledger: Ledger, folder: Path, file_path: str, kind: type[MeshfleetError], told: str
) -> None:
    written(folder / "given.json")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "fifo")
    error = refused(ledger, folder, lambda: import_fleet_template(ledger, file_path, cwd=folder), kind)
    assert error.startswith("file_path ")
    assert told in error


def test_a_file_of_exactly_the_largest_size_and_one_behind_a_symlink_are_read(ledger: Ledger, folder: Path) -> None:
    (folder / "given.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(FILE).encode().ljust(1_048_573))
    (folder / "link.json").symlink_to("given.json")
    row = import_fleet_template(ledger, "link.json", cwd=folder)["template"]
    assert (row["name"], row["version"]) == ("given", 1)


def test_what_an_import_does_not_need_may_be_missing(ledger: Ledger, folder: Path) -> None:
    path = written(folder / "given.json", version=..., description=..., exported_at=...)
    assert import_fleet_template(ledger, path, cwd=folder)["template"]["description"] == ""


def test_a_new_name_replaces_one_that_cannot_be_and_is_checked_first(ledger: Ledger, folder: Path) -> None:
    path = written(folder / "given.json", name="Given Name")
    assert import_fleet_template(ledger, path, "given", cwd=folder)["template"]["name"] == "given"
    act = partial(import_fleet_template, ledger, "nothing", "No Name", cwd=folder)
    assert refused(ledger, folder, act, Invalid).startswith("rename is 'No Name'; it has to be 1 to 64")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("5", "agents is 5; it has to be an array"),
        ("{}", "agents is missing"),
        ('{"agents":[],"name":"x"}', "the unknown key 'name' is there; there may be agents and description"),
        (json.dumps(FILE), "an exported template is for meshfleet template import"),
    ],
)
def test_agents_alone_are_read_and_nothing_else(text: str, told: str) -> None:
    with pytest.raises(Invalid) as refusal:
        read_agents_json(text.encode())
    assert told in str(refusal.value)


def test_there_are_examples_of_each_pattern() -> None:
    assert [path.stem for path in EXAMPLES] == ["design-debate", "feature-pipeline", "frontend-bug-bash", "test-rescue"]
    assert all(f"({path.name})" in path.with_name("README.md").read_text() for path in EXAMPLES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_imported_and_spawned_as_it_is(ledger: Ledger, folder: Path, path: Path) -> None:
    row = import_fleet_template(ledger, str(path), cwd=folder)["template"]
    assert row["name"] == path.stem
    assert row["description"]
    specs = specs_of_template(row)
    roles = [spec.role for spec in specs]
    assert len(set(roles)) == len(roles) >= 3
    for spec in specs:
        assert spec.prompt.startswith(
            (f"You are the {spec.role},", f"You are the {spec.role}.", f"You are the {spec.role} ")
        )
        assert any(f"the {other}" in spec.prompt for other in roles if other != spec.role) or "'*'" in spec.prompt
        assert {"wait_for_messages", "ack_message"} <= set(spec.prompt.replace(",", " ").split())
    _, agent_ids = create_fleet(ledger, specs, cwd=str(folder))
    assert len(agent_ids) == len(specs)
    assert [template["name"] for template in list_fleet_templates(ledger)["templates"]].count(path.stem) == 1


def test_the_bug_bash_has_the_three_roles_routing_is_shown_with() -> None:
    agents = json.loads((EXAMPLES[0].parent / "frontend-bug-bash.json").read_text())["agents"]
    assert [agent["role"] for agent in agents] == ["React expert", "CSS expert", "A11y expert"]
