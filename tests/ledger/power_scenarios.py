"""What goes on when the power fails: every crash scenario, every kind of damage that is mended, an import, an export.

The crash points have their own list (crash_scenarios); a cut after a process died covers what a crash alone leaves.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from meshfleet.ledger import Transaction
from meshfleet.ledger.exchange import write_exported
from meshfleet.ledger.journal import SECTOR
from meshfleet.ledger.state import State
from tests.ledger.crash_scenarios import (
    SCENARIOS,
    Acknowledge,
    Scenario,
    Stage,
    alone,
    both_wrote,
    compacted,
    left_behind,
    mend,
    nothing,
    old_document,
    torn,
)
from tests.ledger.rows import message, send

EXPORTED: Final = "exported.json"
OLDER: Final = b'{"schema_version":2,"messages":{}}\n'
"""What an export replaces when it is told to."""


# -- how the ledger was damaged: m1 and m2 are in the snapshot, m3 (and m4) in the journal -----------------------------


def _is_damaged(stage: Stage, lost: tuple[str, ...] = ()) -> None:
    """Note what can't be read any more, and every byte that must be kept."""
    stage.acknowledged = [message_id for message_id in stage.acknowledged if message_id not in lost]
    stage.damaged = [path.read_bytes() for path in stage.file.parent.iterdir() if path.suffix in {".json", ".ndjson"}]


def _replace(path: Path, text: bytes, instead: bytes) -> None:
    """Put other bytes in place of the last occurrence of some."""
    before, found, after = path.read_bytes().rpartition(text)
    assert found
    path.write_bytes(before + instead + after)


def snapshot_damaged(stage: Stage, text: bytes, instead: bytes, lost: tuple[str, ...] = ()) -> None:
    """Some bytes of the snapshot are others."""
    compacted(stage)
    _replace(stage.file, text, instead)
    _is_damaged(stage, lost)


def snapshot_torn(stage: Stage) -> None:
    """The snapshot ends in the middle of m2, and the inbox behind it is gone too."""
    compacted(stage)
    whole = stage.file.read_bytes()
    stage.file.write_bytes(whole[: whole.index(b'"m2":') + 20])
    _is_damaged(stage, ("m1", "m2"))


def snapshot_empty(stage: Stage) -> None:
    """The snapshot has no byte left."""
    compacted(stage)
    stage.file.write_bytes(b"")
    _is_damaged(stage, ("m1", "m2"))


def snapshot_gone(stage: Stage) -> None:
    """Somebody removed the snapshot."""
    compacted(stage)
    stage.file.unlink()
    _is_damaged(stage, ("m1", "m2"))


def snapshot_gone_after_a_crash(stage: Stage) -> None:
    """Somebody removed the snapshot, and a compaction that crashed had left a journal with a part of the messages."""
    left_behind(stage, journal_part=1, snapshot_part=1)
    stage.file.unlink()
    _is_damaged(stage)


def wrong_generation_after_a_crash(stage: Stage) -> None:
    """The snapshot names the journal that a compaction which crashed had left, with a part of the messages."""
    left_behind(stage, journal_part=1, snapshot_part=1)
    _replace(stage.file, b'"generation":1', b'"generation":2')
    _is_damaged(stage)


def journal_gone(stage: Stage) -> None:
    """Somebody removed the journal."""
    compacted(stage)
    stage.journal.unlink()
    _is_damaged(stage, ("m3",))


def journal_damaged(stage: Stage, text: bytes, instead: bytes, lost: tuple[str, ...] = ()) -> None:
    """Some bytes of the journal are others."""
    compacted(stage)
    stage.by(stage.keeper, "m4")
    _replace(stage.journal, text, instead)
    _is_damaged(stage, lost)


def damaged_as_v090_wrote_it(stage: Stage) -> None:
    """A row of a ledger that nobody but v0.9.0 wrote can't be read."""
    stage.file.write_text(old_document("m1", "m2"))
    stage.acknowledged = ["m1", "m2"]
    _replace(stage.file, b'"to_agent_id": "b"', b'"to_agent_id": b')
    _is_damaged(stage)


