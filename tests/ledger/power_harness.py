"""Every power cut during a scenario: what each could leave is put into a folder and opened.

    python -m tests.ledger.power_harness FOLDER SCENARIO [BROKEN_PROTOCOL]

Prints a JSON object: how many moments and how many different remains there are, and what was found wrong. A cut comes
during the one thing a process does, and also after that process died somewhere in it and others went on: they mend what
is damaged, hear that what the dead one wrote stands, and write. A ledger that is refused afterwards must have been
damaged before the cut; what the refusal says is done then, and must bring back all that could still be read.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from meshfleet.errors import Corrupt
from meshfleet.ledger import Ledger, Transaction
from meshfleet.ledger.files import Files
from meshfleet.ledger.repair import repair
from meshfleet.ledger.salvage import salvage
from tests.ledger.broken_protocols import BROKEN_PROTOCOLS
from tests.ledger.crash_scenarios import Scenario, Stage, look, opened
from tests.ledger.crashes import Died
from tests.ledger.power import Disk, Moment, RecordingFiles, Remains
from tests.ledger.power_scenarios import EXPORTED, POWER_SCENARIOS, WITHOUT_A_DEATH, check_export
from tests.ledger.rows import send, waiting

MOST_FAILURES: Final = 3
SOME_BYTES: Final = 17
TORN_AT_EVERY_BYTE: Final = frozenset(
    {
        "read after a compaction",
        "read after two compactions",
        "write after others wrote",
        "write that finds a torn tail",
    }
)
"""The scenarios whose journals are torn at every byte; the others' at every `SOME_BYTES`."""
OTHERS: Final = ("k1", "f1")
"""What others write after the process died."""


@dataclass
class Report:
    """What the cuts of a scenario did.

    Attributes:
        moments: When the power was cut.
        remains: How many different things that could leave.
        mended: How many different things were there once a torn tail was cut off, or the ledger repaired.
        unacknowledged: In how many of them a transaction was there that had not been acknowledged.
        torn: In how many of them a torn tail was cut off.
        repaired: In how many of them the ledger was refused, and repaired.
        seconds: How long all of it took.
        failures: What was wrong, after which step.
    """

    moments: int = 0
    remains: int = 0
    mended: int = 0
    unacknowledged: int = 0
    torn: int = 0
    repaired: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


class Cuts:
    """The power cuts of one scenario.

    Args:
        folder: Where the ledgers are, one at a time.
        scenario: The one thing a process does.
        every: At every so many bytes a journal that was not synced is torn.
    """

    def __init__(self, folder: Path, scenario: Scenario, every: int) -> None:
        self.report = Report()
        self._every = every
        self._folder = folder
        self._scenario = scenario
        self._seen: set[int] = set()
        self._seen_mended: set[int] = set()

    def cut_everywhere(self, *, with_deaths: bool) -> None:
        """Cut the power after every step, of the process and of those that go on when it died after any change."""
        changes = self._during(dies_before=None)
        if with_deaths:
            for changed in (0, *changes):
                self._during(dies_before=changed + 1)
                if self._scenario.attempts:
                    self._during(dies_before=changed + 1, others_ask=False)

    def _during(self, dies_before: int | None, *, others_ask: bool = True) -> list[int]:
        self._folder.mkdir()
        stage, files = _recorded_stage(self._folder / "agent-mesh.json")
        try:
            self._scenario.prepare(stage)
            disk = Disk(stage.file.parent, stage.acknowledged)
            for each in files:
                each.disk = disk
            files[0].dies_before = dies_before
            # what is done before it dies is what it does when it doesn't die
            disk.recording = dies_before is None
            with suppress(Died):
                self._scenario.act(stage, lambda message_id: _acknowledge(disk, message_id))
            disk.recording = True
            disk.note("the end")
            _others_go_on(stage, self._scenario.attempts if others_ask else (), disk)
        finally:
            stage.victim._lock.close()
            for each in files:
                each.abandon()
            shutil.rmtree(self._folder)
        for moment in disk.moments:
            self._cut(moment, stage, self._every if dies_before is None else None)
        return files[0].changes

    def _cut(self, moment: Moment, stage: Stage, every: int | None) -> None:
        self.report.moments += 1
        for remains in moment.remains(every):
            state = hash((moment.acknowledged, remains.essence()))
            if state in self._seen or len(self.report.failures) >= MOST_FAILURES:
                continue
            self._seen.add(state)
            self.report.remains += 1
            self._folder.mkdir()
            try:
                self._open(remains, moment, stage)
            except Exception as error:  # noqa: BLE001 - whatever goes wrong is what is looked for
                tails = {name: content[-60:] for name, content in remains.contents.items()}
                self.report.failures.append(f"after {moment.step}, {moment.acknowledged}: {error!r}; {tails}")
            finally:
                shutil.rmtree(self._folder)

    def _open(self, remains: Remains, moment: Moment, stage: Stage) -> None:
        check_export(remains.contents, moment.acknowledged)
        files = remains.put_into(self._folder)
        file = self._folder / "agent-mesh.json"
        self._mend(file, files, stage, remains)
        known = [message_id for message_id in moment.acknowledged if message_id != EXPORTED]
        # a tail is cut off wherever it was torn, and what has been mended is mostly the same
        state = hash((moment.acknowledged, Remains.of(self._folder, files).essence()))
        if state in self._seen_mended:
            return
        self._seen_mended.add(state)
        self.report.mended += 1
        ledgers = [opened(file, files) for _ in range(3)]
        try:
            self._check(ledgers, known)
            assert salvage(file, files).damages == []
        finally:
            for ledger in ledgers:
                ledger.close()

    def _mend(self, file: Path, files: Files, stage: Stage, remains: Remains) -> None:
        """Do what a refusal says; what was damaged is in its place until then, and aside afterwards."""
        assert all(content in remains.contents.values() for content in stage.damaged), "damaged bytes are gone"
        ledger = opened(file, files)
        if _is_refused(ledger):
            assert stage.damaged or remains.is_ragged, "it is refused, and nothing was damaged"
            repair(file, files=files)
            self.report.repaired += 1
        self.report.torn += ledger.torn_tails_cut
        kept = [path.read_bytes() for path in self._folder.glob("*.corrupt-*")]
        assert all(content in kept for content in stage.damaged), "damaged bytes are gone after the repair"

    def _check(self, ledgers: list[Ledger], known: list[str]) -> None:
        ledger, second, third = ledgers
        arrived = waiting(ledger)
        assert [message_id for message_id in arrived if message_id in known] == known, f"{arrived}, not {known}"
        extra = set(arrived) - set(known)
        assert extra <= {*self._scenario.attempts, *OTHERS, "o1", "o2"}, f"nobody sent {extra}"
        send(ledger, "after")
        assert waiting(ledger) == waiting(second) == [*arrived, "after"]
        assert ledger.compact()
        assert waiting(third) == [*arrived, "after"]
        self.report.unacknowledged += bool(extra)


