"""Rows of other programs on the command line: what no field should hold ends in an answer, or in one line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshfleet.model import attempt_key
from tests.agents.conftest import fake_opencode
from tests.cli.shells import Shell, one_line, shell

__all__ = ["fake_opencode", "shell"]

FLEET, AGENT = "f1e07b3a", "a93c7d5e"


def write_agent(shell: Shell, *, attempted: dict[str, Any] | None = None, **fields: Any) -> None:
    agent = {"id": AGENT, "fleet_id": FLEET, "role": "Worker", "prompt": "work", "status": "complete"}
    attempt = {"agent_id": AGENT, "number": 1, "started_at": 1, "ended_at": 2, "ok": True} | (attempted or {})
    rows = {
        "schema_version": 2,
        "fleets": {FLEET: {"id": FLEET, "status": "complete", "created_at": 1, "completed_at": 2}},
        "agents": {AGENT: {**agent, "started_at": 1, "completed_at": 2, **fields}},
        "attempts": {attempt_key(AGENT, 1): attempt},
    }
    shell.ledger_file.parent.mkdir(parents=True, exist_ok=True)
    shell.ledger_file.write_text(json.dumps(rows))


def test_an_agent_whose_attempt_is_an_absurd_number_is_shown_with_those_it_has(shell: Shell) -> None:
    write_agent(shell, attempt=10**30)

    assert len(json.loads(shell.run("inspect", AGENT, "--json").stdout)["attempts"]) == 1
    assert "attempt_ended" in shell.run("inspect", "--timeline", FLEET).stdout


def test_what_is_no_figure_counts_as_nothing_used(shell: Shell) -> None:
    write_agent(shell, status="running", tokens="many", cost=["dear"])

    assert json.loads(shell.run("inspect", FLEET, "--json").stdout)["fleet"]["tokens"] == 0


def test_verify_tells_of_a_time_that_is_none(shell: Shell) -> None:
    write_agent(shell, completed_at="yesterday")

    findings = json.loads(shell.run("verify", "--json").stdout)["findings"]

    assert ("agent-times", "it holds 'yesterday' where a time should be") in [
        (finding["id"], finding["what"]) for finding in findings
    ]


@pytest.mark.parametrize("supervisor", ["x", 5, [], {"pid": 1}, {"pid": "1", "start_time": 1.0, "boot_id": "b"}])
def test_an_agent_whose_supervisor_is_none_is_one_that_nobody_supervises(shell: Shell, supervisor: object) -> None:
    write_agent(shell, status="running", supervisor=supervisor)

    [agent] = json.loads(shell.run("inspect", FLEET, "--json").stdout)["agents"]

    assert agent["condition"] == "unsupervised"
    assert "unsupervised" in shell.run("dashboard", "--once").stdout


def test_what_nobody_foresaw_is_one_line_and_with_debug_the_place_too(shell: Shell) -> None:
    write_agent(shell, status="running", attempt=1, attempted={"ended_at": None, "tokens": "x" * 200_000})

    done = shell.run("inspect", AGENT)

    assert done.returncode == 1
    assert one_line(done).startswith("this should not have happened: ")
    assert len(done.stderr) < 1_000
    assert "Traceback" in shell.run("--debug", "inspect", AGENT).stderr


def test_a_refusal_tells_with_debug_where_it_was_made(shell: Shell) -> None:
    assert "Traceback" not in shell.run("inspect", "nobody").stderr
    assert "Traceback" in shell.run("--debug", "inspect", "nobody").stderr
