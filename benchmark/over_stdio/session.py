"""A home and a ledger of their own for the servers of one measurement, and what a client does with them."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from benchmark.over_stdio.client import Client, Dead, Refused
from benchmark.seeding import PAYLOAD
from benchmark.serving import SLEEPER, environment, kill_all_of

STARTING_S: Final = 10.0
"""How long it is waited until the agents of a crew have started, in seconds; what is measured goes on without them."""
MOST_RUNNING: Final = 4
"""How many stand-ins for OpenCode run at once, where the server can be told."""


class NotOffered(Exception):
    """The server has no such tool."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A server that is measured: what it is called, and how it is started."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Memory:
    """What a server and its descendants hold, in bytes.

    Attributes:
        resident: All that is in memory.
        own: What would be free if it ended.
        shared_out: What it has for itself and its share of what others have, too; None where the system can't tell.
    """

    resident: int
    own: int
    shared_out: int | None


class Session:
    """A server that has been greeted."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.about = client.greet()
        self.greeted_s = time.perf_counter() - client.began
        self._tools: frozenset[str] | None = None

    def tools(self) -> frozenset[str]:
        """The names of those it offers."""
        if self._tools is None:
            self._tools = frozenset(tool["name"] for tool in self.client.ask("tools/list")["tools"])
        return self._tools

    def require(self, *tools: str) -> None:
        """Raises NotOffered unless the server has all of them."""
        missing = [tool for tool in tools if tool not in self.tools()]
        if missing:
            raise NotOffered(", ".join(missing))

    def processes(self) -> list[psutil.Process]:
        """The server's, and those that descend from it."""
        own = psutil.Process(self.client.process.pid)
        return [own, *own.children(recursive=True)]

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """What a tool returns; raises NotOffered, Refused, Dead."""
        self.require(tool)
        return self.client.call(tool, **arguments)


@dataclass(frozen=True, slots=True)
class Crew:
    """A fleet whose agents sleep."""

    fleet_id: str
    agent_ids: list[str]

    def message(self, to: int, sender: int = 0) -> dict[str, Any]:
        """The arguments of a send to one of them, from another."""
        return {
            "from_agent_id": self.agent_ids[sender],
            "to_agent_id": self.agent_ids[to],
            "fleet_id": self.fleet_id,
            "type": "handoff",
            "payload": PAYLOAD,
        }


class House:
    """Where servers of one subject run: a home, a ledger, a stand-in for OpenCode.

    Args:
        subject: What is started.
        folder: All of it is below that.
        document: The ledger they find, as v0.9.0 writes it; None for none.
    """

    def __init__(self, subject: Subject, folder: Path, document: Path | None = None) -> None:
        self.subject = subject
        self._folder = folder
        self.data_file = folder / "home" / ".config" / "opencode" / "agent-mesh.json"
        self.data_file.parent.mkdir(parents=True)
        if document is not None:
            shutil.copyfile(document, self.data_file)
        program = folder / "opencode"
        program.write_text(SLEEPER)
        program.chmod(0o755)
        self._environ = environment(
            folder,
            program,
            self.data_file,
            AGENT_MESH_DATA_FILE=str(self.data_file),
            MESHFLEET_MAX_RUNNING=str(MOST_RUNNING),
            MESHFLEET_START_STAGGER_MS="0",
            MESHFLEET_SSE_PORT="0",
        )
        self._environ["PATH"] = f"{folder}:{self._environ['PATH']}"
        self._clients: list[Client] = []

    def begin(self, **variables: str) -> Client:
        """Start a server, and do not wait for it."""
        # here, where the words of its command are paths
        client = Client(self.subject.command, self._environ | variables, Path.cwd(), self._folder / "complaints.log")
        self._clients.append(client)
        return client

    def start(self, **variables: str) -> Session:
        """Start a server and greet it; raises Dead."""
        return Session(self.begin(**variables))

    def end(self, session: Session) -> None:
        """Have one of them end by itself."""
        self._clients.remove(session.client)
        session.client.leave()

    def close(self) -> None:
        """End whatever runs here."""
        for client in self._clients:
            client.kill()
        kill_all_of(self.data_file)


@contextmanager
def housed(subject: Subject, document: Path | None = None) -> Iterator[House]:
    """A house that is gone afterwards, with all that runs there."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        house = House(subject, Path(name), document)
        try:
            yield house
        finally:
            house.close()


def crew_of(session: Session, agents: int) -> Crew:
    """Spawn a fleet of so many; returns when those have started that will."""
    specs = [{"role": f"Worker {number}", "prompt": "sleep"} for number in range(agents)]
    spawned = session.call("spawn_fleet", agents=specs)
    crew = Crew(spawned["fleet_id"], spawned["agent_ids"])
    deadline = time.monotonic() + STARTING_S
    with suppress(NotOffered, Refused):
        while _running(session, crew) < min(agents, MOST_RUNNING) and time.monotonic() < deadline:
            time.sleep(0.05)
    return crew


def memory_of(processes: Sequence[psutil.Process]) -> Memory:
    """What processes hold together; one that has ended holds nothing."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found.append(process.memory_full_info())
    if not found:
        raise Dead("ended")
    shared_out = [one.pss for one in found] if hasattr(found[0], "pss") else None
    return Memory(
        sum(one.rss for one in found), sum(one.uss for one in found), None if shared_out is None else sum(shared_out)
    )


def used_by(processes: Sequence[psutil.Process]) -> float:
    """The seconds of processor that processes have used together."""
    times = [process.cpu_times() for process in processes]
    return float(sum(each.user + each.system for each in times))


def _running(session: Session, crew: Crew) -> int:
    status = session.call("fleet_status", fleet_id=crew.fleet_id)
    return sum(agent["status"] != "pending" for agent in status["agents"])
