"""The list of agents: how each stands, what it uses, and what waits for it."""

from __future__ import annotations

from typing import Final

from meshfleet.dashboard.listing import Column, Listing, Moment, Shown, Tone, figure, time_since
from meshfleet.dashboard.signs import state_piece, tone_of
from meshfleet.dashboard.wording import NOTHING, age, amount, money, on_one_line, share, short, size
from meshfleet.mesh.overview import AgentSummary


def state_of(agent: AgentSummary) -> str:
    """What there is to say of an agent: its condition, else its status."""
    return agent.condition or agent.status


def since_of(agent: AgentSummary) -> int | None:
    """Since when its condition holds, where that is known; of one that is tried again when it will be."""
    return agent.silent_since if agent.condition == "stalled" else None


def _status(agent: AgentSummary, at: Moment) -> Shown:
    text, tone = state_piece(state_of(agent))
    since = since_of(agent)
    if since is not None:
        return f"{text} {age(at.now - since)}", tone
    if agent.condition == "retrying" and agent.retry_at is not None and agent.retry_at > at.now:
        return f"{text} in {age(agent.retry_at - at.now)}", tone
    return text, tone


def _last_activity(agent: AgentSummary, at: Moment) -> int | None:
    load = at.loads.get(agent.id)
    if agent.completed_at is not None:
        return agent.completed_at
    if agent.silent_since is not None:
        return agent.silent_since
    return None if load is None else load.written_at


def _last(agent: AgentSummary, at: Moment) -> Shown:
    moment = _last_activity(agent, at)
    return NOTHING if moment is None else age(at.now - moment)


def _memory(agent: AgentSummary, at: Moment) -> int | None:
    load = at.loads.get(agent.id)
    return None if load is None else load.memory


def _cpu(agent: AgentSummary, at: Moment) -> float | None:
    load = at.loads.get(agent.id)
    return None if load is None else load.cpu


def _unread(agent: AgentSummary, _: Moment) -> Shown:
    return amount(agent.unread), Tone.WARN if agent.unread and agent.completed_at is not None else Tone.PLAIN


def _why(agent: AgentSummary, _: Moment) -> Shown:
    said = agent.error or agent.waiting_for or ""
    return on_one_line(said), tone_of(state_of(agent)) if agent.error else Tone.DIM


AGENTS: Final = Listing(
    name="agents",
    columns=(
        Column(
            "ROLE", None, lambda agent, _: (on_one_line(agent.role), Tone.STRONG), lambda agent, _: agent.role, most=24
        ),
        Column("ID", 8, lambda agent, _: (agent.id[:8], Tone.DIM), rank=7),
        Column("FLEET", 12, lambda agent, at: at.names.get(agent.fleet_id) or short(agent.fleet_id), most=24, rank=8),
        Column("STATUS", 17, _status, lambda agent, _: state_of(agent)),
        figure("TRY", 3, lambda agent, _: amount(agent.attempt), lambda agent, _: agent.attempt),
        figure("RAN", 5, lambda agent, at: age(agent.runtime_ms(at.now)), lambda agent, at: agent.runtime_ms(at.now)),
        time_since("LAST", 5, _last, _last_activity),
        figure("MEM", 5, lambda agent, at: size(_memory(agent, at)), _memory),
        figure("CPU", 4, lambda agent, at: share(_cpu(agent, at)), _cpu),
        figure("TOKENS", 6, lambda agent, _: amount(agent.used.tokens), lambda agent, _: agent.used.tokens),
        figure("COST", 6, lambda agent, _: money(agent.used.cost), lambda agent, _: agent.used.cost),
        figure("MAIL", 4, _unread, lambda agent, _: agent.unread, rank=1),
        Column("WHY", None, _why, rank=9),
    ),
    key=lambda agent: agent.id,
    words=lambda agent: (
        f"{agent.id} {agent.role} {agent.status} {agent.condition or ''} {agent.model or ''} "
        f"{agent.reason or ''}".lower()
    ),
    first=None,
    empty="no agents here",
)
