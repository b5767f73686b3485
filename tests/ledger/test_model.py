"""Several ledgers open on the same files, with all that happens to files, against a model that is a plain dict.

The properties below it say the same of the parts: the journal's lines, the state in memory, a transaction's own view.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from meshfleet.errors import Invalid
from meshfleet.ledger import Ledger, Transaction, snapshot
from meshfleet.ledger import journal as journal_lines
from meshfleet.ledger.journal import Damaged, Header, Operation, Record
from meshfleet.ledger.schema import TABLES
from meshfleet.ledger.state import State, View
from tests.ledger.journals import write_behind, written_in
from tests.ledger.naive import (
    NaiveLedger,
    assert_answers_alike,
    everything_in,
    operations,
    transactions,
    write,
)
from tests.ledger.rows import quiet_ledger
from tests.ledger.watched_files import UnsyncedFiles
from tests.ledgers import closing_ledgers

SLOTS: Final = 4
"""How many ledgers are open at once, at most."""
V090_TABLES: Final = tuple(table for table in TABLES if table not in {"attempts", "outcomes"})
LEFTOVERS: Final = ("agent-mesh.snapshot.tmp", "agent-mesh.first.tmp")

slots = st.integers(0, SLOTS - 1)


@pytest.fixture(autouse=True)
def no_word_about_torn_tails(caplog: pytest.LogCaptureFixture) -> None:
    """There are thousands."""
    caplog.set_level(logging.ERROR, "meshfleet.ledger")


class Ledgers(RuleBasedStateMachine):
    """Ledgers that are processes of their own as far as their memory and their descriptors go.

    They never compact by themselves: `quiet_ledger` takes away the call that would start the compaction thread, so
    an abandoned one is as still as a process that was killed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="meshfleet-model-"))
        self.file = self.folder / "agent-mesh.json"
        self.ledgers: list[Ledger | None] = [None] * SLOTS
        self.asleep: set[int] = set()
        self.folded = NaiveLedger()
        self.since: list[Operation] = []
        self.torn = False
        self.edits = 0
        self.closing = ExitStack()
        self.closing.enter_context(closing_ledgers())

    @initialize(document=st.sampled_from([None, {}, {"novelty": [1, "two"]}]))
    def begin(self, document: dict[str, Any] | None) -> None:
        """Nothing is there yet, or what v0.9.0 left."""
        if document is not None:
            self.file.write_text(json.dumps({"schema_version": 2, **document}))
            self.folded = NaiveLedger(document)
        self.ledgers = [quiet_ledger(self.file, UnsyncedFiles()) for _ in range(SLOTS)]

    def teardown(self) -> None:
        for slot in range(SLOTS):
            self.abandon(slot)
        self.closing.close()
        shutil.rmtree(self.folder)

    # -- processes --------------------------------------------------------------------------------------------------

    @rule(slot=slots, killed=st.booleans(), successor=st.booleans())
    def end(self, slot: int, killed: bool, successor: bool) -> None:
        """A process ends, well or not, and perhaps another one starts in its stead."""
        if killed:
            self.abandon(slot)
        elif ledger := self.ledgers[slot]:
            ledger.close()
        self.ledgers[slot] = quiet_ledger(self.file, UnsyncedFiles()) if successor else None
        self.asleep.discard(slot)

    def abandon(self, slot: int) -> None:
        """What is left of a process that was killed: its descriptors are gone, and nothing was said."""
        if ledger := self.ledgers[slot]:
            ledger._replica.release()
            ledger._lock.close()
            ledger.events.close()

    @rule(slot=slots)
    def fall_asleep(self, slot: int) -> None:
        """A process that looks at nothing until it does something, whatever happens to the files meanwhile."""
        self.asleep.add(slot)

    # -- what they do -----------------------------------------------------------------------------------------------

    def ledger(self, slot: int) -> Ledger:
        self.asleep.discard(slot)
        ledger = self.ledgers[slot] or quiet_ledger(self.file, UnsyncedFiles())
        self.ledgers[slot] = ledger
        return ledger

    def content(self) -> NaiveLedger:
        return self.folded.carried_out(self.since)

    @rule(slot=slots, changes=transactions())
    def transact(self, slot: int, changes: list[Operation]) -> None:
        expected = self.content()

        def carry_out(transaction: Transaction) -> int:
            for operation in changes:
                write(transaction, operation)
                expected.carry_out(operation)
                assert_answers_alike(transaction, expected)
            return len(changes)

        assert self.ledger(slot).transact(carry_out) == len(changes)
        self.since += changes
        self.torn = False

    @rule(slot=slots, changes=transactions())
    def refuse(self, slot: int, changes: list[Operation]) -> None:
        def raise_in_the_end(transaction: Transaction) -> None:
            for operation in changes:
                write(transaction, operation)
            raise Invalid("no")

        with pytest.raises(Invalid, match="no"):
            self.ledger(slot).transact(raise_in_the_end)
        self.torn = False

    @rule(slot=slots)
    def compact(self, slot: int) -> None:
        folds = self.ledger(slot).compact()
        assert folds == bool(self.since)
        if folds:
            self.folded, self.since, self.torn = self.content(), [], False
            assert sorted(path.name for path in self.folder.glob("*.ndjson")) == [self.journal.name]

    @rule(slot=slots, changes=transactions(1))
    def transact_and_compact(self, slot: int, changes: list[Operation]) -> None:
        """Together, so that whoever sleeps misses several generations."""
        self.transact(slot, changes)
        self.compact(slot)

    # -- what happens to the files ----------------------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """The generation of the snapshot; 0 when there is none that is ours."""
        found = json.loads(self.file.read_bytes()).get("generation", 0) if self.file.exists() else 0
        assert isinstance(found, int)
        return found

    @property
    def journal(self) -> Path:
        return self.journal_of(self.generation)

    def journal_of(self, generation: int) -> Path:
        return self.file.with_name(f"agent-mesh.journal.{generation}.ndjson")

    def replace(self, document: dict[str, Any], *, in_place: bool, indent: int | None = None) -> None:
        """Write the snapshot as somebody else would.

        A person takes longer than a file system's clock ticks, which is what tells two files of one size apart.
        """
        self.edits += 1
        path = self.file if in_place else self.folder / "edited by hand"
        path.write_text(json.dumps(document, indent=indent))
        moment = time.time_ns() + self.edits * 1_000_000
        os.utime(path, ns=(moment, moment))
        path.replace(self.file)

    @precondition(lambda self: self.generation and not self.torn)
    @rule(changes=transactions(1), part=st.floats(0, 1, exclude_max=True))
    def tear(self, changes: list[Operation], part: float) -> None:
        """A process died while it wrote: any part of a line but its newline."""
        line = journal_lines.encode_record(10_000, changes)
        write_behind(self.journal, line[: 1 + int(part * (len(line) - 1))])
        self.torn = True

    @precondition(lambda self: self.file.exists())
    @rule(change=operations(), in_place=st.booleans(), indent=st.sampled_from([None, 2]))
    def edit_by_hand(self, change: Operation, in_place: bool, indent: int | None) -> None:
        """Somebody changes a row of the snapshot, or reformats it; what the journal holds still comes after it."""
        document = json.loads(self.file.read_bytes())
        kept = {key: value for key, value in document.items() if key in NAMES_OF_NUMBERS}
        found = NaiveLedger({key: value for key, value in document.items() if key not in NAMES_OF_NUMBERS})
        assert found.everything() == self.folded.everything()
        self.folded = found.carried_out([change])
        self.replace({**kept, **self.folded.document}, in_place=in_place, indent=indent)

    @precondition(lambda self: self.file.exists())
    @rule(in_place=st.booleans(), seldom=st.integers(0, 3))
    def rewrite_as_v090_does(self, in_place: bool, seldom: int) -> None:
        """It has read the snapshot and knows nothing of a journal: its version is the ledger from now on."""
        if seldom:
            return
        known = {table: self.folded.document[table] for table in V090_TABLES}
        self.replace({"schema_version": 2, **known}, in_place=in_place, indent=2)
        self.folded, self.since, self.torn = NaiveLedger(known), [], False

    @precondition(lambda self: self.generation)
    @rule(away=st.sampled_from([-1, 1]), part=st.floats(0, 1), name=st.sampled_from(LEFTOVERS))
    def leave_what_a_crashed_compaction_leaves(self, away: int, part: float, name: str) -> None:
        """A part of a snapshot, and the journal of the next generation, or that of the last one."""
        self.folder.joinpath(name).write_bytes(self.file.read_bytes()[:100])
        line, _, records = written_in(self.journal).partition(b"\n")
        header = journal_lines.decode_header(line)
        _, _, tail = records.rpartition(b"\n")
        whole = records.removesuffix(tail)
        leftover = journal_lines.encode_header(header._replace(generation=header.generation + away)) + whole
        if header.generation + away > 0:
            self.journal_of(header.generation + away).write_bytes(leftover[: int(part * len(leftover))])

    @rule()
    def tidy_up(self) -> None:
        """Somebody removes what looks like rubbish, and the lock nobody holds."""
        keep = {self.file, self.journal}
        for path in self.folder.iterdir():
            if path not in keep and (self.generation or not path.name.endswith(".ndjson")):
                path.unlink()

    # -- what must hold ---------------------------------------------------------------------------------------------

    @invariant()
    def everybody_who_is_awake_reads_the_same(self) -> None:
        expected = self.content()
        for slot, ledger in enumerate(self.ledgers):
            if ledger is not None and slot not in self.asleep:
                assert ledger.read(everything_in) == expected.everything()
                ledger.read(lambda view: assert_answers_alike(view, expected))


