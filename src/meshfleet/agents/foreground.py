"""Seeing agents through from a command: a server that runs does it, or, where none does, this very process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

import anyio
from anyio import to_thread

from meshfleet.agents.opencode import find_opencode
from meshfleet.agents.standing import Gone
from meshfleet.agents.supervisor import Supervisor
from meshfleet.ledger import Ledger, View
from meshfleet.ledger.bells import ANYTHING
from meshfleet.ledger.watching import Sight, Watch
from meshfleet.mesh.lifecycle import AT_WORK
from meshfleet.model import Row
from meshfleet.settings import Settings

CLAIM_S: Final = 1.5
"""How long a server has to show that it looks after the agents."""
LOOK_S: Final = 0.1

Condition = Callable[[View], bool]


async def is_left_alone(ledger: Ledger, agent_ids: Collection[str]) -> bool:
    """Tell whether some of these agents lost who looked after them, or nobody has begun to, having had time to.

    A server that has no room for them yet has noted so; of one that is gone only its name is left.
    """
    for _ in range(round(CLAIM_S / LOOK_S)):
        if not await to_thread.run_sync(_left_alone, ledger, agent_ids):
            return False
        await anyio.sleep(LOOK_S)
    return await to_thread.run_sync(_left_alone, ledger, agent_ids)


async def supervise_until(
    ledger: Ledger,
    settings: Settings,
    environ: Mapping[str, str],
    done: Condition,
    topic: str = ANYTHING,
    *,
    starts: bool = True,
) -> None:
    """Supervise in this process until something holds; agents that have not ended by then go on.

    Args:
        ledger: Where the agents are rows.
        settings: What a supervisor goes by.
        environ: What the agents' environment is made from.
        done: Holds at the end.
        topic: The fleet on whose row that depends, where it does.
        starts: Whether agents are to be started, for which there has to be an OpenCode.

    Raises:
        Unavailable: There is no OpenCode to start.
    """
    if starts:
        find_opencode(environ)
    supervisor = Supervisor(ledger, settings, environ, starts=starts)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(supervisor.run)
        await until(ledger, done, topic)
        tasks.cancel_scope.cancel()


async def until(ledger: Ledger, done: Condition, topic: str = ANYTHING) -> None:
    """Return once something holds of the ledger, which is looked at when something of the topic has changed."""
    sight = Sight(ledger, done)
    with Watch().listening(ledger.data_file, topic) as news:
        while not await to_thread.run_sync(sight.take):
            await news.next()


def _left_alone(ledger: Ledger, agent_ids: Collection[str]) -> bool:
    gone = Gone()

    def query(view: View) -> list[Row]:
        found = [view.get("agents", agent_id) for agent_id in agent_ids]
        return [agent for agent in found if agent is not None]

    agents = ledger.read(query)
    at_work = [agent for agent in agents if agent["status"] in AT_WORK]
    if any(gone.left(agent) for agent in at_work):
        return True
    # who has begun with one of them comes to the others, one start after the other
    return bool(at_work) and all(_unclaimed(agent) for agent in agents)


def _unclaimed(agent: Row) -> bool:
    return "supervisor" not in agent and "waiting_for" not in agent
