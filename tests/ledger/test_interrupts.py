"""A call that is cut off, by a signal or for lack of memory: others go on, and so does its process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

from meshfleet import ledger as package
from meshfleet.ledger import Ledger, Transaction
from meshfleet.ledger.files import Files
from meshfleet.ledger.lock import LedgerLock
from tests.descriptors import open_descriptors, opened_since
from tests.ledger.rows import message, quiet_ledger, send, waiting

OURS: Final = os.path.dirname(package.__file__) + os.sep  # noqa: PTH120 - compared with names as they are


class Cut(BaseException):
    """What cuts a call off."""


class Cutter:
    """Cuts off what the package's state does, at its nth line.

    Attributes:
        left: How many lines it still lets pass.
    """

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != f"{OURS}state.py":
            return self if frame.f_code.co_filename.startswith(OURS) else None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise Cut
        return self

    @contextmanager
    def at_work(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self)
        try:
            yield
        finally:
            sys.settrace(before)


def agent(fleet_id: str, status: str) -> dict[str, Any]:
    return {"id": "a", "fleet_id": fleet_id, "role": "A", "prompt": "p", "status": status}


def change_everything(ledger: Ledger) -> None:
    """A transaction with all that memory can do: rows are set, moved and dropped, an inbox is filled and emptied."""

    def rule(transaction: Transaction) -> None:
        transaction.put("agents", "a", agent("g", "complete"))
        transaction.drop("messages", "m1")
        transaction.put("messages", "m2", message("m2"))
        transaction.take("b", "m1")
        transaction.deliver("b", "m2")

    ledger.transact(rule)


def content(ledger: Ledger) -> tuple[object, ...]:
    return ledger.read(
        lambda view: (
            [row["status"] for row in view.agents_of("g")],
            [row["id"] for row in view.agents_that_are("pending")],
            [row["id"] for row in view.messages_of("f")],
            list(view.rows("agents")),
            list(view.inbox("b")),
        )
    )


@pytest.mark.parametrize("takes_in", [False, True], ids=["its own", "another's"])
def test_a_transaction_cut_off_while_memory_takes_it_in_is_taken_in_by_the_next_call(
    tmp_path: Path, takes_in: bool
) -> None:
    for number in range(1, 400):
        ledger = quiet_ledger(tmp_path / str(number) / "agent-mesh.json")
        ledger.transact(lambda transaction: transaction.put("agents", "a", agent("f", "pending")))
        send(ledger, "m1")
        cutter = Cutter(number)
        if takes_in:
            change_everything(quiet_ledger(ledger.data_file))
        with suppress(Cut), cutter.at_work():
            if takes_in:
                waiting(ledger)
            else:
                change_everything(ledger)
        assert content(ledger) == content(quiet_ledger(ledger.data_file)), number
        change_everything(ledger)
        assert content(ledger) == content(quiet_ledger(ledger.data_file)), number
        ledger.close()
        if cutter.left > 0:
            return
    pytest.fail("it takes more than 400 lines")


class CutOffAtClosing(Files):
    """Cuts a call off when it has given its nth descriptor back.

    Attributes:
        left: How many it still gives back undisturbed; None for all.
    """

    left: int | None = None

    def close(self, fd: int) -> None:
        super().close(fd)
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Cut


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("call", [waiting, lambda ledger: send(ledger, "m3")], ids=["read", "write"])
def test_a_call_cut_off_while_it_leaves_what_somebody_folded_gives_each_descriptor_back_once(
    ledger_file: Path, number: int, call: Callable[[Ledger], object]
) -> None:
    before = open_descriptors()
    files = CutOffAtClosing()
    ledger, another = quiet_ledger(ledger_file, files), quiet_ledger(ledger_file)
    send(ledger, "m1")
    send(another, "m2")
    assert another.compact()
    files.left = number
    with pytest.raises(Cut):
        call(ledger)
    assert waiting(ledger) == ["m1", "m2"]
    send(ledger, "m4")
    assert waiting(ledger) == waiting(another) == ["m1", "m2", "m4"]
    ledger.close()
    another.close()
    assert opened_since(before) == []


def test_a_lock_whose_taking_was_cut_off_is_free_for_others(tmp_path: Path) -> None:
    class CutOff(LedgerLock):
        def _is_still_in_place(self) -> bool:
            raise Cut

    cut_off = CutOff(tmp_path / "lock")
    with pytest.raises(Cut), cut_off.held(0):
        pass
    lock = LedgerLock(tmp_path / "lock")
    with lock.held(0):
        pass
    lock.close()
