"""What readers of inbox streams are told; when is push_stream.py's concern, and the HTTP around it push_http.py's.

Nothing is kept for a reader: what it has yet to be told is read from the ledger, whose messages and receipts stay in
the order they were written. So a slow reader costs no memory, and an event's id is good after a restart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Reversible
from itertools import takewhile
from typing import Final, NamedTuple, cast
from urllib.parse import quote, unquote

from meshfleet.ledger import View
from meshfleet.mesh.receipts import ACK
from meshfleet.model import Row, receipt_key

_PIECE_BYTES: Final = 65_536


class Position(NamedTuple):
    """How far a reader has come: the last message it was told of, and the last message it was told was acknowledged.

    Attributes:
        message: The message's id; empty before the first.
        acked: The acknowledged message's id; empty before the first.
    """

    message: str = ""
    acked: str = ""

    def __str__(self) -> str:
        """The position as the id of an event."""
        return ":".join(quote(part.encode(errors="replace"), safe="") for part in self)

    @classmethod
    def from_event_id(cls, event_id: str) -> Position | None:
        """The position an event's id tells; None when it is no such id."""
        message, separator, acked = event_id.partition(":")
        return cls(unquote(message), unquote(acked)) if separator else None


class Event(NamedTuple):
    """Something that happened to an inbox.

    Attributes:
        position: Where the reader stands once it has been told.
        row: The message that arrived, or the receipt that took one out.
    """

    position: Position
    row: Row

    def encoded(self) -> bytes:
        """The event as a stream carries it; its data is one line, whatever the message holds."""
        data = _ack_data(self.row) if "action" in self.row else _message_data(self.row)
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        return f"id: {self.position}\nevent: {data['type']}\ndata: {text}\n\n".encode(errors="replace")


class Feed:
    """What happened to one inbox since its reader was last told.

    A new reader is told first what waits; one that comes back, what has happened since the event it names. Where that
    event is not in the ledger, or the ledger was replaced by another, it starts as a new one.

    Args:
        agent_id: Whose inbox it is.
        last_event_id: The id of the last event the reader has seen, if it comes back.
    """

    def __init__(self, agent_id: str, last_event_id: str | None = None) -> None:
        self._agent_id = agent_id
        self._position = Position.from_event_id(last_event_id) if last_event_id else None
        # the last rows of the whole tables that were looked at, so that a look costs no more than what is new
        self._message = self._position.message if self._position else ""
        self._receipt = self._ack_key(self._position.acked) if self._position else ""

    def take(self, view: View) -> list[Event]:
        """What the reader has to be told now: messages in order of arrival, then acknowledgements."""
        if self._position is None or not self._holds_marks(view):
            self._position = self._start_over(view)
        messages = _written_after(self._message, view.rows("messages"), _message_id)
        receipts = _written_after(self._receipt, view.rows("receipts"), _receipt_id)
        self._message = _message_id(messages[-1]) if messages else self._message
        self._receipt = _receipt_id(receipts[-1]) if receipts else self._receipt
        acks = [row for row in receipts if self._is_own_ack(row)]
        waiting, acked = view.inbox(self._agent_id), {row["message_id"] for row in acks}
        arrived = [row for row in messages if row["id"] in waiting or row["id"] in acked]
        return list(self._told(arrived, acks))

    def _told(self, messages: list[Row], acks: list[Row]) -> Iterator[Event]:
        position = self._position or Position()
        for message in messages:
            position = position._replace(message=message["id"])
            yield Event(position, message)
        for ack in acks:
            position = position._replace(acked=ack["message_id"])
            yield Event(position, ack)
        self._position = position

    def _start_over(self, view: View) -> Position:
        """Stand before the first message and behind the last acknowledgement, which leaves what waits."""
        receipts = _backwards(view.rows("receipts"))
        self._message, self._receipt = "", next((_receipt_id(row) for row in receipts), "")
        own = (row["message_id"] for row in _backwards(view.rows("receipts")) if self._is_own_ack(row))
        return Position(acked=next(own, ""))

    def _holds_marks(self, view: View) -> bool:
        return (not self._message or view.get("messages", self._message) is not None) and (
            not self._receipt or view.get("receipts", self._receipt) is not None
        )

    def _is_own_ack(self, receipt: Row) -> bool:
        return bool(receipt["agent_id"] == self._agent_id and receipt["action"] == ACK)

    def _ack_key(self, message_id: str) -> str:
        return receipt_key(message_id, self._agent_id, ACK) if message_id else ""


def pieces(events: Iterable[Event]) -> Iterator[bytes]:
    """The events as bytes, many small ones or one large one in a piece."""
    gathered: list[bytes] = []
    size = 0
    for event in events:
        gathered.append(event.encoded())
        size += len(gathered[-1])
        if size >= _PIECE_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


def _message_data(message: Row) -> Row:
    inner = json.dumps(
        {"type": message["type"], "payload": message["payload"]}, ensure_ascii=False, separators=(",", ":")
    )
    return {
        "type": "message",
        "message_id": message["id"],
        "from_agent_id": message["from_agent_id"],
        "payload": inner,
        "timestamp": message["timestamp"],
    }


def _ack_data(receipt: Row) -> Row:
    return {
        "type": "ack",
        "message_id": receipt["message_id"],
        "agent_id": receipt["agent_id"],
        "timestamp": receipt["timestamp"],
    }


def _message_id(message: Row) -> str:
    return str(message["id"])


def _receipt_id(receipt: Row) -> str:
    return receipt_key(receipt["message_id"], receipt["agent_id"], receipt["action"])


def _written_after(mark: str, rows: Iterable[Row], key_of: Callable[[Row], str]) -> list[Row]:
    newer = list(takewhile(lambda row: key_of(row) != mark, _backwards(rows)))
    newer.reverse()
    return newer


def _backwards(rows: Iterable[Row]) -> Iterator[Row]:
    # a view's rows are those of a dict, of which the last ones are the newest
    return reversed(cast("Reversible[Row]", rows))
