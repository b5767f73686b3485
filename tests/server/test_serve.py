"""`meshfleet serve` as a process: how it starts, ends, what it leaves running, and how it serves an agent."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Final

import psutil
import pytest

from meshfleet.agents.supervisor import LOOK_INTERVAL_S
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.model import Row
from meshfleet.server.tools import offered_tools
from meshfleet.settings import beside
from tests.mesh.fleets import bytes_of, fleet_of, open_ledger, start_all, supervisor
from tests.server.serving import (
    SERVE,
    RawServer,
    environ_for,
    fake_opencode,
    kill_group,
    prepare,
    raw_server,
    refusal_in,
    said_in,
    wait_until,
)
from tests.server.streams_helpers import HELLO, call, line

PROMPTLY_S: Final = 2
"""How long a server may take to end."""


def run_serve(environ: dict[str, str], *, redirect: str = "") -> subprocess.CompletedProcess[str]:
    """Run a server whose input ends at once, or that was started with a descriptor closed."""
    command = ["/bin/sh", "-c", f'exec "$@" {redirect}', "sh", *SERVE]
    return subprocess.run(
        command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False
    )


def spawn(server: RawServer) -> str:
    """Spawn a fleet of one; returns its id."""
    said = said_in(server.call("spawn_fleet", agents=[{"role": "A", "prompt": "go"}]))
    fleet_id: str = said["fleet_id"]
    return fleet_id


def started(server: RawServer, fleet_id: str) -> Row:
    """The agent of a fleet of one, once its process is known."""

    def agent() -> Row:
        found: Row = said_in(server.call("fleet_status", fleet_id=fleet_id))["agents"][0]
        return found

    wait_until(lambda: "pid" in agent())
    return agent()


@pytest.mark.parametrize("greeted", [True, False])
def test_it_ends_promptly_with_exit_code_0_when_stdin_closes(ledger_file: Path, greeted: bool) -> None:
    with raw_server(environ_for(ledger_file), hello=greeted) as server:
        assert said_in(server.call("ping"))["status"] == "ok" if greeted else True
        assert server.end() == []
        assert server.process.wait(PROMPTLY_S) == 0
        assert server.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_promptly_with_exit_code_0_on_a_signal(ledger_file: Path, number: signal.Signals) -> None:
    with raw_server(environ_for(ledger_file)) as server:
        server.call("ping")
        server.process.send_signal(number)
        assert server.process.wait(PROMPTLY_S) == 0
        assert server.rest() == []
        assert server.stderr == ""


@pytest.mark.parametrize("ending", ["stdin", "SIGTERM", "SIGKILL"])
def test_nothing_is_left_of_those_who_waited(ledger_file: Path, ending: str) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (agent_id,) = fleet_of(ledger, "A", by=supervisor())
    waiters = beside(ledger_file, "waiters")
    with raw_server(environ_for(ledger_file)) as server:
        server.ask(line("resources/subscribe", 1, uri="meshfleet://fleets"))
        server.send(call("wait", "wait", fleet_id=fleet_id))
        wait_until(lambda: len(list(waiters.glob("*/*"))) == 2)
        if ending == "stdin":
            assert [said_in(answer["result"])["timed_out"] for answer in server.end()] == [True]
        else:
            server.process.send_signal(signal.Signals[ending])
        server.process.wait(PROMPTLY_S)
        assert waiters.exists() == (ending == "SIGKILL")
        start_all(ledger)
        settle_attempt(ledger, agent_id, 1, Outcome(ok=True, output="done"))
        assert not waiters.exists()


@pytest.mark.parametrize("ending", ["stdin", "SIGTERM", "SIGKILL"])
def test_agents_it_started_are_left_running(ledger_file: Path, tmp_path: Path, ending: str) -> None:
    environ = environ_for(ledger_file, MESHFLEET_OPENCODE=str(fake_opencode(tmp_path)))
    with raw_server(environ) as server:
        agent = started(server, spawn(server))
        try:
            if ending == "stdin":
                server.end()
            else:
                server.process.send_signal(signal.Signals[ending])
            assert server.process.wait(PROMPTLY_S) == (-signal.SIGKILL if ending == "SIGKILL" else 0)
            parent = psutil.Process(agent["pid"])
            assert parent.is_running()
            assert parent.status() != psutil.STATUS_ZOMBIE
            assert [child.name() for child in parent.children()] == ["sleep"]
            row = open_ledger(ledger_file).read(lambda view: view.get("agents", agent["id"]))
            assert row is not None
            assert row["status"] == "running"
        finally:
            kill_group(agent["pid"])


def test_what_it_wrote_is_in_the_snapshot_when_it_has_ended(ledger_file: Path) -> None:
    prepared = prepare(ledger_file)
    with raw_server(environ_for(ledger_file)) as server:
        said = said_in(
            server.call(
                "send_message",
                from_agent_id="me",
                to_agent_id="orchestrator",
                fleet_id=prepared.fleet_id,
                type="alert",
                payload="x",
            )
        )
        server.end()
        assert server.process.wait(PROMPTLY_S) == 0
    assert said["message_id"] in ledger_file.read_text()


def test_without_an_opencode_spawning_says_how_to_get_it_and_writes_nothing(ledger_file: Path) -> None:
    prepare(ledger_file)
    environ = environ_for(ledger_file, MESHFLEET_OPENCODE="/nowhere/opencode")
    with raw_server(environ) as server:
        server.call("list_fleets")
        before = bytes_of(ledger_file.parent)
        error = refusal_in(server.call("spawn_fleet", agents=[{"role": "A", "prompt": "go"}]))
        assert error.startswith("MESHFLEET_OPENCODE is '/nowhere/opencode', which is not an executable file; ")
        assert "npm install -g opencode-ai" in error
        assert bytes_of(ledger_file.parent) == before


def test_a_wrong_spec_is_told_before_a_missing_opencode(ledger_file: Path) -> None:
    environ = environ_for(ledger_file, MESHFLEET_OPENCODE="/nowhere/opencode")
    with raw_server(environ) as server:
        error = refusal_in(server.call("spawn_fleet", agents=[{"role": "A"}]))
    assert error == "agents[0].prompt is missing; spawn_fleet needs it"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MESHFLEET_SSE_PORT", "http"),
        ("AGENT_MESH_RETRY_BASE_MS", "-1"),
        ("MESHFLEET_LOG_LEVEL", "loud\nmultiline"),
        ("MESHFLEET_DATA_FILE", "/"),
    ],
)
def test_a_bad_setting_is_one_line_and_exit_code_2(ledger_file: Path, name: str, value: str) -> None:
    ended = run_serve(environ_for(ledger_file) | {name: value})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"meshfleet: {name} is {value!r}: ")
    assert ended.stderr.count("\n") == 1
    assert list(ledger_file.parent.iterdir()) == []


@pytest.mark.parametrize("variable", ["MESHFLEET_TAXONOMY", "MESHFLEET_SYNONYMS"])
def test_words_that_can_not_be_read_are_told_at_the_start_in_health_and_by_route_work_until_they_are_mended(
    ledger_file: Path, tmp_path: Path, variable: str
) -> None:
    prepare(ledger_file, "billing", "painting")
    words = tmp_path / "words.json"
    words.write_text("{")
    environ = environ_for(ledger_file, MESHFLEET_OPENCODE=str(fake_opencode(tmp_path)), **{variable: str(words)})
    with raw_server(environ) as server:
        assert said_in(server.call("list_fleets"))["fleets"]
        told = f"{variable} names '{words}', which is no JSON: line 1, column 2"
        assert told in server.stderr
        assert server.stderr.count("\n") == 1
        health = said_in(server.call("get_health"))
        assert (health["status"], len(health["problems"])) == ("degraded", 1)
        assert health["problems"][0].startswith(told)
        assert refusal_in(server.call("route_work", description="dunning")).startswith(told)
        assert said_in(server.call("list_fleets"))["fleets"]
        words.write_text('{"billing": ["dunning"]}')
        assert len(said_in(server.call("route_work", description="dunning"))["matches"]) == 1
        assert said_in(server.call("get_health"))["status"] == "ok"


def test_an_agent_s_server_leaves_it_to_its_starter_to_tell_of_words_that_can_not_be_read(ledger_file: Path) -> None:
    prepared = prepare(ledger_file)
    environ = environ_for(ledger_file, MESHFLEET_AGENT_ID=prepared.agents[0], MESHFLEET_TAXONOMY="{")
    with raw_server(environ) as server:
        assert refusal_in(server.call("route_work", description="x")).startswith("MESHFLEET_TAXONOMY is no JSON: ")
        assert said_in(server.call("get_inbox", agent_id=prepared.agents[0])) == {"messages": []}
        assert server.stderr == ""


@pytest.mark.parametrize(("redirect", "closed"), [("<&-", "stdin"), (">&-", "stdout")])
def test_a_server_started_without_stdin_or_stdout_says_so_in_one_line(
    ledger_file: Path, redirect: str, closed: str
) -> None:
    ended = run_serve(environ_for(ledger_file), redirect=redirect)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"meshfleet: {closed} is closed; ")
    assert ended.stderr.count("\n") == 1


def test_a_server_that_is_only_greeted_writes_no_ledger(ledger_file: Path) -> None:
    with raw_server(environ_for(ledger_file)) as server:
        server.call("list_fleets")
        server.call("get_inbox", agent_id="orchestrator")
        server.end()
        assert server.process.wait(PROMPTLY_S) == 0
    assert [path for path in ledger_file.parent.iterdir() if path.suffix != ".lock"] == []


def test_an_agent_s_server_tells_it_who_it_is_and_offers_what_a_peer_needs(ledger_file: Path) -> None:
    prepared = prepare(ledger_file)
    me, other, third = prepared.agents
    environ = environ_for(ledger_file, MESHFLEET_AGENT_ID=me, MESHFLEET_FLEET_ID=prepared.fleet_id)
    with raw_server(environ, hello=False) as server:
        instructions = server.ask(HELLO)["result"]["instructions"]
        lines = instructions.splitlines()
        assert lines[0] == f"You are Explorer, agent {me} of fleet {prepared.fleet_id}."
        assert f"- Analyst: {other}" in lines
        assert f"- Engineer: {third}" in lines
        assert prepared.stranger not in instructions
        tools = server.ask(line("tools/list", 1))["result"]["tools"]
        assert [tool["name"] for tool in tools] == list(offered_tools(in_agent_mode=True))


def test_an_agent_acts_as_itself_only_and_is_refused_by_the_argument_s_name_otherwise(ledger_file: Path) -> None:
    prepared = prepare(ledger_file)
    me, other, third = prepared.agents
    message = {"fleet_id": prepared.fleet_id, "type": "result", "payload": "x"}
    with raw_server(environ_for(ledger_file, MESHFLEET_AGENT_ID=other)) as server:
        server.call("get_inbox", agent_id=other)
        before = bytes_of(ledger_file.parent)
        for claimed in (me, third, "orchestrator", "*", ""):
            refusals = {
                "from_agent_id": server.call("send_message", from_agent_id=claimed, to_agent_id=third, **message),
                "agent_id": server.call("get_inbox", agent_id=claimed),
            }
            for name, result in refusals.items():
                assert refusal_in(result).startswith(f"{name} is {claimed!r}, but you are agent {other!r}")
            for tool, more in (("ack_message", {}), ("receipt", {"action": "seen"})):
                result = server.call(tool, agent_id=claimed, message_id=prepared.message_id, **more)
                assert refusal_in(result).startswith(f"agent_id is {claimed!r}, but you are agent {other!r}")
        assert bytes_of(ledger_file.parent) == before
        assert said_in(server.call("send_message", from_agent_id=other, to_agent_id=third, **message))
        acked = server.call("ack_message", agent_id=other, message_id=prepared.message_id)
        assert said_in(acked) == {"ok": True}


def test_a_tool_that_an_agent_is_not_offered_does_not_exist_for_it(ledger_file: Path) -> None:
    prepared = prepare(ledger_file)
    with raw_server(environ_for(ledger_file, MESHFLEET_AGENT_ID=prepared.agents[0])) as server:
        for tool in ("resume", "agent_output", "list_fleets", "ping"):
            answer = server.ask(line("tools/call", 1, name=tool, arguments={}))
            assert answer["error"]["message"].startswith(f"there is no tool '{tool}'; there are whoami, send_message, ")


def test_an_agent_s_server_starts_no_agent_although_one_waits(ledger_file: Path, tmp_path: Path) -> None:
    prepared = prepare(ledger_file)
    ledger = open_ledger(ledger_file)
    row = ledger.read(lambda view: view.get("agents", prepared.agents[1]))
    assert row is not None
    waiting = {**row, "status": "pending"}
    del waiting["supervisor"]
    ledger.transact(lambda transaction: transaction.put("agents", row["id"], waiting))
    ledger.close()
    environ = environ_for(
        ledger_file, MESHFLEET_AGENT_ID=prepared.agents[0], MESHFLEET_OPENCODE=str(fake_opencode(tmp_path))
    )
    before = ledger_file.read_bytes()
    with raw_server(environ) as server:
        several_looks = time.monotonic() + 4 * LOOK_INTERVAL_S
        while time.monotonic() < several_looks:
            server.call("fleet_status", fleet_id=prepared.fleet_id)
        server.end()
        assert server.process.wait(PROMPTLY_S) == 0
    assert ledger_file.read_bytes() == before


@pytest.mark.parametrize("agent_id", ["nobody", " ", "x" * 1000, "\x1b[31mnobody\nat all"])
def test_an_agent_nobody_spawned_gets_no_server_but_one_clear_line(ledger_file: Path, agent_id: str) -> None:
    prepare(ledger_file)
    ended = run_serve(environ_for(ledger_file, MESHFLEET_AGENT_ID=agent_id))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("meshfleet: MESHFLEET_AGENT_ID is '")
    assert f"no agent of {ledger_file}; " in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.strip().isprintable()
    assert len(ended.stderr) < 600


def test_a_server_in_a_folder_that_is_gone_says_so_in_one_line(ledger_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    script = f"rmdir '{folder}'; exec {' '.join(SERVE)}"
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        cwd=folder,
        env=environ_for(ledger_file),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("meshfleet: the current folder can't be used")
    assert done.stderr.count("\n") == 1
