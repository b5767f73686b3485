"""An agent's life: begun once, settled once, and what that makes of its row, its fleet and the event log."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshfleet.errors import NotFound
from meshfleet.ledger import Ledger
from meshfleet.mesh.fleets import create_fleet, fleet_status
from meshfleet.mesh.lifecycle import TRANSITIONS, record_process, require_agent
from meshfleet.mesh.settlement import LONGEST_OUTPUT, Outcome, last_words, settle_attempt
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.supervision import begin_next_attempt
from meshfleet.model import AgentStatus, Reason, TokensRow, attempt_key
from tests.mesh.fleets import bytes_of, events_in, fleet_of, open_ledger, row, start_all, supervisor

STARTER: Final = """
import json, os, sys
from pathlib import Path
from meshfleet.ledger import Ledger
from meshfleet.mesh.supervision import begin_next_attempt
from meshfleet.settings import Durability

ledger = Ledger(Path(sys.argv[1]), durability=Durability.PROCESS, lock_timeout_ms=60_000)
row = {"pid": os.getpid(), "start_time": 1.0, "boot_id": "boot"}
print("ready", flush=True)
sys.stdin.readline()
begun = []
while (attempt := begin_next_attempt(ledger, row)) is not None:
    begun.append([attempt[0]["id"], attempt[1]])
