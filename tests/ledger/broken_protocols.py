"""The protocol with one thing wrong, as it might be after a careless change: what the evidence must not let pass.

Each function breaks it for good in the process that calls it. The first four are the orders that were tried while the
ledger was designed, and lost data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from meshfleet.ledger import compaction, exchange, journal, repair, store
from meshfleet.ledger.files import Files
from meshfleet.ledger.journal_file import JournalFile
from meshfleet.ledger.journals import Journals
from meshfleet.ledger.lock import LedgerLock
from meshfleet.ledger.replica import Replica
from meshfleet.ledger.salvage import Salvage
from meshfleet.settings import beside

BROKEN_PROTOCOLS: Final[dict[str, Callable[[], None]]] = {}


def _broken(function: Callable[[], None]) -> Callable[[], None]:
    BROKEN_PROTOCOLS[function.__name__] = function
    return function


def _put(owner: object, name: str, value: object) -> None:
    setattr(owner, name, value)


def _alter(module: Any, function: str, **operations: Callable[..., Any]) -> None:
    """Have a function of the ledger, which gets a replica first, use other file operations for some of its steps."""
    original = getattr(module, function)

    class Altered:
        def __init__(self, files: Files) -> None:
            self._files = files

        def __getattr__(self, name: str) -> Any:
            if name in operations:
                return partial(operations[name], self._files)
            return getattr(self._files, name)

    def altered(owner: Replica, *rest: Any) -> Any:
        files = owner.files
        owner.files = Altered(files)  # type: ignore[assignment]
        try:
            return original(owner, *rest)
        finally:
            owner.files = files

    _put(module, function, altered)


class Whatever(int):
    """A number that is equal to every other one."""

    def __eq__(self, _: object) -> bool:
        return True

    def __ne__(self, _: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0


@_broken
def no_identity_check_under_the_lock() -> None:
    """A writer trusts the journal it has open, as if nobody could have compacted since it looked."""
    whole = Replica.refresh_under_lock

    def refresh_under_lock(self: Replica) -> None:
        if not self.has_journal:
            whole(self)
            return
        self._take_in()
        self._cut_torn_tail(self._open_journal())

    _put(Replica, "refresh_under_lock", refresh_under_lock)


@_broken
def the_old_journal_goes_before_the_rename() -> None:
    """A compaction removes the journal when the new snapshot is written, and then renames."""
    commit = compaction._commit

    def commit_late(replica: Replica, *rest: Any) -> None:
        replica.files.unlink(replica.journals.path(replica.generation))
        commit(replica, *rest)

    _put(compaction, "_commit", commit_late)


@_broken
def one_journal_name_for_ever_and_no_filter() -> None:
    """The journal has one name; whatever is in it counts as what follows the snapshot."""

    def path_of(self: Journals, _: int) -> Path:
        return beside(self._data_file, "journal.0.ndjson")

    def replay(self: Replica, line: bytes) -> None:
        self.state.apply(journal.decode_record(line).operations)
        self.seq += 1

    decode = journal.decode_header

    def commit(owner: Replica, target: Path, snapshot_fd: int, generation: int, base: int, records: bytes) -> None:
        files, path = owner.files, path_of(owner.journals, generation)
        files.rename(target, owner.data_file)
        files.unlink(path)
        header = journal.encode_header(journal.Header(generation, base, files.identify_open(snapshot_fd)[1:]))
        fd = files.create(path)
        files.write(fd, header + records, 0)
        owner.switch(snapshot_fd, generation, fd, len(header), len(header) + len(records))

    _put(Journals, "path", path_of)
    _put(Replica, "_replay", replay)
    _put(journal, "decode_header", lambda line: decode(line)._replace(generation=Whatever(), base=Whatever()))
    _put(compaction, "_commit", commit)
    _put(compaction, "_sweep", lambda _replica: None)


@_broken
def the_renamed_file_is_the_lock() -> None:
    """Writers lock the snapshot, once there is one: after a rename some hold the old file and some the new one."""
    create = LedgerLock._open

    def open_snapshot(self: LedgerLock) -> int:
        own, snapshot = self._path, self._path.with_name("agent-mesh.json")
        if own.name == "agent-mesh.lock" and snapshot.exists():
            self._path = snapshot
        try:
            return create(self)
        finally:
            self._path = own

    _put(LedgerLock, "_open", open_snapshot)
    _put(LedgerLock, "_is_still_in_place", lambda _self: True)


@_broken
def nobody_takes_the_lock() -> None:
    """Writers rely on an append being atomic."""

    @contextmanager
    def held(_self: LedgerLock, _timeout_ms: int) -> Iterator[None]:
        yield

    _put(LedgerLock, "held", held)


@_broken
def records_that_arrived_meanwhile_stay_behind() -> None:
    """The next journal starts empty, as if nobody could have written while the snapshot was."""
    commit = compaction._commit

    def commit_without(owner: Replica, target: Path, fd: int, generation: int, base: int, _: bytes) -> None:
        commit(owner, target, fd, generation, base, b"")

    _put(compaction, "_commit", commit_without)


@_broken
def the_rename_comes_before_the_next_journal() -> None:
    """The new snapshot is in place before the journal that continues it exists."""

    def commit(owner: Replica, target: Path, snapshot_fd: int, generation: int, base: int, records: bytes) -> None:
        files, path, old = owner.files, owner.journals.path(generation), owner.journals.path(owner.generation)
        compaction._clear(owner, path)
        files.rename(target, owner.data_file)
        header = journal.encode_header(journal.Header(generation, base, files.identify_open(snapshot_fd)[1:]))
        fd = files.create(path)
        files.write(fd, header + records, 0)
        owner.switch(snapshot_fd, generation, fd, len(header), len(header) + len(records))
        if old != path:
            files.unlink(old)

    _put(compaction, "_commit", commit)


@_broken
def a_torn_tail_is_written_behind() -> None:
    """A writer appends behind whatever the journal ends with."""

    def leave(_self: Replica, torn: JournalFile) -> None:
        torn.offset += len(torn.tail)

    _put(Replica, "_cut_torn_tail", leave)


@_broken
def leftovers_are_in_the_way() -> None:
    """A compaction expects that nobody left the next journal there."""
    _put(compaction, "_clear", lambda _replica, _path: None)


@_broken
def leftovers_stay() -> None:
    """Nobody sweeps what crashed compactions left."""
    _put(compaction, "_sweep", lambda _replica: None)


@_broken
def the_snapshot_is_written_in_place() -> None:
    """A compaction copies the new snapshot over the old one instead of renaming it."""

    def copy(files: Files, source: Path, target: Path) -> None:
        if files.identify(target) is None:
            files.rename(source, target)
            return
        fd = files.open_existing(target)
        files.truncate(fd, 0)
        files.write(fd, source.read_bytes(), 0)
        files.sync(fd)
        files.close(fd)
        files.unlink(source)

    _alter(compaction, "_commit", rename=copy)


@_broken
def a_follower_does_not_look_where_the_journal_starts() -> None:
    """Whoever slept through two compactions continues with the journal of the second one."""
    decode = journal.decode_header
    _put(journal, "decode_header", lambda line: decode(line)._replace(base=Whatever()))


@_broken
def an_edit_is_not_looked_for_before_the_rename() -> None:
    """A compaction replaces whatever lies there by then."""
    original = compaction._compact_alone

    def compact_blindly(owner: Replica, *rest: Any) -> bool:
        refresh = owner.refresh_under_lock

        def refresh_and_forget() -> None:
            refresh()
            owner.identity = Whatever()  # type: ignore[assignment]

        owner.refresh_under_lock = refresh_and_forget  # type: ignore[method-assign]
        try:
            return original(owner, *rest)
        finally:
            del owner.refresh_under_lock

    _put(compaction, "_compact_alone", compact_blindly)


@_broken
def a_write_is_acknowledged_before_it_is_written() -> None:
    """Records are collected in memory and written with the next one."""
    append = Replica.append
    waiting: list[journal.Operation] = []

    def append_later(self: Replica, operations: list[journal.Operation]) -> None:
        if waiting:
            append(self, list(waiting))
            waiting.clear()
            append(self, operations)
        else:
            waiting.extend(operations)
            self.state.apply(operations)

    _put(Replica, "append", append_later)


@_broken
def a_compaction_takes_no_lock() -> None:
    """Only writers lock; a compaction comes to its end while one is writing."""
    compact: Callable[..., bool] = vars(store)["compact"]

    class Unlocked:
        """A lock that lets everybody in."""

        def held(self, _timeout_ms: int) -> Any:
            return nullcontext()

    def compact_unlocked(owner: Replica, mutex: Any, _lock: LedgerLock, *rest: Any) -> bool:
        return compact(owner, mutex, Unlocked(), *rest)

    _put(store, "compact", compact_unlocked)


# -- what only a power cut shows ------------------------------------------------------------------------------------


@_broken
def a_write_is_acknowledged_before_it_is_synced() -> None:
    """The sync is somebody else's business."""
    _put(JournalFile, "sync", lambda _self, _end, _failed_before: None)


