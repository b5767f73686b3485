"""`meshfleet cancel`, `resume`, `logs` and `wait` as people and scripts call them, with and without a server."""

from __future__ import annotations

import json
import sys
from subprocess import PIPE, Popen

import pytest

from meshfleet.agents.foreground import Condition, until
from meshfleet.agents.process import identify
from meshfleet.cli import agents
from meshfleet.ledger import Ledger
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.specs import AgentSpec, FleetOptions
from tests.agents.conftest import fake_opencode, nothing_left_running
from tests.cli.shells import Shell, one_line, shell
from tests.mesh.fleets import bytes_of, fleet_of, row, start_all, supervisor
from tests.server.serving import raw_server, said_in, wait_until

__all__ = ["fake_opencode", "nothing_left_running", "shell"]
pytestmark = pytest.mark.slow


def test_resume_where_no_server_runs_supervises_until_the_fleet_has_ended(shell: Shell) -> None:
    fleet_id, agent_ids = shell.failed("answer one", "answer two")
    done = shell.run("resume", fleet_id[:10])
    assert (done.returncode, done.stdout.split()) == (0, agent_ids)
    first, last = done.stderr.splitlines()
    assert first.startswith("meshfleet: no meshfleet server runs on this ledger")
    assert last == f"meshfleet: fleet {fleet_id} is complete"
    assert [(agent["status"], agent["output"]) for agent in shell.agents(fleet_id)] == [
        ("complete", "one"),
        ("complete", "two"),
    ]


