"""What the figures over stdio are called, and in which order they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table.

    Attributes:
        key: The figure's name in a sheet.
        title: What it says; in braces what a plan says.
        unit: Of the figure, as it is shown.
        digits: Behind the point.
        compared: Whether the ratio of two servers says anything.
    """

    key: str
    title: str
    unit: str = ""
    digits: int = 0
    compared: bool = True

    @property
    def most_is_best(self) -> bool:
        return self.unit == "a second"


ROWS: Final = (
    Row("initialize_ms", "start to `initialize` answered", "ms"),
    Row("first_call_ms", "start to the first answered call (`ping`)", "ms"),
    Row("idle_resident_mb", "idle memory, resident", "MB", 1),
    Row("idle_pss_mb", "idle memory, its share of what is shared", "MB", 1),
    Row("idle_own_mb", "idle memory, its own alone", "MB", 1),
    Row("resources_ms", "the first `resources/list`", "ms", 1),
    Row("resources_resident_mb", "memory after that, resident", "MB", 1),
    Row("pings_per_s", "`ping`", "a second"),
    Row("ping_p50_ms", "one `ping`, median", "ms", 2),
    Row("ping_p99_ms", "one `ping`, 1 in 100 exceeds", "ms", 2),
    Row("sends_per_s", "`send_message`", "a second"),
    Row("send_p50_ms", "one send, median", "ms", 2),
    Row("send_p99_ms", "one send, 1 in 100 exceeds", "ms", 2),
    Row("disk_ms", "the disk just then: a line appended and synced, mean", "ms", 2, compared=False),
    Row("reads_per_s", "`get_inbox` of 10 messages", "a second"),
    Row("read_p50_ms", "one read, median", "ms", 2),
    Row("read_p99_ms", "one read, 1 in 100 exceeds", "ms", 2),
    Row("crowded_reads_per_s", "`get_inbox` of everything sent before", "a second"),
    Row("crowded_reads_of", "messages in that inbox", compared=False),
    Row("crowded_read_p50_ms", "one such read, median", "ms", 2),
    Row("loaded_resident_mb", "memory after all of these, resident", "MB", 1),
    Row("loaded_own_mb", "memory after all of these, its own alone", "MB", 1),
    Row("batch_ms", "`send_messages` of {load.batch:,}", "ms", 1),
    Row("spawn_ms", "`spawn_fleet` of {load.spawned:,} agents", "ms", 1),
    Row("large_messages", "messages in the large ledger", compared=False),
    Row("large_sends_per_s", "`send_message` there", "a second"),
    Row("large_send_p50_ms", "one send there, median", "ms", 2),
    Row("large_send_p99_ms", "one send there, 1 in 100 exceeds", "ms", 2),
    Row("large_disk_ms", "the disk just then", "ms", 2, compared=False),
    Row("large_reads_per_s", "`get_inbox` of 10 messages there", "a second"),
    Row("large_read_p50_ms", "one read there, median", "ms", 2),
    Row("large_read_p99_ms", "one read there, 1 in 100 exceeds", "ms", 2),
    Row("large_resident_mb", "memory there, resident", "MB", 1),
    Row("large_own_mb", "memory there, its own alone", "MB", 1),
    Row("fleets", "fleets that are listed", compared=False),
    Row("list_fleets_ms", "`list_fleets` of those, median", "ms", 2),
    Row("list_fleets_p99_ms", "`list_fleets` of those, 1 in 100 exceeds", "ms", 2),
    Row("together_s", "{throng.servers} servers on one ledger, {throng.sends:,} sends each", "s", 2),
    Row("together_per_s", "all of them, sends", "a second"),
    Row("together_refused", "of those, refused", compared=False),
    Row("together_lost", "of those, acknowledged and lost", compared=False),
    Row("waiters", "agents that wait, each with its own server", compared=False),
    Row("waiters_starting_s", "until all of their servers have started", "s", 1),
    Row("waiter_pss_mb", "memory of each, its share of what is shared", "MB", 1),
    Row("waiting_core", "all of them while nothing happens", "% of a core", 1),
    Row("waiting_beside_core", "all of them while others send 50 times a second", "% of a core", 1),
    Row("woken_p50_ms", "from a send to the answer of who waits, median", "ms", 2),
    Row("woken_p99_ms", "from a send to the answer of who waits, 1 in 100 exceeds", "ms", 2),
    Row("all_woken_p50_ms", "from a broadcast to the answers of all, median", "ms", 1),
    Row("all_woken_last_ms", "from a broadcast to the answers of all, the last", "ms", 1),
)
