"""Repairing a damaged ledger: what was salvaged is put in place, and every file that was damaged is kept.

Nothing is replaced or removed before the copies and their names are on the disk; no journal goes before the snapshot
that has what it held.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from meshfleet.errors import Conflict, MeshfleetError, Unavailable
from meshfleet.ledger.compaction import replace_snapshot
from meshfleet.ledger.files import Files, explained
from meshfleet.ledger.lock import LedgerLock
from meshfleet.ledger.replica import Replica
from meshfleet.ledger.salvage import Damage, Salvage, salvage
from meshfleet.model import now_ms
from meshfleet.settings import beside

log = logging.getLogger(__name__)

COPY_SIZE: Final = 1024 * 1024
"""Bytes copied at a time."""


def repair(
    data_file: Path,
    shown: list[Damage] | None = None,
    *,
    lock_timeout_ms: int = 5_000,
    files: Files | None = None,
) -> tuple[Salvage, list[Path]]:
    """Put what can be read of a damaged ledger in place of it; every file that was read is kept beside it.

    Args:
        data_file: The ledger.
        shown: The damage somebody agreed to have repaired; None agrees to any.
        lock_timeout_ms: How long to wait for other processes.
        files: The file operations, for tests that fail one.

    Returns:
        What was salvaged, and the copies that were kept (`<file>.corrupt-<ms>`); none where nothing was damaged.

    Raises:
        NotFound: There is no ledger.
        Conflict: The damage is not what was shown, or a newer meshfleet wrote it.
        Busy: Another process held the ledger's lock past the deadline.
        Unavailable: The disk refused; the ledger is as it was.
    """
    files = files or Files()
    lock = LedgerLock(beside(data_file, "lock"))
    try:
        with lock.held(lock_timeout_ms):
            found = salvage(data_file, files)
            if shown is not None and found.damages != shown:
                raise Conflict(f"{data_file} is damaged in another way than was shown; run meshfleet repair again")
            if not found.damages:
                return found, []
            if found.is_newer:
                raise Conflict(f"a newer meshfleet wrote {data_file}; upgrade this one to repair it")
            kept = _keep_all(data_file.parent, found.read, files)
            _put_in_place(data_file, found, files)
            return found, kept
    finally:
        lock.close()


def _keep_all(folder: Path, paths: list[Path], files: Files) -> list[Path]:
    kept = [_keep(path, files) for path in paths]
    try:
        files.sync_folder(folder)
    except OSError as error:
        raise explained(error, "keep copies in", folder) from None
    return kept


def _keep(path: Path, files: Files) -> Path:
    target, moment = None, now_ms()
    while target is None or files.identify(target) is not None:
        target, moment = path.with_name(f"{path.name}.corrupt-{moment}"), moment + 1
    unfinished = path.with_name(f"{path.name}.copy.tmp")
    try:
        source = files.open_existing(path)
        try:
            _copy(source, unfinished, files)
        finally:
            files.close(source)
        files.rename(unfinished, target)
    except MeshfleetError:
        raise
    except OSError as error:
        raise explained(error, "keep a copy in", target) from None
    return target


def _copy(source: int, target: Path, files: Files) -> None:
    files.unlink(target)
    copy = files.create(target)
    try:
        offset = 0
        while chunk := files.read(source, offset, COPY_SIZE):
            if files.write(copy, chunk, offset) != len(chunk):
                raise Unavailable(f"can't keep a copy in {target}: the disk is full; free some space")
            offset += len(chunk)
        files.sync(copy)
    finally:
        files.close(copy)


def _put_in_place(data_file: Path, found: Salvage, files: Files) -> None:
    replica = Replica(data_file, files)
    replica.state, replica.seq = found.state, found.seq
    replica.state.begin_lineage()
    try:
        replace_snapshot(replica, beside(data_file, "repair.tmp"), found.generation + 1)
        for path in found.read:
            if path != data_file:
                _forget(path, files)
    finally:
        replica.release()


def _forget(path: Path, files: Files) -> None:
    try:
        files.unlink(path)
    except OSError:
        log.warning("%s could not be removed; nothing in it is needed any more", path, exc_info=True)