def test_resume_of_one_agent_may_tell_it_something_and_its_failure_is_the_exit_code(shell: Shell) -> None:
    _, (one, _) = shell.failed("answer one", "answer two")
    done = shell.run("resume", one, "--prompt", "exit 3", "--fresh", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["agent_ids"] == [one]
    assert done.stderr.splitlines()[-1].endswith(" is failed")


def test_resume_leaves_the_agents_to_a_server_that_runs(shell: Shell) -> None:
    fleet_id, (one,) = shell.failed("answer one")
    with raw_server(shell.environ) as server:
        done = shell.run("resume", one)
        assert (done.returncode, one_line(done)) == (0, "1 agent left to a meshfleet server that runs")
        assert said_in(server.call("wait", fleet_id=fleet_id))["status"] == "complete"


def test_resume_leaves_agents_to_a_server_that_starts_them_one_by_one(shell: Shell) -> None:
    fleet_id, _ = shell.failed("begin\nhang", "begin\nhang")
    with raw_server(shell.environ | {"MESHFLEET_START_STAGGER_MS": "60000"}) as server:
        done = shell.run("resume", fleet_id)
        assert (done.returncode, one_line(done)) == (0, "2 agents left to a meshfleet server that runs")
        assert sorted(agent["status"] for agent in shell.agents(fleet_id)) == ["pending", "running"]
        server.call("cancel", fleet_id=fleet_id)
        assert said_in(server.call("wait", fleet_id=fleet_id))["status"] == "failed"


def test_resume_leaves_an_agent_that_has_to_wait_for_room_to_the_server_that_has_none(shell: Shell) -> None:
    fleet_id, (one,) = shell.failed("answer one")
    running, _ = shell.fleet("begin\nhang")
    with raw_server(shell.environ | {"MESHFLEET_MAX_RUNNING": "1"}) as server:
        wait_until(lambda: shell.agents(running)[0]["status"] == "running")
        done = shell.run("resume", one)
        assert (done.returncode, one_line(done)) == (0, "1 agent left to a meshfleet server that runs")
        [agent] = said_in(server.call("fleet_status", fleet_id=fleet_id))["agents"]
        assert (agent["condition"], "MESHFLEET_MAX_RUNNING" in agent["waiting_for"]) == ("queued", True)
        server.call("cancel", fleet_id=running)
        assert said_in(server.call("wait", fleet_id=fleet_id))["status"] == "complete"


def test_resume_without_a_server_or_an_opencode_says_so_and_the_agent_waits(shell: Shell) -> None:
    fleet_id, (one,) = shell.failed("answer one")
    done = shell.run("resume", one, MESHFLEET_OPENCODE="/nowhere/opencode")
    assert done.returncode == 1
    assert "MESHFLEET_OPENCODE is '/nowhere/opencode'" in done.stderr
    told = f"; until then fleet {fleet_id} waits for a server (meshfleet cancel {fleet_id} ends that)\n"
    assert done.stderr.endswith(told)
    assert shell.agents(fleet_id)[0]["status"] == "pending"


def test_cancel_where_no_server_runs_stops_what_one_has_left_running(shell: Shell) -> None:
    with raw_server(shell.environ) as server:
        given = [{"role": "A", "prompt": "begin\nspawn 60\nhang"}]
        fleet_id = said_in(server.call("spawn_fleet", agents=given))["fleet_id"]
        wait_until(lambda: "pid" in shell.agents(fleet_id)[0])
        server.process.kill()
    [agent] = shell.agents(fleet_id)
    waiting, _ = shell.fleet("answer later")
    done = shell.run("cancel", agent["id"][:12])
    assert (done.returncode, done.stdout, done.stderr) == (0, "cancelled 1 agent\n", "")
    assert shell.agents(fleet_id)[0]["status"] == "cancelled"
    assert identify(agent["pid"]) is None
    assert shell.agents(waiting)[0]["status"] == "pending"
    again = shell.run("cancel", fleet_id, "--json")
    assert json.loads(again.stdout) == {"cancelled": [], "stopping": [], "ended_before": [agent["id"]]}


def test_cancel_returns_once_the_server_has_stopped_it(shell: Shell) -> None:
    with raw_server(shell.environ) as server:
        given = [{"role": "A", "prompt": "begin\nhang"}, {"role": "B", "prompt": "answer b"}]
        fleet_id = said_in(server.call("spawn_fleet", agents=given))["fleet_id"]
        said_in(server.call("wait", fleet_id=fleet_id, until="any"))
        done = shell.run("cancel", fleet_id)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "cancelled 1 agent; 1 agent had ended before\n"
        assert [agent["status"] for agent in shell.agents(fleet_id)] == ["cancelled", "complete"]


def test_wait_prints_what_the_agents_came_to_and_its_exit_code_says_whether_that_is_well(shell: Shell) -> None:
    ledger = shell.ledger()
    good, (well,) = fleet_of(ledger, "A")
    settle_attempt(ledger, *start_all(ledger)[0], Outcome(ok=True, output="fine"))
    bad, (ill,) = fleet_of(ledger, "B\x1b[31m")
    settle_attempt(ledger, *start_all(ledger)[0], Outcome(ok=False, error="it broke"))
    ledger.close()
    done = shell.run("wait", good)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{well}  complete     A\nfleet {good} is complete\n"
    done = shell.run("wait", bad)
    assert done.returncode == 1
    assert done.stdout == f"{ill}  failed       B\\x1b[31m: it broke\nfleet {bad} is failed\n"
    told = json.loads(shell.run("wait", good, "--json").stdout)
    assert told["ended"] == [{"agent_id": well, "role": "A", "status": "complete", "output": "fine"}]


def test_wait_gives_up_in_time_and_says_how_many_go_on(shell: Shell) -> None:
    ledger = shell.ledger()
    fleet_id, _ = fleet_of(ledger, "A", "B", by=supervisor())
    ledger.close()
    done = shell.run("wait", fleet_id, "--timeout", "0.1")
    assert done.returncode == 1
    assert one_line(done) == f"fleet {fleet_id} goes on: 2 agents had not ended after 0.1 s"


def test_wait_says_once_that_nobody_looks_after_a_fleet(shell: Shell) -> None:
    ledger = shell.ledger()
    fleet_id, _ = fleet_of(ledger, "A")
    ledger.close()
    done = shell.run("wait", fleet_id, "--timeout", "3")
    assert done.returncode == 1
    alone, late = done.stderr.splitlines()
    assert alone.startswith(f"meshfleet: no meshfleet server looks after fleet {fleet_id}; start OpenCode")
    assert late.endswith("1 agent had not ended after 3 s")


def test_wait_for_any_returns_when_the_next_agent_has_ended(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ledger = shell.ledger()
    fleet_id, (first, second, _) = fleet_of(ledger, "A", "B", "C", by=supervisor())
    assert len(start_all(ledger)) == 3
    settle_attempt(ledger, first, 1, Outcome(ok=True, output="before"))

    async def until_the_second_ends(own: Ledger, done: Condition, topic: str) -> None:
        # what is waited for is settled once it is waited for
        assert not own.read(done)
        settle_attempt(ledger, second, 1, Outcome(ok=True, output="next"))
        await until(own, done, topic)

    monkeypatch.setenv("MESHFLEET_DATA_FILE", str(shell.ledger_file))
    monkeypatch.setattr(agents, "until", until_the_second_ends)
    assert agents.wait(fleet_id, for_any=True, timeout_s=20, as_json=True) == 0
    assert [one["output"] for one in json.loads(capfd.readouterr().out)["ended"]] == ["next"]


def test_logs_tell_what_an_agent_said_and_did_in_each_attempt(shell: Shell) -> None:
    fleet_id, (one,) = shell.fleet(
        "begin\nsay hello\x1b[31m\ntool bash\nfail read\nerror no luck\nexit 3", max_attempts=2
    )
    shell.run("resume", one)  # refused: it is pending
    with raw_server(shell.environ) as server:
        said_in(server.call("wait", fleet_id=fleet_id))
    attempt = "hello\\x1b[31m\n[bash completed]\n[read error]\n[error] no luck (HTTP 500)\n"
    ending = "[failed: no luck (HTTP 500)]\n"
    assert shell.run("logs", one).stdout == f"[attempt 1]\n{attempt}[attempt 2]\n{attempt}{ending}"
    assert shell.run("logs", one, "--attempt", "1").stdout == f"[attempt 1]\n{attempt}{ending}"
    kinds = [
        json.loads(line)["type"] for line in shell.run("logs", one, "--json", "--attempt", "2").stdout.splitlines()
    ]
    assert kinds == ["step_start", "text", "tool_use", "tool_use", "error"]


def test_logs_follow_an_agent_into_its_next_attempt_and_until_it_has_ended(shell: Shell) -> None:
    with raw_server(shell.environ) as server:
        given = [{"role": "A", "prompt": "begin\nsay hello\nwait 0.5\nexit 3"}]
        said = said_in(server.call("spawn_fleet", agents=given, max_attempts=2))
        done = shell.run("logs", "-f", said["agent_ids"][0])
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "[attempt 1]\nhello\n[attempt 2]\nhello\n[failed: opencode exited with status 3: it said nothing on stderr]\n",
        "",
    )


@pytest.mark.parametrize(("prompt", "ending"), [("answer yes", "complete"), ("say hello\nwait 60", "cancelled")])
def test_logs_that_follow_an_agent_end_with_what_became_of_it(shell: Shell, prompt: str, ending: str) -> None:
    with raw_server(shell.environ) as server:
        said = said_in(server.call("spawn_fleet", agents=[{"role": "A", "prompt": f"begin\n{prompt}"}]))
        (agent_id,) = said["agent_ids"]
        with Popen(
            [sys.executable, "-P", "-m", "meshfleet", "logs", "-f", agent_id], env=shell.environ, stdout=PIPE, text=True
        ) as logs:
            assert logs.stdout is not None
            told = [logs.stdout.readline(), logs.stdout.readline()]
            said_in(server.call("cancel", agent_id=agent_id)) if ending == "cancelled" else None
            told += logs.stdout.readlines()
    assert (told[0], told[-1], logs.returncode) == ("[attempt 1]\n", f"[{ending}]\n", 0)


def test_logs_of_an_agent_that_was_never_started_are_empty(shell: Shell) -> None:
    _, (one,) = shell.fleet("answer one")
    done = shell.run("logs", one)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_template_spawn_where_no_server_runs_sees_its_fleet_through(shell: Shell) -> None:
    (shell.folder / "team.json").write_text(json.dumps([{"role": "A", "prompt": "answer yes"}]))
    assert shell.run("template", "save", "team", "team.json").returncode == 0
    done = shell.run("template", "spawn", "team")
    assert done.returncode == 0, done.stderr
    assert shell.agents(done.stdout.strip())[0]["output"] == "yes"


@pytest.mark.parametrize("command", ["cancel", "resume", "logs", "wait"])
@pytest.mark.parametrize("name", ["nothing", "", "../..", "\x1b[31m"])
def test_what_names_nothing_is_refused_in_one_line_and_changes_nothing(shell: Shell, command: str, name: str) -> None:
    shell.failed("answer one")
    before = bytes_of(shell.ledger_file.parent)
    done = shell.run(command, name)
    assert (done.returncode, done.stdout) == (1, "")
    line = one_line(done)
    assert " is no " in line
    assert line.isprintable()
    assert bytes_of(shell.ledger_file.parent) == before


def test_a_beginning_that_several_have_is_bad_use(shell: Shell) -> None:
    ledger = shell.ledger()
    fleet_id, _ = fleet_of(ledger, "A", by=supervisor())
    fleet = row(ledger, "fleets", fleet_id)
    ledger.transact(lambda transaction: transaction.put("fleets", "twin-1", {**fleet, "id": "twin-1"}))
    ledger.transact(lambda transaction: transaction.put("fleets", "twin-2", {**fleet, "id": "twin-2"}))
    ledger.close()
    done = shell.run("cancel", "twin-")
    assert done.returncode == 2
    assert "is the beginning of 2 ids: twin-1 (fleet, running); twin-2 (fleet, running); give more of it" in one_line(
        done
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["wait", "x", "--timeout", "-1"], "--timeout"),
        (["wait", "x", "--timeout", "soon"], "--timeout"),
        (["logs", "x", "--attempt", "0"], "--attempt"),
        (["cancel"], "ID"),
        (["resume", "x", "--prompt"], "--prompt"),
    ],
)
def test_bad_use_is_exit_code_2(shell: Shell, arguments: list[str], told: str) -> None:
    done = shell.run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_a_blank_prompt_for_resume_is_refused_before_anything_is_written(shell: Shell) -> None:
    _, (one,) = shell.failed("answer one")
    before = bytes_of(shell.ledger_file.parent)
    done = shell.run("resume", one, "--prompt", " ")
    assert (done.returncode, "prompt is blank" in one_line(done)) == (2, True)
    assert bytes_of(shell.ledger_file.parent) == before


def test_an_agent_s_shell_commands_only_what_the_agent_spawned_and_supervises_nothing(shell: Shell) -> None:
    ledger = shell.ledger()
    _, (me, _) = fleet_of(ledger, "Me", "Peer", by=supervisor())
    specs = [AgentSpec("Child", "answer x")]
    options = FleetOptions(parent_agent_id=me)
    mine, _ = create_fleet(ledger, specs, cwd=str(shell.folder), options=options, supervisor=supervisor())
    for agent_id, number in start_all(ledger):
        settle_attempt(ledger, agent_id, number, Outcome(ok=False, error="it broke"))
    others, _ = fleet_of(ledger, "Stranger", by=supervisor())
    ledger.close()
    done = shell.run("cancel", others, MESHFLEET_AGENT_ID=me)
    assert (done.returncode, "only those are yours" in one_line(done)) == (2, True)
    done = shell.run("resume", mine, MESHFLEET_AGENT_ID=me)
    assert (done.returncode, one_line(done)) == (0, "1 agent waiting for the server that supervises you")
    assert shell.agents(mine)[0]["status"] == "pending"
