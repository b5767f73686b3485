"""What a process does to a ledger over and over while that is timed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmark.seeding import PAYLOAD
from meshfleet.ledger import Ledger
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.inboxes import Wanted, get_inbox
from meshfleet.mesh.messages import Draft, send_message, send_messages
from meshfleet.mesh.receipts import ack_message
from meshfleet.mesh.specs import AgentSpec
from meshfleet.settings import Durability

AGENTS: Final = 100
"""Recipients of a broadcast, and agents of a fleet that is spawned."""
BATCH: Final = 1_000
WAITING: Final = 10
"""Messages in the inbox that is read."""
LOCK_TIMEOUT_MS: Final = 60_000
SENDER, RECEIVER, READER, DOER, CROWD = range(5)

Deed = Callable[[], None]


class Desk:
    """A process's hold on a ledger, with a fleet of its own: one that sends, and a hundred others."""

    def __init__(self, file: Path, durability: Durability) -> None:
        self.ledger = Ledger(file, durability=durability, lock_timeout_ms=LOCK_TIMEOUT_MS)
        self.fleet_id, self.agent_ids = create_fleet(self.ledger, _specs(AGENTS + 1), cwd="/project")
        send_messages(self.ledger, [self.draft(READER)] * WAITING)

    def draft(self, to: int | None) -> Draft:
        """A message to one of them; None is for all."""
        recipient = "*" if to is None else self.agent_ids[to]
        return Draft(self.agent_ids[SENDER], recipient, self.fleet_id, "handoff", PAYLOAD)

    def received(self) -> int:
        """How many messages there are for whom sends are sent to."""
        return self.ledger.read(lambda view: len(view.inbox(self.agent_ids[RECEIVER])))


def _get_inbox(desk: Desk, _: int) -> Deed:
    wanted = Wanted(desk.agent_ids[READER])

    def deed() -> None:
        assert len(get_inbox(desk.ledger, wanted)) == WAITING

    return deed


def _ack(desk: Desk, count: int) -> Deed:
    sent: list[str] = []
    while len(sent) < count:
        drafts = [desk.draft(DOER)] * min(BATCH, count - len(sent))
        sent += [one["message_id"] for one in send_messages(desk.ledger, drafts)]
    rest = iter(sent)

    def deed() -> None:
        assert ack_message(desk.ledger, desk.agent_ids[DOER], next(rest))["ok"]

    return deed


def _send(desk: Desk, _: int) -> Deed:
    draft = desk.draft(RECEIVER)
    return lambda: _done(send_message(desk.ledger, draft))


def _broadcast(desk: Desk, _: int) -> Deed:
    draft = desk.draft(None)
    return lambda: _done(send_message(desk.ledger, draft))


def _send_batch(desk: Desk, _: int) -> Deed:
    drafts = [desk.draft(RECEIVER)] * BATCH
    return lambda: _done(send_messages(desk.ledger, drafts))


def _spawn(desk: Desk, _: int) -> Deed:
    specs, numbers = _specs(AGENTS), itertools.count()
    return lambda: _done(create_fleet(desk.ledger, specs, cwd=f"/project/{next(numbers)}"))


OPERATIONS: Final[dict[str, Callable[[Desk, int], Deed]]] = {
    "get_inbox": _get_inbox,
    "ack": _ack,
    "send": _send,
    "spawn": _spawn,
    "broadcast": _broadcast,
    "batch": _send_batch,
}
"""By name: what prepares that many of them, and returns what does one."""
READING: Final = frozenset({"get_inbox"})
"""Those that write nothing."""


def _specs(count: int) -> list[AgentSpec]:
    return [AgentSpec(f"Worker {number}", "work") for number in range(count)]


def _done(_: object) -> None:
    """What was returned is of no interest."""
