"""A process whose means are cut: it may not be root, and what it asserts about a ledger it asserts by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from typing import Final

NOBODY: Final = 65_534
ROOT: Final = Path(__file__).parents[2]
PREAMBLE: Final = """
import os, resource, signal, sys, threading
from pathlib import Path
import pytest
from meshfleet.errors import Busy, Conflict, Corrupt, Invalid, Unavailable
from meshfleet.ledger import Ledger
from meshfleet.ledger.exchange import write_exported
from meshfleet.ledger.files import Files
from tests.ledger.journals import written_in
from tests.ledger.rows import bytes_of, quiet_ledger, send, waiting

# everything is imported by now: what follows may see no more than this folder
os.chdir(sys.argv[1])
if os.geteuid() == 0 and sys.argv[2] == "unprivileged":
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
FOLDER = Path(".")
FILE = FOLDER / "agent-mesh.json"
"""


def start_confined(
    folder: Path, code: str, *, unprivileged: bool = False, wrapped_in: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """Start a process that runs the code in a folder, as a user whom permissions stop if need be."""
    if unprivileged and os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    rights = "unprivileged" if unprivileged else "as you are"
    command = [*wrapped_in, sys.executable, "-c", PREAMBLE + dedent(code), str(folder), rights]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_confined(folder: Path, code: str, *, unprivileged: bool = False, wrapped_in: Sequence[str] = ()) -> None:
    """Run the code in a folder; fails with what it complained of when an assertion in it does."""
    process = start_confined(folder, code, unprivileged=unprivileged, wrapped_in=wrapped_in)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
