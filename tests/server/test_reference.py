"""docs/tools.md and server.json: each says what the server itself says."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

import meshfleet
from meshfleet.server.reference import form, reference
from meshfleet.server.tools import FOR_AGENTS, TOOLS
from meshfleet.settings import Settings

REPOSITORY: Final = Path(__file__).parents[2]
OWN_VARIABLE: Final = re.compile(r"MESHFLEET_[A-Z_]+")


@pytest.fixture
def server_json() -> dict[str, Any]:
    """What the MCP registry is told."""
    told: dict[str, Any] = json.loads((REPOSITORY / "server.json").read_text())
    return told


def test_the_page_about_tools_is_the_one_the_server_makes() -> None:
    page = (REPOSITORY / "docs/tools.md").read_text()
    assert page == reference(), "docs/tools.md is out of date; run make docs"


def test_the_page_tells_of_every_tool_and_each_of_its_arguments() -> None:
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## )", reference(), re.DOTALL | re.MULTILINE))
    for tool in TOOLS.values():
        assert tool.description in sections[tool.name]
        assert ("An agent's server has it too." in sections[tool.name]) == (tool.name in FOR_AGENTS)
        for name in tool.arguments.model_fields:
            assert f"| `{name}`" in sections[tool.name]


def test_no_cell_of_the_page_is_torn_apart() -> None:
    columns = None
    for line in reference().splitlines():
        if not line.startswith("|"):
            columns = None
            continue
        columns = columns or line.count("|")
        assert line.count("|") == columns, line
        assert line.count("`") % 2 == 0, line


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string"}, "string"),
        ({"enum": ["a", "b"], "type": "string"}, "`a` or `b`"),
        ({"type": ["string", "null"]}, "string or null"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer or null"),
        ({"type": "array", "items": {"type": "string"}}, "array of string"),
        ({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"]}, "`{a, b?}`"),
        ({"type": "object"}, "object"),
        ({}, "any"),
    ],
)
def test_a_schema_is_told_in_a_few_words(schema: dict[str, Any], words: str) -> None:
    assert form(schema) == words


def test_the_registry_is_told_of_this_version_and_of_the_command(server_json: dict[str, Any]) -> None:
    [package] = server_json["packages"]
    assert server_json["version"] == package["version"] == meshfleet.__version__
    assert (package["registryType"], package["identifier"]) == ("pypi", "meshfleet")
    assert package["transport"] == {"type": "stdio"}
    assert [argument["value"] for argument in package["packageArguments"]] == ["serve"]


def test_the_registry_takes_the_name_and_the_description(server_json: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", server_json["name"])
    assert 3 <= len(server_json["name"]) <= 200
    assert 1 <= len(server_json["description"]) <= 100
    assert 1 <= len(server_json["title"]) <= 100


def test_the_readme_which_the_package_carries_says_whose_it_is_as_the_registry_wants_it(
    server_json: dict[str, Any],
) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["name"] == server_json["packages"][0]["identifier"]
    readme = (REPOSITORY / project["readme"]).read_text()
    assert re.findall(r"^<!-- mcp-name: (\S+) -->$", readme, re.MULTILINE) == [server_json["name"]]


def test_the_registry_is_told_nothing_that_its_schema_does_not_have(server_json: dict[str, Any]) -> None:
    """As the schema of 2025-12-11 has them; it refuses little else, and lets unknown keys through unread."""
    assert server_json["$schema"] == "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
    [package] = server_json["packages"]
    assert server_json.keys() <= {"$schema", "name", "title", "description", "version", "packages"}
    inputs = {"description", "default", "value", "choices", "format", "placeholder", "isSecret"}
    assert package.keys() <= {
        *("registryType", "registryBaseUrl", "identifier", "version", "runtimeHint", "transport"),
        *("packageArguments", "environmentVariables"),
    }
    for argument in package["packageArguments"]:
        assert argument.keys() <= {*inputs, "type", "valueHint", "isRepeated"}
        assert argument["type"] == "positional"
    for variable in package["environmentVariables"]:
        assert variable.keys() <= {*inputs, "name"}
        assert variable.get("format", "string") in {"string", "number", "boolean", "filepath"}
        texts = [value for name, value in variable.items() if name != "choices"] + variable.get("choices", [])
        assert all(isinstance(text, str) for text in texts)


def test_the_registry_is_told_of_variables_there_are_with_values_they_take(
    server_json: dict[str, Any], tmp_path: Path
) -> None:
    variables = {one["name"]: one for one in server_json["packages"][0]["environmentVariables"]}
    read = "".join(path.read_text() for path in (REPOSITORY / "src").rglob("*.py"))
    for name, told in variables.items():
        assert OWN_VARIABLE.fullmatch(name)
        assert f'"{name.removeprefix("MESHFLEET_")}"' in read or f'"{name}"' in read
        assert told["description"]
        assert "isRequired" not in told
        for value in told.get("choices", []):
            Settings.from_environ({"HOME": str(tmp_path), name: value})
    defaults = {name: told["default"] for name, told in variables.items() if "default" in told}
    home = {"HOME": str(tmp_path)}
    assert Settings.from_environ(home | defaults) == Settings.from_environ(home)
