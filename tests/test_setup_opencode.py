"""`scripts/setup-opencode`: whichever programs of that name lie about, setup goes on with one that answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import psutil
import pytest

SCRIPT: Final = Path(__file__).parents[1] / "scripts/setup-opencode"
ANSWERING: Final = "#!/bin/sh\necho 1.2.3\n"
FAILING: Final = "#!/bin/sh\necho 9.9.9; exit 1\n"
HANGING: Final = '#!/bin/sh\necho $$ >"$0.pid"\nsleep 600\n'


class Checkout:
    """A folder with the script and an environment, and folders on PATH."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "scripts").mkdir()
        shutil.copy(SCRIPT, root / "scripts")
        (root / "venv/bin").mkdir(parents=True)
        (root / "venv/bin/python").symlink_to(sys.executable)
        self.path = [str(self.program("npm", "npm", "#!/bin/sh\necho no network >&2; exit 1\n").parent)]

    def program(self, folder: str, name: str, script: str) -> Path:
        """A program in a folder of its own."""
        (self.root / folder).mkdir()
        path = self.root / folder / name
        path.write_text(script)
        path.chmod(0o755)
        return path

    def opencode(self, folder: str, script: str) -> Path:
        """An OpenCode behind the others on PATH."""
        path = self.program(folder, "opencode", script)
        self.path.append(str(path.parent))
        return path

    def setup(self, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the script for version 1.2.3."""
        path = ":".join([*self.path, "/usr/bin", "/bin"])
        clean = {name: value for name, value in os.environ.items() if name != "MESHFLEET_OPENCODE"}
        return subprocess.run(
            [self.root / "scripts/setup-opencode", "venv", "1.2.3"],
            cwd=self.root,
            env={**clean, "PATH": path, "SETUP_PATIENCE_S": "0.5", **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def linked(self) -> Path:
        """What the environment's opencode is a link to."""
        return (self.root / "venv/bin/opencode").readlink()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_the_first_program_on_path_that_answers_is_linked(checkout: Checkout) -> None:
    checkout.opencode("a", FAILING)
    answering = checkout.opencode("b", ANSWERING)
    done = checkout.setup()
    assert (done.returncode, checkout.linked) == (0, answering)
    assert done.stdout == f"opencode 1.2.3 at {answering}\n"


def test_a_program_that_hangs_is_passed_over_and_ended(checkout: Checkout) -> None:
    hanging = checkout.opencode("a", HANGING)
    answering = checkout.opencode("b", ANSWERING)
    done = checkout.setup()
    assert (done.returncode, checkout.linked) == (0, answering)
    assert f"{hanging} does not answer --version; it is passed over" in done.stderr
    pid = int(Path(f"{hanging}.pid").read_text())
    deadline = time.monotonic() + 60
    while left := [process for process in psutil.process_iter() if _runs_in(process, pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def _runs_in(process: psutil.Process, group: int) -> bool:
    """Whether it is in a group and alive: who reaps it once it is not, and when, is the system's affair."""
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.Error):
        return False


def test_a_named_program_that_hangs_is_refused(checkout: Checkout) -> None:
    hanging = checkout.program("named", "opencode", HANGING)
    checkout.opencode("b", ANSWERING)
    done = checkout.setup(MESHFLEET_OPENCODE=str(hanging))
    assert done.returncode == 1
    assert f"MESHFLEET_OPENCODE is {hanging}, which does not answer --version" in done.stderr


def test_where_none_answers_npm_is_asked(checkout: Checkout) -> None:
    checkout.opencode("a", HANGING)
    done = checkout.setup()
    assert done.returncode == 1
    assert "npm could not install opencode-ai@1.2.3" in done.stderr
