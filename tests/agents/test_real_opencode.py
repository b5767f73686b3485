"""The real OpenCode under the supervisor: what reaches the model, which agent runs, and how failures are judged.

One fleet serves all tests here, since each run costs several seconds of processor time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import pytest

from meshfleet.agents.stopping import stop_attempt
from meshfleet.agents.supervisor import Supervisor
from meshfleet.demo.conversation import Conversation, Fail, Reply, Say
from meshfleet.demo.project import create_demo_folder, scripted_environment
from meshfleet.demo.scripted_model import ScriptedModel
from meshfleet.ledger import Ledger
from meshfleet.mesh.fleets import create_fleet, fleet_status
from meshfleet.mesh.specs import AgentSpec, FleetOptions
from meshfleet.model import Row
from meshfleet.settings import Settings
from tests.agents.agents_helpers import members_of

pytestmark = pytest.mark.opencode

LARGE_PROMPT: Final = (
    '--agent "nobody" \'single\' `back` $HOME \\n\n\n\ttabs, "quotes" and ünïcode \u2028\n' * 16_384
)[: 1024 * 1024]
CRITIC: Final = "---\ndescription: finds fault\nmode: subagent\n---\nYou are the one and only critic.\n"


@dataclass(frozen=True)
class Run:
    """What came of the fleet: its agents by role, and what the model was asked."""

    agents: dict[str, Row]
    requests: tuple[Conversation, ...]


def script(conversation: Conversation) -> Reply:
    """Answer with who one is; one prompt makes the provider refuse."""
    if conversation.prompt.startswith("refuse"):
        return Fail(400, "this model is out of order")
    return Say("critic" if "one and only critic" in conversation.system else "somebody")


async def supervise(supervisor: Supervisor, ledger: Ledger, fleet_id: str, agent_ids: list[str]) -> None:
    """Supervise until the fleet has ended, and leave no process behind even if it doesn't."""
    try:
        with anyio.fail_after(150):
            async with supervisor:
                while fleet_status(ledger, fleet_id)["fleet"]["status"] == "running":
                    await supervisor.look()
                    await anyio.sleep(0.05)
    finally:
        for agent_id in agent_ids:
            await stop_attempt(f"{agent_id}/1", None, grace_s=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, opencode_binary: Path) -> Iterator[Run]:
    """Run four agents once: a large prompt, a premade subagent, an agent nobody defined, a provider that refuses."""
    folder = create_demo_folder(tmp_path_factory.mktemp("real"))
    definition = folder.project / ".opencode" / "agent" / "critic.md"
    definition.parent.mkdir(parents=True)
    definition.write_text(CRITIC)
    settings = Settings(folder.ledger)
    ledger = Ledger.from_settings(settings)
    specs = [
        AgentSpec("Large", LARGE_PROMPT),
        AgentSpec("Critic", "who are you?", "critic"),
        AgentSpec("Nobody", "who are you?", "nobody-defined-this"),
        AgentSpec("Refused", "refuse"),
    ]
    with ScriptedModel(script) as model:
        environ = scripted_environment(folder, model.base_url, os.environ)
        del environ["OPENCODE_DISABLE_PROJECT_CONFIG"]  # the premade agent is one of the project's
        supervisor = Supervisor(ledger, settings, {**environ, "MESHFLEET_OPENCODE": str(opencode_binary)})
        once = FleetOptions(max_attempts=1)
        fleet_id, agent_ids = create_fleet(ledger, specs, cwd=str(folder.project), options=once)
        anyio.run(supervise, supervisor, ledger, fleet_id, agent_ids)
        agents = {agent["role"]: agent for agent in fleet_status(ledger, fleet_id)["agents"]}
        yield Run(agents, model.requests)
    ledger.close()
    assert [members_of(f"{agent_id}/1", None) for agent_id in agent_ids] == [[], [], [], []]


def test_a_prompt_of_a_mebibyte_reaches_the_model_unchanged(run: Run) -> None:
    prompts = {request.prompt for request in run.requests if len(request.prompt) > 100_000 and request.tools}
    assert prompts == {LARGE_PROMPT}
    assert run.agents["Large"]["status"] == "complete"


def test_a_premade_subagent_runs_as_itself(run: Run) -> None:
    assert (run.agents["Critic"]["status"], run.agents["Critic"]["output"]) == ("complete", "critic")


def test_an_agent_nobody_defined_fails_instead_of_running_as_another(run: Run) -> None:
    agent = run.agents["Nobody"]
    assert (agent["status"], agent["reason"]) == ("failed", "wrong_agent")
    assert "nobody-defined-this" in agent["error"]


def test_a_refusal_of_the_provider_is_told_in_its_own_words(run: Run) -> None:
    agent = run.agents["Refused"]
    assert (agent["status"], agent["reason"]) == ("failed", "provider")
    assert "this model is out of order" in agent["error"]


def test_each_agent_is_told_who_it_is_and_has_its_peers_tools(run: Run) -> None:
    request = next(request for request in run.requests if request.prompt == "who are you?" and request.tools)
    assert "You are " in request.system
    assert " of fleet " in request.system
    assert f"- Large: {run.agents['Large']['id']}" in request.system
    assert "meshfleet_send_message" in request.tools
    assert "meshfleet_spawn_fleet" in request.tools
    assert "meshfleet_save_fleet_template" not in request.tools