def _recorded_stage(file: Path) -> tuple[Stage, list[RecordingFiles]]:
    """A stage of which every process takes note; the first one's files are the victim's."""
    files = [RecordingFiles(), RecordingFiles()]

    def more() -> RecordingFiles:
        another = RecordingFiles()
        another.disk = files[0].disk
        files.append(another)
        return another

    victim, keeper = (opened(file, each) for each in files)
    return Stage(file, files[0], victim, keeper, files_of_others=more), files


def _acknowledge(disk: Disk, message_id: str) -> None:
    disk.acknowledged.append(message_id)
    disk.note(f"{message_id} was acknowledged")


def _is_refused(ledger: Ledger) -> bool:
    """Whether a ledger is damaged, as the text says that also says what to do; it is closed afterwards."""
    try:
        look(ledger)
        # what is wrong with the last byte only a writer finds out
        ledger.transact(lambda _: None)
    except Corrupt as refusal:
        if "run meshfleet verify to see all of it, then meshfleet repair" not in str(refusal):
            raise
        return True
    finally:
        ledger.close()
    return False


def _waits_in(message_id: str, transaction: Transaction) -> bool:
    return message_id in transaction.inbox("b")


def _others_go_on(stage: Stage, attempts: tuple[str, ...], disk: Disk) -> None:
    """Repair what is damaged, ask for what the process that died attempted, and write."""
    if stage.damaged and _is_refused(stage.open()):
        repair(stage.file, files=stage.files_of_others() or Files())
    for message_id in set(attempts).difference(stage.acknowledged):
        # it may have been written by the process that died before it was on the disk
        if stage.keeper.transact(partial(_waits_in, message_id)):
            _acknowledge(disk, message_id)
    fresh = stage.open()
    for ledger, message_id in zip((stage.keeper, fresh), OTHERS, strict=True):
        send(ledger, message_id)
        _acknowledge(disk, message_id)


def main(arguments: list[str]) -> int:
    """Cut the power everywhere in one scenario."""
    logging.disable()
    folder, name, *broken = arguments
    for protocol in broken:
        BROKEN_PROTOCOLS[protocol]()
    started = time.perf_counter()
    cuts = Cuts(Path(folder) / "cuts", POWER_SCENARIOS[name], 1 if name in TORN_AT_EVERY_BYTE else SOME_BYTES)
    cuts.cut_everywhere(with_deaths=name not in WITHOUT_A_DEATH)
    cuts.report.seconds = time.perf_counter() - started
    sys.stdout.write(json.dumps(vars(cuts.report)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
