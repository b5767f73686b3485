"""The tools for templates: over the official client against the real server, and what each of them refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import anyio
import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from mcp_types import TextContent

from meshfleet.errors import MeshfleetError
from meshfleet.ledger import Ledger
from meshfleet.mesh.identity import Caller
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.templates import TemplateDraft, delete_fleet_template, save_fleet_template
from meshfleet.server.tool import Context, Tool
from meshfleet.server.tools import FOR_AGENTS, templates
from tests.mesh.fleets import bytes_of, open_ledger
from tests.server.serving import environ_for, fake_opencode, kill_group, wait_until

TOOLS: Final[dict[str, Tool[Any]]] = {tool.name: tool for tool in vars(templates).values() if isinstance(tool, Tool)}
READ_ONLY: Final = {"list_fleet_templates", "get_fleet_template", "list_fleet_template_versions"}
SERVE: Final = [sys.executable, "-P", "-m", "meshfleet", "serve"]
AGENTS: Final = [{"role": "Explorer", "prompt": "look"}, {"role": "Analyst", "prompt": "think", "agent": "thinker"}]
EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "frontend-bug-bash.json"


class Session(NamedTuple):
    client: Client
    ledger: Ledger
    folder: Path


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """As in conftest, for as long as the module's sessions last."""
    return "asyncio"


@pytest.fixture(scope="module")
async def session(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Session]:
    """A session of the SDK's client with a server that was started in a folder of its own."""
    folder = tmp_path_factory.mktemp("templates")
    file = folder / "ledger" / "agent-mesh.json"
    file.parent.mkdir()
    project = folder / "project"
    project.mkdir()
    environ = environ_for(file, MESHFLEET_OPENCODE=str(fake_opencode(folder)))
    program = StdioServerParameters(command=SERVE[0], args=SERVE[1:], env=environ, cwd=project)
    ledger = open_ledger(file)
    async with Client(program, mode="auto", read_timeout_seconds=20) as client:
        yield Session(client, ledger, project)
    ledger.close()


async def called(session: Session, tool: str, /, **arguments: object) -> dict[str, Any]:
    """Call a tool; what it says is the same as text and as structured content, which the client checks."""
    result = await session.client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    [content] = result.content
    assert isinstance(content, TextContent)
    assert isinstance(result.structured_content, dict)
    assert content.text == json.dumps(result.structured_content, ensure_ascii=False, separators=(",", ":"))
    return result.structured_content


@pytest.mark.anyio
async def test_every_tool_is_offered_with_schemas_and_annotations(session: Session) -> None:
    offered = {tool.name: tool for tool in (await session.client.list_tools()).tools if tool.name in TOOLS}
    assert offered.keys() == TOOLS.keys()
    assert len(offered) == 8
    for tool in offered.values():
        assert tool.description
        assert tool.output_schema is not None
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is (tool.name in READ_ONLY)
        assert tool.name not in FOR_AGENTS
    told = [{"name": t.name, "description": t.description, "inputSchema": t.input_schema} for t in offered.values()]
    assert len(json.dumps(told)) < 5_000, "models pay for these in every turn"


@pytest.mark.anyio
async def test_a_template_is_saved_listed_read_and_deleted(session: Session) -> None:
    saved = await called(session, "save_fleet_template", name="team", agents=AGENTS, description="for bugs")
    assert list(saved) == ["template"]
    first = saved["template"]
    assert list(first) == ["name", "description", "agents", "created_at", "version"]
    assert (first["name"], first["description"], first["agents"], first["version"]) == ("team", "for bugs", AGENTS, 1)
    again = await called(session, "save_fleet_template", name="team", agents=[{**AGENTS[0], "agent": None}])
    second = again["template"]
    assert (second["description"], second["agents"], second["version"]) == ("", AGENTS[:1], 2)
    assert await called(session, "list_fleet_templates") == {"templates": [first, second]}
    assert await called(session, "get_fleet_template", name="team") == {"template": second}
    assert await called(session, "get_fleet_template", name="team", version=1) == {"template": first}
    listed = await called(session, "list_fleet_template_versions", name="team")
    assert listed == {"name": "team", "versions": [first, second]}
    deleted = await called(session, "delete_fleet_template", name="team", version=2)
    assert deleted == {"name": "team", "deleted": [2]}
    third = await called(session, "save_fleet_template", name="team", agents=AGENTS)
    assert third["template"]["version"] == 3
    assert await called(session, "delete_fleet_template", name="team") == {"name": "team", "deleted": [1, 3]}
    assert await called(session, "list_fleet_templates") == {"templates": []}


