"""What the dashboard does to a mesh: the rules' own functions, and what came of them in a sentence.

Each is called from a thread of its own, since it may have to wait for the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import anyio

from meshfleet.agents.foreground import is_left_alone
from meshfleet.dashboard.wording import on_one_line
from meshfleet.ledger import Ledger
from meshfleet.mesh import cancelling, resuming
from meshfleet.mesh.messages import Draft, send_message
from meshfleet.mesh.templates import TemplateDraft, save_fleet_template, specs_of_fleet
from meshfleet.mesh.texts import counted
from meshfleet.model import ORCHESTRATOR


@dataclass(frozen=True, slots=True)
class Whom:
    """A fleet or an agent, one of which is named."""

    fleet_id: str | None = None
    agent_id: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an act.

    Attributes:
        told: For a person.
        alone: Whether nobody is there who would see to the rest, so that a person may have to.
    """

    told: str
    alone: bool = False


def cancel(ledger: Ledger, whom: Whom) -> Done:
    """Cancel a fleet or an agent; whoever supervises what runs stops it.

    Raises:
        MeshfleetError: It was refused.
    """
    done = cancelling.cancel(ledger, fleet_id=whom.fleet_id, agent_id=whom.agent_id)
    count = len(done.ended) + len(done.stopping)
    if not count:
        return Done("nothing of it was at work")
    alone: bool = bool(done.stopping) and anyio.run(is_left_alone, ledger, done.stopping)
    if alone:
        named = whom.agent_id or whom.fleet_id
        return Done(
            f"cancelled {counted(count, 'agents')}, but no meshfleet server runs that would stop the processes; "
            f"run meshfleet cancel {named}",
            alone=True,
        )
    return Done(f"cancelled {counted(count, 'agents')}")


def resume(ledger: Ledger, whom: Whom, prompt: str | None, *, fresh: bool) -> Done:
    """Have a fleet's agents or one go on; a server that runs starts them.

    Raises:
        MeshfleetError: It was refused.
    """
    ids = resuming.resume(ledger, fleet_id=whom.fleet_id, agent_id=whom.agent_id, prompt=prompt, fresh=fresh)
    alone: bool = anyio.run(is_left_alone, ledger, ids)
    if alone:
        waiting = f"{counted(len(ids), 'agents')} {'waits' if len(ids) == 1 else 'wait'}"
        return Done(
            f"{waiting} for a meshfleet server, and none runs on this ledger; open OpenCode, or run meshfleet serve",
            alone=True,
        )
    return Done(f"{counted(len(ids), 'agents')} left to the meshfleet server that runs")


def send(ledger: Ledger, fleet_id: str, to: str, kind: str, text: str) -> Done:
    """Send a message as the orchestrator.

    Raises:
        MeshfleetError: It was refused.
    """
    sent = send_message(ledger, Draft(ORCHESTRATOR, to, fleet_id, kind, text))
    told = f"sent to {counted(len(sent['recipients']), 'agents')}"
    warning = sent.get("warning")
    return Done(told) if warning is None else Done(f"{told}; {on_one_line(warning)}", alone=True)


def save_as_template(ledger: Ledger, fleet_id: str, name: str, description: str) -> Done:
    """Save a fleet's agents as a new version of a template.

    Raises:
        MeshfleetError: It was refused.
    """
    specs = ledger.read(partial(specs_of_fleet, fleet_id=fleet_id))
    saved = save_fleet_template(ledger, TemplateDraft(name, specs, description))["template"]
    return Done(f"saved {on_one_line(saved['name'])}@v{saved['version']}: {counted(len(specs), 'agents')}")
