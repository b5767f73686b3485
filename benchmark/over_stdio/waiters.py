"""Agents that wait, each with a server of its own: what they use, and how soon they have what is sent to them."""

from __future__ import annotations

import random
import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmark.over_stdio.client import Refused, heard, object_in
from benchmark.over_stdio.session import Crew, House, Session, crew_of, memory_of, used_by
from benchmark.over_stdio.sheet import Sheet, percentile
from benchmark.over_stdio.starting import MB

if TYPE_CHECKING:
    import psutil

KEYS: Final = (
    *("waiters", "waiters_starting_s", "waiter_pss_mb", "waiting_core", "waiting_beside_core"),
    *("woken_p50_ms", "woken_p99_ms", "all_woken_p50_ms", "all_woken_last_ms"),
)
NEEDS: Final = ("spawn_fleet", "send_message", "wait_for_messages", "ack_message")
AT_ONCE: Final = 8
"""How many servers start at a time."""
SETTLING_S: Final = 2.0
"""How long after the last one began to wait it is waited, in seconds, before it is measured what they use."""
WAIT_MS: Final = 50_000
BETWEEN_S: Final = (0.02, 0.04)
"""The least and the longest time between an answer and the next message, in seconds, by chance."""
A_SECOND: Final = 50
"""How many messages are sent to somebody else meanwhile."""


@dataclass(frozen=True, slots=True)
class Wait:
    """How many wait, for how many seconds it is measured what that uses (twice), and how often one is woken."""

    agents: int
    seconds: float
    wakings: int


def measure_waiters(house: House, sheet: Sheet, wait: Wait) -> None:
    """Have each agent of a fleet wait for messages, and send some."""
    with sheet.part(*KEYS):
        sender = house.start()
        crew = crew_of(sender, wait.agents + 1)
        began = time.perf_counter()
        waiters = _started(house, crew, wait.agents)
        sheet.add(waiters=wait.agents, waiters_starting_s=time.perf_counter() - began)
        processes = [process for waiter in waiters for process in waiter.session.processes()]
        for waiter in waiters:
            waiter.wait()
        time.sleep(SETTLING_S)
        shared_out = memory_of(processes).shared_out
        if shared_out is not None:
            sheet.add(waiter_pss_mb=shared_out / MB / wait.agents)
        sheet.add(waiting_core=_percent_of_a_core(processes, lambda: time.sleep(wait.seconds)))
        sheet.add(
            waiting_beside_core=_percent_of_a_core(processes, lambda: _send_to_another(sender, crew, wait.seconds))
        )
        chosen = random.choices(waiters, k=wait.wakings)
        woken = [_wake(sender, crew, waiter) for waiter in chosen]
        sheet.add(woken_p50_ms=percentile(woken, 50), woken_p99_ms=percentile(woken, 99))
        all_woken = _wake_all(sender, crew, waiters)
        sheet.add(all_woken_p50_ms=percentile(all_woken, 50), all_woken_last_ms=max(all_woken) * 1000)


class _Waiter:
    """An agent's own server, and which agent it is."""

    def __init__(self, session: Session, place: int, agent_id: str) -> None:
        self.session, self.place, self.agent_id = session, place, agent_id

    def wait(self) -> None:
        """Ask, and do not wait for the answer."""
        self.session.client.post("wait_for_messages", agent_id=self.agent_id, timeout_ms=WAIT_MS)

    def settle(self, answer: bytes) -> None:
        """Acknowledge what it was told of."""
        messages = object_in(answer)["messages"]
        if not messages:
            raise Refused("a wait was answered before a message came")
        for message in messages:
            self.session.client.call("ack_message", agent_id=self.agent_id, message_id=message["id"])


def _started(house: House, crew: Crew, agents: int) -> list[_Waiter]:
    waiters: list[_Waiter] = []
    while len(waiters) < agents:
        places = range(len(waiters) + 1, min(len(waiters) + AT_ONCE, agents) + 1)
        clients = [
            house.begin(MESHFLEET_AGENT_ID=crew.agent_ids[place], MESHFLEET_FLEET_ID=crew.fleet_id) for place in places
        ]
        sessions = [Session(client) for client in clients]
        waiters += [
            _Waiter(session, place, crew.agent_ids[place]) for session, place in zip(sessions, places, strict=True)
        ]
    return waiters


def _send_to_another(sender: Session, crew: Crew, seconds: float) -> None:
    """Send so often to the one agent of the fleet that does not wait."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sender.call("send_message", **crew.message(0, sender=1))
        time.sleep(1 / A_SECOND)


def _wake(sender: Session, crew: Crew, waiter: _Waiter) -> float:
    """Seconds from a send until who waits for it has it."""
    time.sleep(random.uniform(*BETWEEN_S))
    request = sender.client.request_of("send_message", **crew.message(waiter.place))
    began = time.perf_counter()
    sender.client.write(request)
    answer = waiter.session.client.answer()
    passed = time.perf_counter() - began
    object_in(sender.client.answer())
    waiter.settle(answer)
    waiter.wait()
    return passed


def _wake_all(sender: Session, crew: Crew, waiters: list[_Waiter]) -> list[float]:
    """Seconds from a broadcast until each of those who wait has it."""
    request = sender.client.request_of("send_message", **crew.message(0) | {"to_agent_id": "*"})
    passed: list[float] = []
    with selectors.DefaultSelector() as selector:
        for waiter in waiters:
            selector.register(waiter.session.client, selectors.EVENT_READ)
        began = time.perf_counter()
        sender.client.write(request)
        while selector.get_map():
            for client, _ in heard(selector):
                passed.append(time.perf_counter() - began)
                selector.unregister(client)
    object_in(sender.client.answer())
    return passed


def _percent_of_a_core(processes: list[psutil.Process], deed: Callable[[], None]) -> float:
    before, began = used_by(processes), time.monotonic()
    deed()
    return (used_by(processes) - before) / (time.monotonic() - began) * 100
