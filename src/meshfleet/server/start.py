"""How `meshfleet serve` starts: the client is greeted first, and then loads what the session needs."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from meshfleet.server.doorway import Arrival, meet
from meshfleet.server.face import Face
from meshfleet.server.instructions import FOR_ORCHESTRATORS, for_agent
from meshfleet.server.loading import loading
from meshfleet.server.stdio import claimed_stdio

if TYPE_CHECKING:
    from meshfleet.ledger import Ledger
    from meshfleet.mesh.identity import Identity
    from meshfleet.settings import Settings


@dataclass(frozen=True, slots=True)
class Opening:
    """What a session begins with.

    Attributes:
        fd_in: Where the client is read.
        fd_out: Where it is answered.
        words: The server's instructions.
        face: What it says of itself.
        arrival: What the client has said by now.
        ledger: The ledger, where it had to be asked for the agent.
        identity: The agent that is served; None where it is an orchestrator.
    """

    fd_in: int
    fd_out: int
    words: str
    face: Face
    arrival: Arrival
    ledger: Ledger | None
    identity: Identity | None


def start(settings: Settings, environ: Mapping[str, str], cwd: Path) -> None:
    """Serve standard input and output until the input ends or a signal says stop; agents go on running.

    Raises:
        MeshfleetError: The server can't start.
    """
    # until the event loop listens for them
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    with claimed_stdio() as (fd_in, fd_out):
        ledger, identity = (None, None) if settings.agent_id is None else _agent(settings, settings.agent_id)
        words = FOR_ORCHESTRATORS if identity is None else for_agent(identity)
        face = Face(in_agent_mode=settings.in_agent_mode, instructions=words)
        arrival = meet(fd_in, fd_out, face)

        with loading():
            import anyio

            from meshfleet.server.serve import serve

        anyio.run(serve, settings, environ, cwd, Opening(fd_in, fd_out, words, face, arrival, ledger, identity))


def _agent(settings: Settings, agent_id: str) -> tuple[Ledger, Identity]:
    from meshfleet.errors import Invalid, NotFound
    from meshfleet.ledger import Ledger
    from meshfleet.mesh.identity import identify_agent
    from meshfleet.mesh.texts import shown

    ledger = Ledger.from_settings(settings)
    try:
        return ledger, identify_agent(ledger, agent_id)
    except NotFound:
        raise Invalid(
            f"MESHFLEET_AGENT_ID is {shown(agent_id)}, which is no agent of {settings.data_file}; unset it, "
            "or set MESHFLEET_DATA_FILE to the ledger of that agent"
        ) from None


def _leave(_number: int, _frame: object) -> NoReturn:
    """End without a complaint: nothing has begun that would have to be brought to an end.

    An exception may be lost in a library that is just being loaded, and the server would go on.
    """
    os._exit(0)
