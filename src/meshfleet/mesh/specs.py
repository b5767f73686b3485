"""What a fleet and its agents are to be: as callers ask for it, checked before anything is written."""

from __future__ import annotations

import graphlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from meshfleet.errors import Invalid
from meshfleet.mesh.supervision import LONGEST_TIMEOUT_MS
from meshfleet.mesh.texts import LONGEST_PROMPT, checked_name, checked_text, listed, shown
from meshfleet.model import Start

MOST_DEPTH: Final = 2
"""How many levels of fleets there may be where nothing else is set: an orchestrator's, and those its agents spawn."""
MOST_TRIES: Final = 100
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS: Final = re.compile(r"MESHFLEET_|AGENT_MESH_")


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """What an agent of a fleet is to be.

    Attributes:
        role: What it is called among its peers.
        prompt: What it is asked to do.
        agent: The name of a premade OpenCode agent, if it is to be one.
        description: What that premade agent is for, so that work can be routed to it.
        model: `provider/model`, if it is to be another than OpenCode is configured for.
        cwd: The folder it works in, if it is another than the fleet's; it has to exist.
        env: Variables it gets beside those of the server; kept in the ledger, and shown nowhere.
        start: Whether it starts at once, or once a message for it has come.
        after: The roles of those of its fleet that have to be complete before it starts.
        wake: Whether a handoff, a question or a request for help wakes it once it has completed.
    """

    role: str
    prompt: str
    agent: str | None = None
    description: str = ""
    model: str | None = None
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    start: str = Start.NOW
    after: Sequence[str] = ()
    wake: bool = False


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """What holds for a fleet as a whole.

    Attributes:
        name: What people call it.
        timeout_ms: How long an attempt of its agents may run, in ms.
        max_attempts: How often each agent is tried.
        max_cost_usd: What its agents may cost together, in US dollars.
        max_tokens: How many tokens its agents may use together.
        allow_all: Let its agents do what OpenCode would have to ask for.
        idempotency_key: Makes a repeated spawn return the fleet that is there.
        parent_agent_id: The agent that spawns it.
        max_depth: How many levels of fleets there may be.
    """

    name: str | None = None
    timeout_ms: int | None = None
    max_attempts: int | None = None
    max_cost_usd: float | None = None
    max_tokens: int | None = None
    allow_all: bool = False
    idempotency_key: str | None = None
    parent_agent_id: str | None = None
    max_depth: int = MOST_DEPTH


def check_spec(spec: AgentSpec, place: str = "") -> None:
    """Refuse what an agent can't be; `place` is what the caller's argument names begin with.

    Raises:
        Invalid: The role or prompt is blank, or a text can't be stored.
    """
    checked_name(f"{place}role", spec.role)
    if not spec.prompt.strip():
        raise Invalid(f"{place}prompt is blank; it has to say what the agent is to do")
    checked_text(f"{place}prompt", spec.prompt, LONGEST_PROMPT)
    _check_equipment(spec, place)
    _check_start(spec, place)


def _check_equipment(spec: AgentSpec, place: str) -> None:
    if spec.agent is not None:
        checked_name(f"{place}agent", spec.agent)
        if spec.agent.startswith("-"):
            raise Invalid(f"{place}agent is {shown(spec.agent)}; the name of an agent does not start with a dash")
    if spec.model is not None:
        checked_name(f"{place}model", spec.model)
        if "/" not in spec.model.strip("/"):
            raise Invalid(f"{place}model is {shown(spec.model)}; it has to be provider/model, as opencode models lists")
    if spec.cwd is not None:
        checked_text(f"{place}cwd", spec.cwd, LONGEST_PROMPT)
        if not Path(spec.cwd).is_absolute():
            raise Invalid(f"{place}cwd is {shown(spec.cwd)}; it has to be the absolute path of a folder")
        if not _is_folder(spec.cwd):
            raise Invalid(f"{place}cwd is {shown(spec.cwd)}, where there is no folder; make it, or name another")
    for name, value in spec.env.items():
        _check_variable(f"{place}env", name, value)


