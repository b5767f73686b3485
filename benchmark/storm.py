"""`make storm`: writers, readers and compactions under random SIGKILLs; what was acknowledged has to be there after.

One process without threads forks the crew, collects what it is told through pipes, and kills. From time to time all
are killed, a fresh process looks at what is left, and a new ledger is begun, so that the storm can go on for hours.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import secrets
import selectors
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from benchmark import storm_crew as crew

MEAN_PAUSE_S: Final = 0.02
"""Between two kills."""
KILLS_A_LEDGER: Final = 100
SENDS_A_LEDGER: Final = 20_000
REPORT_EVERY_S: Final = 10.0
CREW: Final = (crew.write, crew.write, crew.write, crew.compact, crew.read)

Part = Callable[[Path, str, Random, crew.Tell], None]


@dataclass
class Toll:
    """What a storm did.

    Attributes:
        seed: What the chances came from.
        kills: Processes that ended by SIGKILL.
        at_a_step: Those of them that were at, or in the middle of, a chosen file operation.
        sent: Transactions that were acknowledged.
        unacknowledged: Transactions that are there although nobody lived to acknowledge them.
        compactions: Snapshots replaced.
        reads: Views that readers checked.
        torn_tails: Torn tails met, and cut off.
        ledgers: Ledgers used up.
        seconds: How long it took.
        losses: Acknowledged transactions that are gone.
        wrong: Everything else that should not be.
    """

    seed: int
    kills: int = 0
    at_a_step: int = 0
    sent: int = 0
    unacknowledged: int = 0
    compactions: int = 0
    reads: int = 0
    torn_tails: int = 0
    ledgers: int = 0
    seconds: float = 0.0
    losses: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.seconds:6.0f} s: {self.kills:,} kills ({self.at_a_step:,} at a chosen file operation), "
            f"{self.sent:,} transactions, {self.unacknowledged:,} more not acknowledged, "
            f"{self.compactions:,} compactions, {self.reads:,} reads, {self.torn_tails:,} torn tails met and repaired, "
            f"{self.ledgers} ledgers, losses: {self.losses}"
        )


@dataclass
class Member:
    """A process of the crew.

    Attributes:
        part: What it does.
        name: The sender of its messages.
        pid: The process.
        pipe: Where it tells of it.
        told: How often it told what.
        doomed: Whether it was sent a SIGKILL.
    """

    part: Part
    name: str
    pid: int
    pipe: int
    told: Counter[bytes] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    doomed: bool = False
    unread: bytes = b""

    def hear(self) -> bool:
        """Take in what it told; False once it is gone and told everything."""
        data = os.read(self.pipe, 1 << 20)
        *lines, self.unread = (self.unread + data).split(b"\n")
        self.told.update(line for line in lines if not line.startswith(crew.WRONG))
        self.wrong += [f"{self.name}: {line.decode()}" for line in lines if line.startswith(crew.WRONG)]
        return bool(data)


class Storm:
    """A storm over one ledger after the other.

    Args:
        folder: Where the ledgers are.
        seed: Where the chances come from.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.toll = Toll(seed)
        self._chance = Random(seed)
        self._folder = folder
        self._started = time.monotonic()
        self._said = self._started
        self._count = 0
        self._members: dict[int, Member] = {}
        self._gone: list[Member] = []

    def rage(self, *, kills: int | None, seconds: float | None, say: Callable[[str], object]) -> Toll:
        """Go on until that many were killed or so much time has passed, or something is wrong."""

        def over() -> bool:
            self.toll.seconds = time.monotonic() - self._started
            if self.toll.seconds > REPORT_EVERY_S + self._said - self._started:
                self._said = time.monotonic()
                say(str(self.toll))
            enough = kills is not None and self.toll.kills >= kills
            late = seconds is not None and self.toll.seconds >= seconds
            return enough or late or bool(self.toll.wrong) or self.toll.losses > 0

        while not over():
            file = self._folder / str(self.toll.ledgers) / "agent-mesh.json"
            file.parent.mkdir(mode=0o700)
            self._rage_over(file, over)
            self._settle(file)
            self.toll.ledgers += 1
            if not self.toll.wrong and not self.toll.losses:
                shutil.rmtree(file.parent)
        return self.toll

    def _rage_over(self, file: Path, over: Callable[[], bool]) -> None:
        """Keep the crew complete and kill at random, until the ledger is used up."""
        kills, sent = self.toll.kills, self.toll.sent
        with selectors.DefaultSelector() as selector:
            for part in CREW:
                self._start(part, file, selector)
            next_kill = time.monotonic()
            while not over() and self.toll.kills < kills + KILLS_A_LEDGER and self.toll.sent < sent + SENDS_A_LEDGER:
                for key, _ in selector.select(max(0.0, next_kill - time.monotonic())):
                    self._hear(self._members[key.fd], file, selector)
                if time.monotonic() >= next_kill:
                    self._kill(self._chance.choice(list(self._members.values())))
                    next_kill = time.monotonic() + self._chance.expovariate(1 / MEAN_PAUSE_S)
            for member in self._members.values():
                self._kill(member)
            while self._members:
                for key, _ in selector.select():
                    self._hear(self._members[key.fd], None, selector)

    def _start(self, part: Part, file: Path, selector: selectors.BaseSelector) -> None:
        self._count += 1
        member = self._fork(part, f"{part.__name__}{self._count}", file)
        self._members[member.pipe] = member
        selector.register(member.pipe, selectors.EVENT_READ)

    def _fork(self, part: Part, name: str, file: Path) -> Member:
        seed = self._chance.getrandbits(64)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            _play(part, name, file, Random(seed), writing, close=[reading, *self._members])
        os.close(writing)
        return Member(part, name, pid, reading)

    def _kill(self, member: Member) -> None:
        if not member.doomed:
            member.doomed = True
            os.kill(member.pid, signal.SIGKILL)

    def _hear(self, member: Member, file: Path | None, selector: selectors.BaseSelector) -> None:
        """Take in what a member told; one that is gone is replaced, if there is a file to go on with."""
        before = Counter(member.told)
        alive = member.hear()
        self.toll.sent += member.told[crew.SENT] - before[crew.SENT]
        self.toll.reads += member.told[crew.READ] - before[crew.READ]
        self.toll.compactions += member.told[crew.COMPACTED] - before[crew.COMPACTED]
        self.toll.torn_tails += member.told[crew.TORN] - before[crew.TORN]
        if alive:
            return
        selector.unregister(member.pipe)
        del self._members[member.pipe]
        self._bury(member)
        if file is not None:
            self._start(member.part, file, selector)

    def _bury(self, member: Member) -> None:
        os.close(member.pipe)
        _, status = os.waitpid(member.pid, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        self.toll.kills += killed
        self.toll.at_a_step += killed and not member.doomed
        self.toll.wrong += member.wrong
        if not killed and os.waitstatus_to_exitcode(status) != 0:
            self.toll.wrong.append(f"{member.name} ended with {os.waitstatus_to_exitcode(status)}")
        self._gone.append(member)

    def _settle(self, file: Path) -> None:
        """Have a fresh process look at what is left, and hold it against what the dead were told."""
        judge = self._fork(crew.judge, "judge", file)
        while judge.hear():
            pass
        os.close(judge.pipe)
        os.waitpid(judge.pid, 0)
        if not judge.told:
            self.toll.wrong.append(f"{file} can't be opened")
            return
        found: dict[str, Any] = json.loads(next(iter(judge.told)))
        self.toll.wrong += found["wrong"]
        self.toll.torn_tails += found["torn"]
        arrived = Counter(message_id.partition(".")[0] for message_id in found["arrived"])
        for member in self._gone:
            more = arrived.pop(member.name, 0) - member.told[crew.SENT]
            self.toll.losses += max(0, -more)
            self.toll.unacknowledged += max(0, more)
            if more > 1:
                self.toll.wrong.append(f"{member.name} was not told of {more} messages that are there")
        if arrived:
            self.toll.wrong.append(f"nobody sent what {', '.join(arrived)} did")
        self._gone.clear()


def _play(part: Part, name: str, file: Path, chance: Random, pipe: int, close: list[int]) -> None:
    """Do a part in this process, which is a copy of the storm's and must never go on as it."""
    try:
        for fd in close:
            os.close(fd)
        part(file, name, chance, lambda line: _tell(pipe, line))
        os._exit(0)
    except BaseException:  # noqa: BLE001 - as above
        traceback.print_exc()
        os._exit(1)


def _tell(pipe: int, line: bytes) -> None:
    data = line + b"\n"
    while data:
        data = data[os.write(pipe, data) :]


def main() -> int:
    """Let a storm rage; 1 when anything was lost, or is not as it should be."""
    parser = argparse.ArgumentParser(prog="benchmark.storm", description=__doc__)
    parser.add_argument("--seconds", type=float, help="how long (600)")
    parser.add_argument("--kills", type=int, help="how many kills at least, instead of a time")
    parser.add_argument(
        "--seed", type=int, help="the chances of another storm; what happens when still depends on time"
    )
    parser.add_argument("--folder", type=Path, help="where the ledgers are; what went wrong is left there")
    parser.add_argument("--json", action="store_true", help="print figures only")
    options = parser.parse_args()
    seconds = 600.0 if options.seconds is None and options.kills is None else options.seconds
    seed = secrets.randbits(32) if options.seed is None else options.seed
    folder = options.folder or Path(tempfile.mkdtemp(prefix="meshfleet-storm-"))

    def say(line: str) -> None:
        if not options.json:
            print(line, flush=True)

    logging.disable()  # torn tails are counted
    say(f"seed {seed}, ledgers in {folder}")
    toll = Storm(folder, seed).rage(kills=options.kills, seconds=seconds, say=say)
    if options.json:
        print(json.dumps(vars(toll)))
    for line in (str(toll), *toll.wrong):
        say(line)
    if toll.losses or toll.wrong:
        return 1
    if options.folder is None:
        folder.rmdir()
    return 0


if __name__ == "__main__":
    sys.exit(main())
