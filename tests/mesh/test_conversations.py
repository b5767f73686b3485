"""Messages and receipts against a plain model of them: any order of sends, acks, receipts and reopenings."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from meshfleet.errors import Invalid
from meshfleet.ledger import Ledger
from meshfleet.mesh.messages import Draft, send_message
from meshfleet.mesh.receipts import ack_message, get_receipts, write_receipt
from meshfleet.model import MessageType
from tests.mesh.fleets import fleet_of, inbox_of, open_ledger, row

PAYLOADS: Final = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
PLACES: Final = st.integers(0, 3)
"""An agent of a fleet, or the orchestrator where there is none of that number."""


@dataclass
class Sent:
    """A message as the model knows it."""

    message_id: str
    recipients: list[str]
    payload: str
    receipts: dict[tuple[str, str], str | None] = field(default_factory=dict)

    @property
    def acknowledged(self) -> bool:
        return all((recipient, "ack") in self.receipts for recipient in self.recipients)


class Conversations(RuleBasedStateMachine):
    """Two fleets that talk over one ledger which is held twice and reopened now and then."""

    messages: Bundle[Sent] = Bundle("messages")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="meshfleet-")
        self.file = Path(self.folder.name) / "agent-mesh.json"
        self.ledgers = [open_ledger(self.file), open_ledger(self.file)]
        self.inboxes: dict[str, list[str]] = {"orchestrator": []}
        self.sent: list[Sent] = []

    @initialize()
    def spawn(self) -> None:
        self.fleets = [fleet_of(self.ledgers[0], "A", "B", "C"), fleet_of(self.ledgers[0], "D")]
        for _, agent_ids in self.fleets:
            self.inboxes |= {agent_id: [] for agent_id in agent_ids}

    def ledger(self) -> Ledger:
        """Take turns, so that each ledger acts on what the other wrote."""
        self.ledgers.reverse()
        return self.ledgers[0]

    def somebody(self, fleet: int, place: int) -> str:
        agent_ids = self.fleets[fleet][1]
        return agent_ids[place] if place < len(agent_ids) else "orchestrator"

    @rule(target=messages, fleet=st.integers(0, 1), sender=PLACES, to=PLACES, payload=PAYLOADS)
    def send(self, fleet: int, sender: int, to: int, payload: str) -> Sent:
        recipient = self.somebody(fleet, to)
        return self._deliver(fleet, self.somebody(fleet, sender), recipient, [recipient], payload)

    @rule(target=messages, sender=PLACES, payload=PAYLOADS)
    def broadcast(self, sender: int, payload: str) -> Sent:
        name = self.somebody(0, sender)
        others = [agent_id for agent_id in self.fleets[0][1] if agent_id != name]
        return self._deliver(0, name, "*", others, payload)

    @rule(place=PLACES)
    def write_to_a_stranger(self, place: int) -> None:
        stranger = self.fleets[1 if place < 3 else 0][1][0]
        with pytest.raises(Invalid, match="agent of another fleet"):
            send_message(self.ledger(), Draft("me", stranger, self.fleets[0 if place < 3 else 1][0], "alert", "x"))

    def _deliver(self, fleet: int, sender: str, to: str, recipients: list[str], payload: str) -> Sent:
        type_ = str(MessageType.HANDOFF)
        answer = send_message(self.ledger(), Draft(sender, to, self.fleets[fleet][0], type_, payload))
        assert answer["recipients"] == recipients
        sent = Sent(answer["message_id"], recipients, payload)
        self.sent.append(sent)
        for recipient in recipients:
            self.inboxes[recipient].append(sent.message_id)
        return sent

    @rule(sent=messages, fleet=st.integers(0, 1), place=PLACES)
    def ack(self, sent: Sent, fleet: int, place: int) -> None:
        self._ack(sent, self.somebody(fleet, place))

    @rule(sent=consumes(messages))
    def ack_by_all(self, sent: Sent) -> None:
        for recipient in sent.recipients:
            self._ack(sent, recipient)

    def _ack(self, sent: Sent, who: str) -> None:
        answer = ack_message(self.ledger(), who, sent.message_id)
        assert answer["ok"] == (who in sent.recipients)
        assert ("reason" in answer) == (who not in sent.recipients)
        if answer["ok"]:
            sent.receipts.setdefault((who, "ack"), None)
            if sent.message_id in self.inboxes[who]:
                self.inboxes[who].remove(sent.message_id)

    @rule(sent=messages, place=PLACES, action=st.sampled_from(["seen", "done"]), note=st.none() | PAYLOADS)
    def annotate(self, sent: Sent, place: int, action: str, note: str | None) -> None:
        who = self.somebody(0, place)
        standing = sent.receipts.setdefault((who, action), note)
        answer = write_receipt(self.ledger(), who, sent.message_id, action, note)
        assert answer["receipt"].get("note") == standing

    @rule()
    def compact(self) -> None:
        self.ledger().compact()

    @rule()
    def reopen(self) -> None:
        self.ledger().close()
        self.ledgers[0] = open_ledger(self.file)

    @invariant()
    def both_ledgers_hold_what_the_model_holds(self) -> None:
        for ledger in self.ledgers:
            for who, waiting in self.inboxes.items():
                assert [message["id"] for message in inbox_of(ledger, who)["messages"]] == waiting
            for sent in self.sent:
                message = row(ledger, "messages", sent.message_id)
                assert (message["payload"], message["acknowledged"]) == (sent.payload, sent.acknowledged)
                receipts = get_receipts(ledger, sent.message_id)["receipts"]
                held = {(receipt["agent_id"], receipt["action"]): receipt.get("note") for receipt in receipts}
                assert held == sent.receipts

    def teardown(self) -> None:
        for ledger in self.ledgers:
            ledger.close()
        self.folder.cleanup()


TestConversations = Conversations.TestCase
TestConversations.settings = hypothesis.settings(max_examples=25, stateful_step_count=20)