REPAIRS: Final[dict[str, Callable[[Stage], None]]] = {
    "repair of a row's type": partial(snapshot_damaged, text=b'"payload":"hello"', instead=b'"payload":12'),
    "repair of a table": partial(snapshot_damaged, text=b'"inboxes":{', instead=b'"inboxes":['),
    "repair of a table's name": partial(snapshot_damaged, text=b'"inboxes":{', instead=b'"inboxex":{'),
    "repair of the generation": partial(snapshot_damaged, text=b'"generation":2', instead=b'"generation":6'),
    "repair of the generation after a crash": wrong_generation_after_a_crash,
    "repair of the snapshot's end": partial(snapshot_damaged, text=b'"seq":2', instead=b'"seq":9'),
    "repair of the schema's name": partial(snapshot_damaged, text=b'"schema_version"', instead=b'"schema-version"'),
    "repair of a torn snapshot": snapshot_torn,
    "repair of an empty snapshot": snapshot_empty,
    "repair of a missing snapshot": snapshot_gone,
    "repair of a missing snapshot after a crash": snapshot_gone_after_a_crash,
    "repair of a missing journal": journal_gone,
    "repair of a journal's heading": partial(journal_damaged, text=b'"base":2', instead=b'"base":3'),
    "repair of a journal's last record": partial(journal_damaged, text=b'"m4"]', instead=b'"m5"]', lost=("m4",)),
    "repair of a journal's last byte": partial(journal_damaged, text=b'"}\n', instead=b'"}x'),
    "repair of two lines that became one": partial(journal_damaged, text=b'}\n{"seq":4', instead=b'}x{"seq":4'),
    "repair of one of v0.9.0": damaged_as_v090_wrote_it,
}

WITHOUT_A_DEATH: Final = REPAIRS.keys() - {
    "repair of the generation after a crash",
    "repair of a missing snapshot",
    "repair of a missing snapshot after a crash",
    "repair of a missing journal",
}
"""Repairs of which the process lives: the steps are those of the others, only what is read is damaged elsewhere."""


# -- an import, an export ---------------------------------------------------------------------------------------------


def emptied(stage: Stage) -> None:
    """A ledger whose rows were all removed; its journal remembers them."""
    both_wrote(stage)

    def forget(transaction: Transaction) -> None:
        for message_id in ("m1", "m2"):
            transaction.drop("messages", message_id)
            transaction.take("b", message_id)

    stage.keeper.transact(forget)
    stage.acknowledged.clear()


def fill(stage: Stage, acknowledge: Acknowledge) -> None:
    """Import a ledger with one message."""
    document: dict[str, Any] = {name: {} for name in State().tables}
    rows = {"messages": {"v1": message("v1")}, "inboxes": {"b": ["v1"]}}
    stage.victim.fill(State.from_document(document | rows | {"schema_version": 2}))
    acknowledge("v1")


def exported_before(stage: Stage) -> None:
    """There is an older export."""
    alone(stage)
    stage.file.with_name(EXPORTED).write_bytes(OLDER)


def export(stage: Stage, acknowledge: Acknowledge) -> None:
    """Export the ledger to a file, over an older one if need be."""
    target = stage.file.with_name(EXPORTED)
    write_exported(target, stage.victim.export(), stage.file, replace=True, files=stage.files)
    acknowledge(EXPORTED)


def check_export(contents: dict[str, bytes], acknowledged: tuple[str, ...]) -> None:
    """Whenever the power fails, a file of this name is a whole export, and the new one once that was said."""
    content = contents.get(EXPORTED)
    if content in {None, OLDER}:
        assert EXPORTED not in acknowledged, f"the export is not there: {content!r}"
    else:
        assert list(json.loads(content or b"")["messages"]) == ["m1", "m2"]


def write_long(stage: Stage, acknowledge: Acknowledge) -> None:
    """Send a message that takes several sectors."""
    send(stage.victim, "v1", "x" * 3 * SECTOR)
    acknowledge("v1")


POWER_SCENARIOS: Final[dict[str, Scenario]] = {
    **SCENARIOS,
    **{name: Scenario(prepare, mend, hinge="rename") for name, prepare in REPAIRS.items()},
    "write of a long message": Scenario(both_wrote, write_long, ("v1",)),
    "write of a long message that finds a torn tail": Scenario(torn, write_long, ("v1",)),
    "import into nothing": Scenario(nothing, fill, ("v1",), "rename"),
    "import into an emptied ledger": Scenario(emptied, fill, ("v1",), "rename"),
    "export to a new file": Scenario(alone, export, hinge="rename"),
    "export over an older one": Scenario(exported_before, export, hinge="rename"),
}
