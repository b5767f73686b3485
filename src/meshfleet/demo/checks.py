"""What has to be true of a demo that went well, and which step of it failed; a matter of rows and one file only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from meshfleet.demo.observe import Observation
from meshfleet.demo.pipeline import ANALYST, ENGINEER, EXPLORER, RESULT_FILE
from meshfleet.mesh.receipts import ACK
from meshfleet.model import AgentStatus, FleetStatus, MessageType, Row, recipients_of

_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Step:
    """A message that has to be sent and acknowledged; who sends and who gets it are roles."""

    sender: str
    kind: MessageType
    recipient: str

    def __str__(self) -> str:
        return f"{self.sender}'s {self.kind} to {self.recipient}"


STEPS: Final = (
    Step(EXPLORER, MessageType.HANDOFF, ANALYST),
    Step(ANALYST, MessageType.RESULT, EXPLORER),
    Step(ANALYST, MessageType.HANDOFF, ENGINEER),
    Step(ENGINEER, MessageType.RESULT, ANALYST),
)


def hopeless_step(seen: Observation) -> str | None:
    """Say which step has failed for good: whoever was to do it has ended without; None while all may come right."""
    ended = {agent["role"] for agent in seen.agents if AgentStatus(agent["status"]).has_ended}
    return _ended_badly(seen) or _missing_step(seen, ended)


def failed_step(seen: Observation, findings: str | None) -> str | None:
    """Say which step of a demo that is over failed, the earliest first; None when everything is as it should be.

    Args:
        seen: The fleet at the end.
        findings: What RESULT_FILE holds; None where there is no such file.
    """
    return (
        _ended_badly(seen)
        or _missing_step(seen, {agent["role"] for agent in seen.agents})
        or _still_open(seen)
        or _uncounted_acknowledgement(seen)
        or _wrong_findings(seen, findings)
    )


def _ended_badly(seen: Observation) -> str | None:
    for agent in seen.agents:
        status = AgentStatus(agent["status"])
        if status.has_ended and status is not AgentStatus.COMPLETE:
            why = f" ({agent['reason']})" if agent.get("reason") else ""
            return f"{agent['role']}'s run, which ended as {status}{why}: {agent.get('error') or 'no error was noted'}"
    return None


def _missing_step(seen: Observation, over: set[str]) -> str | None:
    """The first step which somebody who is `over` has left out, then any other message left unacknowledged."""
    for step in STEPS:
        sent = [message for message in seen.messages if _is_of(seen, message, step)]
        if not sent and step.sender in over:
            return f"{step} was never sent{_last_words(seen, step.sender)}"
        for message in sent:
            if problem := _unacknowledged(seen, message, over):
                return problem
    problems = (_unacknowledged(seen, message, over) for message in seen.messages)
    return next((problem for problem in problems if problem), None)


def _is_of(seen: Observation, message: Row, step: Step) -> bool:
    recipients = {seen.name_of(recipient) for recipient in recipients_of(message)}
    return (
        message["type"] == step.kind
        and seen.name_of(message["from_agent_id"]) == step.sender
        and step.recipient in recipients
    )


def _unacknowledged(seen: Observation, message: Row, over: set[str]) -> str | None:
    agents = [recipient for recipient in recipients_of(message) if recipient in seen.roles]
    acknowledged = {r["agent_id"] for r in seen.receipts_of(message["id"]) if r["action"] == ACK}
    sender, kind = seen.name_of(message["from_agent_id"]), message["type"]
    for recipient in agents:
        role = seen.name_of(recipient)
        if recipient not in acknowledged and role in over:
            return f"{sender}'s {kind} to {role} was never acknowledged{_last_words(seen, role)}"
    return None


def _last_words(seen: Observation, role: str) -> str:
    """What the one who should have acted said at the end, where that may tell why."""
    words = next((str(agent.get("output") or "").strip() for agent in seen.agents if agent["role"] == role), "")
    return f'; the last words of {role}: "{words.splitlines()[-1]}"' if words else ""


def _still_open(seen: Observation) -> str | None:
    for agent in seen.agents:
        if agent["status"] != AgentStatus.COMPLETE:
            return f"{agent['role']}'s run, which is still {agent['status']}"
    missing = {role for step in STEPS for role in (step.sender, step.recipient)} - set(seen.roles.values())
    if missing:
        return f"the fleet, which has no {' and no '.join(sorted(missing))}"
    if seen.fleet["status"] != FleetStatus.COMPLETE:
        return f"the fleet, which is {seen.fleet['status']} although every agent is complete"
    return None


def _uncounted_acknowledgement(seen: Observation) -> str | None:
    # asked once the fleet is complete: before, a message may have been seen before the receipts that came with it
    for message in seen.messages:
        if not message["acknowledged"] and any(recipient in seen.roles for recipient in recipients_of(message)):
            sender = seen.name_of(message["from_agent_id"])
            return f"{sender}'s {message['type']}, which has every ack receipt and does not count as acknowledged"
    return None


def _wrong_findings(seen: Observation, findings: str | None) -> str | None:
    if findings is None:
        return f"{ENGINEER}'s file: there is no {RESULT_FILE} in the project"
    step = STEPS[2]
    orders = [message["payload"] for message in seen.messages if _is_of(seen, message, step)]
    if not any(holds_the_words_of(order, findings) for order in orders):
        return f"{ENGINEER}'s file: {RESULT_FILE} does not hold the words of {step}"
    return None


def holds_the_words_of(quoted: str, text: str) -> bool:
    """Tell whether a text quotes another word for word, however it breaks lines or marks the quotation."""
    words = _WORD.findall(quoted.casefold())
    return bool(words) and f" {' '.join(words)} " in f" {' '.join(_WORD.findall(text.casefold()))} "
