"""How the others go on after a process ended at some point, and all that must hold then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from meshfleet.errors import Corrupt
from meshfleet.ledger import Ledger
from meshfleet.ledger.journal import decode_record
from meshfleet.ledger.repair import repair
from meshfleet.ledger.salvage import salvage
from meshfleet.ledger.schema import TABLES
from tests.ledger.crash_scenarios import EDITED, Stage, look
from tests.ledger.journals import lines_in
from tests.ledger.rows import send
from tests.ledger.watched_files import UnsyncedFiles

REST: Final = frozenset({"agent-mesh.json", "agent-mesh.lock", "agent-mesh.compact.lock"})
"""What lies in the folder when nothing is going on, beside one journal."""

Aftermath = Callable[["Others"], None]


class Others:
    """The process that stays and one that opens the ledger now, with what both must find."""

    def __init__(self, stage: Stage, attempts: tuple[str, ...], crashes: int) -> None:
        self.stage = stage
        self.keeper = stage.keeper
        self.fresh = stage.open()
        self.known = list(stage.acknowledged)
        self._maybe = set(attempts) - set(self.known)
        self._crashes = crashes
        if not crashes:
            # nobody died: what was acknowledged second may have been written first
            self.known = _same_but_for_the_order_of_senders(self.known, _everything(stage.open())["inbox"])
        self.unacknowledged = 0

    def send(self, ledger: Ledger, message_id: str) -> None:
        """Have one of them write, which has to work."""
        send(ledger, message_id)
        self.known.append(message_id)

    def agree(self, *more: Ledger) -> None:
        """Check that each of them holds the same, and what was acknowledged exactly once and in order."""
        first, *rest = [_everything(ledger) for ledger in (self.keeper, self.fresh, *more)]
        for other in rest:
            assert other == first, f"they disagree: {first} and {other}"
        ids = first["inbox"]
        extra = [message_id for message_id in ids if message_id not in self.known]
        assert len(extra) <= self._crashes, f"more was never acknowledged than processes died: {extra}"
        assert self._maybe.issuperset(extra), f"nobody sent {extra}"
        assert [message_id for message_id in ids if message_id in self.known] == self.known, f"{ids}, not {self.known}"
        assert first["seq"] == len(ids) + self.stage.skipped, f"transaction {first['seq']}, but {ids}"
        assert not self.stage.edited or first["extras"] == {EDITED: True}, "an edit is lost"
        self.unacknowledged = len(extra)


def _same_but_for_the_order_of_senders(known: list[str], arrived: list[str]) -> list[str]:
    """The messages in the order in which they arrived; those of each sender, its first letter, came in theirs."""
    for sender in "miv":
        own = [message_id for message_id in arrived if message_id.startswith(sender)]
        assert own == [message_id for message_id in known if message_id.startswith(sender)], f"{arrived}, not {known}"
    return arrived


def _everything(ledger: Ledger) -> dict[str, Any]:
    return ledger.read(
        lambda view: {
            "seq": view.seq,
            "inbox": list(view.inbox("b")),
            "extras": dict(view._state.extras),
            **{table: list(view.rows(table)) for table in TABLES if table != "inboxes"},
        }
    )


def they_read_first(others: Others) -> None:
    """Both look, without the lock; then the one that stayed writes, then the new one."""
    others.agree()
    others.send(others.keeper, "k1")
    others.agree()
    others.send(others.fresh, "f1")


def the_new_one_writes_first(others: Others) -> None:
    """The new one writes before anybody has looked, then the one that stayed."""
    others.send(others.fresh, "f1")
    others.send(others.keeper, "k1")


def the_one_that_stayed_compacts_first(others: Others) -> None:
    """The one that stayed compacts with what it has, or does not; then both write."""
    others.keeper.compact()
    others.send(others.fresh, "f1")
    others.send(others.keeper, "k1")


AFTERMATHS: Final[tuple[Aftermath, ...]] = (
    they_read_first,
    the_new_one_writes_first,
    the_one_that_stayed_compacts_first,
)


def settle(stage: Stage, attempts: tuple[str, ...], go_on: Aftermath, *, crashes: int) -> int:
    """Have the others go on and check all that must hold; returns how many transactions were never acknowledged."""
    others = Others(stage, attempts, crashes)
    go_on(others)
    others.agree()
    _check_files(stage.file)
    last = stage.open()
    assert last.compact(), "a compaction that had something to do did nothing"
    others.agree(last)
    _check_folder(stage.file)
    others.send(others.keeper, "k2")
    others.send(last, "l1")
    others.agree(last, stage.open())
    return others.unacknowledged


def repair_again(stage: Stage) -> None:
    """Repair what is still damaged; what was is kept."""
    fresh = stage.open()
    try:
        look(fresh)
    except Corrupt:
        repair(stage.file, files=UnsyncedFiles())
    assert salvage(stage.file).damages == []
    kept = [path.read_bytes() for path in stage.file.parent.glob("*.corrupt-*")]
    assert all(content in kept for content in stage.damaged), "something damaged was not kept"


def _check_files(file: Path) -> None:
    """Nothing in the files is damaged, and no transaction is in them twice."""
    found = salvage(file)
    assert found.damages == [], f"{found.damages}"
    (journal,) = (path for path in found.read if path != file)
    seqs = [decode_record(line).seq for line in lines_in(journal)]
    assert seqs == list(range(found.seq - len(seqs) + 1, found.seq + 1)), f"the journal has {seqs}"


def _check_folder(file: Path) -> None:
    """Nothing is left of what a crash interrupted; what was kept on purpose is no leftover."""
    names = {path.name for path in file.parent.iterdir() if ".kept-" not in path.name and ".corrupt-" not in path.name}
    rest = names - REST
    assert len(rest) == 1, f"left behind: {rest}"
    (journal,) = rest
    assert journal.startswith("agent-mesh.journal."), f"left behind: {journal}"
