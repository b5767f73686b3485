"""The tables of the page, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final

from benchmark.in_process.operations import AGENTS, BATCH, WAITING
from benchmark.in_process.rates import PROCESSES, Rate
from benchmark.over_stdio.sheet import Sheet
from benchmark.report.goals import Goal
from benchmark.report.results import Results
from meshfleet.settings import Durability

MB: Final = 1024**2
TITLES: Final = {
    "send": "`send_message`",
    "batch": f"`send_messages` of {BATCH:,}",
    "ack": "`ack_message`",
    "broadcast": f"a broadcast to {AGENTS}",
    "spawn": f"`spawn_fleet` of {AGENTS}: its rows",
    "get_inbox": f"`get_inbox` of {WAITING}",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def goals(title: str, listed: Sequence[Goal], results: Results) -> str:
    """Goals, the figures beside them, and whether they are met."""
    head = f"| {title} | goal | this run | |\n| --- | --- | --- | --- |\n"
    return head + "\n".join(goal.row(results) for goal in listed)


def operations(results: Results, durability: Durability) -> str:
    """What each operation takes, with how many times the floor that is in brackets."""
    sizes = results.sizes
    head = ["", *(f"{size:,} messages" for size in sizes), "last : first", "the floor"]
    rows = []
    for processes in PROCESSES:
        for operation, title in TITLES.items():
            rates = [results.rate(operation, durability, processes, size) for size in sizes]
            taken = [rate for rate in rates if rate is not None]
            if len(taken) == len(sizes):
                who = "one process" if processes == 1 else f"{processes} processes"
                rows.append([f"{title}, {who}", *map(_cost, taken), f"{taken[-1].us / taken[0].us:.2f}", _floor(taken)])
    return table(head, rows)


def bursts(results: Results) -> str:
    """Many sends by one process."""
    rows = [
        [
            "synced" if burst.durability is Durability.POWER else "not synced",
            f"{median(burst.sends):.2f} s",
            f"{median(burst.batches):.3f} s",
            f"{median(burst.floors):.3f} s",
            f"{burst.lost}",
        ]
        for burst in results.bursts
    ]
    first = results.bursts[0]
    head = [f"{first.messages:,} messages", "one by one", f"in {first.calls} calls", "the floor of the sends", "lost"]
    return table(head, rows)


def large(results: Results) -> str:
    """Opening, looking at and compacting ledgers of each size."""
    found = results.large
    rows = [
        ["opening, ms", *(f"{median(one.opening_s) * 1000:,.0f}" for one in found)],
        ["`meshfleet inspect` from the shell, ms", *(f"{median(one.inspecting_s) * 1000:,.0f}" for one in found)],
    ]
    fields = (
        ("compacting, ms", "seconds", 1000.0),
        ("the same bytes written and synced, ms", "floor_s", 1000.0),
        ("compacting beside sends, ms", "seconds_beside_sends", 1000.0),
        ("a send before, µs", "usual_us", 1.0),
        ("a send meanwhile, µs", "beside_us", 1.0),
        ("one in 100 of those exceeds, µs", "slow_us", 1.0),
    )
    for title, name, factor in fields:
        figures = (median(getattr(each, name) for each in one.foldings) * factor for one in found)
        rows.append([title, *(f"{figure:,.0f}" for figure in figures)])
    return table(["", *(f"{one.messages:,} messages" for one in found)], rows)


def routing(results: Results) -> str:
    """Rankings."""
    rows = [
        [
            f"{timings[0].agents:,}",
            *(
                f"{median(getattr(one, name) for one in timings):,.0f}"
                for name in ("quiet_us", "changing_us", "first_us")
            ),
        ]
        for timings in results.routing
    ]
    head = [
        "`route_work` of so many agents, µs",
        "nothing changed",
        "one registered anew",
        "the first: builds the index",
    ]
    return table(head, rows)


def supervision(results: Results) -> str:
    """A server with agents that run, beside one without."""
    idle, busy = results.supervising.idle, results.supervising.busy
    rows = [
        ["share of one core", *(f"{share * 100:.1f} %" for share in (idle.core, busy.core, busy.core - idle.core))],
        ["resident, MB", *(f"{size / MB:.1f}" for size in (idle.memory, busy.memory, busy.memory - idle.memory))],
    ]
    return table(["", "no agents", f"{results.supervising.agents} agents", "more"], rows)


def elsewhere(results: Results) -> str:
    """What others were measured at, with this run's figures beside."""
    synced = next(burst for burst in results.bursts if burst.durability is Durability.POWER)
    mesh, sdk = results.mesh, results.sdk
    lost = mesh.figure("together_lost")
    crowded = f"{_told(mesh, 'reads_per_s')}; {_told(mesh, 'crowded_reads_per_s')} of {_told(mesh, 'crowded_reads_of')}"
    rows = [
        ["10,000 sends in process", "230 to 255 s", "24 to 36 s", "", f"{median(synced.sends):.1f} s", ""],
        ["sends over stdio, a second", "112, falling", "650", "", _told(mesh, "sends_per_s"), ""],
        ["calls that do nothing, a second", "", "", "1,100", _told(mesh, "pings_per_s"), _told(sdk, "pings_per_s")],
        ["inbox reads over stdio, a second", "", "1,350; 160 of 2,000", "", crowded, ""],
        ["four servers at once: lost", "84 %", "none", "", "not known" if lost is None else f"{lost:,.0f}", ""],
        [
            "start to `initialize` answered, ms",
            *("240 to 300", "370 to 395", "900"),
            *(_told(one, "initialize_ms") for one in (mesh, sdk)),
        ],
        ["idle memory, MB", "68", "79", "70", *(_told(one, "idle_resident_mb") for one in (mesh, sdk))],
    ]
    head = [
        "",
        "v0.9.0 (Node)",
        "its later version on SQLite",
        "the SDK 2.3 out of the box",
        "this run",
        "this run, the SDK alone",
    ]
    return table(head, rows)


def _cost(rate: Rate) -> str:
    times = rate.times_the_floor
    return f"{rate.us:,.0f}" if times is None else f"{rate.us:,.0f} ({times:,.1f})"


def _floor(rates: Sequence[Rate]) -> str:
    floors = [rate.floor_us for rate in rates if rate.floor_us is not None]
    return f"{median(floors):,.1f}" if floors else ""


def _told(sheet: Sheet, key: str) -> str:
    figure = sheet.figure(key)
    return sheet.words.get(key, "not known") if figure is None else f"{figure:,.0f}"
