"""The rows of the ledger and the words their fields may hold; no rule lives here.

Rows are plain dicts described by `TypedDict`s: what a newer version added and this one does not know is carried
along untouched. Times are integers, milliseconds since the epoch. A row in memory is never changed in place; a
transaction puts a new dict in its stead.
"""

from __future__ import annotations

import os
import re
import time
from enum import StrEnum
from typing import Any, Final, NotRequired, TypedDict

Row = dict[str, Any]

SCHEMA_VERSION: Final = 2
"""The newest v0.9 schema; ours stays readable by its readers, so the number stays too."""

ORCHESTRATOR: Final = "orchestrator"
"""The inbox every fleet has beside those of its agents."""
EVERYONE: Final = "*"
"""As a recipient: every other agent of the fleet."""
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
"""What the first digit of an id's fourth group becomes, so that its two high bits are those of the variant."""
_OWN_ID: Final = re.compile(r"[0-9a-f-]{36}")


class FleetStatus(StrEnum):
    """Where a fleet stands; it has ended when every agent has."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


class AgentStatus(StrEnum):
    """Where an agent stands."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        """True once nothing of the agent runs or will run by itself."""
        return self not in {AgentStatus.PENDING, AgentStatus.RUNNING}


class MessageType(StrEnum):
    """What a message asks of the one who gets it."""

    HANDOFF = "handoff"
    QUESTION = "question"
    RESULT = "result"
    ALERT = "alert"
    REQUEST_HELP = "request_help"


class Reason(StrEnum):
    """Why an attempt did not succeed, or an agent was ended."""

    EXIT = "exit"
    TIMEOUT = "timeout"
    STALL = "stall"
    SPAWN = "spawn"
    KILLED = "killed"
    NO_ANSWER = "no_answer"
    WRONG_AGENT = "wrong_agent"
    PROVIDER = "provider"
    BUDGET = "budget"
    CANCELLED = "cancelled"
    NEVER_CALLED = "never_called"


class Start(StrEnum):
    """When an agent starts: as soon as there is room, or once a message for it has come."""

    NOW = "now"
    ON_MESSAGE = "on_message"


class FleetRow(TypedDict):
    """A fleet; `completed_at` is there once it has ended.

    `spawned` says how many agents an idempotency key stands for, `endings` counts how often one of its agents has
    ended, `over_budget` says which limit it has passed, and
    `parent_agent_id` names the agent that spawned it, as `depth` says how many levels of fleets there are down to it.
    """

    id: str
    status: str
    created_at: int
    completed_at: NotRequired[int]
    timeout_ms: NotRequired[int]
    name: NotRequired[str]
    max_attempts: NotRequired[int]
    max_cost_usd: NotRequired[float]
    max_tokens: NotRequired[int]
    allow_all: NotRequired[bool]
    idempotency_key: NotRequired[str]
    spawned: NotRequired[int]
    parent_agent_id: NotRequired[str]
    depth: NotRequired[int]
    endings: NotRequired[int]
    over_budget: NotRequired[str]
    cancelled_at: NotRequired[int]


class SupervisorRow(TypedDict):
    """The process that looks after an agent: a pid means nothing without its start time and boot."""

    pid: int
    start_time: float
    boot_id: str


class TokensRow(TypedDict):
    """Tokens of a run as OpenCode counts them, summed over its steps."""

    total: int
    input: int
    output: int
    reasoning: int
    cache_read: int
    cache_write: int


class AgentRow(TypedDict):
    """An agent: what it was asked, and how it stands.

    `retry_at` says when the next attempt is due, `waiting_for` what a start waits for, `ending` the number of its
    ending within the fleet, `attempts_before` how many attempts it had had when it was resumed, and `continues` how it
    goes on since. `tokens` and `cost` are of the attempts that ended; `env` is never shown.

    `start` and `after` (ids) say what a dormant agent waits for, and `called` that it need not wait any longer; `wake`
    lets messages wake it once it has completed, and `wakes` counts how often they did.
    """

    id: str
    fleet_id: str
    role: str
    prompt: str
    status: str
    agent_file: NotRequired[str]
    agent_description: NotRequired[str]
    pid: NotRequired[int]
    output: NotRequired[str]
    error: NotRequired[str]
    started_at: NotRequired[int]
    completed_at: NotRequired[int]
    retry_count: NotRequired[int]
    created_at: NotRequired[int]
    cwd: NotRequired[str]
    supervisor: NotRequired[SupervisorRow]
    attempt: NotRequired[int]
    reason: NotRequired[str]
    session_id: NotRequired[str]
    tokens: NotRequired[TokensRow]
    cost: NotRequired[float]
    model: NotRequired[str]
    env: NotRequired[dict[str, str]]
    idempotency_key: NotRequired[str]
    retry_at: NotRequired[int]
    retry_delay_ms: NotRequired[int]
    waiting_for: NotRequired[str]
    ending: NotRequired[int]
    attempts_before: NotRequired[int]
    continues: NotRequired[Row]
    start: NotRequired[str]
    after: NotRequired[list[str]]
    called: NotRequired[bool]
    wake: NotRequired[bool]
    wakes: NotRequired[int]


class AttemptRow(TypedDict):
    """One `opencode run` of an agent, keyed `agent_id/number`; settled once it has `ended_at`.

    `stopping` says why it is being stopped, with `error` for a person; `silent_since` since when it has neither said
    nor done anything. `shows` has the messages of its prompt until it is noted that they were put before the agent.
    """

    agent_id: str
    number: int
    started_at: int
    pid: NotRequired[int]
    start_time: NotRequired[float]
    boot_id: NotRequired[str]
    stopping: NotRequired[str]
    silent_since: NotRequired[int]
    shows: NotRequired[list[str]]
    ended_at: NotRequired[int]
    exit: NotRequired[int]
    ok: NotRequired[bool]
    reason: NotRequired[str]
    error: NotRequired[str]
    session_id: NotRequired[str]
    tokens: NotRequired[TokensRow]
    cost: NotRequired[float]


class MessageRow(TypedDict):
    """A message; `recipients` is stored for a broadcast, resolved when it was sent."""

    id: str
    from_agent_id: str
    to_agent_id: str
    fleet_id: str
    type: str
    payload: str
    timestamp: int
    acknowledged: bool
    correlation_id: NotRequired[str]
    recipients: NotRequired[list[str]]
    idempotency_key: NotRequired[str]


class ReceiptRow(TypedDict):
    """That an agent did something about a message; the first one of its key stands."""

    message_id: str
    agent_id: str
    action: str
    timestamp: int
    note: NotRequired[str]


class CapabilityRow(TypedDict):
    """What an agent can do, as somebody registered it, keyed by the agent's id."""

    agent_id: str
    fleet_id: str
    role: str
    skills: list[str]
    registered_at: int
    model: NotRequired[str]
    context_window: NotRequired[int]


class OutcomeRow(TypedDict):
    """How work that an agent was given for a capability turned out so far."""

    agent_id: str
    capability_key: str
    successes: int
    failures: int
    updated_at: int


def now_ms() -> int:
    """The wall clock, in ms since the epoch."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """A fresh id: the text of a random UUID (RFC 9562, version 4), for a quarter of what the uuid module takes."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"


def is_own_id(text: str) -> bool:
    """Tell whether a text may be an id of `new_id`; one of another program may hold anything, such as a path."""
    return _OWN_ID.fullmatch(text) is not None


def attempt_key(agent_id: str, number: int) -> str:
    """The key of an attempt's row, which is also the marker its processes carry in their environment."""
    return f"{agent_id}/{number}"


def receipt_key(message_id: str, agent_id: str, action: str) -> str:
    """The key of a receipt's row."""
    return f"{message_id}:{agent_id}:{action}"


def outcome_key(agent_id: str, capability_key: str) -> str:
    """The key of an outcome's row."""
    return f"{agent_id}:{capability_key}"


def recipients_of(message: Row) -> list[str]:
    """Everyone a stored message was sent to."""
    recipients = message.get("recipients")
    return list(recipients) if recipients is not None else [message["to_agent_id"]]
