"""Forks a small process for each harness that is asked for: most of them take less time than their imports do.

    python -m tests.ledger.harness_server

Each line of its input is a JSON array: a folder, the name of a harness, and its arguments. The harness' output and its
errors go into files in that folder; each line of the output is an exit status.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Final, NoReturn

from tests.ledger import crash_harness, power_harness
from tests.ledger.harnesses import ERRORS, OUTPUT

_MAINS: Final = {"crash_harness": crash_harness.main, "power_harness": power_harness.main}


def _run(folder: Path, harness: str, arguments: list[str]) -> NoReturn:
    status = 1
    try:
        flags = os.O_WRONLY | os.O_CREAT
        for fd, path, how in ((0, os.devnull, os.O_RDONLY), (1, folder / OUTPUT, flags), (2, folder / ERRORS, flags)):
            opened = os.open(path, how, 0o600)
            os.dup2(opened, fd)
            os.close(opened)
        status = _MAINS[harness]([str(folder), *arguments])
    except BaseException:  # noqa: BLE001 - the copy of this process must never go on as it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main() -> int:
    """Fork one harness after the other until nobody asks for more."""
    gc.collect()
    # what is never looked through again is not copied by each of the forked that looks through its garbage
    gc.freeze()
    for line in sys.stdin:
        folder, harness, *arguments = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(Path(folder), harness, arguments)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
