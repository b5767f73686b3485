"""How a fleet stands, with what only the process table tells: whose supervisor is gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshfleet.agents.process import ProcessIdentity, boot_id, is_same_process
from meshfleet.ledger import Ledger
from meshfleet.mesh import fleets
from meshfleet.mesh.fleets import UNSUPERVISED
from meshfleet.mesh.lifecycle import AT_WORK
from meshfleet.model import Row


def supervisor_key(supervisor: object) -> tuple[object, ...]:
    """What tells a supervisor from all others; nothing where a row that was edited by hand names none."""
    match supervisor:
        case {"pid": int(pid), "start_time": int() | float() as start_time, "boot_id": str(boot)}:
            return pid, start_time, boot
    return ()


def is_alive(process: Mapping[str, Any]) -> bool:
    """Tell whether exactly the supervisor, or the process of an attempt, still runs that a row names; none does not."""
    if not supervisor_key(process) or process["boot_id"] != boot_id():
        return False
    return is_same_process(ProcessIdentity(process["pid"], process["start_time"]))


def is_over(attempt: Row) -> bool:
    """Tell whether the process of an attempt has ended; not of one that no process is known of."""
    return bool(supervisor_key(attempt)) and not is_alive(attempt)


def fleet_status(ledger: Ledger, fleet_id: str) -> dict[str, Any]:
    """The fleet's row and its agents', as they may be shown; `supervised` is false where the supervisor is gone.

    Raises:
        NotFound: There is no such fleet.
    """
    told = fleets.fleet_status(ledger, fleet_id)
    gone = Gone()
    told["agents"] = [{**agent, **_without_supervisor(agent, gone)} for agent in told["agents"]]
    return told


class Gone:
    """Which supervisors are gone, each looked at once."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], bool] = {}

    def left(self, agent: Row) -> bool:
        """Tell whether an agent is at work and its supervisor gone; one that has none yet waits for any."""
        supervisor = agent.get("supervisor")
        if agent["status"] not in AT_WORK or supervisor is None:
            return False
        key = supervisor_key(supervisor)
        if key not in self._known:
            self._known[key] = not is_alive(supervisor)
        return self._known[key]


def _without_supervisor(agent: Row, gone: Gone) -> Row:
    return {"condition": UNSUPERVISED, "supervised": False} if gone.left(agent) else {}
