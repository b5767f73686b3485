"""The ledger's content as plainly as it can be written down, and what transactions may do to it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final

from hypothesis import strategies as st

from meshfleet.ledger import Transaction, View
from meshfleet.ledger.journal import Operation
from meshfleet.ledger.schema import TABLES
from meshfleet.model import Row

ROW_TABLES: Final = tuple(table for table in TABLES if table != "inboxes")
STATUSES: Final = ("pending", "running", "complete")
AGENTS: Final = ("a0", "a1", "a2")
FLEETS: Final = ("f0", "f1")
MESSAGES: Final = tuple(f"m{number}" for number in range(6))

texts = st.text(st.characters(codec=None), max_size=20)


class NaiveLedger:
    """Tables and inboxes as JSON would have them, searched from one end to the other."""

    def __init__(self, document: dict[str, Any] | None = None) -> None:
        self.document: dict[str, Any] = {table: {} for table in TABLES} | copy.deepcopy(document or {})

    def carry_out(self, operation: Operation) -> None:
        """One of the four operations."""
        name, *rest = operation
        if name == "put":
            table, key, row = rest
            self.document[table][key] = row
        elif name == "drop":
            table, key = rest
            self.document[table].pop(key, None)
        elif name == "append":
            agent_id, message_id = rest
            inbox = self.document["inboxes"].setdefault(agent_id, [])
            if message_id not in inbox:
                inbox.append(message_id)
        else:
            agent_id, message_id = rest
            if message_id in self.document["inboxes"].get(agent_id, []):
                self.document["inboxes"][agent_id].remove(message_id)

    def carried_out(self, operations: list[Operation]) -> NaiveLedger:
        """A copy after some operations."""
        after = NaiveLedger(self.document)
        for operation in operations:
            after.carry_out(operation)
        return after

    def with_value(self, table: str, field: str, value: str) -> list[Row]:
        """The rows of a table whose indexed field has a value."""
        return [row for row in self.document[table].values() if row[field] == value]

    def everything(self) -> list[tuple[str, Any]]:
        """All there is, with the order of rows and of what waits."""
        return [(table, list(self.document[table].items())) for table in TABLES] + [
            (name, value) for name, value in self.document.items() if name not in TABLES
        ]


def everything_in(view: View) -> list[tuple[str, Any]]:
    """All that a ledger holds, as `NaiveLedger.everything` tells it."""
    state = view._state
    inboxes = [(agent_id, list(ids)) for agent_id, ids in state.inboxes.items()]
    tables = {table: inboxes if table == "inboxes" else list(state.tables[table].items()) for table in TABLES}
    return [*tables.items(), *state.extras.items()]


def assert_answers_alike(view: View, naive: NaiveLedger) -> None:
    """Every question a rule can ask is answered as the plain search does."""
    for table in ROW_TABLES:
        rows = naive.document[table]
        assert list(view.rows(table)) == list(rows.values())
        some = [view.last_rows(table, count) for count in (0, 1, 9)]
        assert some == [[], *(list(rows.values())[-count:] for count in (1, 9))]
        assert [view.get(table, key) for key in (*rows, "nowhere")] == [*rows.values(), None]
    for table, field, ask, values in (
        ("agents", "fleet_id", view.agents_of, FLEETS),
        ("agents", "status", view.agents_that_are, STATUSES),
        ("messages", "fleet_id", view.messages_of, FLEETS),
        ("receipts", "message_id", view.receipts_of, MESSAGES),
    ):
        for value in (*values, "nowhere"):
            assert in_any_order(ask(value)) == in_any_order(naive.with_value(table, field, value))
            assert view.count_of(table, field, value) == len(naive.with_value(table, field, value))
    for fleet_id in (*FLEETS, "nowhere"):
        messages = view.messages_of(fleet_id)
        assert [view.last_messages_of(fleet_id, count) for count in (0, 1, 9)] == [[], messages[-1:], messages[-9:]]
    for agent_id in (*AGENTS, "nobody"):
        assert list(view.inbox(agent_id)) == naive.document["inboxes"].get(agent_id, [])


def in_any_order(rows: list[Row]) -> list[str]:
    """Rows as texts that can be compared: one that moved to another fleet has no place of its own there."""
    return sorted(repr(row) for row in rows)


def write(transaction: Transaction, operation: Operation) -> None:
    """One of the four operations, through a transaction."""
    deeds: dict[str, Callable[..., None]] = {
        "put": transaction.put,
        "drop": transaction.drop,
        "append": transaction.deliver,
        "take": transaction.take,
    }
    deeds[operation[0]](*operation[1:])


@st.composite
def puts(draw: st.DrawFn) -> Operation:
    """Put a row of any table, sound and with a field nobody knows."""
    table = draw(st.sampled_from(ROW_TABLES))
    agent_id, fleet_id = draw(st.sampled_from(AGENTS)), draw(st.sampled_from(FLEETS))
    message_id, text = draw(st.sampled_from(MESSAGES)), draw(texts)
    rows: dict[str, tuple[str, Row]] = {
        "fleets": (fleet_id, {"id": fleet_id, "status": text, "created_at": 1}),
        "agents": (
            agent_id,
            {
                "id": agent_id,
                "fleet_id": fleet_id,
                "role": text,
                "prompt": "p",
                "status": draw(st.sampled_from(STATUSES)),
            },
        ),
        "messages": (
            message_id,
            {
                "id": message_id,
                "from_agent_id": "a0",
                "to_agent_id": agent_id,
                "fleet_id": fleet_id,
                "type": "result",
                "payload": text,
                "timestamp": 1,
                "acknowledged": draw(st.booleans()),
            },
        ),
        "capabilities": (agent_id, {"agent_id": agent_id, "fleet_id": fleet_id, "role": text, "skills": [text]}),
        "receipts": (
            f"{message_id}:{agent_id}:ack",
            {"message_id": message_id, "agent_id": agent_id, "action": "ack", "timestamp": 1.5},
        ),
        "templates": (f"{text}@v1", {"name": text, "agents": [{"role": text}], "version": 1}),
        "attempts": (f"{agent_id}/1", {"agent_id": agent_id, "number": 1}),
        "outcomes": (
            f"{agent_id}:{text}",
            {"agent_id": agent_id, "capability_key": text, "successes": 1, "failures": 0, "updated_at": 1},
        ),
    }
    key, row = rows[table]
    return ["put", table, key, {**row, "novelty": {"nested": [None, True, draw(st.integers())]}}]


def operations() -> st.SearchStrategy[Operation]:
    """Any of the four operations on a few rows, so that they meet often."""
    keys = st.sampled_from([*AGENTS, *FLEETS, *MESSAGES, *(f"{message}:a0:ack" for message in MESSAGES)])
    return st.one_of(
        puts(),
        st.tuples(st.just("drop"), st.sampled_from(ROW_TABLES), keys).map(list),
        st.tuples(st.just("append"), st.sampled_from(AGENTS), st.sampled_from(MESSAGES)).map(list),
        st.tuples(st.just("take"), st.sampled_from(AGENTS), st.sampled_from(MESSAGES)).map(list),
    )


def transactions(least: int = 0) -> st.SearchStrategy[list[Operation]]:
    """The operations of a transaction."""
    return st.lists(operations(), min_size=least, max_size=6)
