"""A ledger, or its folder, that may not be written or read: the call says so by name, and works once it may."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ledger.confined import run_confined


def test_a_folder_that_takes_no_export_is_told_with_the_file_that_was_named(ledger_file: Path) -> None:
    run_confined(
        ledger_file.parent,
        """
        ledger = quiet_ledger(FILE)
        send(ledger, "m1")
        target = FOLDER / "closed" / "export.json"
        target.parent.mkdir(mode=0o500)
        with pytest.raises(Unavailable, match="can't write closed/export.json: .*, or name a file elsewhere"):
            write_exported(target, ledger.export(), FILE)
        """,
        unprivileged=True,
    )


def test_a_read_only_folder_is_refused_by_name_and_works_once_it_may_be_written(ledger_file: Path) -> None:
    run_confined(
        ledger_file.parent,
        """
        ledger = quiet_ledger(FILE)
        FOLDER.chmod(0o500)
        with pytest.raises(Unavailable, match="permission denied; give yourself the permission, or set MESHFLEET_DATA"):
            send(ledger, "m1")
        assert waiting(ledger) == []
        FOLDER.chmod(0o700)
        send(ledger, "m1")

        # what is there can be written, only compaction needs new files
        FOLDER.chmod(0o500)
        send(ledger, "m2")
        with pytest.raises(Unavailable, match="permission denied"):
            ledger.compact()
        assert waiting(ledger) == waiting(quiet_ledger(FILE)) == ["m1", "m2"]
        FOLDER.chmod(0o700)
        assert ledger.compact()
        assert waiting(ledger) == waiting(quiet_ledger(FILE)) == ["m1", "m2"]
        """,
        unprivileged=True,
    )


def test_a_ledger_that_may_only_be_read_is_read(ledger_file: Path) -> None:
    run_confined(
        ledger_file.parent,
        """
        ledger = quiet_ledger(FILE)
        send(ledger, "m1")
        ledger.close()
        before = bytes_of(FOLDER)
        for path in FOLDER.iterdir():
            path.chmod(0o400)
        FOLDER.chmod(0o500)
        reader = quiet_ledger(FILE)
        assert waiting(reader) == ["m1"]
        with pytest.raises(Unavailable, match="permission denied"):
            send(reader, "m2")
        reader.close()
        FOLDER.chmod(0o700)
        for path in FOLDER.iterdir():
            path.chmod(0o600)
        assert bytes_of(FOLDER) == before
        send(reader, "m2")
        assert waiting(reader) == ["m1", "m2"]
        """,
        unprivileged=True,
    )


@pytest.mark.parametrize("name", ["agent-mesh.json", "agent-mesh.journal.2.ndjson", "agent-mesh.lock"])
@pytest.mark.parametrize("mode", [0o400, 0o000])
def test_a_file_that_may_not_be_written_or_read_is_refused_by_name_and_works_again(
    ledger_file: Path, name: str, mode: int
) -> None:
    run_confined(
        ledger_file.parent,
        f"""
        before = quiet_ledger(FILE)
        send(before, "m0")
        assert before.compact()
        send(before, "m1")
        FOLDER.joinpath("{name}").chmod({mode})
        fresh = quiet_ledger(FILE)
        readable = {mode} == 0o400 or "lock" in "{name}"
        writable = {mode} == 0o400 and "{name}" == "agent-mesh.json"
        if readable:
            assert waiting(fresh) == ["m0", "m1"]
        else:
            with pytest.raises(Unavailable, match="can't open {name}: permission denied; give yourself"):
                waiting(fresh)
        if not writable:
            with pytest.raises(Unavailable, match="{name}: permission denied; give yourself"):
                send(fresh, "m2")
        assert waiting(before) == ["m0", "m1"]
        FOLDER.joinpath("{name}").chmod(0o600)
        for ledger, message_id in ((fresh, "m3"), (before, "m4")):
            send(ledger, message_id)
        assert waiting(fresh) == waiting(before) == waiting(quiet_ledger(FILE)) == ["m0", "m1", "m3", "m4"]
        """,
        unprivileged=True,
    )


def test_a_folder_that_may_not_be_searched_is_refused_by_name_and_works_again(ledger_file: Path) -> None:
    run_confined(
        ledger_file.parent,
        """
        folder = os.open(".", os.O_RDONLY)
        ledger = quiet_ledger(FILE)
        send(ledger, "m1")
        os.fchmod(folder, 0o600)
        for each in (ledger, quiet_ledger(FILE)):
            with pytest.raises(Unavailable, match="agent-mesh.json: permission denied; give yourself"):
                waiting(each)
            with pytest.raises(Unavailable, match="permission denied; give yourself"):
                send(each, "m2")
            with pytest.raises(Unavailable, match="permission denied; give yourself"):
                each.compact()
        # what it would do by itself at the end is no reason to fail either
        other = Ledger(FILE)
        other.close()
        os.fchmod(folder, 0o700)
        send(ledger, "m3")
        assert waiting(ledger) == waiting(quiet_ledger(FILE)) == ["m1", "m3"]
        """,
        unprivileged=True,
    )


def test_an_event_log_that_can_not_be_written_fails_no_call(ledger_file: Path) -> None:
    run_confined(
        ledger_file.parent,
        """
        Path("agent-mesh.events.log").touch(0o400)
        ledger = quiet_ledger(FILE)

        def rule(transaction):
            transaction.deliver("b", "m1")
            transaction.event("message_sent")

        ledger.transact(rule)
        assert waiting(ledger) == waiting(quiet_ledger(FILE)) == ["m1"]
        """,
        unprivileged=True,
    )