@_broken
def the_new_snapshot_is_not_synced() -> None:
    """A snapshot is renamed into place before its content is on the disk."""
    _alter(compaction, "_write_snapshot", sync=lambda _files, _fd: None)


@_broken
def the_next_journal_is_not_synced() -> None:
    """A snapshot is renamed into place before the journal that continues it is on the disk."""
    _alter(compaction, "_commit", sync=lambda _files, _fd: None)


@_broken
def the_next_journals_name_is_not_synced() -> None:
    """A snapshot is renamed into place before the journal that continues it can be found."""
    _alter(compaction, "_commit", sync_folder=lambda _files, _folder: None)


@_broken
def the_old_journal_goes_before_the_rename_is_durable() -> None:
    """The folder is not synced between the rename and the removal of the old journal."""
    _put(JournalFile, "sync_names", lambda _self: None)


@_broken
def a_rename_of_somebody_who_died_is_trusted() -> None:
    """Whoever follows a new snapshot takes its name for durable."""
    switch = Replica.switch

    def switch_and_trust(self: Replica, *rest: Any) -> None:
        switch(self, *rest)
        self._open_journal()._names_synced = True

    _put(Replica, "switch", switch_and_trust)


@_broken
def what_another_wrote_is_taken_for_durable() -> None:
    """A call that finds done what it was to do says so, although whoever did it died before its sync."""
    _put(Replica, "is_on_the_disk", True)


@_broken
def a_damaged_journal_goes_before_its_repair_stands() -> None:
    """A repair makes room for what it puts in place."""
    put_in_place = repair._put_in_place

    def put_in_place_late(data_file: Path, found: Salvage, files: Files) -> None:
        for path in found.read:
            if path != data_file:
                files.unlink(path)
        files.sync_folder(data_file.parent)
        put_in_place(data_file, found, files)

    _put(repair, "_put_in_place", put_in_place_late)


class _Unsynced:
    """File operations of which no file is synced."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name) if name != "sync" else lambda _fd: None


def _unsynced(files: Files) -> Files:
    return cast("Files", _Unsynced(files))


@_broken
def a_copy_of_what_is_damaged_is_not_synced() -> None:
    """A repair trusts that its copies get to the disk."""
    copy = repair._copy
    _put(repair, "_copy", lambda source, target, files: copy(source, target, _unsynced(files)))


@_broken
def an_export_is_not_synced() -> None:
    """An export is renamed into place before its content is on the disk."""
    write = exchange._write_and_sync
    _put(exchange, "_write_and_sync", lambda path, chunks, files: write(path, chunks, _unsynced(files)))
