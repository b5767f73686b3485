"""Reading a ledger that somebody exported or copied, to import it into an empty one."""

from __future__ import annotations

from pathlib import Path

from meshfleet.errors import Invalid, NotFound
from meshfleet.ledger import snapshot
from meshfleet.ledger.files import Files
from meshfleet.ledger.replica import Replica
from meshfleet.ledger.schema import Malformed
from meshfleet.ledger.state import State


def read_exported(path: Path) -> tuple[State, str | None]:
    """Read an exported document, or the snapshot of a ledger with the journal beside it.

    Returns:
        Everything in it, and what may be missing, for a person; None where nothing is.

    Raises:
        NotFound: There is no such file.
        Invalid: It is no ledger.
        Corrupt: It is a ledger with a journal that is damaged.
    """
    files = Files()
    try:
        fd = files.open_existing(path)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}; name one that meshfleet export wrote") from None
    try:
        heading, state = snapshot.read(files.read(fd, 0, files.size(fd)))
    except Malformed as malformed:
        raise Invalid(f"{path} is no ledger: {malformed}") from None
    finally:
        files.close(fd)
    if heading is None or heading.generation == 0:
        return state, None
    replica = Replica(path, files)
    if not replica.journal_path(heading.generation).exists():
        return state, f"{path} was continued in a journal that is not beside it; what came after it is not imported"
    try:
        replica.refresh_under_lock()
        return replica.state, None
    finally:
        replica.release()