NAMES_OF_NUMBERS: Final = ("schema_version", "generation", "seq", "lineage")


@pytest.mark.slow
def test_ledgers_on_the_same_files_hold_what_the_model_holds_whatever_happens() -> None:
    run_state_machine_as_test(Ledgers, settings=settings(max_examples=200, stateful_step_count=40, deadline=None))


# -- the journal's lines --------------------------------------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
lines = st.builds(journal_lines.encode_record, st.integers(0, 2**63), st.lists(st.lists(values, max_size=4)))


@given(st.integers(0, 2**63), st.lists(st.lists(values, max_size=4)))
def test_a_record_is_one_line_and_is_read_as_it_was_written(seq: int, written: list[Operation]) -> None:
    line = journal_lines.encode_record(seq, written)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert journal_lines.decode_record(line[:-1]) == Record(seq, written)


@given(st.text(st.characters(codec=None)))
def test_a_text_with_a_lone_surrogate_is_read_as_it_was_written(text: str) -> None:
    line = journal_lines.encode_record(1, [["put", "messages", text, {"payload": text}]])
    assert journal_lines.decode_record(line[:-1]).operations == [["put", "messages", text, {"payload": text}]]


@given(st.integers(0, 2**63), st.integers(0, 2**63), st.tuples(*[st.integers(0, 2**63)] * 3))
def test_a_header_is_read_as_it_was_written(generation: int, base: int, snapshot: tuple[int, int, int]) -> None:
    header = Header(generation, base, snapshot)
    assert journal_lines.decode_header(journal_lines.encode_header(header)[:-1]) == header


