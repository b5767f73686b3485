"""`meshfleet spawn` and `meshfleet template spawn`: start a fleet without a model, and see it through if need be."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

from meshfleet.agents.definitions import described
from meshfleet.cli import figures, shapes
from meshfleet.cli.agents import opened, see_through
from meshfleet.cli.fleet_files import AskedFleet, asked_fleet
from meshfleet.cli.output import printable, say
from meshfleet.cli.paths import working_folder
from meshfleet.errors import Conflict, Invalid
from meshfleet.ledger import Ledger, View
from meshfleet.mesh import overview
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.specs import FleetOptions
from meshfleet.mesh.templates import agents_as_json, get_fleet_template, specs_of_template
from meshfleet.model import now_ms
from meshfleet.settings import Settings


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the options of the command say of a fleet, beyond its file; None leaves that as it is.

    Attributes:
        name: What people call it.
        model: That of agents which name none.
        timeout_s: How long an attempt may run, in s.
        max_attempts: How often each agent is tried.
        max_cost_usd: What it may cost, in US dollars.
        max_tokens: How many tokens it may use.
        allow_all: Let its agents do what OpenCode would have to ask for.
    """

    name: str | None = None
    model: str | None = None
    timeout_s: float | None = None
    max_attempts: int | None = None
    max_cost_usd: float | None = None
    max_tokens: int | None = None
    allow_all: bool | None = None

    def applied_to(self, asked: AskedFleet) -> AskedFleet:
        """The fleet as it is wanted.

        Raises:
            Invalid: A number is none that can be meant.
        """
        self._refuse_what_is_no_amount()
        fields = ("name", "max_attempts", "max_cost_usd", "max_tokens", "allow_all")
        given = {name: value for name in fields if (value := getattr(self, name)) is not None}
        if self.timeout_s is not None:
            given["timeout_ms"] = max(1, round(self.timeout_s * 1000))
        specs = [spec if spec.model else replace(spec, model=self.model) for spec in asked.specs]
        return AskedFleet(specs, replace(asked.options, **given))

    def _refuse_what_is_no_amount(self) -> None:
        amounts = {
            "--time-limit": self.timeout_s,
            "--max-attempts": self.max_attempts,
            "--max-cost": self.max_cost_usd,
            "--max-tokens": self.max_tokens,
        }
        for option, amount in amounts.items():
            if amount is not None and not (math.isfinite(amount) and amount > 0):
                raise Invalid(f"{option} is {amount:g}; it has to be a number above 0")

    def refuse_for_agents(self) -> None:
        """Refuse what an agent can't ask for, whose fleet may do no more than itself.

        Raises:
            Conflict: It asks for it.
        """
        if replace(self, max_tokens=None) != Wishes():
            raise Conflict("you are an agent, whose fleets may be given --max-tokens only; leave the other options out")


def spawn(source: str, version: int | None, wishes: Wishes, *, waits: bool, as_json: bool) -> int:
    """Start the fleet in a file or a template; returns the exit code: 1 where it has ended here and failed."""
    with opened() as (ledger, settings):
        if settings.in_agent_mode:
            wishes.refuse_for_agents()
        asked = asked_fleet(ledger, source, version, by_agent=settings.in_agent_mode)
        fleet_id, agent_ids = _create(ledger, settings, wishes.applied_to(asked))
        if not as_json:
            say(fleet_id)
        elif not waits:
            say(shapes.versioned(fleet_id=fleet_id, agent_ids=agent_ids))
        code = see_through(ledger, settings, fleet_id, agent_ids, waits=waits)
        if waits:
            _print_end(ledger, fleet_id, as_json=as_json)
        return code


def spawn_template(name: str, version: int | None, *, as_json: bool) -> int:
    """Start the fleet in a template; returns the exit code: 1 where it has ended here and failed."""
    with opened() as (ledger, settings):
        specs = specs_of_template(get_fleet_template(ledger, name, version)["template"])
        fleet_id, agent_ids = _create(ledger, settings, AskedFleet(specs, FleetOptions()))
        left = {"spec": {"agents": agents_as_json(specs)}, "fleet_id": fleet_id, "agent_ids": agent_ids}
        say(json.dumps(left) if as_json else fleet_id)
        return see_through(ledger, settings, fleet_id, agent_ids)


def _create(ledger: Ledger, settings: Settings, asked: AskedFleet) -> tuple[str, list[str]]:
    folder = working_folder()
    options = replace(asked.options, parent_agent_id=settings.agent_id, max_depth=settings.max_depth)
    return create_fleet(ledger, described(asked.specs, folder, os.environ), cwd=str(folder), options=options)


def _print_end(ledger: Ledger, fleet_id: str, *, as_json: bool) -> None:
    """Print what a fleet has come to, with all that its agents said."""

    def query(view: View) -> tuple[overview.FleetSummary, list[overview.AgentDetail]]:
        agents = [overview.agent_detail(view, agent["id"]) for agent in view.agents_of(fleet_id)]
        return overview.fleet_summary(view, fleet_id), agents

    fleet, agents = ledger.read(query)
    if as_json:
        told = [{**shapes.agent(one.summary), "output": one.row.get("output")} for one in agents]
        say(shapes.versioned(fleet_id=fleet_id, fleet=shapes.fleet(fleet), agents=told))
    else:
        for one in agents:
            say("\n".join(_came_to(one)))


def _came_to(detail: overview.AgentDetail) -> Iterable[str]:
    agent = detail.summary
    took = agent.runtime_ms(now_ms())
    told = [agent.status, *([] if took is None else [figures.duration(took)])]
    told += [f"{figures.tokens(agent.used.tokens)} tokens"] if agent.used.tokens else []
    told += [figures.money(agent.used.cost)] if agent.used.cost else []
    yield f"\n{figures.one_line(agent.role)}: {', '.join(told)}"
    if agent.error and agent.status != "complete":
        yield f"  {figures.one_line(agent.error)}"
    yield from (f"  {line}".rstrip() for line in printable(str(detail.row.get("output") or "")).strip().splitlines())
