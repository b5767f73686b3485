"""What the rules promise, derived again from the records alone: every row that contradicts another is a finding.

Nothing is changed. Damage of the files themselves is found by `meshfleet.ledger.salvage`, and told here too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from meshfleet.errors import Invalid
from meshfleet.ledger.salvage import Damage, salvage
from meshfleet.ledger.state import State, View
from meshfleet.mesh.inboxes import undeliverable
from meshfleet.mesh.lifecycle import status_of_fleet
from meshfleet.mesh.receipts import ACK
from meshfleet.mesh.templates import TEMPLATE_NAME, is_standing, specs_of_template
from meshfleet.mesh.texts import messages_waiting
from meshfleet.model import (
    ORCHESTRATOR,
    AgentStatus,
    FleetStatus,
    Row,
    attempt_key,
    outcome_key,
    receipt_key,
    recipients_of,
)


class Severity(StrEnum):
    """How much a finding matters: an error breaks a promise, a warning is what an older version allowed."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it has to be.

    Attributes:
        id: Which rule, stable over versions.
        severity: How much it matters.
        where: The row, or the file and line.
        what: The contradiction, in a sentence.
        next_step: What to do about it.
    """

    id: str
    severity: Severity
    where: str
    what: str
    next_step: str


_LONGEST_SHOWN: Final = 100
"""Characters of a value that is not what it should be."""
_CLOCK: Final = "nothing, if the clock was set back meanwhile"
"""What to do about times that contradict each other."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at, and what was found.

    Attributes:
        data_file: The ledger.
        seq: The number of the last transaction read.
        rows: How many rows each table has.
        findings: What is not as it has to be, damage of the files first.
    """

    data_file: Path
    seq: int
    rows: dict[str, int]
    findings: list[Finding]

    @property
    def clean(self) -> bool:
        """True when there is no error; warnings are what an older version allowed."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)


def verify(data_file: Path) -> Report:
    """Read a ledger, whatever its condition, and check everything in it.

    Raises:
        NotFound: There is no ledger, or the file is something else.
        Busy: It changed faster than it could be read.
    """
    found = salvage(data_file)
    findings = [_told(damage) for damage in found.damages]
    findings += verify_rows(found.state, found.seq)
    rows = {name: len(table) for name, table in found.state.tables.items()} | {"inboxes": len(found.state.inboxes)}
    return Report(data_file, found.seq, rows, findings)


def verify_rows(state: State, seq: int = 0) -> list[Finding]:
    """Check every row of a ledger against the others."""
    view = View(state, seq)
    return [finding for check in _CHECKS for finding in check(view, state)]


def _told(damage: Damage) -> Finding:
    severity = Severity.WARNING if damage.id == "journal-torn" else Severity.ERROR
    next_step = "nothing" if damage.id == "journal-torn" else "run meshfleet repair, which keeps a copy"
    return Finding(damage.id, severity, damage.where, damage.what, next_step)


def _error(kind: str, where: str, what: str, next_step: str = "mend the row, or report it as a bug") -> Finding:
    return Finding(kind, Severity.ERROR, where, what, next_step)


def _warning(kind: str, where: str, what: str, next_step: str = "nothing; v0.9.0 allowed it") -> Finding:
    return Finding(kind, Severity.WARNING, where, what, next_step)


def _check_keys(_: View, state: State) -> Iterator[Finding]:
    for table in ("fleets", "agents", "messages"):
        for key, row in state.tables[table].items():
            if row["id"] != key:
                yield _error("key", f"{table} {key}", f"its id is {row['id']!r}, not its key")
    for key, row in state.tables["attempts"].items():
        if key != attempt_key(row["agent_id"], row["number"]):
            yield _error("key", f"attempts {key}", "its key is not its agent and number")
    for key, row in state.tables["receipts"].items():
        if key != receipt_key(row["message_id"], row["agent_id"], row["action"]):
            yield _error("receipt-key", f"receipts {key}", "its key is not its message, agent and action")


def _check_messages(view: View, _: State) -> Iterator[Finding]:
    for message in view.rows("messages"):
        where = f"messages {message['id']}"
        if view.get("fleets", message["fleet_id"]) is None:
            yield _warning("message-fleet", where, f"its fleet {message['fleet_id']} does not exist")
        recipients = recipients_of(message)
        acked = [_acked(view, message, agent_id) for agent_id in recipients]
        if bool(message.get("acknowledged")) != (all(acked) and bool(acked)):
            said = "acknowledged" if message.get("acknowledged") else "not acknowledged"
            yield _error(
                "message-acknowledged", where, f"it says {said}, but {sum(acked)} of {len(acked)} recipients acked it"
            )
        for agent_id, done in zip(recipients, acked, strict=True):
            yield from _check_delivery(view, message, agent_id, acked=done)


