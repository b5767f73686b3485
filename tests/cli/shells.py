"""A shell in a project with a ledger of its own, in which `meshfleet` is run as people and scripts run it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from meshfleet.ledger import Ledger
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.specs import AgentSpec, FleetOptions
from meshfleet.model import Row
from tests.cli import prepared
from tests.mesh.fleets import open_ledger, start_all
from tests.server.serving import environ_for


class Shell:
    """A folder with a ledger of its own, where the command is run."""

    def __init__(self, folder: Path, ledger_file: Path, opencode: Path) -> None:
        self.folder = folder
        self.ledger_file = ledger_file
        self.environ = environ_for(
            ledger_file,
            MESHFLEET_OPENCODE=str(opencode),
            MESHFLEET_START_STAGGER_MS="0",
            MESHFLEET_RETRY_BASE_MS="1",
            OPENCODE_DB="made",
        )

    def run(self, *arguments: str, says: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        """Run `meshfleet` with these arguments, and this on standard input."""
        return prepared.run(*arguments, cwd=self.folder, environ={**self.environ, **more}, says=says)

    def ledger(self) -> Ledger:
        """Another process's hold on the same ledger."""
        return open_ledger(self.ledger_file)

    def fleet(self, *prompts: str, max_attempts: int = 1) -> tuple[str, list[str]]:
        """A fleet that waits to be started by anyone."""
        ledger = self.ledger()
        specs = [AgentSpec(f"Agent {place}", prompt) for place, prompt in enumerate(prompts)]
        options = FleetOptions(max_attempts=max_attempts)
        made = create_fleet(ledger, specs, cwd=str(self.folder), options=options)
        ledger.close()
        return made

    def agents(self, fleet_id: str) -> list[Row]:
        """The rows of a fleet's agents."""
        ledger = self.ledger()
        rows = ledger.read(lambda view: view.agents_of(fleet_id))
        ledger.close()
        return rows

    def failed(self, *prompts: str) -> tuple[str, list[str]]:
        """A fleet whose agents have failed, and whose prompts are what they do when they go on."""
        ledger = self.ledger()
        specs = [AgentSpec(f"Agent {place}", prompt) for place, prompt in enumerate(prompts)]
        made = create_fleet(ledger, specs, cwd=str(self.folder), options=FleetOptions(max_attempts=1))
        for agent_id, number in start_all(ledger):
            settle_attempt(ledger, agent_id, number, Outcome(ok=False, error="it broke"))
        ledger.close()
        return made


@pytest.fixture
def shell(tmp_path: Path, ledger_file: Path, fake_opencode: Path) -> Shell:
    folder = tmp_path / "project"
    folder.mkdir()
    return Shell(folder, ledger_file, fake_opencode)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    (line,) = done.stderr.splitlines()
    assert line.startswith("meshfleet: ")
    return line.removeprefix("meshfleet: ")
