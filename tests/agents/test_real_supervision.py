"""The real OpenCode when its server is killed, when it is cancelled, and when it is resumed: three runs in all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from meshfleet.agents.process import ProcessIdentity
from meshfleet.demo.conversation import Call, Conversation, Reply, Say
from meshfleet.demo.project import create_demo_folder, scripted_environment
from meshfleet.demo.scripted_model import ScriptedModel
from meshfleet.ledger import Ledger
from meshfleet.mesh.briefing import GO_ON
from meshfleet.mesh.cancelling import cancel
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.resuming import resume
from meshfleet.mesh.specs import AgentSpec
from meshfleet.model import Row
from meshfleet.settings import Settings
from tests.agents.agents_helpers import eventually_within, members_of

pytestmark = [pytest.mark.opencode, pytest.mark.slow]

WAIT_S = 90.0
STUBBORN = "trap '' TERM; echo up >deaf-to-term; while :; do sleep 1; done"


@dataclass
class Seen:
    """What was seen of two agents: one outlived its server, one was cancelled and resumed."""

    survivor: Row
    survivor_attempt: Row
    adopters: set[int]
    first_server: int
    at_work: list[ProcessIdentity]
    cancelled: Row
    left: list[ProcessIdentity]
    resumed: Row
    requests: tuple[Conversation, ...]


@contextmanager
def serve(environ: Mapping[str, str], cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `meshfleet serve` as a client would, until its input ends."""
    command = [sys.executable, "-P", "-m", "meshfleet", "serve"]
    with subprocess.Popen(command, env=environ, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        try:
            yield server
        finally:
            if server.stdin is not None:
                server.stdin.close()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, opencode_binary: Path) -> Iterator[Seen]:
    """Kill the server of two agents in mid-run, cancel one of them under the next server, and resume it."""
    folder = create_demo_folder(tmp_path_factory.mktemp("real"))
    go_on = threading.Event()

    def script(conversation: Conversation) -> Reply:
        if GO_ON in conversation.prompt:
            return Say("I went on")
        if conversation.prompt == "be stubborn":
            return Call("bash", {"command": STUBBORN, "description": "go on whatever is asked", "timeout": 600_000})
        go_on.wait(WAIT_S)
        return Say("I outlived my server")

    ledger = Ledger.from_settings(Settings(folder.ledger))
    with ScriptedModel(script) as model:
        environ = {
            **scripted_environment(folder, model.base_url, os.environ),
            "MESHFLEET_OPENCODE": str(opencode_binary),
            "MESHFLEET_DATA_FILE": str(folder.ledger),
            "MESHFLEET_SSE_PORT": "0",
        }

        def agent(agent_id: str) -> Row:
            return ledger.read(lambda view: view.get("agents", agent_id)) or {}

        def wait_until(happened: Callable[[], bool], what: str) -> None:
            eventually_within(WAIT_S, happened, what)

        specs = [AgentSpec("Survivor", "take your time"), AgentSpec("Stubborn", "be stubborn")]
        _, (survivor, stubborn) = create_fleet(ledger, specs, cwd=str(folder.project))
        try:
            with serve(environ, folder.project) as first:
                wait_until((folder.project / "deaf-to-term").exists, "the bash tool runs")
                model.wait_for_request(lambda request: request.prompt == "take your time", WAIT_S)
                first.send_signal(signal.SIGKILL)
                first.wait(20)
            go_on.set()
            with serve(environ, folder.project) as second:
                wait_until(lambda: agent(survivor)["status"] == "complete", "the answer is in the ledger")
                adopters = {agent(one)["supervisor"]["pid"] for one in (survivor, stubborn)}
                assert adopters == {second.pid}
                at_work = members_of(f"{stubborn}/1", None)
                cancel(ledger, agent_id=stubborn)
                wait_until(lambda: agent(stubborn)["status"] == "cancelled", "the stubborn one is cancelled")
                cancelled, left = agent(stubborn), members_of(f"{stubborn}/1", None)
                resume(ledger, agent_id=stubborn)
                wait_until(lambda: "completed_at" in agent(stubborn), "the stubborn one has gone on")
            attempt = ledger.read(lambda view: view.get("attempts", f"{survivor}/1")) or {}
            yield Seen(
                agent(survivor), attempt, adopters, first.pid, at_work, cancelled, left, agent(stubborn), model.requests
            )
        finally:
            ledger.close()
            for marker in (f"{survivor}/1", f"{stubborn}/1", f"{stubborn}/2"):
                for process in members_of(marker, None):
                    os.kill(process.pid, signal.SIGKILL)


def test_the_result_of_an_agent_whose_server_was_killed_in_mid_run_is_there(seen: Seen) -> None:
    assert (seen.survivor["status"], seen.survivor["output"]) == ("complete", "I outlived my server")
    assert (seen.survivor_attempt["exit"], seen.survivor["attempt"]) == (0, 1)
    assert seen.first_server not in seen.adopters


def test_cancelling_an_agent_whose_bash_tool_is_deaf_to_term_leaves_no_process(seen: Seen) -> None:
    assert len(seen.at_work) >= 3
    assert (seen.cancelled["status"], seen.cancelled["reason"]) == ("cancelled", "cancelled")
    assert seen.left == []


def test_what_is_resumed_has_its_whole_conversation(seen: Seen) -> None:
    assert (seen.resumed["status"], seen.resumed["output"]) == ("complete", "I went on")
    assert seen.resumed["session_id"] == seen.cancelled["session_id"]
    request = next(request for request in seen.requests if GO_ON in request.prompt and request.tools)
    assert request.prompts[0] == "be stubborn"
    assert [call.tool for call in request.calls] == ["bash"]
