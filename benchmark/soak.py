"""`make soak`: hundreds of agents that misbehave, and servers killed at random; says whether any agent was lost by it.

Every agent has to end, every attempt to be run and settled once, and no process may be left. What an agent does wrong
is soak_faults.py's, what has to hold is soak_watch.py's; here is who does what when.
"""

from __future__ import annotations

import argparse
import math
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from benchmark.serving import environment, kill_all_of
from benchmark.soak_faults import install, prompt_of, starts_in
from benchmark.soak_server import Asked, Server
from benchmark.soak_watch import Events, Watch, wrong_in_rows, wrong_with_starts
from meshfleet.errors import Conflict
from meshfleet.ledger import Ledger, View
from meshfleet.mesh.cancelling import cancel
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.resuming import RESUMABLE, resume
from meshfleet.mesh.specs import AgentSpec, FleetOptions
from meshfleet.model import attempt_key
from meshfleet.settings import Durability

MOST_SERVERS: Final = 4
MOST_RUNNING: Final = 40
LOOK_INTERVAL_S: Final = 0.25
SPAWNING_SHARE: Final = 0.6
"""Which part of the time agents are spawned in."""
CATCHING_S: Final = 0.5
"""How long it is waited for a server that is just starting an agent."""
PATIENCE_S: Final = 60.0
"""How long nothing at all may happen in the ledger, once the killing has ended."""
LEFT_ON_PURPOSE_S: Final = 15.0
"""How long what an agent that answered had started may live on."""
_LIMITS: Final = {
    "MESHFLEET_DURABILITY": "process",
    "MESHFLEET_RETRY_BASE_MS": "100",
    "MESHFLEET_MAX_RUNNING": str(MOST_RUNNING),
    "MESHFLEET_START_STAGGER_MS": "10",
    "MESHFLEET_AGENT_STALL_MS": "5000",
    "MESHFLEET_MAX_OUTPUT_BYTES": "2000000",
    "MESHFLEET_LOCK_TIMEOUT_MS": "30000",
    "MESHFLEET_SSE_PORT": "0",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is to happen.

    Attributes:
        agents: How many are spawned.
        seconds: How long servers are killed.
        timeout_ms: How long an attempt may run, in ms.
        most_tries: How often an agent is tried at most.
    """

    agents: int = 300
    seconds: float = 120.0
    timeout_ms: int = 9_000
    most_tries: int = 4


@dataclass(slots=True)
class Toll:
    """What happened in a soak.

    Attributes:
        agents: How many were spawned.
        did: What was done, by what, how often.
        reasons: How attempts ended, how often.
        statuses: How agents ended, how often.
        seconds: How long all of it took.
        wrong: Whatever is not as it should be.
    """

    agents: int = 0
    did: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        def told(counts: Counter[str]) -> str:
            return ", ".join(f"{count} {what}" for what, count in counts.most_common())

        return "\n".join(
            [
                f"{self.agents} agents in {self.seconds:.0f} s: {told(self.statuses)}",
                f"{self.reasons.total()} attempts: {told(self.reasons)}",
                told(self.did),
                f"{len(self.wrong)} wrong" if self.wrong else "nothing wrong",
            ]
        )


class Soak:
    """A soak in a folder of its own.

    Args:
        folder: Where everything lies.
        seed: What its chances are made of.
        plan: How much is to happen.
        say: Told how it goes.
    """

    def __init__(self, folder: Path, seed: int, plan: Plan, say: Callable[[str], None] = print) -> None:
        self._chance = Random(seed)
        self._plan = plan
        self._say = say
        self._folder = folder
        for name in ("home", "project", "bin", "ledger"):
            (folder / name).mkdir(parents=True)
        self._data_file = folder / "ledger" / "agent-mesh.json"
        self._complaints = folder / "complaints.log"
        limits = {**_LIMITS, "MESHFLEET_AGENT_TIMEOUT_MS": str(plan.timeout_ms)}
        self._environ = environment(folder, install(folder / "bin"), self._data_file, **limits)
        self._ledger = Ledger(self._data_file, durability=Durability.PROCESS, lock_timeout_ms=30_000)
        self._watch = Watch(self._ledger, MOST_RUNNING)
        self._servers: list[Server] = []
        self._asked: list[Asked] = []
        self.toll = Toll()

    def run(self) -> Toll:
        """Let agents misbehave and kill servers, then have what is left of them bring all of it to an end."""
        began = time.monotonic()
        try:
            self._rage(began)
            self._say(f"{self.toll.did['servers killed']} servers killed; now everything may come to its end")
            self._come_to_an_end()
            self._judge()
        finally:
            self._clear_up()
        self.toll.seconds = time.monotonic() - began
        return self.toll

    def _rage(self, began: float) -> None:
        agents, seconds, before = self._plan.agents, self._plan.seconds, began
        while (passed := (now := time.monotonic()) - began) < seconds or self.toll.agents < agents:
            due = min(agents, round(agents * passed / (seconds * SPAWNING_SHARE)))
            if self.toll.agents < due:
                self._spawn(min(due - self.toll.agents, self._chance.randrange(1, 25)))
            for times_a_second, act in (
                (0.8, self._start_server),
                (0.5, self._kill_server),
                (0.06, self._end_server),
                (0.2, self._cancel),
                (0.4, self._resume),
            ):
                if self._chance.random() < 1 - math.exp(-times_a_second * (now - before)):
                    act()
            before = now
            self._ask()
            self._look()
            time.sleep(LOOK_INTERVAL_S * self._chance.random() * 2)
        self._start_server()
        while self._servers:
            self._kill_server()

    def _come_to_an_end(self) -> None:
        seq, deadline = -1, 0.0
        while self._ask() or self._unfinished():
            if (now := self._ledger.read(lambda view: view.seq)) != seq:
                seq, deadline = now, time.monotonic() + PATIENCE_S
            elif time.monotonic() > deadline:
                break
            if not self._servers:
                self._start_server()
            self._look()
            time.sleep(LOOK_INTERVAL_S)
        deadline = time.monotonic() + LEFT_ON_PURPOSE_S
        while self._watch.left() and time.monotonic() < deadline:
            time.sleep(LOOK_INTERVAL_S)

    def _unfinished(self) -> list[str]:
        return self._ledger.read(lambda view: [a["id"] for a in view.agents_that_are("pending", "running")])

    def _look(self) -> None:
        self._watch.look()
        for server in [each for each in self._servers if not each.hear()]:
            self.toll.wrong.append(f"a server ended by itself, with {server.leave()}")
            self._servers.remove(server)

    # -- what is done ---------------------------------------------------------------------------------------------

    def _start_server(self) -> None:
        if len(self._servers) < MOST_SERVERS:
            self._servers.append(Server(self._environ, self._folder / "project", self._complaints))
            self.toll.did["servers started"] += 1

    def _kill_server(self) -> None:
        if not self._servers:
            return
        server = self._chance.choice(self._servers)
        if self._chance.random() < 0.5 and (busy := self._one_that_starts_an_agent()):
            server = busy
            self.toll.did["of them while they started an agent"] += 1
        self._servers.remove(server)
        server.kill()
        self.toll.did["servers killed"] += 1

    def _one_that_starts_an_agent(self) -> Server | None:
        """Wait for a moment in which a server has begun an attempt and not yet said which process that is."""

        def starting(view: View) -> set[int]:
            agents = view.agents_that_are("running")
            attempts = [(agent, view.get("attempts", attempt_key(agent["id"], agent["attempt"]))) for agent in agents]
            return {agent["supervisor"]["pid"] for agent, attempt in attempts if attempt and "pid" not in attempt}

        self._spawn(min(self._plan.agents - self.toll.agents, 3))
        deadline = time.monotonic() + CATCHING_S
        while time.monotonic() < deadline:
            pids = self._ledger.read(starting)
            for server in self._servers:
                if server.pid in pids:
                    return server
        return None

    def _end_server(self) -> None:
        if self._servers:
            server = self._servers.pop(self._chance.randrange(len(self._servers)))
            if (code := server.leave()) != 0:
                self.toll.wrong.append(f"a server that was to end ended with {code}")
            self.toll.did["servers ended"] += 1

    def _spawn(self, count: int) -> None:
        if count == 0:
            return
        specs = [prompt_of(self._chance) for _ in range(count)]
        tries = self._chance.randrange(1, self._plan.most_tries + 1)
        self.toll.agents += count
        if self._chance.random() < 0.4:
            agents = [{"role": role, "prompt": prompt} for role, prompt in specs]
            key = f"fleet-{len(self._asked)}"
            self._asked.append(Asked({"agents": agents, "max_attempts": tries, "idempotency_key": key}))
            self.toll.did["fleets asked of servers"] += 1
        else:
            self._write_fleet([AgentSpec(role, prompt) for role, prompt in specs], tries)

    def _write_fleet(self, specs: list[AgentSpec], tries: int) -> None:
        """Have a fleet be started by whoever serves, as an agent's own server does; now and then it is an agent's."""
        running = self._ledger.read(lambda view: [agent["id"] for agent in view.agents_that_are("running")])
        parent = self._chance.choice(running) if running and self._chance.random() < 0.2 else None
        budget = self._chance.choice([200, 500, 1000]) if self._chance.random() < 0.1 else None
        options = FleetOptions(max_attempts=tries, max_tokens=budget, parent_agent_id=parent)
        try:
            create_fleet(self._ledger, specs, cwd=str(self._folder / "project"), options=options)
        except Conflict:
            # the agent has ended or is being stopped, or was spawned by an agent itself
            self.toll.agents -= len(specs)
        else:
            self.toll.did["fleets of agents" if parent else "fleets written"] += 1

    def _ask(self) -> bool:
        """Ask for the fleets that nobody has answered for; False once all are there."""
        unanswered = [asked for asked in self._asked if asked.answer is None]
        for asked in unanswered:
            if self._servers and asked.server not in self._servers:
                self.toll.did["fleets asked once more"] += asked.server is not None
                asked.server = self._chance.choice(self._servers)
                asked.call_id = asked.server.ask("spawn_fleet", **asked.arguments)
        return bool(unanswered)

    def _cancel(self) -> None:
        fleets = self._ledger.read(lambda view: [row["id"] for row in view.rows("fleets")])
        if fleets and self._chance.random() < 0.3:
            named = {"fleet_id": self._chance.choice(fleets)}
        elif unfinished := self._unfinished():
            named = {"agent_id": self._chance.choice(unfinished)}
        else:
            return
        if self._servers and self._chance.random() < 0.5:
            self._chance.choice(self._servers).ask("cancel", **named)
        else:
            cancel(self._ledger, **named)
        self.toll.did["cancels"] += 1

    def _resume(self) -> None:
        ended = self._ledger.read(lambda view: [agent["id"] for agent in view.agents_that_are(*RESUMABLE)])
        if not ended:
            return
        agent_id, fresh = self._chance.choice(ended), self._chance.random() < 0.5
        if self._servers and self._chance.random() < 0.5:
            self._chance.choice(self._servers).ask("resume", agent_id=agent_id, fresh=fresh)
        else:
            # its fleet may be over its budget, or somebody else was first
            with suppress(Conflict):
                resume(self._ledger, agent_id=agent_id, fresh=fresh)
        self.toll.did["resumes"] += 1

    # -- what is left ---------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        toll, ledger = self.toll, self._ledger
        toll.wrong += [f"processes of {marker} are left" for marker in self._watch.left()]
        for server in self._servers:
            if (code := server.leave()) != 0:
                toll.wrong.append(f"the last server ended with {code}")
        self._servers.clear()
        events, kills = Events(self._data_file), toll.did["servers killed"]
        toll.wrong += self._watch.wrong + wrong_in_rows(ledger) + events.wrong(ledger, kills)
        toll.wrong += wrong_with_starts(ledger, starts_in(self._folder / "bin"))
        toll.wrong += _complaints_in(self._complaints)
        attempts, agents = ledger.read(lambda view: (list(view.rows("attempts")), list(view.rows("agents"))))
        if len(agents) != toll.agents:
            toll.wrong.append(f"{toll.agents} agents were spawned, and {len(agents)} are there")
        toll.wrong += [f"spawn_fleet was refused: {one}" for one in self._refusals()]
        toll.reasons.update("good" if row.get("ok") else str(row.get("reason")) for row in attempts)
        toll.statuses.update(agent["status"] for agent in agents)
        for event in ("agent_adopted", "agent_retry_scheduled"):
            toll.did[event] = events.count[event]
        toll.did["events missing"] = events.missing(ledger)
        toll.did["looks"] = self._watch.looks
        toll.did["most running at once"] = self._watch.most_seen_running
        ledger.close()
        verified = subprocess.run(
            [sys.executable, "-P", "-m", "meshfleet", "verify", str(self._data_file)],
            check=False,
            capture_output=True,
            text=True,
            env=self._environ,
        )
        if verified.returncode != 0 or not verified.stdout.endswith("clean\n"):
            toll.wrong.append(f"meshfleet verify: {verified.stdout}{verified.stderr}")

    def _refusals(self) -> list[str]:
        answers = [asked.answer or {} for asked in self._asked if asked.server]
        return [str(answer) for answer in answers if answer.get("result", {}).get("isError") is not False]

    def _clear_up(self) -> None:
        for server in self._servers:
            server.kill()
        self._ledger.close()
        kill_all_of(self._data_file)


def _complaints_in(log: Path) -> list[str]:
    """What servers said that nobody should hear: errors, and whatever came with a traceback."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return [f"a server said: {line}" for line in lines if " ERROR " in line or line.startswith("Traceback")]


def main() -> int:
    """Run a soak and print what happened; 1 when anything is not as it should be."""
    parser = argparse.ArgumentParser(prog="benchmark.soak", description=__doc__)
    usual = Plan()
    parser.add_argument("--agents", type=int, default=usual.agents, help="how many (300)")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="how long servers are killed (120)")
    parser.add_argument("--seed", type=int, help="the chances of another soak; what happens when still depends on time")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="meshfleet-soak-"))
    print(f"seed {seed}, everything in {folder}", flush=True)
    plan = Plan(max(1, options.agents), max(1.0, options.seconds))
    toll = Soak(folder, seed, plan, lambda line: print(line, flush=True)).run()
    print(toll)
    for line in toll.wrong:
        print(line)
    if toll.wrong:
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
