"""One client and one server: how many calls a second, and how long one takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from benchmark.floor import append_lines
from benchmark.over_stdio.client import Refused, Timed, object_in
from benchmark.over_stdio.session import Crew, House, Session, crew_of, memory_of
from benchmark.over_stdio.sheet import Sheet, percentile
from benchmark.over_stdio.starting import MB

KEYS: Final = (
    *("pings_per_s", "ping_p50_ms", "ping_p99_ms"),
    *("sends_per_s", "send_p50_ms", "send_p99_ms", "disk_ms"),
    *("reads_per_s", "read_p50_ms", "read_p99_ms"),
    *("crowded_reads_per_s", "crowded_reads_of", "crowded_read_p50_ms"),
    *("loaded_resident_mb", "loaded_own_mb", "batch_ms", "spawn_ms"),
)
LARGE_KEYS: Final = (
    "large_messages",
    *("large_sends_per_s", "large_send_p50_ms", "large_send_p99_ms", "large_disk_ms"),
    *("large_reads_per_s", "large_read_p50_ms", "large_read_p99_ms"),
    *("large_resident_mb", "large_own_mb"),
)
LARGE_NEEDS: Final = ("spawn_fleet", "send_message", "get_inbox", "get_health")
FLEETS_KEYS: Final = ("list_fleets_ms", "list_fleets_p99_ms", "fleets")
SENDER, RECEIVER, READER, CROWD = range(4)
LINE_BYTES: Final = 560
SYNCS: Final = 100
WAITING: Final = 10
"""Messages in the inbox that is read over and over."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked.

    Attributes:
        calls: Of ping, of sends, of reads.
        crowded: Reads of the inbox to which all was sent.
        batch: Messages of a `send_messages`.
        spawned: Agents of a `spawn_fleet`.
        messages: How many lie in the large ledger.
        seeding_s: How long a server that does not take a ledger as it is may be sent messages instead.
        fleets: How many there are while they are listed.
        listings: How often they are.
    """

    calls: int
    crowded: int
    batch: int
    spawned: int
    messages: int
    seeding_s: float
    fleets: int
    listings: int


def measure_calls(house: House, sheet: Sheet, load: Load) -> None:
    """Everything that is asked of a server whose ledger is empty."""
    session = house.start()
    idle = session.processes()
    with sheet.part("pings_per_s", "ping_p50_ms", "ping_p99_ms"):
        session.require("ping")
        _add_rate(sheet, "ping", _answered(session, [session.client.request_of("ping") for _ in range(load.calls)]))
    with sheet.part(*KEYS[3:]):
        crew = crew_of(session, 4)
        _measure_sends_and_reads(session, crew, sheet, load.calls)
        sheet.add(disk_ms=_sync_ms(house))
        _measure_crowded(session, crew, sheet, load.crowded)
        memory = memory_of(idle)
        sheet.add(loaded_resident_mb=memory.resident / MB, loaded_own_mb=memory.own / MB)
        _measure_batch(session, crew, sheet, load.batch)
        _measure_spawning(session, sheet, load.spawned)
    house.end(session)


def measure_large(house: House, sheet: Sheet, load: Load) -> None:
    """Sends and reads where that many messages lie; the house has them, or they are sent."""
    session = house.start()
    idle = session.processes()
    with sheet.part(*LARGE_KEYS):
        crew = crew_of(session, 4)
        there = _messages_there(session)
        if there < load.messages:
            there = _fill(session, crew, load, there)
        sheet.add(large_messages=there)
        _measure_sends_and_reads(session, crew, sheet, load.calls, "large_")
        sheet.add(large_disk_ms=_sync_ms(house))
        memory = memory_of(idle)
        sheet.add(large_resident_mb=memory.resident / MB, large_own_mb=memory.own / MB)
    house.end(session)


def measure_fleets(house: House, sheet: Sheet, load: Load) -> None:
    """List the fleets that the house has."""
    session = house.start()
    with sheet.part(*FLEETS_KEYS):
        there = len(session.call("list_fleets")["fleets"])
        if there < load.fleets:
            raise Refused(f"it does not take a ledger with {load.fleets} fleets as it is")
        timed = _answered(session, [session.client.request_of("list_fleets") for _ in range(load.listings)])
        sheet.add(
            list_fleets_ms=percentile(timed.each, 50), list_fleets_p99_ms=percentile(timed.each, 99), fleets=there
        )
    house.end(session)


def _measure_sends_and_reads(session: Session, crew: Crew, sheet: Sheet, calls: int, prefix: str = "") -> None:
    client = session.client
    with sheet.part(*(prefix + name for name in ("sends_per_s", "send_p50_ms", "send_p99_ms"))):
        # the first ones also warm the server up
        _answered(session, [client.request_of("send_message", **crew.message(READER)) for _ in range(WAITING)])
        requests = [client.request_of("send_message", **crew.message(RECEIVER)) for _ in range(calls)]
        _add_rate(sheet, f"{prefix}send", _answered(session, requests))
    with sheet.part(*(prefix + name for name in ("reads_per_s", "read_p50_ms", "read_p99_ms"))):
        session.require("get_inbox")
        timed = _answered(session, [_read(session, crew, READER) for _ in range(calls)])
        _require_messages(timed.answers[-1], WAITING)
        _add_rate(sheet, f"{prefix}read", timed)


def _measure_crowded(session: Session, crew: Crew, sheet: Sheet, reads: int) -> None:
    with sheet.part("crowded_reads_per_s", "crowded_reads_of", "crowded_read_p50_ms"):
        session.require("get_inbox")
        timed = _answered(session, [_read(session, crew, RECEIVER) for _ in range(reads)])
        sheet.add(
            crowded_reads_per_s=reads / timed.seconds,
            crowded_reads_of=len(object_in(timed.answers[-1])["messages"]),
            crowded_read_p50_ms=percentile(timed.each, 50),
        )


def _measure_batch(session: Session, crew: Crew, sheet: Sheet, size: int) -> None:
    with sheet.part("batch_ms"):
        session.require("send_messages")
        request = session.client.request_of("send_messages", messages=[crew.message(CROWD)] * size)
        sheet.add(batch_ms=percentile(_answered(session, [request]).each, 50))


def _measure_spawning(session: Session, sheet: Sheet, agents: int) -> None:
    with sheet.part("spawn_ms"):
        specs = [{"role": f"Sleeper {number}", "prompt": "sleep"} for number in range(agents)]
        timed = _answered(session, [session.client.request_of("spawn_fleet", agents=specs)])
        sheet.add(spawn_ms=percentile(timed.each, 50))


def _sync_ms(house: House) -> float:
    """What the disk takes just now for a line as long as a send's, in ms: how quick it is changes within minutes."""
    path = house.data_file.with_name("floor")
    return append_lines(path, [b"x" * LINE_BYTES] * SYNCS, sync=True) / SYNCS * 1000


