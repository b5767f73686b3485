"""Running a harness in a small process of its own, as the enumerations of crash points and power cuts want it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
PATIENCE_S: Final = 110


def report_of(harness: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """What a harness of this folder found."""
    command = [sys.executable, "-m", f"tests.ledger.{harness}", str(folder), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report
