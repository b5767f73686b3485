"""What a call costs does not depend on how many acknowledged messages lie in the ledger.

Counted, not timed: the functions that are called, Python's own steps, what is allocated, and what goes to and from the
files. How long it takes is the benchmark's to tell.
"""

from __future__ import annotations

import gc
import math
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import pytest

from benchmark.seeding import seed
from meshfleet.ledger import Ledger, View
from meshfleet.ledger.state import State
from meshfleet.mesh.fleets import collect_results, create_fleet, fleet_status, list_fleets
from meshfleet.mesh.identity import whoami
from meshfleet.mesh.inboxes import Wanted, get_inbox, undeliverable
from meshfleet.mesh.messages import Draft, send_message
from meshfleet.mesh.receipts import ack_message, get_receipts, write_receipt
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.supervision import next_to_start
from meshfleet.model import Start
from tests.ledger.rows import quiet_ledger
from tests.ledger.watched_files import Step, WatchedFiles
from tests.ledgers import ledger_at
from tests.mesh.fleets import inbox_of, row, start_all, supervisor

SIZES: Final = (100, 5_000)
DIGITS: Final = 8
"""Bytes by which two records may differ that are alike but for their numbers."""


class CountingFiles(WatchedFiles):
    """Counts the operations, and the bytes that are read and written."""

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def around(self, name: str, step: Step, *args: Any) -> Any:
        result = step(*args)
        self.operations[name] += 1
        if name == "read":
            self.bytes[name] += len(result)
        elif name == "write":
            self.bytes[name] += result
        return result


