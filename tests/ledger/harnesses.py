"""Running harnesses in small processes of their own, as the enumerations of crash points and power cuts want them.

Their thousands of ledgers lie in memory where the system has a folder for that: no harness waits for the disk, and what
a disk would keep is a model of the harness' own. That is half the work and a quarter of the time.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Final

ROOT: Final = Path(__file__).parents[2]
PATIENCE_S: Final = 110
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of one's own is made in it
"""Where Linux has a folder in memory."""
OUTPUT: Final = "harness.out"
ERRORS: Final = "harness.err"

ReportOf = Callable[..., dict[str, Any]]
"""Tells what a harness found, by its name, a folder and its arguments."""


@contextmanager
def harness_server() -> Generator[ReportOf]:
    """Have every harness forked from one process, which ends at the end of a `with` statement."""
    command = [sys.executable, "-m", "tests.ledger.harness_server"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as server:
        asking, answering = server.stdin, server.stdout
        assert asking is not None
        assert answering is not None

        def report_of(harness: str, folder: Path, *arguments: str) -> dict[str, Any]:
            return _report_of(asking, answering, (harness, *arguments), folder)

        try:
            yield report_of
        finally:
            # together with a harness that was not waited for
            os.killpg(server.pid, signal.SIGKILL)


def _report_of(asking: IO[str], answering: IO[str], command: tuple[str, ...], folder: Path) -> dict[str, Any]:
    with in_memory(folder) as place:
        asking.write(json.dumps([str(place), *command]) + "\n")
        asking.flush()
        assert select.select([answering], [], [], PATIENCE_S)[0], f"{command} takes too long"
        status = answering.readline()
        assert status == "0\n", f"{status}{_text_of(place / ERRORS)}"
        report: dict[str, Any] = json.loads(_text_of(place / OUTPUT))
    return report


def _text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@contextmanager
def in_memory(folder: Path) -> Generator[Path]:
    """A folder in memory for the time of a `with` statement, or the given one where there is no memory for that."""
    if not os.access(MEMORY, os.W_OK | os.X_OK):
        yield folder
        return
    with TemporaryDirectory(prefix="meshfleet-tests-", dir=MEMORY) as place:
        yield Path(place)