def _check_delivery(view: View, message: Row, agent_id: str, *, acked: bool) -> Iterator[Finding]:
    where = f"messages {message['id']}"
    waits = message["id"] in view.inbox(agent_id)
    if acked and waits:
        yield _error("ack-not-consumed", where, f"{agent_id} acked it, but it still waits in the inbox")
    if not acked and not waits:
        yield _error("message-undelivered", where, f"{agent_id} has not acked it, but it does not wait in the inbox")
    agent = view.get("agents", agent_id)
    if agent_id != ORCHESTRATOR and (agent is None or agent["fleet_id"] != message["fleet_id"]):
        yield _warning("message-recipient", where, f"it was sent to {agent_id}, which is no agent of its fleet")


def _acked(view: View, message: Row, agent_id: str) -> bool:
    return view.get("receipts", receipt_key(message["id"], agent_id, ACK)) is not None


def _check_receipts(view: View, state: State) -> Iterator[Finding]:
    for key, receipt in state.tables["receipts"].items():
        where = f"receipts {key}"
        message = view.get("messages", receipt["message_id"])
        if message is None:
            yield _error("receipt-orphan", where, f"its message {receipt['message_id']} does not exist")
            continue
        if receipt["timestamp"] < message["timestamp"]:
            yield _warning("receipt-early", where, "it was written before its message was sent", _CLOCK)
        if receipt["action"] == ACK and receipt["agent_id"] not in recipients_of(message):
            yield _warning("receipt-stranger", where, f"{receipt['agent_id']} acked a message it was not sent")


def _check_inboxes(view: View, state: State) -> Iterator[Finding]:
    for agent_id, ids in state.inboxes.items():
        if not ids:
            continue
        if agent_id != ORCHESTRATOR and view.get("agents", agent_id) is None:
            what = f"{messages_waiting(len(ids))} for nobody"
            yield _warning("inbox-nobody", f"inboxes {agent_id}", what)
        for message_id in ids:
            message = view.get("messages", message_id)
            if message is None:
                yield _error("inbox-orphan", f"inboxes {agent_id}", f"the message {message_id} in it does not exist")
            elif agent_id not in recipients_of(message):
                yield _error("inbox-stranger", f"inboxes {agent_id}", f"the message {message_id} was not sent to it")


def _check_agents(view: View, _: State) -> Iterator[Finding]:
    for agent in view.rows("agents"):
        where = f"agents {agent['id']}"
        if view.get("fleets", agent["fleet_id"]) is None:
            yield _error("agent-fleet", where, f"its fleet {agent['fleet_id']} does not exist")
        if agent["status"] not in set(AgentStatus):
            yield _error("agent-status", where, f"its status is {agent['status']!r}")
            continue
        status, started, completed = AgentStatus(agent["status"]), agent.get("started_at"), agent.get("completed_at")
        odd = [f"{time!r}" for time in (started, completed) if time is not None and type(time) not in {int, float}]
        if odd:
            yield _error("agent-times", where, f"it holds {' and '.join(odd)[:_LONGEST_SHOWN]} where a time should be")
            continue
        if not status.has_ended and completed is not None:
            yield _error("agent-times", where, f"it is {status}, but completed at {completed}")
        if status in {AgentStatus.COMPLETE, AgentStatus.FAILED} and completed is None:
            yield _error("agent-times", where, f"it is {status}, but has no time at which it ended")
        if status is AgentStatus.RUNNING and started is None:
            yield _error("agent-times", where, "it is running, but was never started")
        if started is not None and completed is not None and completed < started:
            yield _warning("agent-times", where, "it ended before it started", _CLOCK)
        yield from _check_attempt(view, agent, status)


def _check_attempt(view: View, agent: Row, status: AgentStatus) -> Iterator[Finding]:
    number = agent.get("attempt")
    if number is None:
        return
    attempt = view.get("attempts", attempt_key(agent["id"], number))
    if attempt is None:
        yield _error("attempt-missing", f"agents {agent['id']}", f"its attempt {number} does not exist")
    elif status is AgentStatus.RUNNING and "ended_at" in attempt:
        yield _error("attempt-open", f"agents {agent['id']}", f"it is running, but its attempt {number} has ended")
    elif status in {AgentStatus.COMPLETE, AgentStatus.FAILED} and "ended_at" not in attempt:
        yield _error("attempt-open", f"agents {agent['id']}", f"it is {status}, but its attempt {number} has not ended")