@pytest.mark.anyio
async def test_a_template_goes_out_to_a_file_and_comes_back(session: Session) -> None:
    imported = await called(session, "import_fleet_template", file_path=str(EXAMPLE))
    assert imported["template"]["name"] == "frontend-bug-bash"
    exported = await called(session, "export_fleet_template", name="frontend-bug-bash", file_path="bash.json")
    path = session.folder / "bash.json"
    assert exported == {"name": "frontend-bug-bash", "version": 1, "file_path": str(path)}
    assert json.loads(path.read_text())["agents"] == json.loads(EXAMPLE.read_text())["agents"]
    twin = await called(session, "import_fleet_template", file_path="bash.json")
    assert twin["template"]["name"].startswith("frontend-bug-bash-2")
    renamed = await called(session, "import_fleet_template", file_path="bash.json", rename="frontend-bug-bash")
    assert (renamed["template"]["name"], renamed["template"]["version"]) == ("frontend-bug-bash", 2)


@pytest.mark.anyio
async def test_a_spec_is_handed_out_without_starting_anything(session: Session) -> None:
    for agents in (AGENTS[:1], AGENTS):
        await called(session, "save_fleet_template", name="spec", agents=agents)
    before = await called(session, "list_fleets")
    assert await called(session, "spawn_from_template", name="spec") == {"spec": {"agents": AGENTS}}
    first = await called(session, "spawn_from_template", name="spec", version=1, spawn=False)
    assert first == {"spec": {"agents": AGENTS[:1]}}
    assert await called(session, "list_fleets") == before


@pytest.mark.anyio
async def test_a_template_is_spawned_and_its_agents_run(session: Session) -> None:
    await called(session, "save_fleet_template", name="run", agents=[*AGENTS[:1], {"role": "B", "prompt": "go"}])
    said = await called(session, "spawn_from_template", name="run", spawn=True)
    assert list(said) == ["spec", "fleet_id", "agent_ids"]
    for id_ in (said["fleet_id"], *said["agent_ids"]):
        assert str(UUID(id_)) == id_

    def rows() -> list[dict[str, Any]]:
        return session.ledger.read(lambda view: view.agents_of(said["fleet_id"]))

    def killed() -> bool:
        for row in rows():
            if row["status"] == "running" and "pid" in row:
                kill_group(row["pid"])
        return all(row["status"] == "failed" for row in rows())

    try:
        assert [row["id"] for row in rows()] == said["agent_ids"]
        assert [(row["role"], row["prompt"]) for row in rows()] == [("Explorer", "look"), ("B", "go")]
        assert {row["cwd"] for row in rows()} == {str(session.folder)}
        await anyio.to_thread.run_sync(wait_until, lambda: all("pid" in row for row in rows()))
    finally:
        await anyio.to_thread.run_sync(wait_until, killed)


class Face(NamedTuple):
    context: Context
    before: dict[str, bytes]


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Generator[Face]:
    """What tools work with, over a ledger nobody may write to since everything here is refused."""
    folder = tmp_path_factory.mktemp("refusals")
    (folder / "ledger").mkdir()
    (folder / "project").mkdir()
    (folder / "project" / "precious.txt").write_text("precious")
    (folder / "project" / "template.json").write_text(EXAMPLE.read_text())
    ledger = open_ledger(folder / "ledger" / "agent-mesh.json")
    for _ in range(3):
        save_fleet_template(ledger, TemplateDraft("team", [AgentSpec("A", "go")]))
    delete_fleet_template(ledger, "team", 2)
    ledger.compact()
    yield Face(Context(ledger, Caller(), None, {}, folder / "project"), bytes_of(folder))
    ledger.close()


