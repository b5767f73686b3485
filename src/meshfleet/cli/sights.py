"""What `meshfleet inspect` shows of a mesh: which tables and facts, of which columns, for people and for pipes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from meshfleet.cli import figures
from meshfleet.cli.output import printable
from meshfleet.cli.tables import (
    EMPTY,
    PIPE,
    TERMINAL,
    Cell,
    Column,
    Facts,
    Note,
    Part,
    Table,
    identity,
    moment,
    money,
    number,
    span,
    state,
    style_of,
    tokens,
    words,
)
from meshfleet.mesh.overview import AgentDetail, AgentSummary, FleetSummary, Metrics, Problem, Spread
from meshfleet.mesh.overview.fields import whole
from meshfleet.mesh.texts import counted
from meshfleet.model import Row

_URGENT_FIRST: Final = (
    "failed",
    "interrupted",
    "unsupervised",
    "stalled",
    "stopping",
    "retrying",
    "running",
    "queued",
    "dormant",
    "pending",
    "cancelled",
    "complete",
)
_LINES_SHOWN: Final = 12
"""Lines of a prompt or an answer that a terminal shows."""

_FLEETS: Final = (
    Column("fleet"),
    Column("name", optional=True, most=14),
    Column("status"),
    Column("agents", gives=True),
    Column("messages", right=True, wide=True),
    Column("unread", right=True, wide=True),
    Column("tokens", right=True),
    Column("cost_usd", "cost", right=True, optional=True),
    Column("age_ms", "age", right=True),
    Column("runtime_ms", "took", right=True, wide=True),
)
_AGENTS: Final = (
    Column("agent"),
    Column("role", gives=True),
    Column("status", only=PIPE),
    Column("condition", only=PIPE),
    Column("status", only=TERMINAL),
    Column("attempt", "try", right=True),
    Column("runtime_ms", "time", right=True),
    Column("unread", right=True, optional=True),
    Column("tokens", right=True),
    Column("cost_usd", "cost", right=True, optional=True),
    Column("model", optional=True, wide=True),
)
_AT_WORK: Final = (
    Column("role", most=18),
    Column("status"),
    Column("attempt", "try", right=True),
    Column("runtime_ms", "time", right=True),
    Column("tokens", right=True),
    Column("doing", gives=True),
)
_ATTEMPTS: Final = (
    Column("attempt", "try", right=True),
    Column("started", right=True),
    Column("runtime_ms", "time", right=True),
    Column("result"),
    Column("exit", right=True, optional=True),
    Column("tokens", right=True),
    Column("cost_usd", "cost", right=True, optional=True),
    Column("why", gives=True, folds=True),
)
_PROBLEMS: Final = (
    Column("problem"),
    Column("since", "for", right=True),
    Column("fleet", only=PIPE),
    Column("agent", only=PIPE),
    Column("of", only=TERMINAL),
    Column("role", optional=True, most=14),
    Column("what", gives=True, folds=True),
)


def of_fleets(fleets: Sequence[FleetSummary], troubles: int, now: int) -> list[Part]:
    """Every fleet."""
    if not fleets:
        return [Table(_FLEETS), Note("no fleets yet; meshfleet spawn starts one, or ask OpenCode for one")]
    rows = [
        [
            identity(fleet.id),
            words(fleet.name),
            state(fleet.status),
            _states(fleet),
            number(fleet.messages),
            number(fleet.unread),
            tokens(fleet.used.tokens),
            money(fleet.used.cost),
            span(fleet.age_ms(now)),
            span(fleet.runtime_ms(now)),
        ]
        for fleet in fleets
    ]
    note = [Note(f"{counted(troubles, 'problems')}: meshfleet inspect --problems")] if troubles else []
    return [Table(_FLEETS, rows), *note]


def of_fleet(fleet: FleetSummary, agents: Sequence[AgentSummary], now: int) -> list[Part]:
    """A fleet and its agents."""
    with_spawned = fleet.used_in_all if fleet.used_in_all != fleet.used else None
    facts = Facts(
        [
            ("fleet", Cell(fleet.id, fleet.id, "bold")),
            ("name", words(fleet.name)),
            ("status", state(fleet.status)),
            ("agents", _states(fleet)),
            ("created", moment(fleet.created_at, now)),
            ("ended", moment(fleet.completed_at, now)),
            ("runtime_ms", span(fleet.runtime_ms(now))),
            (
                "tokens",
                _limited(tokens(fleet.used.tokens), None if fleet.max_tokens is None else f"{fleet.max_tokens:,}"),
            ),
            (
                "cost_usd",
                _limited(
                    money(fleet.used.cost), None if fleet.max_cost_usd is None else figures.money(fleet.max_cost_usd)
                ),
            ),
            ("tokens_in_all", EMPTY if with_spawned is None else tokens(with_spawned.tokens)),
            ("cost_usd_in_all", EMPTY if with_spawned is None else money(with_spawned.cost)),
            ("over_budget", words(fleet.over_budget, style_of("over_budget"))),
            ("spawned_by", words(fleet.parent_agent_id)),
            ("cancelled", Cell("yes", "yes", style_of("cancelled")) if fleet.is_cancelled else EMPTY),
            ("messages", number(fleet.messages)),
            ("unread", number(fleet.unread)),
        ]
    )
    return [facts, _agents(agents, now)]


def of_agent(detail: AgentDetail, now: int) -> list[Part]:
    """An agent, its attempts, and what it was asked and answered."""
    agent, row = detail.summary, detail.row
    facts = Facts(
        [
            ("agent", Cell(agent.id, agent.id, "bold")),
            ("role", words(agent.role)),
            ("fleet", words(agent.fleet_id)),
            ("status", state(agent.status)),
            ("condition", state(agent.condition) if agent.condition else EMPTY),
            ("silent_since", moment(agent.silent_since, now)),
            ("retry_at", moment(agent.retry_at, now)),
            ("waiting_for", words(agent.waiting_for)),
            ("premade_agent", words(agent.agent_file)),
            ("model", words(agent.model)),
            ("folder", words(row.get("cwd"))),
            ("pid", Cell(str(agent.pid), str(agent.pid)) if agent.pid is not None else EMPTY),
            ("session", words(agent.session_id)),
            ("created", moment(agent.created_at, now)),
            ("started", moment(agent.started_at, now)),
            ("ended", moment(agent.completed_at, now)),
            ("runtime_ms", span(agent.runtime_ms(now))),
            ("tokens", tokens(agent.used.tokens)),
            ("cost_usd", money(agent.used.cost)),
            ("unread", number(agent.unread)),
            ("spawned", words(", ".join(detail.spawned))),
            ("error", _text(agent.error, style_of("failed") if agent.status == "failed" else "")),
            ("prompt", _text(row.get("prompt"))),
            ("output", _text(row.get("output"))),
        ]
    )
    return [facts, *([_attempts(detail.attempts, now)] if detail.attempts else [])]


def of_problems(problems: Sequence[Problem], now: int) -> list[Part]:
    """What is wrong."""
    if not problems:
        return [Table(_PROBLEMS), Note("nothing is wrong")]
    rows = [
        [
            state(problem.kind),
            _ago(problem.since, now),
            identity(problem.fleet_id),
            identity(problem.agent_id),
            identity(problem.agent_id or problem.fleet_id),
            words(problem.role),
            words(problem.what),
        ]
        for problem in problems
    ]
    return [Table(_PROBLEMS, rows)]


def of_metrics(found: Metrics) -> list[Part]:
    """The mesh in figures."""
    told: list[tuple[str, Cell]] = []
    for name, counts in (
        ("fleets", found.fleets),
        ("agents", found.agents),
        ("conditions", found.conditions),
        ("attempts", found.attempts),
        ("messages", found.messages),
        ("receipts", found.receipts),
    ):
        told += [(name, _figure(sum(counts.values())))] if name != "conditions" else []
        told += [(f"{name}.{figures.one_line(key)}", _figure(count)) for key, count in counts.items()]
    told += [("messages_acknowledged", _figure(found.acknowledged)), ("messages_waiting", _figure(found.waiting))]
    told += [("tokens", _figure(found.used.tokens))]
    told += [("cost_usd", Cell(f"{found.used.cost:.6f}", figures.money(found.used.cost)))]
    return [Facts([*told, *_spread("attempt", found.attempt_ms), *_spread("acknowledged", found.acknowledged_ms)])]


def _agents(agents: Sequence[AgentSummary], now: int) -> Table:
    return Table(
        _AGENTS,
        [
            [
                identity(agent.id),
                words(agent.role),
                words(agent.status),
                words(agent.condition),
                state(agent.status, agent.condition),
                number(agent.attempt),
                span(agent.runtime_ms(now)),
                number(agent.unread),
                tokens(agent.used.tokens),
                money(agent.used.cost),
                words(agent.model),
            ]
            for agent in agents
        ],
    )


def _attempts(attempts: Iterable[Row], now: int) -> Table:
    return Table(_ATTEMPTS, [_attempt(attempt, now) for attempt in attempts])


def _attempt(attempt: Row, now: int) -> list[Cell]:
    started, ended = whole(attempt, "started_at"), whole(attempt, "ended_at")
    result = "running" if ended is None else "complete" if attempt.get("ok") is True else "failed"
    exit_code = attempt.get("exit")
    return [
        number(attempt["number"]),
        moment(started, now),
        EMPTY if started is None else span(max(0, (now if ended is None else ended) - started)),
        state(result),
        EMPTY if exit_code is None else Cell(str(exit_code), str(exit_code)),
        tokens(int((attempt.get("tokens") or {}).get("total", 0))),
        money(float(attempt.get("cost") or 0)),
        words(attempt.get("error") or attempt.get("stopping")),
    ]


def _states(fleet: FleetSummary) -> Cell:
    """How many agents stand how: in a pipe by status, on a terminal with what is urgent first, by what tells more."""
    plain = ",".join(f"{status}={count}" for status, count in fleet.agents.items())
    shown = ", ".join(f"{count} {word}" for word, count in _by_urgency(fleet))
    return Cell(figures.one_line(plain) or "-", figures.one_line(shown))


def _by_urgency(fleet: FleetSummary) -> list[tuple[str, int]]:
    counts = dict(fleet.agents)
    for condition, count in fleet.conditions.items():
        # of those at work: a condition belongs to one of these two
        status = "pending" if condition in {"retrying", "queued", "dormant"} else "running"
        counts[status] = counts.get(status, 0) - count
        counts[condition] = count
    place = {word: rank for rank, word in enumerate(_URGENT_FIRST)}
    return sorted(((word, count) for word, count in counts.items() if count > 0), key=lambda one: place.get(one[0], 0))


def _limited(used: Cell, limit: str | None) -> Cell:
    """What was used, and on a terminal of how much."""
    return used if limit is None else Cell(used.plain, f"{used.shown or 0} of {limit}", used.style)


def _text(text: object, style: str = "") -> Cell:
    """A text of several lines, of which a terminal shows the first."""
    if not isinstance(text, str) or not text.strip():
        return EMPTY
    lines = text.strip().splitlines()
    more = [f"... ({counted(len(lines) - _LINES_SHOWN, 'more lines')})"] if len(lines) > _LINES_SHOWN else []
    return Cell(figures.one_line(text), printable("\n".join([*lines[:_LINES_SHOWN], *more])), style)


def _ago(since: int | None, now: int) -> Cell:
    return EMPTY if since is None else Cell(figures.iso_time(since), figures.duration(max(0, now - since)))


def _figure(count: int) -> Cell:
    return Cell(str(count), f"{count:,}")


def _spread(name: str, spread: Spread | None) -> Iterable[tuple[str, Cell]]:
    if spread is not None:
        for part in ("median_ms", "p95_ms", "longest_ms"):
            yield f"{name}_{part}", span(getattr(spread, part))


def of_agents_at_work(agents: Sequence[AgentSummary], doing: Mapping[str, str], most: int, now: int) -> list[Part]:
    """Agents while somebody waits for them; where there are too many, those that have not ended come first.

    Args:
        agents: The agents, in the order they were spawned.
        doing: What they are at, by their ids.
        most: How many are shown.
        now: The time, in ms since the epoch.
    """
    ordered = agents if len(agents) <= most else sorted(agents, key=lambda agent: agent.completed_at is not None)
    rows = [
        [
            words(agent.role),
            state(agent.status, agent.condition),
            number(agent.attempt),
            span(agent.runtime_ms(now)),
            tokens(agent.used.tokens),
            words(agent.error or doing.get(agent.id) or agent.waiting_for),
        ]
        for agent in ordered[:most]
    ]
    hidden = len(agents) - most
    return [Table(_AT_WORK, rows), *([Note(f"and {counted(hidden, 'more agents')}")] if hidden > 0 else [])]