def _check_attempts(view: View, state: State) -> Iterator[Finding]:
    for key, attempt in state.tables["attempts"].items():
        if view.get("agents", attempt["agent_id"]) is None:
            yield _error("attempt-orphan", f"attempts {key}", f"its agent {attempt['agent_id']} does not exist")


def _check_inboxes_of_the_ended(view: View, _: State) -> Iterator[Finding]:
    lost = Counter((agent["id"], agent["role"], agent["status"]) for _, agent in undeliverable(view))
    for (agent_id, role, status), count in lost.items():
        what = f"{messages_waiting(count)} for it, not seen by it, and {role!r} is {status}"
        yield _warning("undeliverable", f"agents {agent_id}", what, "resume it, or send them to another")


def _check_fleets(view: View, _: State) -> Iterator[Finding]:
    for fleet in view.rows("fleets"):
        where = f"fleets {fleet['id']}"
        if fleet["status"] not in set(FleetStatus):
            yield _error("fleet-status", where, f"its status is {fleet['status']!r}")
            continue
        agents = view.agents_of(fleet["id"])
        known = [agent for agent in agents if agent["status"] in set(AgentStatus)]
        status, ended = FleetStatus(fleet["status"]), fleet["status"] in {FleetStatus.COMPLETE, FleetStatus.FAILED}
        derived = status_of_fleet(known)
        if agents and status is not derived and not (status is FleetStatus.PENDING and derived is FleetStatus.RUNNING):
            yield _error("fleet-status", where, f"it is {status}, but its agents make it {derived}")
        if not agents:
            yield _warning("fleet-empty", where, "it has no agents", "nothing; it is of no consequence")
        if ended != ("completed_at" in fleet):
            noted = fleet.get("completed_at", "not noted")
            yield _error("fleet-times", where, f"it is {status}, but its end is {noted}")


def _check_templates(_: View, state: State) -> Iterator[Finding]:
    for key, template in state.tables["templates"].items():
        if key != f"{template['name']}@v{template['version']}" or template["version"] < 1:
            yield _error("template-number", f"templates {key}", "its key is not its name and version")
        if not TEMPLATE_NAME.fullmatch(template["name"]):
            yield _warning("template-name", f"templates {key}", f"its name is {template['name']!r}")
        if is_standing(template):
            yield from _check_specs(key, template)


def _check_specs(key: str, template: Row) -> Iterator[Finding]:
    try:
        specs_of_template(template)
    except Invalid as error:
        yield _warning("template-agents", f"templates {key}", f"it can't be spawned: {error}", "save it anew")


def _check_capabilities(view: View, state: State) -> Iterator[Finding]:
    for key, capability in state.tables["capabilities"].items():
        where = f"capabilities {key}"
        if key != capability["agent_id"]:
            yield _error("capability-key", where, f"its agent is {capability['agent_id']!r}, not its key")
        if not all(isinstance(skill, str) for skill in capability["skills"]):
            yield _error("capability-skills", where, "one of its skills is no text")
        if view.get("agents", capability["agent_id"]) is None:
            yield _warning("capability-orphan", where, "its agent does not exist")


def _check_outcomes(view: View, state: State) -> Iterator[Finding]:
    for key, outcome in state.tables["outcomes"].items():
        where = f"outcomes {key}"
        if key != outcome_key(outcome["agent_id"], outcome["capability_key"]):
            yield _error("outcome-key", where, "its key is not its agent and capability key")
        counts = outcome["successes"], outcome["failures"]
        if not all(type(count) is int and count >= 0 for count in counts):
            yield _error("outcome-count", where, f"it counts {counts[0]!r} successes and {counts[1]!r} failures")
        elif not sum(counts):
            yield _warning("outcome-empty", where, "it counts nothing", "nothing; it is of no consequence")
        if view.get("agents", outcome["agent_id"]) is None:
            yield _error("outcome-orphan", where, "its agent does not exist")


_CHECKS: Final[tuple[Callable[[View, State], Iterator[Finding]], ...]] = (
    _check_keys,
    _check_fleets,
    _check_agents,
    _check_attempts,
    _check_messages,
    _check_receipts,
    _check_inboxes,
    _check_inboxes_of_the_ended,
    _check_templates,
    _check_capabilities,
    _check_outcomes,
)
