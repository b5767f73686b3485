"""`meshfleet spawn` as people and builds call it: what starts, who sees it through, and what is refused."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, Final

import anyio
import pytest

from meshfleet.agents.launch import EXIT_NAME
from meshfleet.cli import agents
from meshfleet.cli.fleet_files import fleet_in
from meshfleet.errors import Invalid
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.templates import TemplateDraft, read_agents, save_fleet_template
from meshfleet.model import Row
from meshfleet.settings import Settings
from tests.agents.conftest import fake_opencode, nothing_left_running
from tests.cli.shells import Shell, one_line, shell
from tests.cli.terminals import in_terminal
from tests.mesh.fleets import bytes_of, fleet_of, row, start_all, supervisor
from tests.server.serving import raw_server, said_in, wait_until

__all__ = ["fake_opencode", "nothing_left_running", "shell"]
pytestmark = pytest.mark.slow

EXAMPLES: Final = sorted((Path(__file__).parents[2] / "examples").glob("*.json"))
ALONE: Final = "no meshfleet server runs on this ledger, so this command supervises until the fleet has ended"


def put(shell: Shell, value: object, name: str = "team.json") -> str:
    """Have a file in the project; returns its name."""
    (shell.folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
    return name


def template(shell: Shell, *answers: str) -> None:
    """Have versions of a template `team`."""
    ledger = shell.ledger()
    for answer in answers:
        specs = read_agents([{"role": "A", "prompt": f"answer {answer}"}])
        save_fleet_template(ledger, TemplateDraft("team", specs, ""))
    ledger.close()


def fleet_row(shell: Shell, fleet_id: str) -> Row:
    ledger = shell.ledger()
    found = row(ledger, "fleets", fleet_id)
    ledger.close()
    return found


def test_a_file_s_fleet_is_seen_through_where_no_server_runs(shell: Shell) -> None:
    done = shell.run(
        "spawn", put(shell, [{"role": "A", "prompt": "answer one"}, {"role": "B", "prompt": "answer two"}])
    )
    assert done.returncode == 0
    fleet_id = done.stdout.strip()
    assert [agent["output"] for agent in shell.agents(fleet_id)] == ["one", "two"]
    assert done.stderr.splitlines() == [f"meshfleet: {ALONE}", f"meshfleet: fleet {fleet_id} is complete"]


def test_where_no_server_runs_what_waits_in_other_fleets_is_started_too_and_that_is_told(shell: Shell) -> None:
    ledger = shell.ledger()
    _, (earlier,) = create_fleet(ledger, [AgentSpec("A", "answer early")], cwd=str(shell.folder))
    ledger.close()
    its_end = shell.ledger_file.with_name("agent-mesh.runs") / earlier / "1" / EXIT_NAME
    done = shell.run("spawn", put(shell, [{"role": "B", "prompt": f"until {its_end}\nanswer late"}]))
    assert done.returncode == 0
    told = "meanwhile it looks after 1 agent of other fleets, too (meshfleet inspect shows them)"
    assert done.stderr.splitlines()[:2] == [f"meshfleet: {ALONE}", f"meshfleet: {told}"]


def test_waiting_shows_how_it_gets_on_and_then_what_each_agent_said(shell: Shell) -> None:
    given = [
        {"role": "Good\x1b[31m", "prompt": "answer fine\x1b[2J\nwait 0.2"},
        {"role": "Bad", "prompt": "complain it is broken\nexit 3"},
    ]
    done = shell.run("spawn", put(shell, {"agents": given, "max_attempts": 1}), "--wait")
    assert done.returncode == 1
    fleet_id, *told = done.stdout.splitlines()
    good, bad = "\n".join(told).strip().split("\n\n")
    assert good.startswith("Good\\x1b[31m: complete, ")
    assert good.endswith("120 tokens, $0.2500\n  fine\\x1b[2J")
    assert bad.startswith("Bad: failed")
    assert bad.endswith("\n  opencode exited with status 3: it is broken")
    first, *between, last = done.stderr.splitlines()
    assert (first, last) == (f"meshfleet: {ALONE}", f"meshfleet: fleet {fleet_id} is failed")
    lines = [line.split("  ", 1)[1].strip() for line in between]
    assert "Good\\x1b[31m is complete" in lines
    assert "Bad is failed: opencode exited with status 3: it is broken" in lines
    assert len(lines) == len(set(lines))


def test_json_is_one_object_at_once_or_with_wait_at_the_end(shell: Shell) -> None:
    file = put(shell, {"name": "mine", "agents": [{"role": "A", "prompt": "answer yes", "env": {"KEY": "secret"}}]})
    done = shell.run("spawn", file, "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["version"], set(told)) == (0, 1, {"version", "fleet_id", "agent_ids"})
    assert [agent["id"] for agent in shell.agents(told["fleet_id"])] == told["agent_ids"]
    done = shell.run("spawn", file, "--json", "--wait")
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert (done.returncode, told["version"], told["fleet"]["id"]) == (0, 1, told["fleet_id"])
    assert (told["fleet"]["name"], told["fleet"]["status"], told["fleet"]["tokens"]) == ("mine", "complete", 120)
    assert [(one["role"], one["status"], one["output"], one["cost_usd"]) for one in told["agents"]] == [
        ("A", "complete", "yes", 0.25)
    ]
    assert "secret" not in done.stdout + done.stderr


def test_a_fleet_is_left_to_a_server_that_runs_and_may_be_waited_for(shell: Shell) -> None:
    file = put(shell, [{"role": "A", "prompt": "begin\nwait 0.5\nanswer late"}])
    with raw_server(shell.environ) as server:
        done = shell.run("spawn", file)
        assert (done.returncode, one_line(done)) == (0, "1 agent left to a meshfleet server that runs")
        assert said_in(server.call("wait", fleet_id=done.stdout.strip()))["status"] == "complete"
        done = shell.run("spawn", file, "--wait")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "  late")


def test_who_waits_takes_over_from_a_server_that_is_gone(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "SERVER_LOOK_S", 0.1)
    monkeypatch.setattr(os, "environ", {**os.environ, **shell.environ})
    given = [{"role": "A", "prompt": "begin\nwait 3\nexit 3"}]
    ledger = shell.ledger()
    with raw_server(shell.environ) as server:
        said = said_in(server.call("spawn_fleet", agents=given, max_attempts=2))
        see_through = partial(agents.see_through, ledger, Settings.from_environ(shell.environ))
        codes: list[int] = []
        waiting = Thread(target=lambda: codes.append(see_through(said["fleet_id"], said["agent_ids"], waits=True)))
        waiting.start()
        wait_until(lambda: "pid" in shell.agents(said["fleet_id"])[0])
        server.process.kill()
        waiting.join(60)
    (agent,) = shell.agents(said["fleet_id"])
    assert (codes, agent["status"], agent["attempt"]) == ([1], "failed", 2)
    assert agent["supervisor"]["pid"] == os.getpid()


def test_a_ctrl_c_ends_the_command_and_says_how_to_end_the_fleet(shell: Shell) -> None:
    put(shell, [{"role": "A", "prompt": "begin\nwait 60"}])
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "meshfleet", "spawn", "team.json", "--wait"],
        cwd=shell.folder,
        env=shell.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        fleet_id = process.stdout.readline().strip()
        wait_until(lambda: "pid" in shell.agents(fleet_id)[0])
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.splitlines()[-1] == (
        f"meshfleet: fleet {fleet_id} goes on, and the next server adopts it; meshfleet cancel {fleet_id} stops it"
    )
    assert shell.agents(fleet_id)[0]["status"] == "running"
    assert shell.run("cancel", fleet_id).returncode == 0


def test_on_a_terminal_the_view_is_drawn_and_gone_at_the_end(shell: Shell) -> None:
    put(shell, {"name": "mine", "agents": [{"role": "Worker", "prompt": "begin\nsay well then\nwait 1\nanswer done"}]})
    code, shown = in_terminal(
        ["spawn", "team.json", "--wait"],
        shell.ledger_file,
        columns=80,
        errors_too=True,
        cwd=shell.folder,
        **{**shell.environ, "TERM": "xterm-256color"},
    )
    assert code == 0
    assert "says: well then" in shown
    *_, after = shown.split("\x1b[2K")
    assert "DOING" not in after
    assert after.rstrip().splitlines()[-1] == "  done"


def test_the_view_tells_why_an_agent_starts_again(shell: Shell) -> None:
    put(shell, {"max_attempts": 2, "agents": [{"role": "Worker", "prompt": "wait 1.5\nerror no such host\nexit 0"}]})
    code, shown = in_terminal(
        ["spawn", "team.json", "--wait"],
        shell.ledger_file,
        columns=80,
        errors_too=True,
        cwd=shell.folder,
        **{**shell.environ, "TERM": "xterm-256color", "MESHFLEET_RETRY_BASE_MS": "1"},
    )
    assert code == 1
    assert "starts again after: no such host" in shown


def test_an_agent_that_comes_after_another_starts_then_and_is_told_of_before(shell: Shell) -> None:
    given = [{"role": "First", "prompt": "answer 1"}, {"role": "Second", "prompt": "hello", "after": ["First"]}]
    done = shell.run("spawn", put(shell, given), "--wait")
    assert done.returncode == 0
    assert any(line.endswith("Second is dormant: waits for First to complete") for line in done.stderr.splitlines())


def test_a_fleet_may_come_by_standard_input_or_be_a_template(shell: Shell) -> None:
    done = shell.run("spawn", "-", says=json.dumps([{"role": "A", "prompt": "answer piped"}]))
    assert shell.agents(done.stdout.strip())[0]["output"] == "piped"
    template(shell, "first", "second")
    put(shell, [{"role": "A", "prompt": "answer file"}], "team")
    said = []
    for arguments in (["team"], ["team", "--version", "1"], ["./team"]):
        done = shell.run("spawn", *arguments)
        assert done.returncode == 0, done.stderr
        said.append(shell.agents(done.stdout.strip())[0]["output"])
    assert said == ["second", "first", "file"]


def test_options_go_before_what_the_file_says(shell: Shell) -> None:
    given = [{"role": "A", "prompt": "answer a"}, {"role": "B", "prompt": "answer b", "model": "x/own"}]
    file = put(shell, {"agents": given, "name": "in the file", "max_attempts": 7, "max_tokens": 9_999})
    options = ["--name", "mine", "--model", "x/y", "--time-limit", "1.5", "--max-cost", "2", "--max-attempts", "2"]
    done = shell.run("spawn", file, *options, "--allow-all")
    assert done.returncode == 0, done.stderr
    fleet = fleet_row(shell, done.stdout.strip())
    told = {name: fleet[name] for name in ("name", "timeout_ms", "max_cost_usd", "max_attempts", "max_tokens")}
    assert told == {"name": "mine", "timeout_ms": 1500, "max_cost_usd": 2, "max_attempts": 2, "max_tokens": 9_999}
    assert fleet["allow_all"] is True
    assert [agent["model"] for agent in shell.agents(fleet["id"])] == ["x/y", "x/own"]


def test_a_folder_in_a_file_may_be_relative_to_this_one(shell: Shell) -> None:
    (shell.folder / "web").mkdir()
    done = shell.run("spawn", put(shell, [{"role": "A", "prompt": "answer a", "cwd": "./web/../web"}]))
    assert shell.agents(done.stdout.strip())[0]["cwd"] == str(shell.folder / "web")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_a_fleet(example: Path) -> None:
    assert len(fleet_in(json.loads(example.read_text()), by_agent=False).specs) > 1


def test_without_an_opencode_it_says_so_and_the_fleet_waits(shell: Shell) -> None:
    file = put(shell, [{"role": "A", "prompt": "answer a"}])
    for more in ([], ["--wait"]):
        done = shell.run("spawn", file, *more, MESHFLEET_OPENCODE="/nowhere/opencode")
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert re.search(r"; until then fleet (\S+) waits for a server \(meshfleet cancel \1 ends that\)$", last)
        assert shell.agents(done.stdout.strip())[0]["status"] == "pending"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([], "agents is []; it can't be empty"),
        ({}, "agents is missing; a fleet needs it"),
        (7, "it is 7; it has to be an array of agents, or an object with agents"),
        (None, "it is None; it has to be an array of agents"),
        ([7], "agents[0] is 7; it has to be an object"),
        ([{"role": "A"}], "agents[0].prompt is missing"),
        ([{"role": "", "prompt": "x"}], "agents[0].role is ''"),
        ([{"role": "A", "prompt": "x", "nonsense": 1}], "agents[0].nonsense is nothing a fleet knows"),
        ({"agents": [{"role": "A", "prompt": "x"}], "nonsense": 1}, "nonsense is no argument of a fleet, which takes"),
        ({"agents": [{"role": "A", "prompt": "x"}], "max_attempts": "2"}, "max_attempts is '2'"),
        ({"agents": [{"role": "A", "prompt": "x", "env": {"K": 5}}]}, "env.K is not shown"),
        ({"agents": [{"role": "A", "prompt": "x", "start": "later"}]}, "agents[0].start is 'later'"),
        ({"schema": "meshfleet-template-v1", "agents": []}, "name is missing"),
    ],
)
def test_what_is_no_fleet_is_refused_by_name(value: Any, told: str) -> None:
    with pytest.raises(Invalid) as refused:
        fleet_in(value, by_agent=False)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("content", "arguments", "code", "told"),
    [
        ("{]", ["team.json"], 2, "it is no JSON: line 1, column 2"),
        ('{"agents": [], "agents": []}', ["team.json"], 2, "the key 'agents' is there more than once"),
        ('[{"role": " ", "prompt": "x"}]', ["team.json"], 2, "agents[0].role is blank"),
        ('[{"role": "A", "prompt": "x", "cwd": "nowhere"}]', ["team.json"], 2, "agents[0].cwd is"),
        ('[{"role": "A", "prompt": "x", "after": ["B"]}]', ["team.json"], 2, "no agent of this fleet has"),
        (
            '[{"role": "A", "prompt": "x"}]',
            ["team.json", "--max-attempts", "0"],
            2,
            "--max-attempts is 0; it has to be a number above 0",
        ),
        ('[{"role": "A", "prompt": "x"}]', ["team.json", "--max-cost", "nan"], 2, "--max-cost is nan"),
        ('[{"role": "A", "prompt": "x"}]', ["team.json", "--time-limit", "0"], 2, "--time-limit is 0"),
        ('[{"role": "A", "prompt": "x"}]', ["team.json", "--time-limit", "inf"], 2, "--time-limit is inf"),
        ('[{"role": "A", "prompt": "x"}]', ["team.json", "--name", " "], 2, "name is blank"),
        ('[{"role": "A", "prompt": "x"}]', ["team.json", "--model", "mine"], 2, "it has to be provider/model"),
        ("", ["nothing.json"], 1, "'nothing.json' is neither a template nor a file"),
        ("", ["nothing"], 1, "'nothing' is neither a template nor a file; meshfleet template list lists"),
        ("", ["nothing", "--version", "1"], 1, "name 'nothing' is no template"),
        ("", ["-", "--version", "1"], 1, "'-' is no template"),
        ("", ["."], 2, "names a folder"),
        ("", [""], 2, "FILE is blank"),
        ("", ["\x1b[31m"], 2, "control character"),
        ("", ["-"], 2, "standard input holds no fleet: it is no JSON"),
    ],
)
def test_a_refusal_is_one_line_and_nothing_is_written(
    shell: Shell, content: str, arguments: list[str], code: int, told: str
) -> None:
    put(shell, content)
    done = shell.run("spawn", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    line = one_line(done)
    assert told in line
    assert line.isprintable()
    assert bytes_of(shell.ledger_file.parent) == {}


@pytest.mark.parametrize(
    "arguments", [[], ["a", "b"], ["a", "--version", "0"], ["a", "--max-tokens", "x"], ["a", "--no"]]
)
def test_bad_use_is_exit_code_2(shell: Shell, arguments: list[str]) -> None:
    done = shell.run("spawn", *arguments)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_file_that_is_too_large_is_refused(shell: Shell) -> None:
    done = shell.run("spawn", put(shell, [{"role": "A", "prompt": "x" * 2**20}]))
    assert (done.returncode, "more than 1048576 bytes" in one_line(done)) == (2, True)


def test_an_agent_s_shell_spawns_what_the_agent_could_and_supervises_nothing(shell: Shell) -> None:
    ledger = shell.ledger()
    _, (me,) = fleet_of(ledger, "Me", by=supervisor())
    start_all(ledger)
    ledger.close()
    file = put(shell, {"agents": [{"role": "A", "prompt": "answer a"}], "max_tokens": 5})
    done = shell.run("spawn", file, MESHFLEET_AGENT_ID=me)
    assert (done.returncode, one_line(done)) == (0, "1 agent waiting for the server that supervises you")
    fleet = fleet_row(shell, done.stdout.strip())
    assert (fleet["parent_agent_id"], fleet["max_tokens"]) == (me, 5)
    before = bytes_of(shell.ledger_file.parent)
    done = shell.run("spawn", file, "--allow-all", MESHFLEET_AGENT_ID=me)
    assert (done.returncode, "--max-tokens only" in one_line(done)) == (1, True)
    put(shell, {"agents": [{"role": "A", "prompt": "x"}], "allow_all": True})
    done = shell.run("spawn", file, MESHFLEET_AGENT_ID=me)
    assert (done.returncode, "allow_all is no argument of a fleet" in one_line(done)) == (2, True)
    assert bytes_of(shell.ledger_file.parent) == before


def test_a_repeat_with_a_key_waits_for_the_fleet_that_is_there(shell: Shell) -> None:
    file = put(shell, {"agents": [{"role": "A", "prompt": "answer a"}], "idempotency_key": "once"})
    first, again = shell.run("spawn", file), shell.run("spawn", file, "--wait")
    assert again.returncode == 0
    assert again.stdout.splitlines()[0] == first.stdout.strip()
    assert len(shell.agents(first.stdout.strip())) == 1


def test_seeing_through_a_fleet_that_has_ended_returns_at_once(shell: Shell) -> None:
    ledger = shell.ledger()
    fleet_id, agent_ids = create_fleet(ledger, [AgentSpec("A", "x")], cwd=str(shell.folder))
    ledger.close()
    assert shell.run("cancel", fleet_id).returncode == 0
    ledger = shell.ledger()
    see = partial(agents._see_through, ledger, Settings.from_environ(shell.environ), fleet_id, agent_ids)
    anyio.run(partial(see, here=False, shows=False))
