"""Verification: a ledger the rules wrote is clean, and each way in which rows can contradict each other is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from meshfleet.mesh.cancelling import cancel
from meshfleet.mesh.receipts import ack_message, write_receipt
from meshfleet.mesh.routing import record_routing_outcome, register_capability
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.templates import TemplateDraft, delete_fleet_template, save_fleet_template
from meshfleet.mesh.verify import Severity, verify
from meshfleet.model import Reason
from tests.ledger.journals import write_behind
from tests.ledger.processes import start_writer
from tests.ledgers import ledger_at
from tests.mesh.fleets import bytes_of, fleet_of, open_ledger, send, start_all

Document = dict[str, Any]


def lived_in(ledger_file: Path) -> Document:
    """A ledger in which two fleets have worked: messages sent, seen and acked, agents in every kind of state."""
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b, c) = fleet_of(ledger, "A", "B", "C")
    to_b = send(ledger, fleet_id, b, "for b", sender=a)["message_id"]
    send(ledger, fleet_id, c, "for c", sender=a)
    broadcast = send(ledger, fleet_id, "*", "for all", sender=a)["message_id"]
    send(ledger, fleet_id, "orchestrator", "done", sender=b)
    write_receipt(ledger, b, to_b, "seen", "with care")
    ack_message(ledger, b, to_b)
    ack_message(ledger, b, broadcast)
    for agent_id, number in start_all(ledger):
        ok = agent_id != c
        settle_attempt(ledger, agent_id, number, Outcome(ok=ok, output="words", reason=None if ok else Reason.EXIT))
    fleet_of(ledger, "D", "E")
    start_all(ledger)
    fleet_of(ledger, "F")
    for agents in ([AgentSpec("A", "go")], [AgentSpec("A", "go"), AgentSpec("B", "go")]):
        save_fleet_template(ledger, TemplateDraft("duo", agents))
    save_fleet_template(ledger, TemplateDraft("gone", [AgentSpec("A", "go")]))
    delete_fleet_template(ledger, "gone")
    register_capability(ledger, agent_id=a, fleet_id=fleet_id, role="A", skills=["sql"])
    for success in (True, False, True):
        record_routing_outcome(ledger, a, "sql", success)
    ledger.close()
    document: Document = json.loads(ledger_file.read_text())
    return document


def first(document: Document, table: str, **wanted: Any) -> Document:
    """The first row of a table with these values."""
    rows: dict[str, Document] = document[table]
    return next(row for row in rows.values() if all(row.get(field) == value for field, value in wanted.items()))


def waiting_for(document: Document, role: str) -> list[str]:
    """The inbox of the first agent with a role."""
    ids: list[str] = document["inboxes"][first(document, "agents", role=role)["id"]]
    return ids


def agent(**wanted: Any) -> Callable[[Document], Document]:
    return lambda document: first(document, "agents", **wanted)


def change(row: Callable[[Document], Document], **values: Any) -> Callable[[Document], None]:
    """Set fields of a row; None removes one."""

    def deed(document: Document) -> None:
        found = row(document)
        for field, value in values.items():
            if value is None:
                del found[field]
            else:
                found[field] = value

    return deed


def message(payload: str) -> Callable[[Document], Document]:
    return lambda document: first(document, "messages", payload=payload)


def receipt(action: str) -> Callable[[Document], Document]:
    return lambda document: first(document, "receipts", action=action)


def fleet(status: str) -> Callable[[Document], Document]:
    return lambda document: first(document, "fleets", status=status)


def rename_first(table: str) -> Callable[[Document], None]:
    def deed(document: Document) -> None:
        key = next(iter(document[table]))
        document[table]["another"] = document[table].pop(key)

    return deed


def forget(table: str, **wanted: Any) -> Callable[[Document], None]:
    """Remove a row."""

    def deed(document: Document) -> None:
        row = first(document, table, **wanted)
        document[table] = {key: other for key, other in document[table].items() if other is not row}

    return deed


def forget_attempt_of(role: str) -> Callable[[Document], None]:
    def deed(document: Document) -> None:
        document["attempts"].pop(f"{first(document, 'agents', role=role)['id']}/1")

    return deed


def attempt_of(role: str) -> Callable[[Document], Document]:
    def find(document: Document) -> Document:
        found: Document = document["attempts"][f"{first(document, 'agents', role=role)['id']}/1"]
        return found

    return find


def take_delivery_back(document: Document) -> None:
    waiting_for(document, "C").remove(message("for c")(document)["id"])


def leave_acked_message_waiting(document: Document) -> None:
    waiting_for(document, "B").append(message("for b")(document)["id"])


def deliver_to_a_stranger(document: Document) -> None:
    waiting_for(document, "B").append(message("for c")(document)["id"])


def ack_by_a_stranger(document: Document) -> None:
    sent, stranger = message("for c")(document)["id"], first(document, "agents", role="A")["id"]
    row = {"message_id": sent, "agent_id": stranger, "action": "ack", "timestamp": 9_999_999_999_999}
    document["receipts"][f"{sent}:{stranger}:ack"] = row


CONTRADICTIONS: Final[list[tuple[str, Callable[[Document], None]]]] = [
    ("undeliverable", lambda _: None),
    ("key", rename_first("fleets")),
    ("key", rename_first("agents")),
    ("key", rename_first("messages")),
    ("key", rename_first("attempts")),
    ("receipt-key", rename_first("receipts")),
    ("receipt-orphan", forget("messages", payload="for b")),
    ("receipt-early", change(receipt("seen"), timestamp=1)),
    ("receipt-stranger", ack_by_a_stranger),
    ("message-acknowledged", change(message("for b"), acknowledged=False)),
    ("message-acknowledged", change(message("for all"), acknowledged=True)),
    ("message-fleet", change(message("for c"), fleet_id="nowhere")),
    ("message-recipient", change(message("done"), to_agent_id="nobody")),
    ("message-undelivered", take_delivery_back),
    ("ack-not-consumed", leave_acked_message_waiting),
    ("inbox-orphan", lambda document: waiting_for(document, "C").append("no-such-message")),
    ("inbox-stranger", deliver_to_a_stranger),
    ("inbox-nobody", lambda document: document["inboxes"].update(ghost=[message("for c")(document)["id"]])),
    ("agent-fleet", change(agent(role="F"), fleet_id="nowhere")),
    ("agent-status", change(agent(role="F"), status="asleep")),
    ("agent-times", change(agent(role="A"), completed_at=None)),
    ("agent-times", change(agent(role="A"), completed_at=1)),
    ("agent-times", change(agent(role="D"), completed_at=9_999_999_999_999)),
    ("agent-times", change(agent(role="D"), started_at=None)),
    ("attempt-missing", forget_attempt_of("A")),
    ("attempt-open", change(attempt_of("A"), ended_at=None)),
    ("attempt-open", change(attempt_of("D"), ended_at=9_999_999_999_999)),
    ("attempt-orphan", forget("agents", role="A")),
    ("fleet-status", change(fleet("failed"), status="complete")),
    ("fleet-status", change(fleet("running"), status="complete")),
    ("fleet-status", change(fleet("running"), status="sleepy")),
    ("fleet-times", change(fleet("failed"), completed_at=None)),
    ("fleet-times", change(fleet("running"), completed_at=5)),
    ("fleet-empty", lambda document: document["fleets"].update(e={"id": "e", "status": "running", "created_at": 1})),
    ("template-number", lambda document: document["templates"]["duo@v2"].update(version=3)),
    ("template-name", lambda document: document["templates"].update(_template("Not A Name"))),
    ("capability-key", rename_first("capabilities")),
    ("capability-skills", lambda document: first(document, "capabilities").update(skills=[1])),
    ("capability-orphan", lambda document: document["capabilities"].update(_capability("ghost"))),
    ("template-agents", lambda document: document["templates"]["duo@v1"].update(agents=[])),
    ("template-agents", lambda document: document["templates"]["duo@v2"]["agents"][1].update(role=" ")),
    ("outcome-key", rename_first("outcomes")),
    ("outcome-count", lambda document: first(document, "outcomes").update(failures=-1)),
    ("outcome-count", lambda document: first(document, "outcomes").update(successes=1.5)),
    ("outcome-empty", lambda document: first(document, "outcomes").update(successes=0, failures=0)),
    ("outcome-orphan", lambda document: document["outcomes"].update(_outcome("ghost"))),
]


def _template(name: str) -> Document:
    return {f"{name}@v1": {"name": name, "agents": [], "version": 1}}


def _capability(agent_id: str) -> Document:
    return {agent_id: {"agent_id": agent_id, "fleet_id": "f", "role": "r", "skills": []}}


def _outcome(agent_id: str) -> Document:
    row = {"agent_id": agent_id, "capability_key": "sql", "successes": 1, "failures": 0, "updated_at": 1}
    return {f"{agent_id}:sql": row}


def test_one_message_waits_and_two_messages_wait(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (agent_id,) = fleet_of(ledger, "A")
    told = []
    for _ in range(2):
        send(ledger, fleet_id, agent_id)
        cancel(ledger, agent_id=agent_id)
        told += [finding.what for finding in verify(ledger_file).findings if finding.id == "undeliverable"]
    waiting = ("1 message waits", "2 messages wait")
    assert told == [f"{each} for it, not seen by it, and 'A' is cancelled" for each in waiting]


def test_a_ledger_that_the_rules_wrote_is_clean(ledger_file: Path) -> None:
    lived_in(ledger_file)
    report = verify(ledger_file)
    assert [finding.id for finding in report.findings] == ["undeliverable"]
    assert report.clean
    assert report.rows["messages"] == 4
    assert report.seq > 10


@pytest.mark.parametrize(
    ("kind", "deed"), CONTRADICTIONS, ids=[f"{place}-{kind}" for place, (kind, _) in enumerate(CONTRADICTIONS)]
)
def test_a_contradiction_is_found(ledger_file: Path, kind: str, deed: Callable[[Document], None]) -> None:
    document = lived_in(ledger_file)
    deed(document)
    ledger_file.write_text(json.dumps(document))
    before = bytes_of(ledger_file.parent)
    report = verify(ledger_file)
    assert kind in [finding.id for finding in report.findings]
    assert all(finding.what and finding.next_step and finding.where for finding in report.findings)
    assert report.clean == all(finding.severity is Severity.WARNING for finding in report.findings)
    assert bytes_of(ledger_file.parent) == before


@pytest.mark.parametrize(
    "deed",
    [change(receipt("seen"), timestamp=1), change(agent(role="A"), completed_at=1)],
    ids=["a receipt before its message", "an end before its beginning"],
)
def test_what_a_clock_leaves_that_was_set_back_is_no_error(ledger_file: Path, deed: Callable[[Document], None]) -> None:
    document = lived_in(ledger_file)
    deed(document)
    ledger_file.write_text(json.dumps(document))
    report = verify(ledger_file)
    assert report.clean
    (finding,) = [one for one in report.findings if one.id in {"receipt-early", "agent-times"}]
    assert finding.next_step == "nothing, if the clock was set back meanwhile"


def test_every_kind_of_finding_is_tested() -> None:
    source = Path(__file__).parents[2] / "src" / "meshfleet" / "mesh" / "verify.py"
    kinds = set()
    for call in ("_error(", "_warning("):
        for rest in source.read_text().split(call)[1:]:
            kind = rest.lstrip().removeprefix("kind: str").split('"')
            if rest.lstrip().startswith('"'):
                kinds.add(kind[1])
    assert kinds == {kind for kind, _ in CONTRADICTIONS}


def test_damage_of_the_files_is_a_finding_too(ledger_file: Path) -> None:
    ledger = ledger_at(ledger_file)
    fleet_of(ledger, "A")
    ledger.close()
    (journal,) = ledger_file.parent.glob("*.ndjson")
    write_behind(journal, b'{"seq":2,"ops":[],"crc":"00000000"}\n')
    (finding,) = verify(ledger_file).findings
    assert (finding.id, finding.severity) == ("journal-record", Severity.ERROR)
    assert finding.where == f"{journal.name} line 2"
    assert "meshfleet repair" in finding.next_step


def test_a_live_ledger_can_be_verified_and_is_clean_at_every_moment(ledger_file: Path) -> None:
    writer = start_writer(ledger_file, "w", 1500)
    assert writer.stdout is not None
    writer.stdout.readline()
    seen = []
    while writer.poll() is None:
        report = verify(ledger_file)
        assert [finding for finding in report.findings if finding.id.startswith(("journal", "snapshot"))] == []
        seen.append(report.seq)
    writer.stdout.close()
    assert len(seen) > 3
    assert seen == sorted(seen)
