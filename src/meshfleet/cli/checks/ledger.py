"""Looking at the ledger: can it be opened and written, is it clean, private, and is nobody keeping others from it."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rich.filesize import decimal

from meshfleet.agents.standing import Gone
from meshfleet.cli.checks.check import Check, failure, reason, refused, warning, well
from meshfleet.cli.wording import counted_rows
from meshfleet.errors import Busy, MeshfleetError, NotFound
from meshfleet.ledger import Ledger, View
from meshfleet.ledger.lock import LedgerLock
from meshfleet.mesh.health import ledger_bytes
from meshfleet.mesh.lifecycle import AT_WORK
from meshfleet.mesh.texts import counted
from meshfleet.mesh.verify import Severity, verify
from meshfleet.model import SCHEMA_VERSION, AgentStatus, Row
from meshfleet.settings import Settings, beside

LOCK_PATIENCE_MS: Final = 2_000
"""How long the lock may be held by others before something is wrong; a write takes less than 1 ms."""
OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
OTHERS_MAY: Final = stat.S_IRWXG | stat.S_IRWXO
_ELSEWHERE: Final = "give yourself the permission, or set MESHFLEET_DATA_FILE to a file elsewhere"


def look_at_ledger(settings: Settings) -> Iterator[Check]:
    """The ledger of these settings, none of whose content is changed."""
    data_file = settings.data_file
    yield _look_at_folder(data_file.parent)
    try:
        report = verify(data_file)
    except NotFound as error:
        if os.path.lexists(data_file):
            yield refused("ledger", error, "set MESHFLEET_DATA_FILE to a ledger")
        else:
            yield well("ledger", f"none yet at {data_file}; the first fleet makes it")
        return
    except MeshfleetError as error:
        yield refused("ledger", error, "run meshfleet verify")
        return
    errors = sum(finding.severity is Severity.ERROR for finding in report.findings)
    size = decimal(ledger_bytes(data_file))
    if errors:
        text = f"{data_file} ({size}) has {counted(errors, 'errors')}"
        yield failure("ledger", text, "meshfleet verify lists them, meshfleet repair mends what is damaged")
    else:
        noted = len(report.findings)
        oddities = f", {counted(noted, 'warnings')} of meshfleet verify" if noted else ""
        yield well("ledger", f"{data_file}: clean, {size}, {counted_rows(report.rows)}{oddities}")
    yield _look_at_lock(data_file)
    yield _look_at_privacy(settings)
    yield from _look_at_rows(settings)


def _look_at_folder(folder: Path) -> Check:
    """Whether a file can be written there, tried with one that goes again."""
    place = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    try:
        if place == folder:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"x")
                file.flush()
                os.fsync(file.fileno())
        elif not os.access(place, os.W_OK | os.X_OK) or not place.is_dir():
            return failure("folder", f"{folder} can't be made in {place}", _ELSEWHERE)
        mode = place.stat().st_mode
    except OSError as error:
        return failure("folder", f"{folder} can't be written: {reason(error)}", _ELSEWHERE)
    if mode & OTHERS_MAY_WRITE and not mode & stat.S_ISVTX:
        text = f"others may write to {place}, and so replace the ledger in it"
        return warning("folder", text, f"chmod go-w {place}")
    return well("folder", f"{folder} can be written" if place == folder else f"{folder} can be made")


def _look_at_lock(data_file: Path) -> Check:
    path = beside(data_file, "lock")
    if not path.exists():
        return well("lock", "free")
    lock = LedgerLock(path)
    try:
        with lock.held(LOCK_PATIENCE_MS):
            return well("lock", "free")
    except Busy:
        text = f"{path} is held by {_holder_of(path)} for more than {LOCK_PATIENCE_MS} ms"
        return failure("lock", text, "continue the process that holds it (kill -CONT PID) or end it")
    except MeshfleetError as error:
        return refused("lock", error, _ELSEWHERE)
    finally:
        lock.close()


def _holder_of(path: Path) -> str:
    """Who holds a lock, where the system tells."""
    try:
        inode = path.stat().st_ino
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return "another process"
    for fields in map(str.split, lines):
        if "->" not in fields and len(fields) > 5 and fields[5].rpartition(":")[2] == str(inode):  # noqa: PLR2004 - PID then file
            return f"process {fields[4]}"
    return "another process"


def _look_at_privacy(settings: Settings) -> Check:
    """Whether what agents said and were told is for its owner alone."""
    data_file = settings.data_file
    journals = data_file.parent.glob(f"{data_file.name.removesuffix('.json')}.journal.*")
    paths = [data_file, *journals, settings.events_file, settings.runs_dir]
    states = {path: path.stat() for path in paths if path.exists()}
    of_others = [path for path, state in states.items() if state.st_uid != os.geteuid()]
    open_to_others = [path for path, state in states.items() if state.st_mode & OTHERS_MAY]
    if of_others:
        text = f"{of_others[0]} belongs to another user"
        return warning(
            "permissions", text, "run meshfleet as that user, or set MESHFLEET_DATA_FILE to a file of your own"
        )
    if open_to_others:
        text = f"others may read {', '.join(path.name for path in open_to_others)} in {data_file.parent}"
        names = " ".join(str(path) for path in open_to_others)
        return warning("permissions", text, f"chmod go= {names}")
    return well("permissions", "the ledger's files are for you alone")


def _look_at_rows(settings: Settings) -> Iterator[Check]:
    """What the rows say of agents at work, and whether this version may write them."""

    def query(view: View) -> tuple[int, list[Row]]:
        return view.schema_version, [row for row in view.rows("agents") if row["status"] in AT_WORK]

    ledger = Ledger.from_settings(settings)
    try:
        version, at_work = ledger.read(query)
    except MeshfleetError:
        return  # said above
    finally:
        ledger.close()
    if version > SCHEMA_VERSION:
        yield warning(
            "schema", f"a newer meshfleet wrote the ledger (schema {version})", "upgrade meshfleet to write it"
        )
    gone = Gone()
    left = [agent["id"] for agent in at_work if gone.left(agent)]
    if left:
        text = f"{counted(len(left), 'agents')} at work without a supervisor: {', '.join(left[:3])}"
        more = ", ..." if len(left) > 3 else ""  # noqa: PLR2004 - as many as a line has room for
        yield warning("agents", text + more, "start OpenCode, whose server takes them over, or meshfleet cancel ID")
        return
    waiting = sum(agent["status"] == AgentStatus.PENDING for agent in at_work)
    text = f"{counted(len(at_work), 'agents')} at work" if at_work else "none at work"
    yield well("agents", f"{text}, {waiting} of them waiting to be started" if waiting else text)
