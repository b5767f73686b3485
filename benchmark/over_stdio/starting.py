"""How long a server takes until it answers, and what it holds when nothing is asked of it."""

from __future__ import annotations

import time
from typing import Final

from benchmark.over_stdio.session import House, memory_of
from benchmark.over_stdio.sheet import Sheet

RESOURCES: Final = ("resources_ms", "resources_resident_mb")
KEYS: Final = ("initialize_ms", "first_call_ms", "idle_resident_mb", "idle_own_mb", "idle_pss_mb", *RESOURCES)
SETTLING_S: Final = 0.5
MB: Final = 1024**2


def measure_starting(house: House, sheet: Sheet) -> None:
    """Start it, greet it, ask it once, and look at its memory half a second later; then the same for resources."""
    with sheet.part("initialize_ms"):
        session = house.start()
        sheet.add(initialize_ms=session.greeted_s * 1000)
    with sheet.part("first_call_ms"):
        # without asking for the tools first, which would be a call before the first
        session.client.call("ping")
        sheet.add(first_call_ms=(time.perf_counter() - session.client.began) * 1000)
    with sheet.part("idle_resident_mb", "idle_own_mb", "idle_pss_mb"):
        time.sleep(SETTLING_S)
        memory = memory_of(session.processes())
        sheet.add(idle_resident_mb=memory.resident / MB, idle_own_mb=memory.own / MB)
        if memory.shared_out is not None:
            sheet.add(idle_pss_mb=memory.shared_out / MB)
    with sheet.part(*RESOURCES):
        # a server may load for it what it can do without before
        asked = time.perf_counter()
        session.client.ask("resources/list")
        sheet.add(resources_ms=(time.perf_counter() - asked) * 1000)
        time.sleep(SETTLING_S)
        sheet.add(resources_resident_mb=memory_of(session.processes()).resident / MB)
    with sheet.part():
        sheet.tools = session.tools()
    house.end(session)
