"""What waits in inboxes: picked out for those who ask, and seen to reach nobody where its reader has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from meshfleet.errors import Invalid
from meshfleet.ledger import Ledger, Transaction, View
from meshfleet.mesh.receipts import SEEN, note_shown, was_put_before
from meshfleet.mesh.texts import checked_name, shown
from meshfleet.model import AgentStatus, MessageType, Row, receipt_key

LARGEST_TIME: Final = 2**53 - 1
_OVER: Final = frozenset({AgentStatus.COMPLETE, AgentStatus.FAILED, AgentStatus.INTERRUPTED, AgentStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of the messages that wait somebody asks for.

    Attributes:
        agent_id: In whose inbox.
        since: Only those sent after that time, in ms since the epoch.
        correlation_id: Only that message, and those that belong to it.
        type: Only those of that type.
        limit: Only so many, the oldest.
    """

    agent_id: str
    since: int | None = None
    correlation_id: str | None = None
    type: str | None = None
    limit: int | None = None

    def check(self) -> None:
        """Refuse what nothing can match.

        Raises:
            Invalid: The text names what is wrong.
        """
        checked_name("agent_id", self.agent_id)
        if self.since is not None and not 0 <= self.since <= LARGEST_TIME:
            raise Invalid(f"since is {shown(self.since)}; it has to be a time in ms since the epoch")
        if self.correlation_id is not None:
            checked_name("correlation_id", self.correlation_id)
        if self.type is not None and self.type not in set(MessageType):
            raise Invalid(f"type is {shown(self.type)}; it has to be one of {', '.join(MessageType)}")
        if self.limit is not None and self.limit < 1:
            raise Invalid(f"limit is {shown(self.limit)}; it has to be at least 1")

    def matches(self, message: Row) -> bool:
        """Tell whether a message is one of those."""
        return (
            (self.since is None or message["timestamp"] > self.since)
            and (self.type is None or message["type"] == self.type)
            and (self.correlation_id is None or self.correlation_id in {message["id"], message.get("correlation_id")})
        )


def waiting(view: View, wanted: Wanted) -> list[Row]:
    """The messages that wait in an inbox, oldest first, as far as they are wanted."""
    found = []
    for message_id in view.inbox(wanted.agent_id):
        message = view.get("messages", message_id)
        if message is not None and wanted.matches(message):
            found.append(message)
            if len(found) == wanted.limit:
                break
    return found


def get_inbox(ledger: Ledger, wanted: Wanted) -> list[Row]:
    """The messages that wait, for somebody who only looks: nothing is written.

    Raises:
        Invalid: No message can be what is wanted.
    """
    wanted.check()
    return ledger.read(lambda view: waiting(view, wanted))


def note_seen(ledger: Ledger, agent_id: str, messages: list[Row]) -> None:
    """Leave a receipt that an agent has seen messages it asked for, where there is none yet."""
    ids = [message["id"] for message in messages]

    def unseen(view: View) -> list[str]:
        return [message_id for message_id in ids if not _is_seen(view, message_id, agent_id)]

    def rule(transaction: Transaction) -> None:
        note_shown(transaction, agent_id, unseen(transaction), SEEN)

    if ledger.read(unseen):
        ledger.transact(rule)


def _is_seen(view: View, message_id: str, agent_id: str) -> bool:
    return view.get("receipts", receipt_key(message_id, agent_id, SEEN)) is not None


def undeliverable(view: View) -> Iterator[tuple[Row, Row]]:
    """The messages that wait for agents which have ended without having had them before them, each with that agent."""
    return _unread_by(view, view.agents_that_are(*_OVER))


def unreached_of(view: View, sender: Row) -> list[Row]:
    """An agent's own messages that reach nobody, oldest first, each with whom it was for and how that one stands."""
    # nobody else can be written to
    ended = [agent for agent in view.agents_of(sender["fleet_id"]) if agent["status"] in _OVER]
    own = [(message, one) for message, one in _unread_by(view, ended) if message["from_agent_id"] == sender["id"]]
    return [
        {"message_id": message["id"], "to_agent_id": one["id"], "role": one["role"], "status": one["status"]}
        for message, one in sorted(own, key=lambda pair: pair[0]["timestamp"])
    ]


def _unread_by(view: View, agents: Iterable[Row]) -> Iterator[tuple[Row, Row]]:
    for agent in agents:
        for message_id in view.inbox(agent["id"]):
            message = view.get("messages", message_id)
            if message is not None and not was_put_before(view, message_id, agent["id"]):
                yield message, agent
