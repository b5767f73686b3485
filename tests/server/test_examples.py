"""The fleets of `examples/` run as they are: imported, spawned by the server, and found by what they can do."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from meshfleet.mesh.briefing import RESULTS
from meshfleet.server.tools import TOOLS, offered_tools
from tests.agents.fake_runtime import install
from tests.server.serving import SERVE, RawServer, environ_for, raw_server, said_in, wait_until
from tests.server.streams_helpers import line

FOLDER: Final = Path(__file__).parents[2] / "examples"
EXAMPLES: Final = sorted(path.stem for path in FOLDER.glob("*.json"))


class Project(NamedTuple):
    """A server that was started in a project, and its ledger."""

    server: RawServer
    folder: Path
    ledger_file: Path

    def ask(self, tool: str, /, **arguments: object) -> dict[str, Any]:
        """Call a tool that is not to refuse."""
        return said_in(self.server.ask(line("tools/call", 1, name=tool, arguments=arguments))["result"])

    def spawn_example(self, name: str) -> dict[str, Any]:
        """Import an example and start it, as examples/README.md says; what starting it said."""
        assert self.ask("import_fleet_template", file_path=str(FOLDER / f"{name}.json"))["template"]["name"] == name
        return self.ask("spawn_from_template", name=name, spawn=True)


@pytest.fixture
def project(ledger_file: Path, tmp_path: Path) -> Generator[Project]:
    """A project whose agents answer with their prompts."""
    folder = tmp_path / "project"
    folder.mkdir()
    environ = environ_for(ledger_file, MESHFLEET_OPENCODE=str(install(tmp_path)), MESHFLEET_START_STAGGER_MS="0")
    in_project = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(folder), *SERVE]
    with raw_server(environ, in_project) as server:
        yield Project(server, folder, ledger_file)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_s_agents_all_run_with_their_own_prompts_in_the_project_and_its_fleet_completes(
    project: Project, name: str
) -> None:
    wanted = json.loads((FOLDER / f"{name}.json").read_text())["agents"]
    said = project.spawn_example(name)
    assert said["spec"]["agents"] == wanted
    fleet_id: str = said["fleet_id"]
    called = [one["role"] for one in wanted if one.get("start") == "on_message"]
    for role in called:
        handed = {"from_agent_id": "me", "to_agent_id": role, "type": "handoff", "payload": f"work for the {role}"}
        project.ask("send_message", fleet_id=fleet_id, **handed)
    wait_until(lambda: project.ask("fleet_status", fleet_id=fleet_id)["fleet"]["status"] == "complete")
    agents = project.ask("fleet_status", fleet_id=fleet_id)["agents"]
    assert [agent["id"] for agent in agents] == said["agent_ids"]
    assert {agent["cwd"] for agent in agents} == {str(project.folder)}
    results = project.ask("collect_results", fleet_id=fleet_id)["results"]
    for spec, result in zip(wanted, results, strict=True):
        told = result["output"].removeprefix(spec["prompt"])
        assert (result["role"], result["output"]) == (spec["role"], spec["prompt"] + told)
        assert (RESULTS in told) is bool(spec.get("after"))
        assert (f"work for the {spec['role']}" in told) is (spec["role"] in called)
        assert bool(told) is bool(spec.get("after") or spec["role"] in called)
    runs = project.ledger_file.with_name("agent-mesh.runs")
    assert {path.parent.parent.name for path in runs.glob("*/*/prompt.txt")} == set(said["agent_ids"])
    assert project.server.stderr == ""


@pytest.mark.slow
def test_a_ui_bug_is_routed_to_all_three_of_the_bug_bash_without_anyone_registering_anything(project: Project) -> None:
    others = [{"role": role, "prompt": "answer ok"} for role in ("Database expert", "Release engineer", "Go expert")]
    project.ask("spawn_fleet", agents=others)
    said = project.spawn_example("frontend-bug-bash")
    matches = project.ask("route_work", description="ui bug", top_n=3)["matches"]
    assert {match["agent_id"] for match in matches} == set(said["agent_ids"])
    assert {match["role"] for match in matches} == {"React expert", "CSS expert", "A11y expert"}
    assert {match["fleet_id"] for match in matches} == {said["fleet_id"]}
    assert all(match["matched"] for match in matches)
    assert project.ask("get_health")["capabilities"] == 0


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_tool_that_an_example_s_prompts_name_is_one_its_agents_have(name: str) -> None:
    prompts = " ".join(agent["prompt"] for agent in json.loads((FOLDER / f"{name}.json").read_text())["agents"])
    named = set(re.findall(r"[a-z_]+", prompts)) & TOOLS.keys()
    assert {"wait_for_messages", "ack_message"} <= named <= offered_tools(in_agent_mode=True).keys()
    assert "`sleep" not in prompts
