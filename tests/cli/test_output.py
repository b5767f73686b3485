"""What any command does where its output can't go or its paths lead nowhere: one line on stderr, and an exit code."""

from __future__ import annotations

import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from meshfleet.settings import beside
from tests.cli import prepared
from tests.cli.terminals import on_a_terminal
from tests.ledger.rows import send
from tests.ledgers import ledger_at

FULL: Final = Path("/dev/full")
needs_full_disk = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
LONG: Final = "x" * 300


@pytest.fixture
def small(ledger_file: Path) -> Path:
    ledger = ledger_at(ledger_file)
    send(ledger, "m1")
    ledger.close()
    return ledger_file


def run(line: str, ledger: Path, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which $MESHFLEET is the command."""
    return subprocess.run(
        ["bash", "-c", line],
        cwd=cwd,
        env={
            **os.environ,
            "MESHFLEET_DATA_FILE": str(ledger),
            "MESHFLEET": f"{sys.executable} -P -m meshfleet",
            "TMPDIR": str(cwd),
            **environ,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )


def run_without_a_shell(line: str, ledger: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command with what a line gives it, in pipes."""
    environ = {**os.environ, "MESHFLEET_DATA_FILE": str(ledger), "TMPDIR": str(cwd)}
    return prepared.run(*shlex.split(line), cwd=cwd, environ=environ)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    (line,) = done.stderr.splitlines()
    assert line.startswith("meshfleet: ")
    return line.removeprefix("meshfleet: ")


@needs_full_disk
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["--version", "--help", "verify", "verify --json", "export", "template list"])
def test_a_full_disk_behind_standard_output_is_told_in_one_line(
    small: Path, tmp_path: Path, command: str, unbuffered: str
) -> None:
    done = run(f"$MESHFLEET {command} >{FULL}", small, tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert "no space left on device" in one_line(done)


@pytest.mark.parametrize("command", ["--help", "verify --json", "export", "template list"])
def test_a_reader_that_has_left_is_no_reason_to_complain(small: Path, command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "meshfleet", *command.split()],
        env={**os.environ, "MESHFLEET_DATA_FILE": str(small)},
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_an_export_to_a_closed_standard_output_says_so(small: Path, tmp_path: Path) -> None:
    done = run("$MESHFLEET export >&-", small, tmp_path)
    assert done.returncode == 1
    assert one_line(done) == "standard output is closed; name a file to write to"


@pytest.mark.parametrize(
    "command",
    ["inspect", "inspect --json", "inspect --metrics", "verify", "template list", "dashboard --once", "--version"],
)
def test_a_result_that_nobody_can_get_is_a_failure(small: Path, tmp_path: Path, command: str) -> None:
    done = run(f"$MESHFLEET {command} >&-", small, tmp_path)
    assert done.returncode == 1
    assert one_line(done) == "standard output is closed; send it somewhere"


@pytest.mark.parametrize(
    ("command", "said"), [("repair", "pass --yes to agree"), ("template save name -", "standard input is closed")]
)
def test_a_closed_standard_input_is_told_of_in_one_line(small: Path, tmp_path: Path, command: str, said: str) -> None:
    small.write_text(small.read_text().replace('"m1":{', '"m1":', 1))
    ledger = small if command == "repair" else tmp_path / "new.json"
    done = run(f"$MESHFLEET {command} <&-", ledger, tmp_path)
    assert done.returncode in {1, 2}
    assert said in one_line(done)


def test_an_error_that_can_not_be_told_is_not_told_on_standard_output(small: Path, tmp_path: Path) -> None:
    done = run("$MESHFLEET verify nothing 2>&-", small, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")


def test_what_the_encoding_lacks_is_printed_as_an_escape(small: Path, tmp_path: Path) -> None:
    small.rename(tmp_path / "späť\x1b[31m.json")
    for journal in small.parent.glob("*.ndjson"):
        journal.rename(tmp_path / journal.name.replace("agent-mesh", "späť\x1b[31m"))
    done = run("$MESHFLEET verify *.json", small, tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(rf"{tmp_path}/sp\xe4\u0165\x1b[31m.json: 1 message, 1 inbox")


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("verify /", 2, "/ is a folder; name a file"),
        ("verify .", 2, ". is a folder; name a file"),
        ("verify folder", 2, "folder: it is a folder; name a file"),
        ("verify /proc/self/mem", 2, "can't read /proc/self/mem: "),
        ("repair /proc/self/mem", 1, "can't read /proc/self/mem: "),
        ("verify pipe", 2, "pipe is no regular file"),
        ("verify a.json/x", 2, "not a directory"),
        (f"verify {LONG}", 2, "file name too long; choose a shorter name"),
        ("repair /", 2, "/ is a folder; name a file"),
        ("repair pipe", 2, "pipe is no regular file"),
        ("import ''", 2, ". is a folder; name a file"),
        ("import nothing", 1, "there is no file"),
        ("import folder", 2, "folder: it is a folder; name a file"),
        ("import pipe", 2, "pipe is no regular file"),
        ("import link", 2, "link is a symlink"),
        (f"import {LONG}", 1, "file name too long; choose a shorter name"),
        ("export /", 2, "/ is a folder; name a file"),
        ("export folder", 1, "folder is no regular file; name another file"),
        ("export --force pipe", 1, "pipe is no regular file; name another file"),
        ("export nowhere/x", 1, "there is no folder"),
        ("export a.json/x", 1, "not a directory"),
        (f"export {LONG}", 1, "file name too long; choose a shorter name"),
        ("verify 'line\nbreak'", 2, r"line\nbreak"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused_in_one_line(
    small: Path, tmp_path: Path, line: str, code: int, said: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "link").symlink_to(small)
    os.mkfifo(tmp_path / "pipe")
    done = run_without_a_shell(line, small, tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in one_line(done)


@pytest.mark.parametrize("line", ["inspect", "inspect 3f", "wait 3f", "template list", "dashboard --once", "cancel 3f"])
@pytest.mark.parametrize(
    ("data_file", "code", "said"),
    [
        ("/dev/null", 2, "/dev/null is no regular file"),
        ("folder", 2, "folder: it is a folder; name a file"),
        ("/proc/self/mem", 1, "can't read /proc/self/mem"),
    ],
)
def test_a_setting_that_names_no_ledger_is_refused_by_every_command(
    tmp_path: Path, line: str, data_file: str, code: int, said: str
) -> None:
    (tmp_path / "folder").mkdir()
    done = run_without_a_shell(line, Path(data_file), tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in one_line(done)


@pytest.mark.parametrize("command", ["inspect", "wait", "logs", "cancel", "resume"])
def test_where_there_is_no_ledger_that_is_said_of_whatever_is_named(tmp_path: Path, command: str) -> None:
    done = run(f"$MESHFLEET {command} 3f", tmp_path / "none.json", tmp_path)
    assert done.returncode == 1
    assert one_line(done) == f"there is no ledger at {tmp_path}/none.json; set MESHFLEET_DATA_FILE to one"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("verify a.json", 1),
        ("export a.json", 1),
        ("import a.json", 1),
        ("template list", 2),
        ("template export name a.json", 2),
    ],
)
def test_a_folder_that_is_gone_is_said_to_be(small: Path, tmp_path: Path, line: str, code: int) -> None:
    ledger = Path("relative.json") if line.startswith("template") else small
    done = run(f"mkdir gone; cd gone; rmdir ../gone; $MESHFLEET {line}", ledger, tmp_path)
    assert done.returncode == code
    assert "the current folder" in one_line(done)


def test_a_name_as_long_as_may_be_can_be_exported_to(small: Path, tmp_path: Path) -> None:
    done = run(f"$MESHFLEET export {'x' * 255} && ls", small, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "x" * 255 in done.stdout


def test_a_dash_is_standard_output(small: Path, tmp_path: Path) -> None:
    done = run("$MESHFLEET export - && ls", small, tmp_path)
    assert done.stdout.startswith('{\n"schema_version":2')
    assert not (tmp_path / "-").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process so")
def test_too_little_memory_is_told_in_one_line(small: Path, tmp_path: Path) -> None:
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(8 * 1024**3)
    done = run("ulimit -v 2000000; $MESHFLEET verify huge.json", small, tmp_path)
    assert done.returncode == 1
    assert "not enough memory" in one_line(done)


def test_ctrl_c_ends_a_command_with_130_and_no_word(small: Path) -> None:
    (journal,) = small.parent.glob("*.ndjson")
    damaged = journal.read_bytes().rstrip(b"\0") + b"damage\n"
    journal.write_bytes(damaged)
    ours, theirs = pty.openpty()
    # whoever runs the tests in the background may have SIGINT ignored, which a child would inherit
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        asking = subprocess.Popen(
            [sys.executable, "-P", "-m", "meshfleet", "repair", str(small)],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with asking:
        assert asking.stdout is not None
        while asking.stdout.readline() not in {b"do it? [y/N]\n", b""}:
            pass
        asking.send_signal(signal.SIGINT)
        _, complaints = asking.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert (asking.returncode, complaints) == (130, b"")
    assert journal.read_bytes() == damaged


@pytest.mark.parametrize(
    ("command", "last"), [("repair", r"\[y/N\]\n"), ("inspect --events --follow", "message_sent.*\n")]
)
def test_after_a_ctrl_c_the_prompt_has_a_line_of_its_own(small: Path, tmp_path: Path, command: str, last: str) -> None:
    (journal,) = small.parent.glob("*.ndjson")
    journal.write_bytes(journal.read_bytes().rstrip(b"\0") + b"damage\n")
    beside(small, "events.log").write_text('{"event":"message_sent","timestamp":1}\n', encoding="utf-8")
    environ = {**os.environ, "MESHFLEET_DATA_FILE": str(small), "PYTHON": sys.executable}
    line = f'trap : INT; "$PYTHON" -P -m meshfleet {command}; echo "left with $?"'
    with on_a_terminal(["bash", "-c", line], cwd=tmp_path, environ=environ) as terminal:
        terminal.read_until(last)
        terminal.press("\x03")
        assert terminal.read_until(r"left with \d+") == "^C\nleft with 130"


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may read everything")
@pytest.mark.parametrize("command", ["verify", "verify {}", "repair {}", "export", "import {}", "template list"])
@pytest.mark.parametrize("forbidden", ["file", "folder"])
def test_what_may_not_be_read_is_told_in_one_line(small: Path, tmp_path: Path, command: str, forbidden: str) -> None:
    (small if forbidden == "file" else small.parent).chmod(0)
    with searchable_by_all(tmp_path) as as_nobody:
        done = run(f"{as_nobody} $MESHFLEET {command.format(small)}", small, tmp_path)
    small.parent.chmod(0o700)
    assert (done.returncode, done.stdout) == (2 if command.startswith("verify") else 1, "")
    assert "permission denied; give yourself the permission" in one_line(done)


@contextmanager
def searchable_by_all(folder: Path) -> Iterator[str]:
    """How a command is started that permissions stop, for as long as it finds its way into a test's folder."""
    if os.geteuid() != 0:
        yield ""
        return
    modes = {each: each.stat().st_mode for each in (folder, folder.parent, folder.parent.parent)}
    for each, mode in modes.items():
        each.chmod(mode | 0o011)
    yield "setpriv --reuid=65534 --regid=65534 --clear-groups"
    for each, mode in modes.items():
        each.chmod(mode)