def _messages_there(session: Session) -> int:
    count: Any = session.call("get_health").get("messages", 0)
    return count if isinstance(count, int) else int(count.get("total", 0))


def _fill(session: Session, crew: Crew, load: Load, there: int) -> int:
    """Send until there are enough, or the time is over; returns how many there are."""
    session.require("send_message")
    until = time.monotonic() + load.seeding_s
    while there < load.messages and time.monotonic() < until:
        some = min(500, load.messages - there)
        _answered(session, [session.client.request_of("send_message", **crew.message(CROWD)) for _ in range(some)])
        there += some
    return there


def _read(session: Session, crew: Crew, whose: int) -> bytes:
    return session.client.request_of("get_inbox", agent_id=crew.agent_ids[whose])


def _answered(session: Session, requests: list[bytes]) -> Timed:
    """Ask; each has to be answered without an error, which is looked at afterwards."""
    timed = session.client.run(requests)
    for answer in timed.answers:
        object_in(answer)
    return timed


def _require_messages(answer: bytes, count: int) -> None:
    found = len(object_in(answer)["messages"])
    if found != count:
        raise Refused(f"{found} messages are there, {count} were sent")


def _add_rate(sheet: Sheet, name: str, timed: Timed) -> None:
    sheet.add(
        **{
            f"{name}s_per_s": len(timed.each) / timed.seconds,
            f"{name}_p50_ms": percentile(timed.each, 50),
            f"{name}_p99_ms": percentile(timed.each, 99),
        }
    )