GOOD: Final[dict[str, dict[str, Any]]] = {
    "save_fleet_template": {"name": "new", "agents": [{"role": "A", "prompt": "go"}], "description": "x"},
    "list_fleet_templates": {},
    "get_fleet_template": {"name": "team", "version": 1},
    "list_fleet_template_versions": {"name": "team"},
    "delete_fleet_template": {"name": "team", "version": 1},
    "export_fleet_template": {"name": "team", "file_path": "new.json", "version": 1},
    "import_fleet_template": {"file_path": "template.json", "rename": "new"},
    "spawn_from_template": {"name": "team", "version": 1, "spawn": True},
}
REQUIRED: Final = {"name", "agents", "file_path"}
ALL: Final = [(tool, name) for tool, good in GOOD.items() for name in good]
TEXTS: Final = [(tool, name) for tool, name in ALL if isinstance(GOOD[tool][name], str)]
NUMBERS: Final = [(tool, name) for tool, name in ALL if name == "version"]
MISSING: Final = object()


def refused(face: Face, tool: str, **changes: object) -> str:
    """Run a tool with good arguments but for these; returns why it was refused."""
    arguments = {name: value for name, value in {**GOOD[tool], **changes}.items() if value is not MISSING}
    with pytest.raises(MeshfleetError) as refusal:
        TOOLS[tool].run(face.context, arguments)
    assert bytes_of(face.context.cwd.parent) == face.before
    error = str(refusal.value)
    assert len(error) < 1000
    assert error.isprintable()
    assert not error.endswith((".", "!"))
    return error


def test_the_table_knows_every_tool_and_argument() -> None:
    assert GOOD.keys() == TOOLS.keys()
    for name, tool in TOOLS.items():
        assert GOOD[name].keys() == tool.arguments.model_fields.keys()


@pytest.mark.parametrize(("tool", "name"), [(tool, name) for tool, name in ALL if name in REQUIRED])
def test_a_missing_argument_is_named(face: Face, tool: str, name: str) -> None:
    assert refused(face, tool, **{name: MISSING}) == f"{name} is missing; {tool} needs it"


@pytest.mark.parametrize("tool", GOOD)
@pytest.mark.parametrize("name", ["colour", "__proto__", "\x1b[31m", "filePath"])
def test_an_unknown_argument_is_named(face: Face, tool: str, name: str) -> None:
    assert f"is no argument of {tool}, which takes " in refused(face, tool, **{name: 1})


@pytest.mark.parametrize(("tool", "name"), TEXTS)
@pytest.mark.parametrize("value", [7, 1.5, True, [], ["x"], {}, {"__proto__": "y"}], ids=json.dumps)
def test_what_is_no_string_is_not_taken_for_one(face: Face, tool: str, name: str, value: object) -> None:
    assert refused(face, tool, **{name: value}).startswith(f"{name} is {value!r}; it has to be a string")


@pytest.mark.parametrize(("tool", "name"), NUMBERS)
@pytest.mark.parametrize("value", ["1", True, 1.0, 0.5, [], {}, 0, -1, -(10**30)], ids=json.dumps)
def test_a_version_is_a_positive_whole_number(face: Face, tool: str, name: str, value: object) -> None:
    assert refused(face, tool, **{name: value}).startswith(f"version is {value!r}; it has to be ")


@pytest.mark.parametrize(("tool", "name"), NUMBERS)
@pytest.mark.parametrize("value", [2, 4, 10**30])
def test_a_version_that_is_not_there_is_named_with_those_that_are(
    face: Face, tool: str, name: str, value: object
) -> None:
    assert refused(face, tool, **{name: value}) == f"version {value} of 'team' does not exist; its versions are 1, 3"


