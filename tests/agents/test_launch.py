from __future__ import annotations

import errno
import json
import os
import signal
import stat
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from meshfleet.agents.launch import clear_scratch, launch, read_exit, read_stderr
from meshfleet.agents.process import identify, is_same_process
from meshfleet.errors import Conflict, Unavailable
from tests.agents.agents_helpers import (
    AGENT,
    MARKER,
    end_of,
    eventually,
    members_of,
    order,
    report_of,
    run_dir,
    said,
    start,
)


def test_the_prompt_reaches_the_run_byte_for_byte(fake_opencode: Path, tmp_path: Path) -> None:
    line = "-- --agent x \"double\" 'single' $(touch PWNED) `x` \\ \r\n\ttab \U0001f600\n"
    prompt = "--" + line * (1024 * 1024 // len(line.encode()))
    launched = launch(order(fake_opencode, tmp_path, prompt))
    end_of(launched)
    assert read_exit(run_dir(tmp_path)) == 0
    stdin = (run_dir(tmp_path) / "prompt.txt").read_bytes()
    assert stdin == prompt.encode()
    told = json.loads((run_dir(tmp_path) / "events.ndjson").read_text(encoding="utf-8").splitlines()[1])
    assert told["part"]["text"] == prompt
    assert not (tmp_path / "PWNED").exists()


def test_the_prompt_is_on_no_command_line(fake_opencode: Path, tmp_path: Path) -> None:
    end_of(start(fake_opencode, tmp_path, "arguments", "say a secret"))
    assert report_of(tmp_path).words.splitlines()[0] == '["run", "--format", "json"]'


def test_arguments_reach_the_program_whatever_is_in_them(fake_opencode: Path, tmp_path: Path) -> None:
    strange = ["", "a b", "$HOME", "*", "'", '"', "\n", ";exit 9", "--", "-x"]
    plain = order(fake_opencode, tmp_path, "arguments")
    end_of(launch(replace(plain, argv=[str(fake_opencode), *strange])))
    assert read_exit(run_dir(tmp_path)) == 0
    assert json.loads(report_of(tmp_path).words) == strange


@pytest.mark.parametrize("status", [0, 1, 3, 127, 255])
def test_the_exit_status_is_left_in_a_file(status: int, fake_opencode: Path, tmp_path: Path) -> None:
    launched = start(fake_opencode, tmp_path, f"exit {status}")
    end_of(launched)
    assert read_exit(run_dir(tmp_path)) == status
    assert not (run_dir(tmp_path) / "exit.tmp").exists()


def test_a_death_by_signal_is_left_as_shells_write_it(fake_opencode: Path, tmp_path: Path) -> None:
    end_of(start(fake_opencode, tmp_path, "die SIGKILL"))
    assert read_exit(run_dir(tmp_path)) == 128 + signal.SIGKILL


def test_a_program_that_is_not_there_is_status_127(tmp_path: Path) -> None:
    end_of(launch(order(tmp_path / "nowhere", tmp_path, "hello")))
    assert read_exit(run_dir(tmp_path)) == 127
    assert "not found" in read_stderr(run_dir(tmp_path))


def test_while_it_runs_there_is_no_exit_status(fake_opencode: Path, tmp_path: Path) -> None:
    launched = start(fake_opencode, tmp_path, "say ready", "hang")
    said(tmp_path, "ready")
    assert read_exit(run_dir(tmp_path)) is None
    assert is_same_process(launched.identity)
    os.killpg(launched.identity.pid, signal.SIGKILL)
    end_of(launched)
    assert read_exit(run_dir(tmp_path)) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_parent_outlives_a_signal_to_the_group_and_still_writes_the_status(
    number: signal.Signals, fake_opencode: Path, tmp_path: Path
) -> None:
    launched = start(fake_opencode, tmp_path, "say ready", "hang")
    said(tmp_path, "ready")
    os.killpg(launched.identity.pid, number)
    end_of(launched)
    # python turns INT into an exception and ends with 130 as well
    assert read_exit(run_dir(tmp_path)) in {128 + number, 1}


def test_the_run_leads_a_session_of_its_own(fake_opencode: Path, tmp_path: Path) -> None:
    launched = start(fake_opencode, tmp_path, "say ready", "hang")
    said(tmp_path, "ready")
    assert os.getsid(launched.identity.pid) == launched.identity.pid != os.getsid(0)
    os.killpg(launched.identity.pid, signal.SIGKILL)
    end_of(launched)


def test_a_run_that_ends_at_once_was_somebody_nevertheless(tmp_path: Path) -> None:
    launched = launch(order(Path("/bin/true"), tmp_path, "x"))
    assert launched.identity.start_time > 0
    end_of(launched)
    assert identify(launched.identity.pid) is None


def test_the_environment_is_the_ordered_one_and_pwd_says_where_it_runs(fake_opencode: Path, tmp_path: Path) -> None:
    end_of(start(fake_opencode, tmp_path, "environment", env={"PWD": "/wrong", "X": "y z"}))
    environment = json.loads(report_of(tmp_path).words)
    assert environment["X"] == "y z"
    assert environment["PWD"] == str(tmp_path)
    assert "HOME" not in environment


def test_what_it_complained_of_is_kept_apart_from_its_events(fake_opencode: Path, tmp_path: Path) -> None:
    end_of(start(fake_opencode, tmp_path, "complain ouch", "answer fine"))
    assert read_stderr(run_dir(tmp_path)) == "ouch\n"
    assert "ouch" not in (run_dir(tmp_path) / "events.ndjson").read_text(encoding="utf-8")


def test_of_a_long_complaint_beginning_and_end_are_read(tmp_path: Path) -> None:
    (tmp_path / "stderr.log").write_bytes(b"first\n" + b"x" * 1_000_000 + b"\xff\nlast\n")
    complaint = read_stderr(tmp_path)
    assert complaint.startswith("first\n")
    assert complaint.endswith("\ufffd\nlast\n")
    assert len(complaint) < 40_000


def test_traces_are_for_their_owner_only(fake_opencode: Path, tmp_path: Path) -> None:
    end_of(start(fake_opencode, tmp_path, "answer fine"))
    folder = run_dir(tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir() if path.is_file()}
    assert modes == dict.fromkeys(["prompt.txt", "events.ndjson", "stderr.log", "exit"], 0o600)


def test_what_a_run_writes_keeps_the_users_umask(tmp_path: Path) -> None:
    end_of(launch(replace(order(Path("/bin/sh"), tmp_path, "umask >mask"), argv=["/bin/sh"])))
    mask = os.umask(0o022)
    os.umask(mask)
    assert int((tmp_path / "mask").read_text(encoding="ascii"), 8) == mask


@pytest.mark.parametrize("name", ["prompt.txt", "events.ndjson", "stderr.log", "exit"])
def test_a_folder_with_traces_of_an_earlier_start_is_refused(name: str, fake_opencode: Path, tmp_path: Path) -> None:
    folder = run_dir(tmp_path)
    folder.mkdir(parents=True)
    (folder / name).write_text("earlier", encoding="utf-8")
    with pytest.raises(Conflict, match=name):
        start(fake_opencode, tmp_path, "answer fine")
    assert (folder / name).read_text(encoding="utf-8") == "earlier"
    assert [path.name for path in folder.iterdir() if path.is_file()] == [name]


@pytest.mark.parametrize("name", ["prompt.txt", "events.ndjson", "stderr.log", "exit"])
def test_a_link_in_place_of_a_trace_is_not_followed(name: str, fake_opencode: Path, tmp_path: Path) -> None:
    folder = run_dir(tmp_path)
    folder.mkdir(parents=True)
    target = tmp_path / "target"
    (folder / name).symlink_to(target)
    with pytest.raises(Conflict):
        start(fake_opencode, tmp_path, "answer fine")
    assert not target.exists()


def test_a_working_directory_that_is_none_is_named(fake_opencode: Path, tmp_path: Path) -> None:
    wrong = replace(order(fake_opencode, tmp_path, "x"), cwd=tmp_path / "missing")
    with pytest.raises(Unavailable, match=rf"attempt 1 of agent {AGENT} .* working directory .*missing is no"):
        launch(wrong)


def test_an_environment_too_large_is_explained(fake_opencode: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="its environment is larger than the system allows"):
        start(fake_opencode, tmp_path, "x", env={"BIG": "x" * 3_000_000})


def test_a_run_folder_that_cannot_be_made_is_explained(fake_opencode: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("in the way", encoding="utf-8")
    with pytest.raises(Unavailable, match=r"could not be started: .*Not a directory.*runs"):
        start(fake_opencode, tmp_path, "x")


def test_a_disk_without_room_is_explained_with_what_to_do(
    fake_opencode: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(Unavailable, match=r"no space left on device; free some space .*, and resume the agent"):
        start(fake_opencode, tmp_path, "x")


@pytest.mark.parametrize("garbage", [b"", b"0", b"x\n", b"-1\n", b"0\n\n", b"1234\n", b"\xff\n", b"1\n2\n"])
def test_a_garbled_exit_status_is_none(garbage: bytes, tmp_path: Path) -> None:
    (tmp_path / "exit").write_bytes(garbage)
    assert read_exit(tmp_path) is None


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_is_no_plain_file_is_read_as_none_and_keeps_nobody_waiting(kind: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("0\n")
    for name in ("exit", "stderr.log"):
        if kind == "pipe":
            os.mkfifo(tmp_path / name)
        else:
            (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    assert read_exit(tmp_path) is None
    assert read_stderr(tmp_path) == ""


def test_no_run_folder_has_no_status_and_no_complaint(tmp_path: Path) -> None:
    assert read_exit(tmp_path / "nowhere") is None
    assert read_stderr(tmp_path / "nowhere") == ""


def test_what_opencode_unpacks_for_itself_goes_with_the_run(fake_opencode: Path, tmp_path: Path) -> None:
    end_of(start(fake_opencode, tmp_path, "environment"))
    scratch = Path(json.loads(report_of(tmp_path).words)["BUN_TMPDIR"])
    (scratch / "library.so").touch()
    for _ in range(2):
        clear_scratch(run_dir(tmp_path))
        assert not scratch.exists()
    assert read_exit(run_dir(tmp_path)) == 0


def test_two_attempts_of_an_agent_run_side_by_side(fake_opencode: Path, tmp_path: Path) -> None:
    first = start(fake_opencode, tmp_path, "answer one", marker=f"{AGENT}/1")
    second = start(fake_opencode, tmp_path, "answer two", marker=f"{AGENT}/2")
    end_of(first)
    end_of(second)
    assert (report_of(tmp_path, f"{AGENT}/1").words, report_of(tmp_path, f"{AGENT}/2").words) == ("one", "two")


def test_no_descriptor_of_the_starter_is_left_open_in_the_run(fake_opencode: Path, tmp_path: Path) -> None:
    with (tmp_path / "open").open("w", encoding="utf-8") as held:
        os.set_inheritable(held.fileno(), True)
        launched = start(fake_opencode, tmp_path, "say ready", "hang")
        said(tmp_path, "ready")
        links = {link.readlink() for link in Path(f"/proc/{launched.identity.pid}/fd").iterdir()}
    assert tmp_path / "open" not in links
    os.killpg(launched.identity.pid, signal.SIGKILL)
    end_of(launched)
    eventually(lambda: identify(launched.identity.pid) is None, "the group is gone")


def test_a_run_is_no_descendant_of_who_started_it(fake_opencode: Path, tmp_path: Path) -> None:
    launched = start(fake_opencode, tmp_path, "say ready", "hang")
    said(tmp_path, "ready")
    below = {child.pid for child in psutil.Process().children(recursive=True)}
    members = {process.pid for process in members_of(MARKER, launched.identity)}
    assert len(members) == 2
    assert not below & members
    os.killpg(launched.identity.pid, signal.SIGKILL)
    end_of(launched)
