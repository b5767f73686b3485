"""What has to hold of a soak while it goes on and when it is over: nobody twice, nobody forgotten, nothing left."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from meshfleet.agents.census import Census, take_census
from meshfleet.agents.process import ProcessIdentity, is_same_process
from meshfleet.ledger import Ledger, View
from meshfleet.ledger.event_lines import parsed
from meshfleet.ledger.events import older_log
from meshfleet.mesh.supervision import running_agents
from meshfleet.model import AgentStatus, Row, attempt_key
from meshfleet.settings import beside

EVENTS_OF_A_KILL: Final = 4
"""What the log may lack of a server that is killed: the events of what its threads had just written."""
_DECIDED: Final = ("ended_at", "ok", "reason", "exit")


class Watch:
    """Looks at the process table and the ledger again and again.

    Args:
        ledger: The soak's.
        most_running: How many agents may run at once.
    """

    def __init__(self, ledger: Ledger, most_running: int) -> None:
        self._ledger = ledger
        self._most_running = most_running
        self._decided: dict[str, list[Any]] = {}
        self.looks = 0
        self.most_seen_running = 0
        self._found: dict[tuple[str, str], str] = {}

    @property
    def wrong(self) -> list[str]:
        """What is not as it should be; what goes on being wrong is told once."""
        return list(self._found.values())

    def look(self) -> None:
        """Check what is so at this moment."""
        self.looks += 1
        # in this order: what the ledger says has ended must be gone by the time the processes are looked at
        attempts, running = self._ledger.read(lambda view: (_attempts_in(view), running_agents(view)))
        census = take_census()
        self.most_seen_running = max(self.most_seen_running, running)
        if running > self._most_running:
            self._find("too many", "", f"{running} agents ran at once, of {self._most_running} that may")
        self._see_settled(attempts)
        self._see_processes(attempts, census)

    def left(self) -> list[str]:
        """The markers of ours that processes still carry."""
        attempts = self._ledger.read(_attempts_in)
        return sorted(attempts.keys() & take_census().marked.keys())

    def _find(self, kind: str, where: str, what: str) -> None:
        self._found.setdefault((kind, where), what)

    def _see_settled(self, attempts: dict[str, Row]) -> None:
        for marker, row in attempts.items():
            if "ended_at" not in row:
                continue
            decided = [row.get(field) for field in _DECIDED]
            if self._decided.setdefault(marker, decided) != decided:
                self._find("twice", marker, f"{marker} was settled twice: {self._decided[marker]}, then {decided}")

    def _see_processes(self, attempts: dict[str, Row], census: Census) -> None:
        alive: dict[str, list[str]] = defaultdict(list)
        for marker in census.marked.keys() & attempts.keys():
            row = attempts[marker]
            alive[row["agent_id"]].append(marker)
            # one that did its work may leave something running on purpose
            if row.get("ok") is False and (left := _alive(census, [marker])):
                self._find("alive", marker, f"{marker} was settled while its processes {_pids(left)} were alive: {row}")
        for agent_id, markers in alive.items():
            older = sorted(markers, key=lambda marker: int(attempts[marker]["number"]))[:-1]
            earlier = [marker for marker in older if attempts[marker].get("ok") is not True]
            # the table is not read at one instant: only who is alive now was so when the others were seen
            if earlier and (left := _alive(census, earlier)):
                self._find(
                    "both",
                    agent_id,
                    f"agent {agent_id} ran twice at once: {sorted(markers)}, {_pids(left)} of {earlier}",
                )


def _alive(census: Census, markers: Iterable[str]) -> list[ProcessIdentity]:
    marked = (census.entries[pid].identity for marker in markers for pid in census.marked.get(marker, ()))
    return [process for process in marked if is_same_process(process)]


def _pids(processes: Iterable[ProcessIdentity]) -> str:
    return ", ".join(str(process.pid) for process in processes)


def _attempts_in(view: View) -> dict[str, Row]:
    return {attempt_key(row["agent_id"], row["number"]): row for row in view.rows("attempts")}


def wrong_in_rows(ledger: Ledger) -> list[str]:
    """What is wrong with the rows of a soak that is over."""
    wrong = []
    attempts, agents, fleets = ledger.read(
        lambda view: (_attempts_in(view), list(view.rows("agents")), list(view.rows("fleets")))
    )
    ended = {str(status) for status in AgentStatus if status.has_ended}
    for agent in agents:
        number = int(agent.get("attempt", 0))
        mine = [attempts.get(attempt_key(agent["id"], each)) for each in range(1, number + 1)]
        if agent["status"] not in ended:
            wrong.append(f"agent {agent['id']} is {agent['status']}: {agent}")
        if None in mine:
            wrong.append(f"agent {agent['id']} lacks one of its {number} attempts")
        last = mine[-1] if mine else None
        if agent["status"] == "complete" and (last is None or last.get("ok") is not True):
            wrong.append(f"agent {agent['id']} is complete after {last}")
    wrong += [f"attempt {marker} was not settled: {row}" for marker, row in attempts.items() if "ended_at" not in row]
    had = sum(int(agent.get("attempt", 0)) for agent in agents)
    if had != len(attempts):
        wrong.append(f"agents had {had} attempts, and {len(attempts)} are there")
    for fleet in fleets:
        statuses = {agent["status"] for agent in agents if agent["fleet_id"] == fleet["id"]}
        if fleet["status"] != ("complete" if statuses == {"complete"} else "failed"):
            wrong.append(f"fleet {fleet['id']} is {fleet['status']}, and its agents are {sorted(statuses)}")
    return wrong


def wrong_with_starts(ledger: Ledger, starts: Iterable[str]) -> list[str]:
    """What is wrong with the runs that were begun: each attempt is one at most, and was written down before."""
    attempts = ledger.read(_attempts_in)
    wrong = [f"attempt {marker} was run {count} times" for marker, count in Counter(starts).items() if count > 1]
    return wrong + [f"a run of {marker} was begun, which is no attempt" for marker in set(starts) - attempts.keys()]


class Events:
    """The event log of a soak, counted."""

    def __init__(self, data_file: Path) -> None:
        self.count: Counter[str] = Counter()
        self.started: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.broken = 0
        log = beside(data_file, "events.log")
        for path in (older_log(log), log):
            if path.exists():
                self._take_in(path)

    def _take_in(self, path: Path) -> None:
        for line in path.read_bytes().splitlines():
            event = parsed(line)
            if event is None:
                self.broken += 1
                continue
            self.count[event.name] += 1
            for name, counter in (("attempt_started", self.started), ("attempt_ended", self.ended)):
                if event.name == name:
                    counter[attempt_key(event.fields["agent_id"], event.fields["attempt"])] += 1

    def missing(self, ledger: Ledger) -> int:
        """How many attempts the log does not tell the beginning of, or the end: their server was killed just then."""
        attempts = ledger.read(_attempts_in)
        return sum(marker not in counter for marker in attempts for counter in (self.started, self.ended))

    def wrong(self, ledger: Ledger, kills: int) -> list[str]:
        """What is wrong with them, when so many servers were killed."""
        wrong = []
        for what, counter in (("started", self.started), ("ended", self.ended)):
            twice = [f"{marker} {what} {count} times" for marker, count in counter.items() if count > 1]
            wrong += [f"the log says that {each}" for each in twice]
        if (missing := self.missing(ledger)) > EVENTS_OF_A_KILL * kills:
            wrong.append(f"the log lacks {missing} beginnings and ends of attempts, after {kills} kills")
        if self.broken > kills:
            wrong.append(f"the log has {self.broken} broken lines, after {kills} kills")
        return wrong
