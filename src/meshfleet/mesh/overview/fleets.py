"""Fleets and agents as they stand: states, what they have used, how long they have run, what waits for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from meshfleet.ledger import View
from meshfleet.mesh.budgets import Usage, fleets_by_parent, usage_of_agent
from meshfleet.mesh.dormancy import is_dormant, what_it_waits_for
from meshfleet.mesh.fleets import UNSUPERVISED, condition_of, require_fleet, shown_agent
from meshfleet.mesh.lifecycle import attempt_of, require_agent
from meshfleet.mesh.overview.fields import Left, nobody, text, whole
from meshfleet.model import AgentStatus, Row, attempt_key


@dataclass(frozen=True, slots=True)
class FleetSummary:
    """A fleet in a line.

    Attributes:
        id: The fleet's.
        name: As whoever spawned it called it.
        status: One of `FleetStatus`.
        created_at: In ms since the epoch, as all times are.
        completed_at: None while it goes on.
        agents: How many agents there are of each status that one has, in the order of `AgentStatus`.
        conditions: The same of what there is to say beyond a status, such as `retrying` or `stalled`.
        used: What its agents have used.
        used_in_all: The same, with what the fleets have used that its agents spawned; budgets hold for this.
        messages: How many have been sent in it.
        unread: How many wait in its agents' inboxes.
        max_tokens: What it may use; None is no limit.
        max_cost_usd: What it may cost.
        over_budget: What it has used beyond its budget, once it was stopped for that.
        parent_agent_id: The agent that spawned it.
        is_cancelled: Whether somebody has cancelled it.
    """

    id: str
    name: str | None
    status: str
    created_at: int
    completed_at: int | None
    agents: dict[str, int]
    conditions: dict[str, int]
    used: Usage
    used_in_all: Usage
    messages: int
    unread: int
    max_tokens: int | None
    max_cost_usd: float | None
    over_budget: str | None
    parent_agent_id: str | None
    is_cancelled: bool

    @property
    def agent_count(self) -> int:
        """How many agents it has."""
        return sum(self.agents.values())

    def age_ms(self, now: int) -> int:
        """How long ago it was created, in ms; a clock that was set back makes no age negative."""
        return max(0, now - self.created_at)

    def runtime_ms(self, now: int) -> int:
        """From its creation to its end, or to now, in ms."""
        return max(0, (now if self.completed_at is None else self.completed_at) - self.created_at)


@dataclass(frozen=True, slots=True)
class AgentSummary:
    """An agent in a line.

    Attributes:
        id: The agent's.
        fleet_id: Of its fleet.
        role: What it is in its fleet.
        status: One of `AgentStatus`.
        condition: What there is to say beyond that: `dormant`, `retrying`, `queued`, `stopping`, `stalled`,
            `unsupervised`; None where there is nothing.
        attempt: The number of its latest attempt; 0 before the first.
        agent_file: The premade agent it is.
        model: The one it was given.
        pid: Of its process while it runs.
        session_id: Of its OpenCode session.
        created_at: In ms since the epoch, as all times are; None of what v0.9.0 made.
        started_at: When its first attempt began.
        completed_at: None while it is at work.
        retry_at: When its next attempt is due, where the last one failed.
        silent_since: Since when it neither says nor does anything.
        waiting_for: What its start waits for.
        used: What its attempts have used, the running one included.
        unread: How many messages wait in its inbox.
        reason: Why it failed, or its last attempt.
        error: The same for a person.
    """

    id: str
    fleet_id: str
    role: str
    status: str
    condition: str | None
    attempt: int
    agent_file: str | None
    model: str | None
    pid: int | None
    session_id: str | None
    created_at: int | None
    started_at: int | None
    completed_at: int | None
    retry_at: int | None
    silent_since: int | None
    waiting_for: str | None
    used: Usage
    unread: int
    reason: str | None
    error: str | None

    def runtime_ms(self, now: int) -> int | None:
        """From the start of its first attempt to its end, or to now, in ms; None before it has begun."""
        if self.started_at is None:
            return None
        return max(0, (now if self.completed_at is None else self.completed_at) - self.started_at)


@dataclass(frozen=True, slots=True)
class AgentDetail:
    """All there is to say of an agent.

    Attributes:
        summary: The agent in a line.
        row: Its row as it may be shown, without its variables.
        attempts: The rows of its attempts, the first one first.
        unread: The messages that wait for it, oldest first.
        spawned: The fleets it has spawned.
    """

    summary: AgentSummary
    row: Row
    attempts: list[Row]
    unread: list[Row]
    spawned: list[str]


def fleet_summaries(view: View, *, left: Left = nobody) -> list[FleetSummary]:
    """Every fleet, oldest first."""
    below = fleets_by_parent(view)
    return [_fleet(view, fleet, below, left) for fleet in view.rows("fleets")]


def fleet_summary(view: View, fleet_id: str, *, left: Left = nobody) -> FleetSummary:
    """A fleet.

    Raises:
        NotFound: There is no such fleet.
    """
    return _fleet(view, require_fleet(view, fleet_id), fleets_by_parent(view), left)


def agent_summaries(view: View, fleet_id: str, *, left: Left = nobody) -> list[AgentSummary]:
    """The agents of a fleet, in the order they were spawned.

    Raises:
        NotFound: There is no such fleet.
    """
    require_fleet(view, fleet_id)
    return [_agent(view, agent, left) for agent in view.agents_of(fleet_id)]


def agent_detail(view: View, agent_id: str, *, left: Left = nobody) -> AgentDetail:
    """An agent with its attempts, and what waits for it.

    Raises:
        NotFound: There is no such agent.
    """
    agent = require_agent(view, agent_id)
    summary = _agent(view, agent, left)
    row = shown_agent(view, agent)
    unread = [view.get("messages", message_id) for message_id in view.inbox(agent_id)]
    return AgentDetail(
        summary=summary,
        row=row if summary.condition is None else {**row, "condition": summary.condition},
        attempts=attempts_made(view, agent),
        unread=[message for message in unread if message is not None],
        spawned=[fleet["id"] for fleet in view.rows("fleets") if fleet.get("parent_agent_id") == agent_id],
    )


def attempts_made(view: View, agent: Row) -> list[Row]:
    """The attempts of an agent that there are, the first one first."""
    # another program may have written any number; there are no more than there are rows
    latest = whole(agent, "attempt") or 0
    if latest > view.count("attempts"):
        theirs = (attempt for attempt in view.rows("attempts") if attempt["agent_id"] == agent["id"])
        return sorted(theirs, key=lambda attempt: whole(attempt, "number") or 0)
    found = (view.get("attempts", attempt_key(agent["id"], number)) for number in range(1, latest + 1))
    return [attempt for attempt in found if attempt is not None]


def condition(view: View, agent: Row, left: Left = nobody) -> str | None:
    """What there is to say of an agent beyond its status; None where there is nothing."""
    if AgentStatus.PENDING != agent["status"] != AgentStatus.RUNNING:
        return None
    if left(agent):
        return UNSUPERVISED
    return condition_of(view, agent, attempt_of(view, agent))


def _fleet(view: View, fleet: Row, below: Mapping[str, list[Row]], left: Left) -> FleetSummary:
    agents = view.agents_of(fleet["id"])
    statuses = Counter(agent["status"] for agent in agents)
    conditions = Counter(told for agent in agents if (told := condition(view, agent, left)) is not None)
    used = _used(view, agents)
    cost = fleet.get("max_cost_usd")
    return FleetSummary(
        id=fleet["id"],
        name=text(fleet, "name"),
        status=fleet["status"],
        created_at=whole(fleet, "created_at") or 0,
        completed_at=whole(fleet, "completed_at"),
        agents=_in_order(statuses),
        conditions=dict(sorted(conditions.items())),
        used=used,
        used_in_all=used + _used_below(view, agents, below),
        messages=view.count_of("messages", "fleet_id", fleet["id"]),
        unread=sum(len(view.inbox(agent["id"])) for agent in agents),
        max_tokens=whole(fleet, "max_tokens"),
        max_cost_usd=float(cost) if isinstance(cost, int | float) else None,
        over_budget=text(fleet, "over_budget"),
        parent_agent_id=text(fleet, "parent_agent_id"),
        is_cancelled="cancelled_at" in fleet,
    )


def _agent(view: View, agent: Row, left: Left) -> AgentSummary:
    attempt = attempt_of(view, agent) or {}
    return AgentSummary(
        id=agent["id"],
        fleet_id=agent["fleet_id"],
        role=agent["role"],
        status=agent["status"],
        condition=condition(view, agent, left),
        attempt=whole(agent, "attempt") or 0,
        agent_file=text(agent, "agent_file"),
        model=text(agent, "model"),
        pid=whole(agent, "pid"),
        session_id=text(attempt, "session_id") or text(agent, "session_id"),
        created_at=whole(agent, "created_at"),
        started_at=whole(agent, "started_at"),
        completed_at=whole(agent, "completed_at"),
        retry_at=whole(agent, "retry_at"),
        silent_since=whole(attempt, "silent_since"),
        waiting_for=what_it_waits_for(view, agent) if is_dormant(view, agent) else text(agent, "waiting_for"),
        used=usage_of_agent(view, agent),
        unread=len(view.inbox(agent["id"])),
        reason=text(agent, "reason"),
        error=text(agent, "error"),
    )


def _used(view: View, agents: list[Row]) -> Usage:
    return sum((usage_of_agent(view, agent) for agent in agents), Usage())


def _used_below(view: View, agents: list[Row], below: Mapping[str, list[Row]]) -> Usage:
    """What the fleets have used that these agents spawned, and those below them."""
    used = Usage()
    # by id: a ledger that somebody edited may have fleets that spawned each other
    left = _spawned_by(agents, below)
    counted = {agent["fleet_id"] for agent in agents}
    while left:
        fleet_id = left.pop()
        if fleet_id not in counted:
            counted.add(fleet_id)
            theirs = view.agents_of(fleet_id)
            used += _used(view, theirs)
            left += _spawned_by(theirs, below)
    return used


def _spawned_by(agents: list[Row], below: Mapping[str, list[Row]]) -> list[str]:
    return [fleet["id"] for agent in agents for fleet in below.get(agent["id"], ())]


def _in_order(statuses: Counter[str]) -> dict[str, int]:
    known = [str(status) for status in AgentStatus]
    others = sorted(status for status in statuses if status not in known)
    return {status: statuses[status] for status in [*known, *others] if statuses[status]}
