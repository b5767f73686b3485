"""Moving a ledger: one exported to a file, and an exported or copied one read to import it into an empty one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from meshfleet.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable
from meshfleet.ledger.files import Files, explained
from meshfleet.ledger.salvage import salvage
from meshfleet.ledger.state import State


def read_exported(path: Path) -> tuple[State, str | None]:
    """Read an exported document, or the snapshot of a ledger with the journal beside it; nothing of it is changed.

    Returns:
        Everything in it, and what may be missing, for a person; None where nothing is.

    Raises:
        NotFound: There is no such file.
        Invalid: It is no ledger.
        Corrupt: It is a ledger that is damaged.
    """
    if Files().identify(path) is None:
        raise NotFound(f"there is no file {path}; name one that meshfleet export wrote")
    try:
        found = salvage(path)
    except NotFound as error:
        raise Invalid(str(error)) from None
    kinds = {damage.id for damage in found.damages}
    if kinds == {"journal-missing"}:
        return (
            found.state,
            f"{path} was continued in a journal that is not beside it; what came after it is not imported",
        )
    if kinds - {"journal-torn"}:
        first = found.damages[0]
        raise Corrupt(
            f"{path} is damaged: {first.where}: {first.what}; nothing is imported until it is mended: "
            f"run meshfleet verify {path} to see all of it, then meshfleet repair {path}, which keeps a copy"
        )
    return found.state, None


def write_exported(
    target: Path, chunks: Iterable[bytes], data_file: Path, *, replace: bool = False, files: Files | None = None
) -> None:
    """Write a private file; it is there whole or not at all, and on the disk once this returns.

    Args:
        target: Where to.
        chunks: Its content.
        data_file: The ledger that is exported, of whose own files none may be replaced.
        replace: Whether a file that lies there may be.
        files: The file operations, for tests that fail one.

    Raises:
        Conflict: Something lies there already, or belongs there.
        NotFound: There is no such folder.
        Unavailable: The disk refused; what lay there is as it was.
    """
    files = files or Files()
    if _belongs_to(target, data_file):
        raise Conflict(f"{target} is a file of the ledger that is exported; name another file")
    if files.identify(target) is not None:
        if target.is_symlink() or not target.is_file():
            raise Conflict(f"{target} is no regular file; name another file")
        if not replace:
            raise Conflict(f"{target} exists; name another file, or pass --force to replace it")
    if not target.parent.is_dir():
        raise NotFound(f"there is no folder {target.parent}; create it, or name a file elsewhere")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise Unavailable(f"can't write {target}: its folder may not be written; permit it, or name a file elsewhere")
    temporary = target.with_name(f".meshfleet-export.{os.getpid()}.tmp")
    try:
        _write_and_sync(temporary, chunks, files)
        files.rename(temporary, target)
        files.sync_folder(target.parent)
    except OSError as error:
        with suppress(OSError):
            files.unlink(temporary)
        raise explained(error, "write", target) from None


def _belongs_to(target: Path, data_file: Path) -> bool:
    if target.parent.resolve() != data_file.parent.resolve():
        return False
    own = target.name.startswith(f"{data_file.stem}.") and target.suffix in {".lock", ".log", ".ndjson", ".tmp"}
    return own or target.name == data_file.name


def _write_and_sync(path: Path, chunks: Iterable[bytes], files: Files) -> None:
    files.unlink(path)
    fd = files.create(path)
    try:
        size = 0
        for chunk in chunks:
            if files.write(fd, chunk, size) != len(chunk):
                raise Unavailable(f"can't write {path}: the disk is full; free some space and try again")
            size += len(chunk)
        files.sync(fd)
    except BaseException:
        with suppress(OSError):
            files.unlink(path)
        raise
    finally:
        files.close(fd)
