"""Several servers on one ledger, each with a client that sends as fast as it is answered; what got lost is counted."""

from __future__ import annotations

import selectors
import time
from dataclasses import dataclass
from typing import Final

from benchmark.over_stdio.client import Refused, heard, object_in
from benchmark.over_stdio.session import Crew, House, Session, crew_of
from benchmark.over_stdio.sheet import Sheet

KEYS: Final = ("together_s", "together_per_s", "together_refused", "together_lost")
NEEDS: Final = ("spawn_fleet", "send_message", "get_inbox", "ping")


@dataclass(frozen=True, slots=True)
class Throng:
    """How many servers, and how many sends each of them is asked for."""

    servers: int
    sends: int


def measure_together(house: House, sheet: Sheet, throng: Throng) -> None:
    """Have servers take sends at once; one more, started afterwards, says what is there."""
    with sheet.part(*KEYS):
        sessions = [house.start()]
        crew = crew_of(sessions[0], throng.servers + 1)
        sessions += [house.start() for _ in range(throng.servers - 1)]
        for session in sessions:
            session.call("ping")
        seconds, sent = _send_from_all(sessions, crew, throng.sends)
        for session in sessions:
            house.end(session)
        kept = _kept(house, crew)
        refused = throng.servers * throng.sends - len(sent)
        sheet.add(
            together_s=seconds,
            together_per_s=len(sent) / seconds,
            together_refused=refused,
            together_lost=len(sent - kept),
        )


def _send_from_all(sessions: list[Session], crew: Crew, sends: int) -> tuple[float, set[str]]:
    """How long it took, and the ids of the messages that were acknowledged."""
    lines = {
        session.client: [session.client.request_of("send_message", **crew.message(0, place + 1)) for _ in range(sends)]
        for place, session in enumerate(sessions)
    }
    answers: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        for client in lines:
            selector.register(client, selectors.EVENT_READ)
        began = time.perf_counter()
        for client, rest in lines.items():
            client.write(rest.pop())
        while selector.get_map():
            for client, answer in heard(selector):
                answers.append(answer)
                if lines[client]:
                    client.write(lines[client].pop())
                else:
                    selector.unregister(client)
        seconds = time.perf_counter() - began
    return seconds, {message_id for answer in answers if (message_id := _id_in(answer))}


def _id_in(answer: bytes) -> str | None:
    try:
        return str(object_in(answer)["message_id"])
    except Refused:
        return None


def _kept(house: House, crew: Crew) -> set[str]:
    session = house.start()
    kept = {message["id"] for message in session.call("get_inbox", agent_id=crew.agent_ids[0])["messages"]}
    house.end(session)
    return kept