@given(lines, st.data())
def test_whatever_a_crash_leaves_of_a_line_is_torn(line: bytes, data: st.DataObject) -> None:
    assert journal_lines.is_torn(line[: data.draw(st.integers(1, len(line) - 1))])


@given(lines, st.integers(0, 255), st.binary(max_size=30))
def test_a_whole_record_whose_newline_became_something_else_is_not_torn(line: bytes, byte: int, rest: bytes) -> None:
    tail = line[:-1] + bytes([byte]) + rest
    # zeros are what a power cut leaves of a file that had grown
    assume(b"\n" not in tail and tail.rstrip(b"\0") != line[:-1])
    assert not journal_lines.is_torn(tail)
    assert journal_lines.whole_record(tail) == line[:-1]


@given(lines, st.data())
def test_a_line_with_any_byte_changed_is_damaged(line: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(line) - 2))
    damaged = bytearray(line[:-1])
    damaged[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Damaged):
        journal_lines.decode_record(bytes(damaged))


@given(st.binary(max_size=60) | lines.map(lambda line: line[:-1]))
def test_bytes_that_are_no_line_are_damaged_and_nothing_worse(data: bytes) -> None:
    for decode in (journal_lines.decode_record, journal_lines.decode_header):
        try:
            decode(data)
        except Damaged:
            continue
        assert data.startswith(b'{"seq"')


# -- the state in memory --------------------------------------------------------------------------------------------


@given(st.lists(operations(), max_size=40))
def test_a_state_answers_as_a_plain_search_does_after_each_operation(changes: list[Operation]) -> None:
    state, naive = State(), NaiveLedger()
    for operation in changes:
        state.apply([operation])
        naive.carry_out(operation)
        view = View(state, 0)
        assert everything_in(view) == naive.everything()
        assert_answers_alike(view, naive)
    for index in state.index.values():
        assert all(index.values()), "an index keeps no value that no row has"


@given(st.lists(operations(), max_size=20), st.lists(operations(), max_size=10), st.lists(operations(), max_size=10))
def test_a_state_that_is_looked_at_briefly_answers_alike_whenever_it_is_asked_first(
    before: list[Operation], unasked: list[Operation], after: list[Operation]
) -> None:
    kept = State()
    kept.apply(before)
    _, brief = snapshot.read(b"".join(snapshot.write(kept, 1, 0)), briefly=True)
    naive = NaiveLedger().carried_out(before)
    for changes in (unasked, after):
        brief.apply(changes)
        naive = naive.carried_out(changes)
        assert_answers_alike(View(brief, 0), naive)


@given(st.lists(operations(), max_size=40), st.lists(operations(), max_size=10))
def test_a_copy_of_a_state_is_left_alone_by_what_comes_later(before: list[Operation], after: list[Operation]) -> None:
    state, naive = State(), NaiveLedger()
    state.apply(before)
    copy = state.copy()
    state.apply(after)
    assert everything_in(View(copy, 0)) == naive.carried_out(before).everything()


@given(st.lists(operations(), max_size=25), st.lists(operations(), max_size=12))
def test_a_transaction_sees_its_changes_as_they_will_be_once_applied(
    before: list[Operation], changes: list[Operation]
) -> None:
    state = State()
    state.apply(before)
    untouched = everything_in(View(state, 0))
    transaction = Transaction(state, 0)
    for operation in changes:
        write(transaction, operation)
    assert everything_in(View(state, 0)) == untouched
    expected = NaiveLedger().carried_out(before).carried_out(changes)
    assert_answers_alike(transaction, expected)
    state.apply(transaction.operations)
    assert_answers_alike(View(state, 0), expected)
