"""A short soak: agents that misbehave in every way they know, and servers killed at random, lose and double nothing."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest

from benchmark.soak import Plan, Soak
from benchmark.soak_watch import Events, Watch, wrong_in_rows, wrong_with_starts
from meshfleet.ledger import Ledger
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.model import Reason
from tests.mesh.fleets import fleet_of, open_ledger, start_all


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_soak_of_misbehaving_agents_and_killed_servers_loses_and_doubles_none(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    plan = Plan(agents=40, seconds=15, timeout_ms=4_000, most_tries=2)
    toll = Soak(tmp_path / "soak", seed, plan).run()
    assert toll.wrong == [], f"seed {seed}"
    assert toll.statuses.total() == 40
    assert toll.did["servers killed"] > 0


# -- a soak that finds nothing has to be able to find something --------------------------------------------------------


@pytest.fixture
def ledger(ledger_file: Path) -> Iterator[Ledger]:
    ledger = open_ledger(ledger_file)
    yield ledger
    ledger.close()


def test_an_agent_that_has_not_ended_and_an_attempt_that_was_not_settled_are_found(ledger: Ledger) -> None:
    fleet_of(ledger, "a", "b")
    (agent_id, number), _ = start_all(ledger)
    settle_attempt(ledger, agent_id, number, Outcome(ok=True, output="done"))
    wrong = wrong_in_rows(ledger)
    assert [line.split()[2:4] for line in wrong[:1]] == [["is", "running:"]]
    assert "was not settled" in wrong[1]


def test_a_run_that_was_begun_twice_or_is_no_attempt_is_found(ledger: Ledger) -> None:
    fleet_of(ledger, "a")
    [(agent_id, _)] = start_all(ledger)
    wrong = wrong_with_starts(ledger, [f"{agent_id}/1", f"{agent_id}/1", "other/1"])
    assert wrong == [f"attempt {agent_id}/1 was run 2 times", "a run of other/1 was begun, which is no attempt"]


def test_what_the_event_log_says_twice_or_not_at_all_is_found(ledger: Ledger, ledger_file: Path) -> None:
    fleet_of(ledger, "a", "b")
    (agent_id, number), _ = start_all(ledger)
    ledger.events.append("attempt_started", agent_id=agent_id, attempt=number)
    wrong = Events(ledger_file).wrong(ledger, kills=0)
    assert wrong == [
        f"the log says that {agent_id}/1 started 2 times",
        "the log lacks 2 beginnings and ends of attempts, after 0 kills",
    ]


def test_an_attempt_that_is_settled_again_is_found(ledger: Ledger) -> None:
    fleet_of(ledger, "a")
    [(agent_id, number)] = start_all(ledger)
    settle_attempt(ledger, agent_id, number, Outcome(ok=True, output="done"))
    watch = Watch(ledger, most_running=0)
    watch.look()
    assert watch.wrong == []
    key = f"{agent_id}/{number}"
    ledger.transact(lambda change: change.put("attempts", key, {**(change.get("attempts", key) or {}), "ok": False}))
    watch.look()
    assert [line.split(":")[0] for line in watch.wrong] == [f"{key} was settled twice"]


def test_two_attempts_of_an_agent_at_once_and_one_that_outlives_its_settlement_are_found(ledger: Ledger) -> None:
    fleet_of(ledger, "a")
    [(agent_id, _)] = start_all(ledger)
    settle_attempt(ledger, agent_id, 1, Outcome(ok=False, reason=Reason.EXIT), retry_base_ms=0)
    start_all(ledger)
    with running(f"{agent_id}/1") as first, running(f"{agent_id}/2"):
        watch = Watch(ledger, most_running=1)
        watch.look()
        assert watch.left() == [f"{agent_id}/1", f"{agent_id}/2"]
    assert watch.wrong[0].startswith(f"{agent_id}/1 was settled while its processes {first} were alive")
    assert watch.wrong[1].startswith(f"agent {agent_id} ran twice at once")
    assert watch.left() == []


@contextmanager
def running(marker: str) -> Iterator[int]:
    """A process of an attempt."""
    environ = {**os.environ, "MESHFLEET_ATTEMPT": marker}
    with subprocess.Popen(["/bin/sh", "-c", "echo; read _"], env=environ, stdin=PIPE, stdout=PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid


def test_more_running_agents_than_may_are_found(ledger: Ledger) -> None:
    fleet_of(ledger, "a", "b")
    start_all(ledger)
    watch = Watch(ledger, most_running=1)
    watch.look()
    assert watch.wrong == ["2 agents ran at once, of 1 that may"]
