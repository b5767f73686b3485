"""What has to be true of a demo that went well, and which step of it failed; a matter of rows and files only."""

from __future__ import annotations

from collections.abc import Mapping

from meshfleet.demo.observe import Observation
from meshfleet.demo.patterns import Pattern
from meshfleet.mesh.dormancy import was_never_called
from meshfleet.mesh.receipts import ACK
from meshfleet.model import AgentStatus, FleetStatus, Row, recipients_of


def hopeless_step(pattern: Pattern, seen: Observation) -> str | None:
    """Say which step has failed for good: whoever was to do it has ended without; None while all may come right."""
    ended = {agent["role"] for agent in seen.agents if AgentStatus(agent["status"]).has_ended}
    return _ended_badly(seen) or _missing_step(pattern, seen, ended)


def failed_step(pattern: Pattern, seen: Observation, files: Mapping[str, str]) -> str | None:
    """Say which step of a demo that is over failed, the earliest first; None when everything is as it should be.

    Args:
        pattern: What it was to show.
        seen: The fleet at the end.
        files: What the project's files hold, by name.
    """
    return (
        _ended_badly(seen)
        or _missing_step(pattern, seen, {agent["role"] for agent in seen.agents})
        or _still_open(pattern, seen)
        or _uncounted_acknowledgement(seen)
        or pattern.flaw(seen, files)
    )


def _ended_badly(seen: Observation) -> str | None:
    for agent in seen.agents:
        status = AgentStatus(agent["status"])
        # whoever should have called an agent that never was has left a step out, which says more
        if status.has_ended and status is not AgentStatus.COMPLETE and not was_never_called(agent):
            why = f" ({agent['reason']})" if agent.get("reason") else ""
            return f"{agent['role']}'s run, which ended as {status}{why}: {agent.get('error') or 'no error was noted'}"
    return None


def _missing_step(pattern: Pattern, seen: Observation, over: set[str]) -> str | None:
    """The first step which somebody who is `over` has left out, then any other message left unacknowledged."""
    for step in pattern.steps:
        sent = [message for message in seen.messages if step.is_taken_by(seen, message)]
        if not sent and step.sender in over:
            return f"{step} was never sent{_last_words(seen, step.sender)}"
        for message in sent:
            if problem := _unacknowledged(seen, message, over):
                return problem
    problems = (_unacknowledged(seen, message, over) for message in seen.messages)
    return next((problem for problem in problems if problem), None)


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


def _still_open(pattern: Pattern, seen: Observation) -> str | None:
    for agent in seen.agents:
        if agent["status"] != AgentStatus.COMPLETE:
            return f"{agent['role']}'s run, which is still {agent['status']}"
    missing = set(pattern.roles) - set(seen.roles.values())
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
