"""Running a harness in a small process of its own, as the enumerations of crash points and power cuts want it.

Their thousands of ledgers lie in memory where the system has a folder for that: no harness waits for the disk, and what
a disk would keep is a model of the harness' own. That is half the work and a quarter of the time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
PATIENCE_S: Final = 110
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of one's own is made in it
"""Where Linux has a folder in memory."""


def report_of(harness: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """What a harness of this folder found."""
    with in_memory(folder) as place:
        command = [sys.executable, "-m", f"tests.ledger.{harness}", str(place), *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@contextmanager
def in_memory(folder: Path) -> Generator[Path]:
    """A folder in memory for the time of a `with` statement, or the given one where there is no memory for that."""
    if not os.access(MEMORY, os.W_OK | os.X_OK):
        yield folder
        return
    with TemporaryDirectory(prefix="meshfleet-tests-", dir=MEMORY) as place:
        yield Path(place)