print(json.dumps(begun))
"""
TOKENS: Final[TokensRow] = {
    "total": 6,
    "input": 1,
    "output": 2,
    "reasoning": 3,
    "cache_read": 0,
    "cache_write": 0,
}


def test_an_agent_is_begun_with_its_first_attempt_under_its_supervisor(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    begun = begin_next_attempt(ledger, supervisor(7))
    assert begun is not None
    assert (begun[0]["id"], begun[1]) == (a, 1)
    assert begun[0] == row(ledger, "agents", a)
    agent = row(ledger, "agents", a)
    assert (agent["status"], agent["attempt"], agent["retry_count"]) == ("running", 1, 0)
    assert agent["supervisor"] == supervisor(7)
    assert row(ledger, "attempts", attempt_key(a, 1)) == {
        "agent_id": a,
        "number": 1,
        "started_at": agent["started_at"],
    }
    assert row(ledger, "agents", b)["status"] == "pending"
    assert events_in(ledger_file)[-1]["event"] == "attempt_started"
    assert fleet_status(ledger, fleet_id)["fleet"]["status"] == "running"


def test_agents_are_begun_in_the_order_spawned_until_none_waits(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, first = fleet_of(ledger, "A", "B")
    _, second = fleet_of(ledger, "C")
    assert start_all(ledger) == [(agent_id, 1) for agent_id in first + second]
    before = bytes_of(ledger_file.parent)
    assert begin_next_attempt(ledger, supervisor()) is None
    assert bytes_of(ledger_file.parent) == before


def test_an_agent_left_to_one_supervisor_is_not_begun_by_another(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, [agent_id] = create_fleet(ledger, [AgentSpec("A", "go")], cwd="/", supervisor=supervisor(7))
    same_pid_after_a_restart = {**supervisor(7), "boot_id": "another"}
    assert begin_next_attempt(ledger, supervisor(8)) is None
    assert begin_next_attempt(ledger, same_pid_after_a_restart) is None  # type: ignore[arg-type]
    assert start_all(ledger, supervisor(7)) == [(agent_id, 1)]


def test_two_supervisors_in_two_threads_begin_each_agent_once(ledger_file: Path) -> None:
    ledgers = [open_ledger(ledger_file) for _ in range(2)]
    _, agent_ids = fleet_of(ledgers[0], *(f"agent {number}" for number in range(60)))
    together = threading.Barrier(2)

    def begin_all(number: int) -> list[tuple[str, int]]:
        together.wait(10)
        return start_all(ledgers[number], supervisor(number))

    with ThreadPoolExecutor(2) as pool:
        shares = list(pool.map(begin_all, range(2)))
    assert sorted(shares[0] + shares[1]) == sorted((agent_id, 1) for agent_id in agent_ids)
    for number, share in enumerate(shares):
        for agent_id, _ in share:
            assert row(ledgers[0], "agents", agent_id)["supervisor"] == supervisor(number)


def test_two_supervisors_in_two_processes_begin_each_agent_once(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, agent_ids = fleet_of(ledger, *(f"agent {number}" for number in range(60)))
    command = [sys.executable, "-c", STARTER, str(ledger_file)]
    starters = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for starter in starters:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "ready\n"
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("go\n")
        starter.stdin.flush()
    begun = [json.loads(starter.communicate(timeout=30)[0]) for starter in starters]
    assert sorted(begun[0] + begun[1]) == sorted([agent_id, 1] for agent_id in agent_ids)


def test_the_process_of_an_attempt_is_known_until_the_attempt_ends(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (a,) = fleet_of(ledger, "A")
    start_all(ledger)
    record_process(ledger, a, 1, 4711, 12.5, "boot")
    attempt = row(ledger, "attempts", attempt_key(a, 1))
    assert (attempt["pid"], attempt["start_time"], attempt["boot_id"]) == (4711, 12.5, "boot")
    assert row(ledger, "agents", a)["pid"] == 4711
    told = events_in(ledger_file)[-1]
    assert (told["event"], told["agent_id"], told["pid"]) == ("agent_spawned", a, 4711)

    settle_attempt(ledger, a, 1, Outcome(ok=True))
    assert "pid" not in row(ledger, "agents", a)
    assert row(ledger, "attempts", attempt_key(a, 1))["pid"] == 4711


def test_a_good_attempt_completes_its_agent_with_what_it_said_and_used(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a,) = fleet_of(ledger, "A")
    start_all(ledger)
    outcome = Outcome(ok=True, output="done", exit_code=0, session_id="ses-1", tokens=TOKENS, cost=0.25)
    assert settle_attempt(ledger, a, 1, outcome) is True

    agent, attempt = row(ledger, "agents", a), row(ledger, "attempts", attempt_key(a, 1))
    assert (agent["status"], agent["output"]) == ("complete", "done")
    assert (attempt["ok"], attempt["exit"], attempt["ended_at"]) == (True, 0, agent["completed_at"])
    for told in (agent, attempt):
        assert (told["session_id"], told["tokens"], told["cost"]) == ("ses-1", TOKENS, 0.25)
        assert not {"error", "reason"} & told.keys()
    fleet = row(ledger, "fleets", fleet_id)
    assert (fleet["status"], fleet["completed_at"]) == ("complete", agent["completed_at"])


def test_a_bad_attempt_fails_its_agent_with_the_reason(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a,) = fleet_of(ledger, "A")
    start_all(ledger)
    settle_attempt(ledger, a, 1, Outcome(ok=False, reason=Reason.EXIT, error="it exited with 3", exit_code=3))
    agent, attempt = row(ledger, "agents", a), row(ledger, "attempts", attempt_key(a, 1))
    assert (agent["status"], agent["reason"], agent["error"]) == ("failed", "exit", "it exited with 3")
    assert (attempt["ok"], attempt["exit"], attempt["reason"]) == (False, 3, "exit")
    assert row(ledger, "fleets", fleet_id)["status"] == "failed"


def test_a_fleet_with_one_failure_fails_when_the_last_agent_has_ended_and_not_before(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    start_all(ledger)
    settle_attempt(ledger, a, 1, Outcome(ok=False))
    assert row(ledger, "fleets", fleet_id)["status"] == "running"
    settle_attempt(ledger, b, 1, Outcome(ok=True))
    assert row(ledger, "fleets", fleet_id)["status"] == "failed"
    ended = [event for event in events_in(ledger_file) if event["event"] == "fleet_ended"]
    assert [(event["fleet_id"], event["status"]) for event in ended] == [(fleet_id, "failed")]


@pytest.mark.parametrize(
    ("ok", "told"),
    [(True, ["attempt_ended", "agent_completed"]), (False, ["attempt_ended", "agent_failed_permanent"])],
)
def test_the_event_log_tells_how_an_attempt_and_its_agent_ended(ledger_file: Path, ok: bool, told: list[str]) -> None:
    ledger = open_ledger(ledger_file)
    _, (a, _) = fleet_of(ledger, "A", "B")
    start_all(ledger)
    known = len(events_in(ledger_file))
    settle_attempt(ledger, a, 1, Outcome(ok=ok))
    assert [event["event"] for event in events_in(ledger_file)[known:]] == told


def test_who_settles_second_changes_nothing(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (a,) = fleet_of(ledger, "A")
    start_all(ledger)
    assert settle_attempt(ledger, a, 1, Outcome(ok=True, output="good")) is True
    before = bytes_of(ledger_file.parent)
    assert settle_attempt(ledger, a, 1, Outcome(ok=False, error="late timer")) is False
    assert bytes_of(ledger_file.parent) == before
    assert (row(ledger, "agents", a)["status"], row(ledger, "agents", a)["output"]) == ("complete", "good")


def test_of_several_ledgers_that_settle_at_once_exactly_one_decides(ledger_file: Path) -> None:
    ledgers = [open_ledger(ledger_file) for _ in range(4)]
    _, agent_ids = fleet_of(ledgers[0], *"ABCDEFGH")
    start_all(ledgers[0])
    together = threading.Barrier(4)

    def settle_all(number: int) -> list[bool]:
        together.wait(10)
        outcome = Outcome(ok=number % 2 == 0, output=f"said by {number}")
        return [settle_attempt(ledgers[number], agent_id, 1, outcome) for agent_id in agent_ids]

    with ThreadPoolExecutor(4) as pool:
        decisions = list(pool.map(settle_all, range(4)))
    for place, agent_id in enumerate(agent_ids):
        [winner] = [number for number in range(4) if decisions[number][place]]
        agent = row(ledgers[0], "agents", agent_id)
        assert agent["output"] == f"said by {winner}"
        assert agent["status"] == ("complete" if winner % 2 == 0 else "failed")
    ended = [event for event in events_in(ledger_file) if event["event"] == "attempt_ended"]
    assert len(ended) == len(agent_ids)


def test_an_attempt_that_ends_after_its_agent_was_cancelled_decides_only_itself(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (a,) = fleet_of(ledger, "A")
    start_all(ledger)
    cancelled = {**row(ledger, "agents", a), "status": "cancelled"}
    ledger.transact(lambda transaction: transaction.put("agents", a, cancelled))
    known = len(events_in(ledger_file))

    assert settle_attempt(ledger, a, 1, Outcome(ok=True, output="too late")) is True
    assert row(ledger, "agents", a) == cancelled
    assert row(ledger, "attempts", attempt_key(a, 1))["ok"] is True
    assert [event["event"] for event in events_in(ledger_file)[known:]] == ["attempt_ended"]


def test_an_attempt_nobody_began_can_be_neither_recorded_nor_settled(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (a,) = fleet_of(ledger, "A")
    before = bytes_of(ledger_file.parent)
    with pytest.raises(NotFound, match=f"agent {a} has no attempt 1"):
        settle_attempt(ledger, a, 1, Outcome(ok=True))
    with pytest.raises(NotFound, match=f"agent {a} has no attempt 2"):
        record_process(ledger, a, 2, 1, 1.0, "boot")
    assert bytes_of(ledger_file.parent) == before


def test_an_unknown_agent_is_not_found_and_not_repeated_in_full(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    with pytest.raises(NotFound) as refusal:
        ledger.read(lambda view: require_agent(view, "x" * 100_000))
    assert len(str(refusal.value)) < 200


def test_what_a_newer_version_wrote_into_a_row_is_carried_along(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a,) = fleet_of(ledger, "A")
    for table, key in (("agents", a), ("fleets", fleet_id)):
        _mark(ledger, table, key)
    start_all(ledger)
    _mark(ledger, "attempts", attempt_key(a, 1))
    record_process(ledger, a, 1, 1, 1.0, "boot")
    settle_attempt(ledger, a, 1, Outcome(ok=True))
    for table, key in (("agents", a), ("fleets", fleet_id), ("attempts", attempt_key(a, 1))):
        assert row(ledger, table, key)["from_the_future"] == [1]


def _mark(ledger: Ledger, table: str, key: str) -> None:
    marked = {**row(ledger, table, key), "from_the_future": [1]}
    ledger.transact(lambda transaction: transaction.put(table, key, marked))


def test_from_an_end_no_status_follows_but_waiting_again() -> None:
    assert TRANSITIONS.keys() == set(AgentStatus)
    for status in AgentStatus:
        assert status.has_ended == (TRANSITIONS[status] <= {AgentStatus.PENDING})
        assert status not in TRANSITIONS[status]


def test_words_of_256_kib_are_kept_whole() -> None:
    words = "x" * LONGEST_OUTPUT
    assert last_words(words) == words


@pytest.mark.parametrize("character", ["x", "ü", "€", "😀"])
@pytest.mark.parametrize("offset", range(4))
def test_longer_words_lose_their_beginning_and_say_how_much_of_it(character: str, offset: int) -> None:
    words = "y" * offset + character * (LONGEST_OUTPUT // len(character.encode()) + 10)
    mark, _, kept = last_words(words).partition("\n")
    assert words.endswith(kept)
    assert LONGEST_OUTPUT - 3 <= len(kept.encode()) <= LONGEST_OUTPUT
    assert mark == f"[the first {len(words.encode()) - len(kept.encode())} bytes are in the run folder]"


@given(st.text(st.characters(), max_size=50))
def test_words_that_are_kept_are_valid_unicode(words: str) -> None:
    kept = last_words(words)
    kept.encode()
    assert len(kept) == len(words)
