"""What the demo sees of its fleet: a bystander who reads the ledger and the event streams and asks the server nothing.

What it means is checks.py's to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from meshfleet.agents.launch import EVENTS_NAME
from meshfleet.agents.stream import EventStream, RunReport
from meshfleet.demo.parts import TOOL_PREFIX
from meshfleet.ledger import Ledger, View
from meshfleet.mesh.dormancy import is_dormant, what_it_waits_for
from meshfleet.mesh.fleets import require_fleet
from meshfleet.model import AgentStatus, FleetStatus, Row, attempt_key

_TOOLS: Final[Mapping[str, str]] = {
    "bash": "runs a command",
    "edit": "edits a file",
    "glob": "looks for files",
    "grep": "searches the project",
    "read": "reads the project",
    "write": "writes a file",
    f"{TOOL_PREFIX}ack_message": "acknowledges a message",
    f"{TOOL_PREFIX}fleet_status": "asks how its fleet stands",
    f"{TOOL_PREFIX}get_inbox": "looks into its inbox",
    f"{TOOL_PREFIX}get_receipts": "reads the receipts of a message",
    f"{TOOL_PREFIX}receipt": "writes a receipt",
    f"{TOOL_PREFIX}send_message": "sends a message",
    f"{TOOL_PREFIX}wait_for_messages": "waits for messages",
}


@dataclass(frozen=True, slots=True)
class Activity:
    """What an agent is at, as its event stream tells.

    Attributes:
        doing: In a few words; changes only when it does something else.
        tool_calls: How many it has made.
        words: What it said last.
        tokens: What it has used so far.
    """

    doing: str = ""
    tool_calls: int = 0
    words: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """The rows of one fleet at one moment.

    Attributes:
        fleet: Its row.
        agents: Those of its agents, in the order they were spawned.
        messages: Every message of the fleet, in the order they arrived.
        receipts: Those of all messages, oldest first.
        activities: What each agent is at, by its id.
    """

    fleet: Row
    agents: tuple[Row, ...]
    messages: tuple[Row, ...] = ()
    receipts: tuple[Row, ...] = ()
    activities: Mapping[str, Activity] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """True once nothing more will happen."""
        return self.fleet["status"] in {FleetStatus.COMPLETE, FleetStatus.FAILED}

    @property
    def roles(self) -> Mapping[str, str]:
        """Each agent's role by its id."""
        return {agent["id"]: agent["role"] for agent in self.agents}

    def name_of(self, agent_id: str) -> str:
        """Who that is for a person: the role, or the id of somebody who is no agent of the fleet."""
        return self.roles.get(agent_id, agent_id)

    def receipts_of(self, message_id: str) -> list[Row]:
        """A message's receipts, oldest first."""
        return [receipt for receipt in self.receipts if receipt["message_id"] == message_id]

    def seconds_at(self, timestamp: int) -> float:
        """Seconds from the fleet's start to a time in ms since the epoch."""
        return float(timestamp - self.fleet["created_at"]) / 1000


class Observer:
    """Looks at one fleet again and again.

    Args:
        ledger: The ledger it is in; it is only read.
        runs_dir: The folder of the agents' run folders.
        fleet_id: The fleet.
    """

    def __init__(self, ledger: Ledger, runs_dir: Path, fleet_id: str) -> None:
        self._ledger = ledger
        self._runs_dir = runs_dir
        self._fleet_id = fleet_id
        self._streams: dict[str, EventStream] = {}

    def look(self) -> Observation:
        """See how the fleet stands now.

        Raises:
            NotFound: There is no such fleet.
        """
        return self._ledger.read(self._seen_in)

    def _seen_in(self, view: View) -> Observation:
        agents, messages = view.agents_of(self._fleet_id), view.messages_of(self._fleet_id)
        receipts = [receipt for message in messages for receipt in view.receipts_of(message["id"])]
        return Observation(
            fleet=require_fleet(view, self._fleet_id),
            agents=tuple(agents),
            messages=tuple(messages),
            receipts=tuple(sorted(receipts, key=lambda receipt: int(receipt["timestamp"]))),
            activities={agent["id"]: self._activity(view, agent) for agent in agents},
        )

    def _activity(self, view: View, agent: Row) -> Activity:
        if "attempt" not in agent:
            return Activity(f"waits for {what_it_waits_for(view, agent)}" if is_dormant(view, agent) else "is to start")
        marker = attempt_key(agent["id"], agent["attempt"])
        stream = self._streams.setdefault(marker, EventStream(self._runs_dir / marker / EVENTS_NAME))
        while stream.advance():
            pass
        report = stream.report
        return Activity(describe(agent, report), report.tool_calls, report.last_words, report.tokens["total"])


def describe(agent: Row, report: RunReport) -> str:
    """Say in a few words what an agent is at."""
    if AgentStatus(agent["status"]).has_ended:
        return str(agent.get("error") or report.last_words)
    if report.finished:
        return f"says: {report.last_words}"
    if report.last_tool is None:
        return "starts OpenCode" if report.last_event_at is None else "thinks"
    return _TOOLS.get(report.last_tool, f"uses {report.last_tool}")
