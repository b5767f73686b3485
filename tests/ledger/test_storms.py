"""Storms: many processes at once, killed at random while they write, read and compact; nothing acknowledged is lost.

A storm's seed is printed and can be given (`STORM_SEED=7 make test ARGS='-k storm'`); what happens when depends on the
time all the same. A longer one: `make storm`.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import anyio
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError

from meshfleet.ledger.salvage import salvage
from tests.ledger.harnesses import ROOT
from tests.ledgers import ledger_at
from tests.mesh.fleets import inbox_of
from tests.server.serving import Prepared, environ_for, prepare

KILLS: Final = 200
SERVERS_KILLED: Final = 12
SENDERS: Final = 2
SEED: Final = int(os.environ.get("STORM_SEED") or secrets.randbits(32))


BREAK: Final = "from tests.ledger.broken_protocols import BROKEN_PROTOCOLS; BROKEN_PROTOCOLS[{!r}]();"
STORM: Final = "from benchmark.storm import main; main()"


def storm(folder: Path, broken: str | None = None) -> dict[str, Any]:
    """The toll of a storm of 200 kills, with a protocol that has one thing wrong if it is named."""
    program = STORM if broken is None else BREAK.format(broken) + STORM
    options = ["--kills", str(KILLS), "--seed", str(SEED), "--folder", str(folder), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", program, *options], cwd=ROOT, capture_output=True, timeout=110, check=True
    )
    toll: dict[str, Any] = json.loads(done.stdout)
    return toll


@pytest.mark.slow
def test_two_hundred_random_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    toll = storm(tmp_path)
    sys.stdout.write(f"{toll}\n")
    assert (toll["losses"], toll["wrong"]) == (0, [])
    assert toll["kills"] >= KILLS
    assert toll["sent"] > KILLS
    # each of these is what the storm is for; a quiet one would prove little
    assert min(toll["compactions"], toll["reads"], toll["at_a_step"], toll["torn_tails"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["no_identity_check_under_the_lock", "nobody_takes_the_lock"])
def test_a_storm_shows_a_protocol_with_one_thing_wrong(tmp_path: Path, protocol: str) -> None:
    toll = storm(tmp_path, protocol)
    assert toll["losses"] or toll["wrong"]


@dataclass
class Sender:
    """A client that sends through one server after the other.

    Attributes:
        name: Who the messages are from.
        acknowledged: Their ids, as the tool's results named them, with the number each had.
        tried: How many were sent.
        killed: How many of its servers were killed.
    """

    name: str
    acknowledged: dict[str, int] = field(default_factory=dict)
    tried: int = 0
    killed: int = 0


@asynccontextmanager
async def server(prepared: Prepared, folder: Path) -> AsyncGenerator[tuple[Client, int]]:
    """A real `meshfleet serve`, its official client, and its pid."""
    pid_file = folder / "pid"
    run = f"echo $$ > {pid_file.name}; exec {sys.executable} -P -m meshfleet serve"
    command = StdioServerParameters(
        command="/bin/sh", args=["-c", run], env=environ_for(prepared.ledger_file), cwd=folder
    )
    with (folder / "stderr").open("w") as errors:
        async with Client(stdio_client(command, errlog=errors), read_timeout_seconds=30) as client:
            yield client, int(pid_file.read_text())


async def send_until_killed(prepared: Prepared, folder: Path, sender: Sender, chance: Random) -> None:
    """Send one message after the other until the server is killed, soon after some of them."""
    left, delay = chance.randrange(3, 40), chance.random() * 0.01

    async def kill(pid: int) -> None:
        await anyio.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        sender.killed += 1

    async with server(prepared, folder) as (client, pid), anyio.create_task_group() as tasks:
        try:
            while True:
                number, sender.tried = sender.tried, sender.tried + 1
                arguments = {
                    "from_agent_id": sender.name,
                    "to_agent_id": "orchestrator",
                    "fleet_id": prepared.fleet_id,
                    "type": "result",
                    "payload": f"{sender.name} {number}",
                }
                result = await client.call_tool("send_message", arguments)
                assert not result.is_error, result
                assert result.structured_content is not None
                sender.acknowledged[result.structured_content["message_id"]] = number
                left -= 1
                if left == 0:
                    tasks.start_soon(kill, pid)
        except MCPError:
            assert left <= 0, "the server ended before it was killed"


async def send_through_servers_that_die(prepared: Prepared, folder: Path, sender: Sender, chance: Random) -> None:
    folder.mkdir()
    for _ in range(SERVERS_KILLED // SENDERS):
        await send_until_killed(prepared, folder, sender, chance)


@pytest.mark.slow
@pytest.mark.anyio
async def test_servers_killed_while_their_clients_send_lose_and_double_nothing(
    ledger_file: Path, tmp_path: Path
) -> None:
    sys.stdout.write(f"seed {SEED}\n")
    chance, prepared = Random(SEED), prepare(ledger_file)
    senders = [Sender(f"sender-{number}") for number in range(SENDERS)]
    with anyio.fail_after(100):
        async with anyio.create_task_group() as tasks:
            for sender in senders:
                tasks.start_soon(send_through_servers_that_die, prepared, tmp_path / sender.name, sender, chance)
    ledger = ledger_at(ledger_file)
    arrived = inbox_of(ledger, "orchestrator")["messages"]
    ids = Counter(message["id"] for message in arrived)
    assert sum(sender.killed for sender in senders) == SERVERS_KILLED
    for sender in senders:
        assert [ids[message_id] for message_id in sender.acknowledged] == [1] * len(sender.acknowledged)
        numbers = [int(each["payload"].split()[1]) for each in arrived if each["from_agent_id"] == sender.name]
        assert numbers == sorted(set(numbers)), "not in the order in which they were sent, or twice"
        assert set(numbers).issuperset(sender.acknowledged.values())
        assert len(numbers) - len(sender.acknowledged) <= sender.killed, (
            "more arrived than servers died before saying so"
        )
    ledger.close()
    assert salvage(ledger_file).damages == []
