"""`meshfleet inspect --events`: what happened, for people, for scripts, and as it happens."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from meshfleet.cli.events import as_text
from meshfleet.ledger.event_lines import parsed
from meshfleet.ledger.events import EventLog, older_log
from tests.cli import prepared

PATIENCE_S: Final = 20.0


@pytest.fixture
def path(ledger_file: Path) -> Path:
    return ledger_file.with_name("agent-mesh.events.log")


def write(path: Path, *numbers: int) -> None:
    log = EventLog(path)
    for number in numbers:
        log.append("written", number=number)
    log.close()


def command(path: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    data_file = path.with_name("agent-mesh.json")
    return [sys.executable, "-P", "-m", "meshfleet", "inspect", *arguments], {
        **os.environ,
        "MESHFLEET_DATA_FILE": str(data_file),
    }


def inspect(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    _, environ = command(path, *arguments)
    return prepared.run("inspect", *arguments, environ=environ)


@contextmanager
def following(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    argv, environ = command(path, "--events", "--follow", "--json")
    with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def next_number(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], PATIENCE_S)[0], "it printed nothing"
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(process.stdout.fileno(), 1)
        assert byte, "it ended"
        line += byte
    number = json.loads(line)["number"]
    assert isinstance(number, int)
    return number


def test_a_line_tells_when_what_and_the_fields() -> None:
    event = parsed(
        b'{"event":"attempt_ended","timestamp":1700000000123,"agent_id":"3f2a-1","ok":false,"attempt":2,'
        b'"error":"it said \\"no\\"\\nand left","role":"","more":{"a":[1]}}'
    )
    assert event is not None
    assert as_text(event) == (
        "2023-11-14T22:13:20.123Z attempt_ended agent_id=3f2a-1 ok=false attempt=2 "
        'error="it said \\"no\\"\\nand left" role="" more={"a":[1]}'
    )


@pytest.mark.parametrize("timestamp", [10**30, -(10**18)])
def test_a_time_that_is_none_is_shown_as_it_stands(timestamp: int) -> None:
    event = parsed(json.dumps({"event": "x", "timestamp": timestamp}).encode())
    assert event is not None
    assert as_text(event) == f"{timestamp} x"


def test_the_last_twenty_events_are_shown_unless_more_are_asked_for(path: Path) -> None:
    write(path, *range(30))
    shown = [inspect(path, *arguments).stdout.splitlines() for arguments in (["--events"], ["--events", "25"])]
    assert [len(lines) for lines in shown] == [20, 25]
    assert [lines[-1].split()[1:] for lines in shown] == [["written", "number=29"]] * 2


def test_json_gives_the_lines_as_they_stand_over_the_renaming_and_past_broken_ones(path: Path) -> None:
    write(path, 0, 1)
    path.rename(older_log(path))
    write(path, 2)
    with path.open("ab") as file:
        file.write(b'{"event":"bro')
    done = inspect(path, "--events", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.encode() == older_log(path).read_bytes() + path.read_bytes().splitlines(keepends=True)[0]


def test_what_a_terminal_would_obey_is_not_printed(path: Path) -> None:
    log = EventLog(path)
    log.append("x\x1b[2J", note="\x9b2J")
    log.close()
    assert inspect(path, "--events").stdout.split()[1:] == ["x\\x1b[2J", 'note="\\x9b2J"']


def test_without_a_log_it_says_where_one_would_be(path: Path) -> None:
    done = inspect(path, "--events")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no event log at {path}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [["--events", "-3"], ["--events", "some"], ["--events", "\u0663"], ["--events", "--last", "3"], ["--follow"]],
)
def test_bad_use_is_refused(path: Path, arguments: list[str]) -> None:
    assert inspect(path, *arguments).returncode == 2


def test_following_waits_for_a_log_goes_on_over_its_renaming_and_ends_on_ctrl_c(path: Path) -> None:
    with following(path) as process:
        write(path, 1, 2)
        assert [next_number(process), next_number(process)] == [1, 2]
        path.rename(older_log(path))
        write(path, 3)
        assert next_number(process) == 3
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=PATIENCE_S) == (b"", b"")
        assert process.returncode == 130


def test_a_reader_that_has_left_is_no_reason_to_complain(path: Path) -> None:
    write(path, *range(30))
    argv, environ = command(path, "--events", "--follow")
    with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert select.select([process.stdout], [], [], PATIENCE_S)[0], "it printed nothing"
            process.stdout.close()
            write(path, 30)
            process.wait(PATIENCE_S)
            assert process.stderr.read() == b""
        finally:
            process.kill()