class Mesh:
    """A ledger with a past: two agents of one fleet that have exchanged that many messages, all acknowledged."""

    def __init__(self, folder: Path, messages: int) -> None:
        seeded = seed(folder / str(messages), messages)
        self.files = CountingFiles()
        self.ledger = quiet_ledger(seeded.file, self.files)
        (self.fleet_id, _) = (fleet["id"] for fleet in list_fleets(self.ledger)["fleets"])
        self.sender, self.receiver = (agent["id"] for agent in fleet_status(self.ledger, self.fleet_id)["agents"])
        past = self.ledger.read(lambda view: view.messages_of(self.fleet_id))
        assert len(past) == messages
        self.past = past[messages // 2]["id"]

    def send(self, to: str | None = None) -> Any:
        return send_message(self.ledger, Draft(self.sender, to or self.receiver, self.fleet_id, "result", "hello"))

    def send_to_everyone(self) -> Any:
        return self.send("*")

    def acknowledge(self) -> Any:
        waiting = inbox_of(self.ledger, self.receiver)["messages"]
        return ack_message(self.ledger, self.receiver, waiting[0]["id"])

    def acknowledge_once_more(self) -> Any:
        return ack_message(self.ledger, self.receiver, self.past)

    def annotate(self) -> Any:
        actions = len(get_receipts(self.ledger, self.past)["receipts"])
        return write_receipt(self.ledger, self.receiver, self.past, f"seen-{actions}")

    def look_into_the_inbox(self) -> Any:
        return inbox_of(self.ledger, self.receiver)

    def ask_for_receipts(self) -> Any:
        return get_receipts(self.ledger, self.past)

    def ask_how_the_fleet_is(self) -> Any:
        return fleet_status(self.ledger, self.fleet_id)

    def ask_how_all_are(self) -> Any:
        return list_fleets(self.ledger)

    def collect(self) -> Any:
        return collect_results(self.ledger, self.fleet_id)

    def ask_who_it_is(self) -> Any:
        return whoami(self.ledger, self.sender)

    def ask_how_the_mesh_is(self) -> Any:
        return self.ledger.read(lambda view: list(undeliverable(view)))

    def send_once_more(self) -> Any:
        draft = Draft(self.sender, self.receiver, self.fleet_id, "result", "hello", idempotency_key="k")
        return send_message(self.ledger, draft)

    def run_a_fleet(self) -> Any:
        create_fleet(self.ledger, [AgentSpec("R", "p")], cwd="/project")
        for agent_id, number in start_all(self.ledger):
            settle_attempt(self.ledger, agent_id, number, Outcome(ok=True, output="done"))

    def hear_of_what_another_sent(self) -> Any:
        other = quiet_ledger(self.ledger.data_file)
        send_message(other, Draft(self.sender, self.receiver, self.fleet_id, "result", "hello"))
        other.close()


CALLS: Final = [
    Mesh.send,
    Mesh.send_to_everyone,
    Mesh.acknowledge,
    Mesh.acknowledge_once_more,
    Mesh.annotate,
    Mesh.look_into_the_inbox,
    Mesh.ask_for_receipts,
    Mesh.ask_how_the_fleet_is,
    Mesh.ask_how_all_are,
    Mesh.collect,
    Mesh.ask_who_it_is,
    Mesh.ask_how_the_mesh_is,
    Mesh.send_once_more,
    Mesh.run_a_fleet,
]


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Generator[list[Mesh]]:
    """One ledger with a short past and one with a long one; what is done is done to both."""
    folder = tmp_path_factory.mktemp("growth")
    with pytest.MonkeyPatch.context() as patched:
        # whoever writes an event looks once a second whether the log was moved, and so would one call and not another
        patched.setattr("meshfleet.ledger.events.LOOK_INTERVAL_S", math.inf)
        yield [Mesh(folder, size) for size in SIZES]


@contextmanager
def nothing_collected() -> Generator[None]:
    """Keep the garbage collector away: it comes when it likes, and tells whoever asked, as hypothesis does."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def functions_called(deed: Callable[[], object]) -> Counter[str]:
    """How often each function is called, those in C included."""
    counts: Counter[str] = Counter()

    def count(frame: Any, event: str, function: Any) -> None:
        if event in {"call", "c_call"}:
            counts[frame.f_code.co_qualname if event == "call" else function.__qualname__] += 1

    with nothing_collected():
        sys.setprofile(count)
        try:
            deed()
        finally:
            sys.setprofile(None)
    return counts


def steps_taken(deed: Callable[[], object]) -> int:
    """How many of Python's own instructions are carried out; a loop that calls nothing shows only here."""
    steps = 0

    def count(frame: Any, event: str, _: object) -> Any:
        nonlocal steps
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        steps += event == "opcode"
        return count

    before = sys.gettrace()
    with nothing_collected():
        sys.settrace(count)
        try:
            deed()
        finally:
            sys.settrace(before)
    return steps


def _seq_of(view: View) -> int:
    return view.seq


def most_allocated(deed: Callable[[], object]) -> float:
    """The most bytes that were allocated at once, in the middle one of several times: a dict grows now and then."""
    peaks = []
    for _ in range(7):
        tracemalloc.start()
        deed()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return median(peaks)


@pytest.mark.parametrize("call", CALLS)
def test_a_call_does_the_same_whether_a_hundred_messages_are_there_or_five_thousand(
    meshes: list[Mesh], call: Callable[[Mesh], object]
) -> None:
    for mesh in meshes:
        # something waits to be acknowledged, and whatever is made once is made
        mesh.send()
        call(mesh)
        mesh.send()
    few, many = (functions_called(partial(call, mesh)) for mesh in meshes)
    assert few == many
    assert few.total() > 5


@pytest.mark.parametrize("call", CALLS)
def test_a_call_takes_as_many_steps_whether_a_hundred_messages_are_there_or_five_thousand(
    meshes: list[Mesh], call: Callable[[Mesh], object]
) -> None:
    for mesh in meshes:
        mesh.send()
        call(mesh)
        mesh.send()
    few, many = (steps_taken(partial(call, mesh)) for mesh in meshes)
    assert few == many
    assert few > 100


@pytest.mark.parametrize("call", CALLS)
def test_a_call_reads_and_writes_as_much_whether_a_hundred_messages_are_there_or_five_thousand(
    meshes: list[Mesh], call: Callable[[Mesh], object]
) -> None:
    costs = []
    for mesh in meshes:
        mesh.send()
        mesh.files.operations.clear()
        mesh.files.bytes.clear()
        call(mesh)
        costs.append((Counter(mesh.files.operations), Counter(mesh.files.bytes)))
    (few, few_bytes), (many, many_bytes) = costs
    assert few == many
    for name in ("read", "write"):
        assert abs(few_bytes[name] - many_bytes[name]) <= DIGITS * few[name]


@pytest.mark.parametrize("call", CALLS)
def test_a_call_allocates_as_much_whether_a_hundred_messages_are_there_or_five_thousand(
    meshes: list[Mesh], call: Callable[[Mesh], object]
) -> None:
    for mesh in meshes:
        for _ in range(10):
            mesh.send()
        call(mesh)
    few, many = (most_allocated(partial(call, mesh)) for mesh in meshes)
    assert abs(many - few) < 4_000, (few, many)


@pytest.fixture
def eager_collector() -> Generator[None]:
    """The garbage collector comes all the time, and somebody wants to hear of it."""

    def hear(phase: str, info: dict[str, int]) -> None:
        str((phase, info))

    usual = gc.get_threshold()
    gc.callbacks.append(hear)
    gc.set_threshold(1)
    yield
    gc.set_threshold(*usual)
    gc.callbacks.remove(hear)


def make_lists() -> list[list[int]]:
    return [[number] for number in range(1_000)]


@pytest.mark.parametrize("count", [functions_called, steps_taken])
def test_what_the_garbage_collector_does_meanwhile_is_not_counted(
    request: pytest.FixtureRequest, count: Callable[[Callable[[], object]], object]
) -> None:
    undisturbed = count(make_lists)
    request.getfixturevalue("eager_collector")
    assert count(make_lists) == undisturbed


def _looks(ledger: Ledger, fleet_id: str, agent_id: str) -> list[Callable[[], object]]:
    """What agents and supervisors ask most."""
    return [
        lambda: whoami(ledger, agent_id),
        lambda: get_inbox(ledger, Wanted(agent_id)),
        lambda: send_message(ledger, Draft(agent_id, "R", fleet_id, "handoff", "x")),
        lambda: ledger.read(lambda view: next_to_start(view, supervisor(), 0)),
    ]


def test_what_an_agent_asks_costs_the_same_however_many_others_have_ended_with_messages_unread(tmp_path: Path) -> None:
    counts = []
    for size in (3, 60):
        ledger = quiet_ledger(tmp_path / str(size) / "agent-mesh.json")
        for _ in range(size):
            create_fleet(ledger, [AgentSpec("O", "p", wake=True), AgentSpec("R", "p")], cwd="/project")
            for agent_id, number in start_all(ledger):
                agent = row(ledger, "agents", agent_id)
                send_message(ledger, Draft("me", agent_id, agent["fleet_id"], "result", "x"))
                settle_attempt(ledger, agent_id, number, Outcome(ok=True, output="done"))
        fleet_id, (agent_id, _) = create_fleet(ledger, [AgentSpec("A", "p"), AgentSpec("R", "p")], cwd="/project")
        start_all(ledger)
        looks = _looks(ledger, fleet_id, agent_id)
        for look in looks:
            look()
        counts.append([steps_taken(look) for look in looks])
        ledger.close()
    # what the files take is not the same each time
    assert all(many < 1.2 * few for few, many in zip(*counts, strict=True)), counts


def test_whose_turn_it_is_takes_as_much_longer_as_more_agents_are_dormant(tmp_path: Path) -> None:
    steps = []
    for size in (20, 40):
        ledger = quiet_ledger(tmp_path / str(size) / "agent-mesh.json")
        roles = [f"R{number}" for number in range(size)]
        later = [AgentSpec(role, "p", after=["A", *roles[:place]]) for place, role in enumerate(roles)]
        called = [AgentSpec(f"M{number}", "p", start=Start.ON_MESSAGE) for number in range(size)]
        create_fleet(ledger, [AgentSpec("A", "p"), *later, *called], cwd="/project")
        assert len(start_all(ledger)) == 1
        steps.append(steps_taken(partial(ledger.read, partial(next_to_start, supervisor=supervisor(), now=0))))
        ledger.close()
    assert steps[1] < 2.1 * steps[0]


def test_hearing_of_what_another_wrote_costs_the_same(meshes: list[Mesh]) -> None:
    counts = []
    for mesh in meshes:
        for _ in range(2):
            mesh.hear_of_what_another_sent()
            counts.append(functions_called(partial(mesh.ledger.read, _seq_of)))
    assert counts[1] == counts[3]
    assert counts[1]["Replica._replay"] == 1


def test_an_inbox_that_was_worked_off_is_as_small_as_one_that_was_always_short() -> None:
    state = State()
    for number in range(5_000):
        state.apply([["append", "a", str(number)]])
    for number in range(4_998):
        state.apply([["take", "a", str(number)]])
        assert len(state.inboxes["a"]) == 4_999 - number
    assert list(state.inboxes["a"]) == ["4998", "4999"]
    assert sys.getsizeof(state.inboxes["a"]) < 2_500


@pytest.mark.parametrize("fresh", [False, True])
def test_what_the_indexes_say_is_what_the_rows_say(meshes: list[Mesh], fresh: bool) -> None:
    mesh = meshes[1]
    ledger = ledger_at(mesh.ledger.data_file) if fresh else mesh.ledger

    def query(view: View) -> tuple[int, int, int, int]:
        rows = list(view.rows("messages"))
        return (
            len(view.messages_of(mesh.fleet_id)),
            sum(row["fleet_id"] == mesh.fleet_id for row in rows),
            sum(len(view.receipts_of(row["id"])) for row in rows),
            view.count("receipts"),
        )

    by_index, by_row, receipts_by_index, receipts = ledger.read(query)
    assert by_index == by_row >= SIZES[1]
    assert receipts_by_index == receipts >= SIZES[1]
