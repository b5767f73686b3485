"""What goes on when a process ends at the worst moment: the ledger as it was, and the one thing that process does.

Nothing here starts a compaction thread: `opened` takes the starting signal away, since a thread that compacts half a
second later would make steps of its own. The scenarios compact when they say so.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from meshfleet.errors import Busy
from meshfleet.ledger import Ledger
from meshfleet.ledger.files import Files
from meshfleet.ledger.journal import encode_record
from meshfleet.ledger.repair import repair
from meshfleet.settings import Durability, beside
from tests.ledger.journals import write_behind, written_in
from tests.ledger.rows import message, send
from tests.ledger.watched_files import UnsyncedFiles

EDITED: Final = "edited"
"""A table of somebody else's."""

Acknowledge = Callable[[str], None]


def opened(file: Path, files: Files | None = None) -> Ledger:
    """A ledger that never compacts by itself; without files of its own it does not wait for the disk."""
    durability = Durability.PROCESS if files is None else Durability.POWER
    ledger = Ledger(file, durability=durability, files=files or UnsyncedFiles())
    ledger._compactor.written = lambda: None  # type: ignore[method-assign]
    return ledger


@dataclass
class Stage:
    """A ledger with those who hold it open.

    Attributes:
        file: The snapshot.
        files: The file operations of the process that does the one thing.
        victim: That process's ledger.
        keeper: The ledger of a process that has it in memory and goes on.
        acknowledged: The messages that everybody must find, in order.
        skipped: Transactions that are no message of these, or whose message was damaged.
        damaged: The bytes of each file of a ledger that refuses everything until it is repaired.
        edited: Whether somebody added the table `EDITED` to the snapshot.
        files_of_others: The file operations of a process that comes along; by default they don't wait for the disk.
    """

    file: Path
    files: Files
    victim: Ledger
    keeper: Ledger
    acknowledged: list[str] = field(default_factory=list)
    skipped: int = 0
    damaged: list[bytes] = field(default_factory=list)
    edited: bool = False
    files_of_others: Callable[[], Files | None] = lambda: None

    def __post_init__(self) -> None:
        self._opened: list[Ledger] = []

    def open(self) -> Ledger:
        """A ledger of somebody who comes along now; `close` closes it."""
        self._opened.append(opened(self.file, self.files_of_others()))
        return self._opened[-1]

    def close(self) -> None:
        """Close the ledger of everybody but the victim."""
        for ledger in (self.keeper, *self._opened):
            ledger.close()

    @property
    def journal(self) -> Path:
        """The journal that is appended to now."""
        return self.keeper._replica.journals.path(self.keeper._replica.generation)

    def by(self, ledger: Ledger, message_id: str) -> None:
        """Have a process send a message, which is acknowledged."""
        send(ledger, message_id)
        self.acknowledged.append(message_id)


def stage_at(file: Path, files: Files) -> Stage:
    """Nothing yet, and two processes that are about to use it."""
    return Stage(file, files, opened(file, files), opened(file))


@dataclass(frozen=True)
class Scenario:
    """The one thing a process does, and how the ledger was before.

    Attributes:
        prepare: Brings the ledger there; the keeper has it in memory afterwards.
        act: The one thing; acknowledges a message once the ledger did.
        attempts: The messages it sends, each of which may be there without having been acknowledged.
        hinge: The step without which it did not do what its name says.
    """

    prepare: Callable[[Stage], None]
    act: Callable[[Stage, Acknowledge], None]
    attempts: tuple[str, ...] = ()
    hinge: str = "write"


def look(ledger: Ledger) -> None:
    """Have a process take in what there is."""
    ledger.read(lambda view: view.seq)


# -- how the ledger was before --------------------------------------------------------------------------------------


def nothing(stage: Stage) -> None:
    """No ledger; the keeper has seen that."""
    look(stage.keeper)


def both_wrote(stage: Stage) -> None:
    """The victim wrote, then the keeper."""
    stage.by(stage.victim, "m1")
    stage.by(stage.keeper, "m2")


def alone(stage: Stage) -> None:
    """The victim wrote last, the keeper has seen it."""
    stage.by(stage.keeper, "m1")
    stage.by(stage.victim, "m2")
    look(stage.keeper)


