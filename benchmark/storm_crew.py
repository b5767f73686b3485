"""The processes of a storm: what each does until it is killed, and what it tells of it through a pipe."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

from meshfleet.ledger import Ledger, Transaction
from meshfleet.ledger.files import Files
from meshfleet.ledger.salvage import salvage
from meshfleet.settings import Durability

INBOX: Final = "b"
SENT: Final = b"+"
TORN: Final = b"torn"
COMPACTED: Final = b"compacted"
READ: Final = b"read"
WRONG: Final = b"wrong "
LOOKS: Final = frozenset({"identify", "identify_open", "size", "read", "open_existing", "close"})
STEPS: Final = frozenset(name for name in vars(Files) if not name.startswith("_"))

Tell = Callable[[bytes], None]


class MortalFiles(Files):
    """File operations of a process that is killed at one of them, or in the middle of it when it writes.

    Args:
        chance: Decides where in a write.
        kinds: Which operations count.
        steps: How many of those it still finishes.
    """

    def __init__(self, chance: Random, kinds: frozenset[str], steps: int) -> None:
        self._chance = chance
        self._kinds = kinds
        self._steps = steps

    def __getattribute__(self, name: str) -> Any:
        if name in STEPS and name in self._kinds:
            self._steps -= 1
            if self._steps < 0 and name != "write":
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__getattribute__(name)

    def write(self, fd: int, data: bytes, offset: int) -> int:
        if self._steps < 0:
            super().write(fd, data[: self._chance.randrange(1, len(data))], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().write(fd, data, offset)


def message(message_id: str, payload: str) -> dict[str, Any]:
    return {
        "id": message_id,
        "from_agent_id": message_id.partition(".")[0],
        "to_agent_id": INBOX,
        "fleet_id": "f",
        "type": "result",
        "payload": payload,
        "timestamp": 1,
        "acknowledged": False,
    }


def send(ledger: Ledger, message_id: str, payload: str) -> None:
    def rule(transaction: Transaction) -> None:
        transaction.put("messages", message_id, message(message_id, payload))
        transaction.deliver(INBOX, message_id)

    ledger.transact(rule)


def write(file: Path, name: str, chance: Random, tell: Tell) -> None:
    """Send messages; tell of each once it is acknowledged. A few writers end by themselves, as servers do."""
    files = MortalFiles(chance, frozenset({"write"}), chance.randrange(100)) if chance.random() < 0.5 else Files()
    durability = chance.choice([Durability.POWER, Durability.PROCESS, Durability.PROCESS])
    ledger = Ledger(file, durability=durability, lock_timeout_ms=60_000, files=files)
    last = chance.randrange(400) if chance.random() < 0.2 else None
    torn = 0
    for number in range(1_000_000):
        if number == last or os.getppid() == 1:
            break
        payload = "x" * (60_000 if chance.random() < 0.01 else chance.randrange(300))
        send(ledger, f"{name}.{number}", payload)
        tell(SENT)
        while torn < ledger.torn_tails_cut:
            torn += 1
            tell(TORN)
        if chance.random() < 0.05:
            time.sleep(chance.random() * 0.01)
    ledger.close()


def compact(file: Path, name: str, chance: Random, tell: Tell) -> None:
    """Compact over and over, with a message before each time."""
    files = MortalFiles(chance, STEPS - LOOKS, chance.randrange(100)) if chance.random() < 0.8 else Files()
    ledger = Ledger(file, durability=Durability.PROCESS, lock_timeout_ms=60_000, files=files)
    torn = number = 0
    while os.getppid() != 1:
        send(ledger, f"{name}.{number}", "")
        tell(SENT)
        number += 1
        if ledger.compact():
            tell(COMPACTED)
        while torn < ledger.torn_tails_cut:
            torn += 1
            tell(TORN)
        time.sleep(chance.random() * 0.03)


def read(file: Path, _: str, chance: Random, tell: Tell) -> None:
    """Look over and over, without the lock; tell when a view is not the one before with something behind it."""
    ledger = Ledger(file, lock_timeout_ms=60_000)
    before: list[str] = []
    seq = 0
    while os.getppid() != 1:
        seen, arrived = ledger.read(lambda view: (view.seq, list(view.inbox(INBOX))))
        if arrived[: len(before)] != before or seen < seq or seen != len(arrived):
            tell(WRONG + f"a reader saw transaction {seen} with {len(arrived)} messages after {seq}".encode())
            return
        if gaps := gaps_in(arrived[len(before) :], before):
            tell(WRONG + gaps.encode())
            return
        before, seq = arrived, seen
        tell(READ)
        time.sleep(chance.random() * 0.005)


def gaps_in(arrived: list[str], before: list[str]) -> str:
    """What is missing or out of order behind what was there before, sender by sender; empty when nothing is."""
    expected: dict[str, int] = defaultdict(int)
    for message_id in before:
        expected[message_id.partition(".")[0]] += 1
    for message_id in arrived:
        name, _, number = message_id.partition(".")
        if int(number) != expected[name]:
            return f"{message_id} is there, but {name}.{expected[name]} is not before it"
        expected[name] += 1
    return ""


def judge(file: Path, _: str, chance: Random, tell: Tell) -> None:
    """When all are dead: tell what a fresh process finds, and what is wrong with the files."""
    ledger = Ledger(file, durability=Durability.PROCESS)
    arrived = ledger.read(lambda view: list(view.inbox(INBOX)))
    wrong = [gaps_in(arrived, [])] if gaps_in(arrived, []) else []
    send(ledger, "end.0", chance.choice(["", "bye"]))
    seq, count = ledger.read(lambda view: (view.seq, view.count("messages")))
    if not seq == count == len(arrived) + 1:
        wrong.append(f"{seq} transactions wrote {count} messages, of which {len(arrived) + 1} arrived")
    wrong += [f"{damage.where}: {damage.what}" for damage in salvage(file).damages]
    ledger.compact()
    left = sorted(path.name for path in file.parent.iterdir())
    if len(left) != 4:
        wrong.append(f"left behind: {left}")
    tell(json.dumps({"arrived": arrived, "torn": ledger.torn_tails_cut, "wrong": wrong}).encode())
    os._exit(0)  # with what the ledger still holds open; nobody comes after
