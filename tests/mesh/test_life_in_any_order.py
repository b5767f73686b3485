"""Whatever several supervisors, callers and budgets do to agents, in any order: what the ledger says stays true."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from meshfleet.errors import Conflict
from meshfleet.ledger import Ledger, View
from meshfleet.mesh.budgets import may_start_more, over_budget
from meshfleet.mesh.cancelling import cancel, stop_over_budget
from meshfleet.mesh.dormancy import is_dormant, was_never_called
from meshfleet.mesh.fleets import attach_agent, create_fleet
from meshfleet.mesh.inboxes import Wanted, get_inbox, note_seen
from meshfleet.mesh.lifecycle import AT_WORK, TRANSITIONS, note_stop, record_process, status_of_fleet
from meshfleet.mesh.messages import Draft, send_message
from meshfleet.mesh.receipts import was_put_before
from meshfleet.mesh.resuming import resume
from meshfleet.mesh.retries import FINAL_REASONS, tries_of
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.specs import AgentSpec, FleetOptions
from meshfleet.mesh.supervision import adopt, attempts_of, begin_next_attempt
from meshfleet.mesh.waiting import endings_since
from meshfleet.mesh.waking import MOST_WAKES
from meshfleet.model import AgentStatus, Reason, Row, Start, TokensRow, now_ms
from meshfleet.settings import Durability
from tests.mesh.fleets import supervisor

BASE_MS: Final = 1_000
SUPERVISORS: Final = [supervisor(number) for number in (7, 8, 9)]
MAX_TOKENS: Final = 1_000
FAILURES: Final = [reason for reason in Reason if reason not in {Reason.CANCELLED, Reason.BUDGET, Reason.NEVER_CALLED}]
PICK: Final = st.integers(0, 10**6)


def tokens(total: int) -> TokensRow:
    return TokensRow(total=total, input=total, output=0, reasoning=0, cache_read=0, cache_write=0)


class LifeInAnyOrder(RuleBasedStateMachine):
    """A fleet with a budget, one that an agent of it spawned, and everything that can be done to them."""

    @initialize(most=st.integers(1, 4))
    def spawn(self, most: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.cwd = self.folder.name
        self.ledger = Ledger(Path(self.cwd) / "agent-mesh.json", durability=Durability.PROCESS)
        self.settled: dict[str, int] = {}
        self.last: dict[str, str] = {}
        self.warned_of: set[str] = set()
        self.most = most
        options = FleetOptions(max_attempts=most, max_tokens=MAX_TOKENS)
        specs = [
            AgentSpec("A", "a", wake=True),
            AgentSpec("B", "b"),
            AgentSpec("M", "m", start=Start.ON_MESSAGE, wake=True),
            AgentSpec("L", "l", after=["A", "B"]),
            AgentSpec("N", "n", start=Start.ON_MESSAGE),
        ]
        self.fleet_id, self.agent_ids = create_fleet(self.ledger, specs, cwd=self.cwd, options=options)
        below = FleetOptions(parent_agent_id=self.agent_ids[0])
        self.below_id, [child] = create_fleet(self.ledger, [AgentSpec("C", "c")], cwd=self.cwd, options=below)
        self.agent_ids.append(child)

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            self.folder.cleanup()

    def rows(self, table: str) -> list[Row]:
        return self.ledger.read(lambda view: list(view.rows(table)))

    def one_of(self, ids: list[Any], pick: int) -> Any:
        return ids[pick % len(ids)] if ids else None

    @rule(by=st.sampled_from(SUPERVISORS), later_ms=st.sampled_from([0, 10**7]), dies=st.booleans())
    def begin(self, by: Any, later_ms: int, dies: bool) -> None:
        begun = begin_next_attempt(self.ledger, by, now=now_ms() + later_ms)
        if begun is not None and not dies:
            record_process(self.ledger, begun[0]["id"], begun[1], 4711, 1.0, "boot")

    @rule(by=st.sampled_from(SUPERVISORS), others=st.sets(st.sampled_from(range(3)), max_size=2))
    def take_over(self, by: Any, others: set[int]) -> None:
        gone = [SUPERVISORS[number] for number in others if SUPERVISORS[number] != by]
        adopted = adopt(self.ledger, by, gone)
        assert all(row["supervisor"] == by for row in self.rows("agents") if row["id"] in adopted)

    @rule(
        pick=PICK,
        ok=st.booleans(),
        interrupted=st.booleans(),
        whole=st.booleans(),
        reason=st.sampled_from(FAILURES),
        used=st.sampled_from([0, 10, 600]),
        times=st.integers(1, 2),
    )
    def settle(
        self, pick: int, ok: bool, interrupted: bool, whole: bool, reason: Reason, used: int, times: int
    ) -> None:
        attempt = self.one_of(self.rows("attempts"), pick)
        if attempt is None:
            return
        outcome = Outcome(
            ok=ok,
            reason=None if ok else reason,
            interrupted=interrupted and not ok,
            session_id="ses",
            tokens=tokens(used),
            whole=whole,
        )
        for _ in range(times):
            key = f"{attempt['agent_id']}/{attempt['number']}"
            try:
                decided = settle_attempt(
                    self.ledger, attempt["agent_id"], attempt["number"], outcome, retry_base_ms=BASE_MS
                )
            except Conflict:
                assert not whole
                assert attempt["stopping"] == "cancelled"
                return
            self.settled[key] = self.settled.get(key, 0) + decided
            assert self.settled[key] == 1

    @rule(pick=PICK, reason=st.sampled_from([Reason.TIMEOUT, Reason.STALL]))
    def want_stopped(self, pick: int, reason: Reason) -> None:
        attempt = self.one_of(self.rows("attempts"), pick)
        if attempt is not None:
            note_stop(self.ledger, attempt["agent_id"], attempt["number"], reason, "too long")

    @rule(pick=PICK, whole_fleet=st.booleans(), times=st.integers(1, 2))
    def cancel_some(self, pick: int, whole_fleet: bool, times: int) -> None:
        for time in range(times):
            if whole_fleet:
                done = cancel(self.ledger, fleet_id=self.one_of([self.fleet_id, self.below_id], pick))
            else:
                done = cancel(self.ledger, agent_id=self.one_of(self.agent_ids, pick))
            assert time == 0 or not done.ended
        rows = {row["id"]: row for row in self.rows("agents")}
        assert all(rows[agent_id]["status"] == "cancelled" for agent_id in done.ended)

    @rule(pick=PICK, whole_fleet=st.booleans(), fresh=st.booleans(), by=st.sampled_from([None, *SUPERVISORS]))
    def resume_some(self, pick: int, whole_fleet: bool, fresh: bool, by: Any) -> None:
        target: dict[str, str] = (
            {"fleet_id": self.one_of([self.fleet_id, self.below_id], pick)}
            if whole_fleet
            else {"agent_id": self.one_of(self.agent_ids, pick)}
        )
        try:
            resumed = resume(self.ledger, **target, fresh=fresh, supervisor=by)
        except Conflict:
            return
        rows = {row["id"]: row for row in self.rows("agents")}
        assert all(rows[agent_id]["status"] == "pending" for agent_id in resumed)

    @rule(sender=PICK, to=st.sampled_from("ABMLN*"), kind=st.sampled_from(["handoff", "result"]), seen=st.booleans())
    def send(self, sender: int, to: str, kind: str, seen: bool) -> None:
        own = [row["id"] for row in self.rows("agents") if row["fleet_id"] == self.fleet_id]
        ended = {row["id"] for row in self.rows("agents") if AgentStatus(row["status"]).has_ended}
        opens = self.ledger.read(partial(may_start_more, fleet_id=self.fleet_id))
        sent = send_message(self.ledger, Draft(self.one_of(own, sender), to, self.fleet_id, kind, "x"))
        if "warning" in sent:
            self.warned_of.add(sent["message_id"])
        reopened = {row["id"] for row in self.rows("agents") if row["id"] in ended and row["status"] == "pending"}
        assert opens or not reopened
        if seen:
            reader = self.one_of(own, sender)
            note_seen(self.ledger, reader, get_inbox(self.ledger, Wanted(reader)))

    @rule()
    def mind_the_budget(self) -> None:
        for fleet_id, what in over_budget(self.ledger):
            stop_over_budget(self.ledger, fleet_id, what)

    @rule(pick=PICK)
    def attach(self, pick: int) -> None:
        if len(self.agent_ids) >= 9:
            return
        fleet_id = self.one_of([self.fleet_id, self.below_id], pick)
        fleet = next(row for row in self.rows("fleets") if row["id"] == fleet_id)
        try:
            self.agent_ids.append(attach_agent(self.ledger, fleet_id, AgentSpec("D", "d"), cwd=self.cwd))
        except Conflict:
            assert fleet["status"] != "running" or fleet.keys() & {"cancelled_at", "over_budget"}
        else:
            assert fleet["status"] == "running"

    @invariant()
    def each_status_follows_the_one_before(self) -> None:
        for row in self.rows("agents") if hasattr(self, "ledger") else ():
            before, now = self.last.get(row["id"], "pending"), row["status"]
            assert before == now or AgentStatus(now) in TRANSITIONS[AgentStatus(before)]
            self.last[row["id"]] = now

    @invariant()
    def a_fleet_agrees_with_its_agents(self) -> None:
        for fleet in self.rows("fleets") if hasattr(self, "ledger") else ():
            agents = [row for row in self.rows("agents") if row["fleet_id"] == fleet["id"]]
            assert fleet["status"] == status_of_fleet(agents)
            ended = fleet["status"] in {"complete", "failed"}
            assert ended == ("completed_at" in fleet)
            assert not ended or all(AgentStatus(row["status"]).has_ended for row in agents)

    @invariant()
    def a_fleet_that_runs_has_somebody_who_can_go_on(self) -> None:
        for fleet in self.rows("fleets") if hasattr(self, "ledger") else ():
            agents = self.ledger.read(partial(View.agents_of, fleet_id=fleet["id"]))
            at_work = [row for row in agents if row["status"] in AT_WORK]
            dormant = [row for row in at_work if self.ledger.read(partial(is_dormant, agent=row))]
            assert not at_work or len(dormant) < len(at_work)
            assert all(int(row.get("wakes", 0)) <= MOST_WAKES for row in agents)

    @invariant()
    def nobody_waits_for_what_is_there(self) -> None:
        rows = {row["id"]: row for row in self.rows("agents")} if hasattr(self, "ledger") else {}
        for row in rows.values():
            if self.ledger.read(partial(is_dormant, agent=row)):
                assert row.get("start") != Start.ON_MESSAGE or not get_inbox(self.ledger, Wanted(row["id"]))
            if was_never_called(row) and "after" in row:
                assert any(rows[before]["status"] != "complete" for before in row["after"])

    @invariant()
    def a_call_that_was_taken_is_not_forgotten_by_one_that_it_wakes(self) -> None:
        for row in self.rows("agents") if hasattr(self, "ledger") else ():
            if row["status"] != "complete" or not row.get("wake") or row.get("wakes", 0) >= MOST_WAKES:
                continue
            if not self.ledger.read(partial(may_start_more, fleet_id=row["fleet_id"])):
                continue
            for message in get_inbox(self.ledger, Wanted(row["id"], type="handoff")):
                known = self.ledger.read(partial(was_put_before, message_id=message["id"], agent_id=row["id"]))
                assert known or message["id"] in self.warned_of or message["from_agent_id"] == row["id"]

    @invariant()
    def endings_are_counted(self) -> None:
        if not hasattr(self, "ledger"):
            return
        agents = self.rows("agents")
        for fleet in self.rows("fleets"):
            endings = [row["ending"] for row in agents if row["fleet_id"] == fleet["id"] and "ending" in row]
            assert len(set(endings)) == len(endings)
            assert all(1 <= ending <= fleet["endings"] for ending in endings)
            told = self.ledger.read(partial(endings_since, fleet_id=fleet["id"]))
            assert (len(told.ended), told.cursor) == (len(endings), fleet.get("endings", 0))
        for row in agents:
            assert ("ending" in row) == ("completed_at" in row) == AgentStatus(row["status"]).has_ended

    @invariant()
    def attempts_belong_to_whoever_runs_them(self) -> None:
        if not hasattr(self, "ledger"):
            return
        attempts = {(row["agent_id"], row["number"]): row for row in self.rows("attempts")}
        running = 0
        for agent in self.rows("agents"):
            own = {number: row for (agent_id, number), row in attempts.items() if agent_id == agent["id"]}
            assert sorted(own) == list(range(1, agent.get("attempt", 0) + 1))
            going_on = [number for number, row in own.items() if "ended_at" not in row]
            assert going_on == ([agent["attempt"]] if agent["status"] == "running" else [])
            assert ("retry_at" in agent) <= (agent["status"] == "pending")
            assert tries_of(agent) <= self.most or agent["fleet_id"] == self.below_id
            running += agent["status"] == "running"
            if "retry_at" in agent:
                assert own[agent["attempt"]]["reason"] not in set(FINAL_REASONS)
        assert sum(len(attempts_of(self.ledger, by)) for by in SUPERVISORS) == running


LifeInAnyOrder.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestLifeInAnyOrder = pytest.mark.slow(LifeInAnyOrder.TestCase)