def torn(stage: Stage) -> None:
    """Somebody else died in the middle of a write."""
    both_wrote(stage)
    line = encode_record(3, [["put", "messages", "torn", message("torn")]])
    write_behind(stage.journal, line[: len(line) // 2])


def compacted(stage: Stage) -> None:
    """The keeper compacted behind the victim's back and wrote on."""
    both_wrote(stage)
    assert stage.keeper.compact()
    stage.by(stage.keeper, "m3")


def compacted_beyond(stage: Stage) -> None:
    """The keeper compacted twice, so that the victim can't continue from what it has."""
    compacted(stage)
    assert stage.keeper.compact()
    stage.by(stage.keeper, "m4")


def left_behind(stage: Stage, *, journal_part: float, snapshot_part: float) -> None:
    """Somebody else died in the middle of a compaction, shortly before its end; others wrote on."""
    both_wrote(stage)
    generation = stage.keeper._replica.generation
    header, *records = written_in(stage.journal).splitlines(keepends=True)
    leftover = header.replace(b'"generation":%d' % generation, b'"generation":%d' % (generation + 1)) + records[-1]
    stage.keeper._replica.journals.path(generation + 1).write_bytes(leftover[: int(len(leftover) * journal_part)])
    snapshot = stage.file.read_bytes()
    beside(stage.file, "snapshot.tmp").write_bytes(snapshot[: int(len(snapshot) * snapshot_part)])
    stage.by(stage.keeper, "m3")


def old_document(*message_ids: str) -> str:
    """A ledger as v0.9.0 wrote it: no generation, and the whole file at once."""
    rows = {message_id: message(message_id) for message_id in message_ids}
    return json.dumps({"schema_version": 2, "messages": rows, "inboxes": {"b": list(message_ids)}}, indent=2)


def written_by_v090(stage: Stage) -> None:
    """No journal; the keeper has read it."""
    stage.file.write_text(old_document("m1", "m2"))
    stage.acknowledged, stage.skipped = ["m1", "m2"], -2
    look(stage.keeper)


def rewritten_by_v090(stage: Stage) -> None:
    """Our ledger, which v0.9.0 replaced with what it had: our journal's messages are not in it."""
    both_wrote(stage)
    other = stage.file.with_name("written-by-v090")
    other.write_text(old_document("m1", "m9"))
    other.rename(stage.file)
    stage.acknowledged, stage.skipped = ["m1", "m9"], -2


def edited_by_hand(stage: Stage, *, in_place: bool) -> None:
    """An editor changed a row of the snapshot, keeping our numbers."""
    compacted(stage)
    document = json.loads(stage.file.read_text())
    document["messages"]["m1"]["payload"] = "edited"
    target = stage.file if in_place else stage.file.with_name("editors-copy")
    target.write_text(json.dumps(document, indent=1))
    target.rename(stage.file)


def a_record_is_damaged(stage: Stage) -> None:
    """A byte of the journal's first record is wrong; the keeper took it in when it was right."""
    compacted(stage)
    stage.by(stage.keeper, "m4")
    content = bytearray(stage.journal.read_bytes())
    content[content.index(b'"m3"') + 1] ^= 0x04
    stage.journal.write_bytes(content)
    stage.acknowledged.remove("m3")
    stage.skipped, stage.damaged = 1, [stage.file.read_bytes(), stage.journal.read_bytes()]


def a_row_is_damaged(stage: Stage) -> None:
    """A row of the snapshot can't be read; the journal can."""
    compacted(stage)
    content = stage.file.read_bytes()
    stage.file.write_bytes(content.replace(b'"payload":"hello"', b'"payload":hello', 1))
    stage.skipped, stage.damaged = 0, [stage.file.read_bytes(), stage.journal.read_bytes()]


# -- the one thing --------------------------------------------------------------------------------------------------


def write(stage: Stage, acknowledge: Acknowledge, message_id: str = "v1") -> None:
    """Send a message."""
    send(stage.victim, message_id)
    acknowledge(message_id)


def read(stage: Stage, _: Acknowledge) -> None:
    """Take in what others wrote."""
    look(stage.victim)


def read_and_write(stage: Stage, acknowledge: Acknowledge) -> None:
    """Take in what others wrote, then send a message."""
    look(stage.victim)
    write(stage, acknowledge)


def compact(stage: Stage, _: Acknowledge) -> None:
    """Fold the journal into the snapshot."""
    stage.victim.compact()


def compact_while_others_write(stage: Stage, acknowledge: Acknowledge, *, at: str) -> None:
    """Fold the journal; after the given step of the new snapshot somebody else writes, and again after the next one
    if nobody holds the lock by then."""
    other, left = stage.open(), ["o1", "o2"]
    other._lock_timeout_ms = 0
    carry_out = stage.files.around  # type: ignore[attr-defined]

    def around(name: str, step: Callable[..., Any], *args: Any) -> Any:
        result = carry_out(name, step, *args)
        if left and (name == at or len(left) == 1):
            message_id = left.pop(0)
            with suppress(Busy):
                send(other, message_id)
                acknowledge(message_id)
        return result

    stage.files.around = around  # type: ignore[attr-defined]
    stage.victim.compact()


def write_and_close(stage: Stage, acknowledge: Acknowledge) -> None:
    """Send a message and end, which compacts: the thread is there, and is told to end before it would do so itself."""
    compactor = stage.victim._compactor
    del compactor.written
    compactor._quiet_s = 3_600
    write(stage, acknowledge)
    stage.victim.close()


def mend(stage: Stage, _: Acknowledge) -> None:
    """Repair the ledger."""
    repair(stage.file, files=stage.files)


_SENT: Final = ("v1",)

SCENARIOS: Final[dict[str, Scenario]] = {
    "first write ever": Scenario(nothing, write, _SENT),
    "first write ever, then the end": Scenario(nothing, write_and_close, _SENT, "rename"),
    "write": Scenario(alone, write, _SENT),
    "write after others wrote": Scenario(both_wrote, write, _SENT),
    "write that finds a torn tail": Scenario(torn, write, _SENT),
    "write after a compaction": Scenario(compacted, write, _SENT),
    "write after two compactions": Scenario(compacted_beyond, write, _SENT),
    "read after a compaction": Scenario(compacted, read, hinge="read"),
    "read after two compactions": Scenario(compacted_beyond, read, hinge="read"),
    "compaction": Scenario(both_wrote, compact, hinge="rename"),
    "compaction after a compaction": Scenario(compacted, compact, hinge="rename"),
    "compaction that finds a torn tail": Scenario(torn, compact, hinge="rename"),
    "compaction while others write, from its temporary file's creation": Scenario(
        both_wrote, partial(compact_while_others_write, at="create"), hinge="rename"
    ),
    "compaction while others write, from its temporary file's content": Scenario(
        both_wrote, partial(compact_while_others_write, at="write"), hinge="rename"
    ),
    "compaction while others write, from its temporary file's sync": Scenario(
        both_wrote, partial(compact_while_others_write, at="sync"), hinge="rename"
    ),
    "compaction over the whole leftovers of another": Scenario(
        partial(left_behind, journal_part=1, snapshot_part=1), compact, hinge="rename"
    ),
    "compaction over the torn leftovers of another": Scenario(
        partial(left_behind, journal_part=0.2, snapshot_part=0.5), compact, hinge="rename"
    ),
    "compaction over the empty leftovers of another": Scenario(
        partial(left_behind, journal_part=0, snapshot_part=0), compact, hinge="rename"
    ),
    "take-over of a v0.9.0 ledger": Scenario(written_by_v090, write, _SENT),
    "take-over of ours as v0.9.0 rewrote it": Scenario(rewritten_by_v090, read_and_write, _SENT),
    "write after an edit in place": Scenario(partial(edited_by_hand, in_place=True), read_and_write, _SENT),
    "write after an edit by rename": Scenario(partial(edited_by_hand, in_place=False), write, _SENT),
    "compaction after an edit by rename": Scenario(partial(edited_by_hand, in_place=False), compact, hinge="rename"),
    "repair of a record": Scenario(a_record_is_damaged, mend, hinge="rename"),
    "repair of a row": Scenario(a_row_is_damaged, mend, hinge="rename"),
    "write and the end": Scenario(both_wrote, write_and_close, _SENT, "rename"),
}

_SENT_NEXT: Final = ("v1", "v2")
_WRITE_NEXT: Final = partial(write, message_id="v2")

CRASHED_BEFORE: Final[dict[str, tuple[Scenario, Scenario]]] = {
    "compaction after a compaction that crashed": (
        Scenario(both_wrote, compact, hinge="rename"),
        Scenario(both_wrote, compact, hinge="open_existing"),
    ),
    "write after a compaction that crashed": (
        Scenario(both_wrote, compact, hinge="rename"),
        Scenario(both_wrote, _WRITE_NEXT, _SENT_NEXT),
    ),
    "compaction after a write that crashed": (
        Scenario(both_wrote, write, _SENT),
        Scenario(both_wrote, compact, _SENT, hinge="rename"),
    ),
    "write after a first write that crashed": (
        Scenario(nothing, write, _SENT),
        Scenario(nothing, _WRITE_NEXT, _SENT_NEXT),
    ),
    "write after a take-over that crashed": (
        Scenario(rewritten_by_v090, write, _SENT),
        Scenario(rewritten_by_v090, _WRITE_NEXT, _SENT_NEXT),
    ),
    "repair after a repair that crashed": (
        Scenario(a_record_is_damaged, mend, hinge="rename"),
        Scenario(a_record_is_damaged, mend, hinge="open_existing"),
    ),
}
"""A process that crashes while it does one thing, and the one that then crashes while it does the other."""