def _check_start(spec: AgentSpec, place: str) -> None:
    if spec.start not in set(Start):
        raise Invalid(f"{place}start is {shown(spec.start)}; it has to be one of {', '.join(Start)}")
    if spec.start == Start.ON_MESSAGE and spec.after:
        raise Invalid(f"{place}after can't go with start 'on_message': an agent waits for a message or for others")


def order_of(specs: Sequence[AgentSpec]) -> list[list[int]]:
    """The places of those that each agent of a fleet comes after.

    Raises:
        Invalid: A role is that of none or of several, agents wait for each other, or none would ever start.
    """
    places: dict[str, list[int]] = {}
    for place, spec in enumerate(specs):
        places.setdefault(spec.role, []).append(place)
    order = []
    for place, spec in enumerate(specs):
        for role in spec.after:
            if len(places.get(role, ())) != 1:
                which = "more than one agent has" if role in places else "no agent of this fleet has"
                raise Invalid(f"agents[{place}].after names {shown(role)}, a role that {which}; name one by one role")
        order.append([places[role][0] for role in dict.fromkeys(spec.after)])
    _refuse_cycles(specs, order)
    if all(spec.start == Start.ON_MESSAGE or spec.after for spec in specs):
        raise Invalid("no agent starts at once, so none ever would; leave start 'on_message' out for one")
    return order


def _refuse_cycles(specs: Sequence[AgentSpec], order: Sequence[Sequence[int]]) -> None:
    try:
        graphlib.TopologicalSorter(dict(enumerate(order))).prepare()
    except graphlib.CycleError as error:
        # each of them comes before the next one there; the last is the first
        places: list[int] = error.args[1][:0:-1]
        first = places.index(min(places))
        circle = [*places[first:], *places[: first + 1]]
        told = listed([shown(specs[place].role) for place in circle], " after ")
        raise Invalid(f"after goes in a circle: {told}; one of them has to start without the others") from None


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def _check_variable(place: str, name: str, value: str) -> None:
    if _VARIABLE.fullmatch(name) is None:
        raise Invalid(f"{place} has the name {shown(name)}; a variable's name is letters, digits and underscores")
    if _OURS.match(name):
        raise Invalid(f"{place} has {name}, by which meshfleet tells an agent who it is; leave it out")
    checked_text(f"{place}.{name}", value, LONGEST_PROMPT)


def check_options(options: FleetOptions) -> None:
    """Refuse what a fleet can't be.

    Raises:
        Invalid: A name or a number is none; the text names it.
    """
    if options.name is not None:
        checked_name("name", options.name)
    if options.idempotency_key is not None:
        checked_name("idempotency_key", options.idempotency_key)
    if options.timeout_ms is not None:
        check_timeout(options.timeout_ms)
    if options.max_attempts is not None and not 1 <= options.max_attempts <= MOST_TRIES:
        raise Invalid(f"max_attempts is {shown(options.max_attempts)}; it has to be from 1 to {MOST_TRIES}")
    if options.max_tokens is not None and not 1 <= options.max_tokens <= LONGEST_TIMEOUT_MS:
        raise Invalid(f"max_tokens is {shown(options.max_tokens)}; it has to be from 1 to {LONGEST_TIMEOUT_MS}")
    cost = options.max_cost_usd
    if cost is not None and not (math.isfinite(cost) and 0 < cost <= LONGEST_TIMEOUT_MS):
        raise Invalid(f"max_cost_usd is {shown(cost)}; it has to be more than 0")


def check_timeout(timeout_ms: int) -> None:
    """Refuse what is no limit of time.

    Raises:
        Invalid: It is not a positive number of ms, or is more than can be kept.
    """
    if not 1 <= timeout_ms <= LONGEST_TIMEOUT_MS:
        raise Invalid(
            f"timeout_ms is {shown(timeout_ms)}; it has to be a number of milliseconds from 1 to {LONGEST_TIMEOUT_MS}"
        )
