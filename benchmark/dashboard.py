"""What the dashboard costs with 300 agents and 10,000 messages: `python -m benchmark.dashboard`.

A refresh is timed from the look at the ledger to the last widget that was told of it, with a write before each; what
the idle program uses is measured on a terminal of its own, in which nothing happens.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any
from uuid import UUID

import psutil

from meshfleet.agents.process import boot_id, current_identity
from meshfleet.dashboard.app import Dashboard, Options
from meshfleet.ledger import Ledger
from meshfleet.mesh.messages import Draft, send_message
from meshfleet.model import Row, attempt_key, now_ms, receipt_key
from meshfleet.settings import Durability, Settings

AGENTS = 300
AGENTS_A_FLEET = 30
MESSAGES = 10_000
VIEWS = {"problems": "1", "fleets": "2", "agents": "3", "messages": "4", "events": "5"}
GOAL_MS = 50
GOAL_SHARE = 0.05


def own_id(number: int) -> str:
    return str(UUID(int=number))


def crowded_mesh() -> Row:
    """A ledger's rows: every third agent at work, every message delivered and every second one acknowledged."""
    now = now_ms()
    fleets: dict[str, Row] = {}
    agents: dict[str, Row] = {}
    attempts: dict[str, Row] = {}
    for number in range(AGENTS):
        fleet_id, agent_id = own_id(10**6 + number // AGENTS_A_FLEET), own_id(1 + number)
        fleets[fleet_id] = {"id": fleet_id, "status": "running", "created_at": now - 3_600_000, "name": fleet_id[-6:]}
        status = ("running", "complete", "failed")[number % 3]
        ended = {} if status == "running" else {"completed_at": now - 60_000}
        agents[agent_id] = {"id": agent_id, "fleet_id": fleet_id, "role": f"Worker {number}", "prompt": "work"}
        agents[agent_id] |= {"status": status, "attempt": 1, "started_at": now - 600_000, "cwd": "/project", **ended}
        attempts[attempt_key(agent_id, 1)] = {"agent_id": agent_id, "number": 1, "started_at": now - 600_000}
        attempts[attempt_key(agent_id, 1)] |= {"ended_at": now - 60_000} if ended else _this_process()
    messages, receipts = _messages(now)
    inboxes: dict[str, list[str]] = {}
    for message in messages.values():
        if not message["acknowledged"]:
            inboxes.setdefault(message["to_agent_id"], []).append(message["id"])
    tables = {"fleets": fleets, "agents": agents, "attempts": attempts, "messages": messages, "receipts": receipts}
    return {"schema_version": 2, **tables, "inboxes": inboxes}


def _this_process() -> Row:
    """A run whose process can be looked at."""
    identity = current_identity()
    return {"pid": identity.pid, "start_time": identity.start_time, "boot_id": boot_id()}


def _messages(now: int) -> tuple[dict[str, Row], dict[str, Row]]:
    messages: dict[str, Row] = {}
    receipts: dict[str, Row] = {}
    for number in range(MESSAGES):
        place = number % AGENTS
        first = place - place % AGENTS_A_FLEET
        message_id, to = own_id(10**9 + number), own_id(1 + first + (place + 1) % AGENTS_A_FLEET)
        done = number % 2 == 0
        at = now - (MESSAGES - number) * 300
        messages[message_id] = {"id": message_id, "from_agent_id": own_id(1 + place), "to_agent_id": to}
        messages[message_id] |= {"fleet_id": own_id(10**6 + place // AGENTS_A_FLEET), "type": "handoff"}
        messages[message_id] |= {"payload": "Findings: an empty cart has no total. " * 4, "timestamp": at}
        messages[message_id] |= {"acknowledged": done}
        for action in ("delivered", "seen", "ack") if done else ("delivered",):
            row = {"message_id": message_id, "agent_id": to, "action": action, "timestamp": at + 100}
            receipts[receipt_key(message_id, to, action)] = row
    return messages, receipts


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmark.dashboard", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="refreshes of each view")
    parser.add_argument("--idle", type=float, default=20.0, help="seconds for which the idle program is watched")
    options = parser.parse_args()
    print(f"{AGENTS} agents, {MESSAGES} messages; goals: a refresh under {GOAL_MS} ms, idle under {GOAL_SHARE:.0%}")
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "agent-mesh.json"
        file.write_text(json.dumps(crowded_mesh()))
        met = asyncio.run(_refreshes(file, options.rounds))
        for view, key in VIEWS.items():
            used = _idle_share(file, key, options.idle)
            met = met and used < GOAL_SHARE
            print(f"idle in {view:10} {used:6.1%} of a core")
    return 0 if met else 1


async def _refreshes(file: Path, rounds: int) -> bool:
    ledger = Ledger(file, durability=Durability.PROCESS)
    app = Dashboard(ledger, Settings(data_file=file), Options(interval_ms=3_600_000))
    met = True
    try:
        async with app.run_test(size=(160, 48)) as pilot:
            for view, key in VIEWS.items():
                await pilot.press(key)
                while app.seen_from is not app.place:
                    await pilot.pause(0.01)
                times = [await _refresh(app, ledger, pilot) for _ in range(rounds)]
                taken, used = (sorted(column) for column in zip(*times, strict=True))
                met = met and median(taken) < GOAL_MS
                print(
                    f"refresh of {view:10} median {median(taken):6.1f} ms, worst {taken[-1]:6.1f} ms; "
                    f"processor {median(used):5.1f} ms"
                )
    finally:
        ledger.close()
    return met


async def _refresh(app: Dashboard, ledger: Ledger, pilot: Any) -> tuple[float, float]:
    """The time a refresh takes, and the processor time it uses in all threads, in ms."""
    draft = Draft("orchestrator", own_id(1), own_id(10**6), "question", "how far are you?")
    await asyncio.to_thread(send_message, ledger, draft)
    await pilot.pause()
    begun, used = time.perf_counter(), time.process_time()
    await app.look()
    return (time.perf_counter() - begun) * 1000, (time.process_time() - used) * 1000


def _idle_share(file: Path, key: str, seconds: float) -> float:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 48, 160, 0, 0))
    environ = {**os.environ, "MESHFLEET_DATA_FILE": str(file), "TERM": "xterm-256color"}
    arguments = [sys.executable, "-P", "-m", "meshfleet", "dashboard"]
    with subprocess.Popen(arguments, env=environ, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        Thread(target=_drain, args=(ours,), daemon=True).start()
        time.sleep(4)
        os.write(ours, key.encode())
        time.sleep(3)
        seen = psutil.Process(process.pid)
        before = seen.cpu_times()
        time.sleep(seconds)
        after = seen.cpu_times()
        os.write(ours, b"q")
        process.wait(timeout=30)
    return (after.user + after.system - before.user - before.system) / seconds


def _drain(terminal: int) -> None:
    try:
        while os.read(terminal, 65_536):
            pass
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main())
