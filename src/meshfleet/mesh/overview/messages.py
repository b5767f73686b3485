"""A message with its receipts as a trail: who it was put before, who saw it, who acted on it, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from meshfleet.ledger import View
from meshfleet.mesh.fleets import require_fleet
from meshfleet.mesh.overview.fields import text, whole
from meshfleet.mesh.receipts import ACK, DELIVERED, SEEN, require_message
from meshfleet.model import Row, recipients_of

_STEPS: Final = (DELIVERED, SEEN, ACK)


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far a message has come with one of those it was sent to.

    Attributes:
        agent_id: The recipient: an agent's id, or `orchestrator`.
        role: The agent's; None of one that is no agent.
        delivered_at: When it stood in the prompt of an attempt, in ms since the epoch, as all times are.
        seen_at: When the recipient asked for it and got it.
        acked_at: When the recipient acted on it.
        waits: Whether it is still in the recipient's inbox.
        others: What else the recipient said of it: receipts of other actions, and those with a note, oldest first.
    """

    agent_id: str
    role: str | None
    delivered_at: int | None
    seen_at: int | None
    acked_at: int | None
    waits: bool
    others: tuple[Row, ...]

    @property
    def state(self) -> str:
        """How far it has come: `sent`, `delivered`, `seen` or `acked`."""
        if self.acked_at is not None:
            return "acked"
        if self.seen_at is not None:
            return SEEN
        return DELIVERED if self.delivered_at is not None else "sent"


@dataclass(frozen=True, slots=True)
class Trail:
    """A message, and what is witnessed of it.

    Attributes:
        id: The message's.
        fleet_id: The fleet it was sent in.
        from_agent_id: Who sent it: an agent's id, or the name an orchestrator goes by.
        from_role: The agent's; None of one that is no agent.
        to_agent_id: Whom it names: an agent's id, `orchestrator`, or `*`.
        to_role: The agent's.
        type: One of `MessageType`.
        payload: The text.
        correlation_id: The message it answers or belongs to.
        sent_at: In ms since the epoch.
        acknowledged: Whether everyone it was sent to has acted on it.
        deliveries: One for each it was sent to, in the order in which it was.
        witnesses: Receipts of others than those, oldest first.
    """

    id: str
    fleet_id: str
    from_agent_id: str
    from_role: str | None
    to_agent_id: str
    to_role: str | None
    type: str
    payload: str
    correlation_id: str | None
    sent_at: int
    acknowledged: bool
    deliveries: tuple[Delivery, ...]
    witnesses: tuple[Row, ...]


def message_trail(view: View, message_id: str) -> Trail:
    """A message with its receipts.

    Raises:
        NotFound: There is no such message.
    """
    return _trail(view, require_message(view, message_id))


def message_trails(view: View, fleet_id: str, *, last: int | None = None) -> list[Trail]:
    """The messages of a fleet, oldest first, all of them or the last so many.

    Raises:
        NotFound: There is no such fleet.
    """
    require_fleet(view, fleet_id)
    messages = view.messages_of(fleet_id) if last is None else view.last_messages_of(fleet_id, last)
    return [_trail(view, message) for message in messages]


def role_of(view: View, agent_id: str) -> str | None:
    """What an agent is in its fleet; None of a name that is no agent's."""
    agent = view.get("agents", agent_id)
    return None if agent is None else str(agent["role"])


def _trail(view: View, message: Row) -> Trail:
    receipts = sorted(view.receipts_of(message["id"]), key=lambda receipt: whole(receipt, "timestamp") or 0)
    recipients = recipients_of(message)
    by_agent: dict[str, list[Row]] = {recipient: [] for recipient in recipients}
    witnesses: list[Row] = []
    for receipt in receipts:
        by_agent.get(receipt["agent_id"], witnesses).append(receipt)
    return Trail(
        id=message["id"],
        fleet_id=message["fleet_id"],
        from_agent_id=message["from_agent_id"],
        from_role=role_of(view, message["from_agent_id"]),
        to_agent_id=message["to_agent_id"],
        to_role=role_of(view, message["to_agent_id"]),
        type=message["type"],
        payload=message["payload"],
        correlation_id=text(message, "correlation_id"),
        sent_at=whole(message, "timestamp") or 0,
        acknowledged=message.get("acknowledged") is True,
        deliveries=tuple(_delivery(view, message["id"], one, by_agent[one]) for one in by_agent),
        witnesses=tuple(witnesses),
    )


def _delivery(view: View, message_id: str, recipient: str, receipts: list[Row]) -> Delivery:
    first: dict[str, int | None] = {}
    for receipt in receipts:
        first.setdefault(receipt["action"], whole(receipt, "timestamp"))
    return Delivery(
        agent_id=recipient,
        role=role_of(view, recipient),
        delivered_at=first.get(DELIVERED),
        seen_at=first.get(SEEN),
        acked_at=first.get(ACK),
        waits=message_id in view.inbox(recipient),
        others=tuple(receipt for receipt in receipts if receipt["action"] not in _STEPS or "note" in receipt),
    )