@pytest.mark.parametrize("value", ["true", 1, 0, None, [], {}], ids=json.dumps)
def test_spawn_is_true_or_false_and_nothing_that_looks_like_it(face: Face, value: object) -> None:
    assert refused(face, "spawn_from_template", spawn=value).startswith(f"spawn is {value!r}; it has to be true or")


@pytest.mark.parametrize(("tool", "name"), [pair for pair in TEXTS if pair[1] != "description"])
@pytest.mark.parametrize(
    "value",
    ["", "  ", "\n", "a\0b", "a\x1b[31mb", "../x", "x/../../y", "missing/x", "ü" * 500_000],
    ids=lambda value: ascii(value[:9]),
)
def test_a_text_that_names_nothing_is_refused_under_its_argument(face: Face, tool: str, name: str, value: str) -> None:
    assert refused(face, tool, **{name: value}).startswith(f"{name} ")


@pytest.mark.parametrize(("tool", "name"), TEXTS)
@pytest.mark.parametrize("value", ["\ud800", "a\udfffb"])
def test_a_lone_surrogate_is_refused_under_its_argument(face: Face, tool: str, name: str, value: str) -> None:
    assert refused(face, tool, **{name: value}).startswith(f"{name} ")


@pytest.mark.parametrize("name", ["Team", "team ", "team@v1", "téam", "a" * 65, "team/x", "team.json"])
@pytest.mark.parametrize(("tool", "argument"), [("save_fleet_template", "name"), ("import_fleet_template", "rename")])
def test_a_new_name_has_the_form_of_the_contract(face: Face, tool: str, argument: str, name: str) -> None:
    assert refused(face, tool, **{argument: name}).startswith(f"{argument} is '")


@pytest.mark.parametrize(
    ("agents", "told"),
    [
        ([], "agents is []; it can't be empty"),
        ({}, "agents is {}; it has to be an array"),
        ("A", "agents is 'A'; it has to be an array"),
        ([None], "agents[0] is None; it has to be an object"),
        ([{}], "agents[0].role is missing; save_fleet_template needs it; agents[0].prompt is missing"),
        ([{"role": "A", "prompt": ""}], "agents[0].prompt is ''; it can't be empty"),
        ([{"role": " ", "prompt": "go"}], "agents[0].role is blank"),
        ([{"role": "A", "prompt": "\t"}], "agents[0].prompt is blank"),
        ([{"role": "A", "prompt": 5}], "agents[0].prompt is 5; it has to be a string"),
        ([{"role": "A", "prompt": "a\0"}], "agents[0].prompt holds a NUL"),
        ([{"role": "A", "prompt": "go", "agent": "-x"}], "agents[0].agent is '-x'"),
        ([{"role": "A", "prompt": "go", "__proto__": {}}], "agents[0].__proto__ is nothing save_fleet_template knows"),
        ([{"role": "A", "prompt": "go"}] * 33, "agents has 33 entries; a template has 1 to 32 agents"),
        ([{"role": "A", "prompt": "x" * 1_100_000}], "agents has, with the description, 1100"),
    ],
)
def test_agents_that_cannot_be_are_refused_with_the_place(face: Face, agents: object, told: str) -> None:
    assert refused(face, "save_fleet_template", agents=agents).startswith(told)


@pytest.mark.parametrize("description", ["\0", "x" * 65_537])
def test_a_description_that_cannot_be_is_refused(face: Face, description: str) -> None:
    assert refused(face, "save_fleet_template", description=description).startswith("description ")


@pytest.mark.parametrize("file_path", ["precious.txt", ".", "/dev/null", "../ledger/agent-mesh.json"])
def test_an_export_overwrites_no_file_that_is_not_a_template(face: Face, file_path: str) -> None:
    assert refused(face, "export_fleet_template", file_path=file_path).startswith("file_path ")


@pytest.mark.parametrize("file_path", ["precious.txt", "nothing.json", ".", "/dev/zero"])
def test_an_import_takes_nothing_but_a_template(face: Face, file_path: str) -> None:
    assert refused(face, "import_fleet_template", file_path=file_path).startswith("file_path ")
