"""`meshfleet demo` as a command: its exit codes, what is on stdout, and that nothing of it is left in any case."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from meshfleet.agents.process import environment_value, process_table

pytestmark = pytest.mark.slow

PATIENCE_S: Final = 60
EXAMPLES: Final = Path(__file__).parents[2] / "examples"
FULL: Final = Path("/dev/full")
needs_full_disk = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
FAILING: Final = """\
#!/bin/sh
[ "$1" != run ] && echo 9.9.9 && exit
env >"$HOME/environment"
echo 'Error: no such model' >&2
exit 1
"""
FIRST_FAILS: Final = """\
#!/bin/sh
[ "$1" != run ] && echo 9.9.9 && exit
mkdir "$RUNNING_DIR/first" 2>/dev/null && echo "$MESHFLEET_AGENT_ID" >"$RUNNING_DIR/first/id"
echo '{"type":"step_start","timestamp":1,"sessionID":"ses_1","part":{}}'
[ "$(cat "$RUNNING_DIR/first/id")" = "$MESHFLEET_AGENT_ID" ] || exec sleep 600
echo 'Error: no such model' >&2
exit 1
"""
ENDLESS: Final = """\
#!/bin/sh
[ "$1" != run ] && echo 9.9.9 && exit
trap '' TERM
echo '{"type":"step_start","timestamp":1,"sessionID":"ses_1","part":{}}'
(trap '' INT; sleep 600) &
: >"$RUNNING_DIR/$$"
sleep 600
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("COLUMNS", "100")
    return folder


def fake_opencode(folder: Path, script: str) -> Path:
    path = folder / "opencode"
    path.write_text(script, encoding="utf-8")
    path.chmod(0o755)
    return path


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "meshfleet", "demo", *options]


def run(*options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*options),
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def left_running(told: dict[str, Any]) -> list[int]:
    return [
        entry.identity.pid
        for entry in process_table()
        if not entry.ended and environment_value(entry.identity.pid, "MESHFLEET_DATA_FILE") == told["ledger"]
    ]


def demo_folders(temporary: Path) -> list[Path]:
    return list(temporary.glob("meshfleet-demo-*"))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


@pytest.mark.parametrize("options", [(), ("--json",), ("--live",)])
def test_without_opencode_one_line_says_how_to_get_it_and_nothing_is_started(
    temporary: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    # a Python that has no opencode beside it, as the one of this environment may
    python = tmp_path / "python"
    python.symlink_to(Path(sys.executable).resolve())
    environ = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [str(python), *command(*options)[1:]],
        env=environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("meshfleet: no opencode on PATH; install it with npm install -g opencode-ai")
    assert demo_folders(temporary) == []


def test_a_named_opencode_that_is_not_there_is_told_of_too(temporary: Path) -> None:
    done = run(MESHFLEET_OPENCODE="/no/such/opencode")

    assert (done.returncode, done.stdout) == (2, "")
    assert "MESHFLEET_OPENCODE is '/no/such/opencode'" in done.stderr
    assert demo_folders(temporary) == []


def test_an_opencode_that_fails_makes_the_demo_fail_with_its_reason_and_its_logs(
    temporary: Path, tmp_path: Path
) -> None:
    done = run("--json", MESHFLEET_OPENCODE=str(fake_opencode(tmp_path, FAILING)))

    assert done.returncode == 1
    assert done.stdout.count("\n") == 1
    told = json.loads(done.stdout)
    assert (told["ok"], told["opencode_version"], told["kept"]) == (False, "9.9.9", True)
    assert "run, which ended as failed (exit): opencode exited with status 1: Error: no such model" in told["failure"]
    assert f"✗ failed at: {told['failure']}" in done.stderr
    failed = next(agent for agent in told["agents"] if agent["status"] == "failed")
    assert Path(failed["logs"], "stderr.log").read_text(encoding="utf-8") == "Error: no such model\n"
    assert failed["logs"] in done.stderr
    assert Path(told["ledger"]).is_relative_to(demo_folders(temporary)[0])
    assert left_running(told) == []


@pytest.mark.usefixtures("temporary")
def test_a_demo_that_can_not_come_right_any_more_waits_for_nobody(tmp_path: Path) -> None:
    running = tmp_path / "running"
    running.mkdir()
    opencode = str(fake_opencode(tmp_path, FIRST_FAILS))
    done = run("--json", MESHFLEET_OPENCODE=opencode, RUNNING_DIR=str(running))

    told = json.loads(done.stdout)
    assert (done.returncode, told["called"]) == (1, ["spawn_fleet", "wait"])
    assert "run, which ended as failed (exit): opencode exited with status 1: Error: no such model" in told["failure"]
    assert sorted(agent["status"] for agent in told["agents"]) == ["failed", "running", "running"]
    assert left_running(told) == []


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize("pattern", ["pipeline", "debate", "rescue"])
def test_an_example_whose_first_agent_fails_says_so_and_blames_nobody_it_never_called(
    tmp_path: Path, pattern: str
) -> None:
    opencode = str(fake_opencode(tmp_path, FAILING))
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{pattern}.py"), "--scripted", "--json"],
        env={**os.environ, "MESHFLEET_OPENCODE": opencode},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    told = json.loads(done.stdout)
    first, *others = told["agents"]
    assert done.returncode == 1
    assert told["failure"].startswith(f"{first['role']}'s run, which ended as failed (exit)")
    assert {(agent["status"], agent["reason"]) for agent in others} == {("cancelled", "never_called")}
    assert left_running(told) == []


@pytest.mark.parametrize("pattern", ["pipeline", "debate", "rescue"])
def test_an_example_without_opencode_says_how_to_get_it(temporary: Path, pattern: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{pattern}.py")],
        env={**os.environ, "MESHFLEET_OPENCODE": "/no/such/opencode"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert "MESHFLEET_OPENCODE is '/no/such/opencode'" in done.stderr
    assert demo_folders(temporary) == []


def test_a_scripted_demo_keeps_out_of_the_user_s_home_and_a_live_one_is_at_home_there(
    temporary: Path, tmp_path: Path, home: Path
) -> None:
    opencode = str(fake_opencode(tmp_path, FAILING))
    run(MESHFLEET_OPENCODE=opencode)
    untouched = list(home.iterdir())
    run("--live", MESHFLEET_OPENCODE=opencode)
    seen = (home / "environment").read_text(encoding="utf-8").splitlines()

    assert untouched == []
    assert f"HOME={home}" in seen
    ledger = next(line for line in seen if line.startswith("MESHFLEET_DATA_FILE="))
    assert Path(ledger.partition("=")[2]).is_relative_to(temporary)
    assert [path.name for path in home.iterdir()] == ["environment"]


@pytest.fixture
def endless_demo(temporary: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a demo of agents that never end and ignore a TERM; it is at work when the test begins."""
    running = tmp_path / "running"
    running.mkdir()
    chosen = {"MESHFLEET_OPENCODE": str(fake_opencode(tmp_path, ENDLESS)), "RUNNING_DIR": str(running)}
    # whoever runs the tests in the background may have SIGINT ignored, which a child would inherit
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    demo = subprocess.Popen(
        command("--json"),
        env={**os.environ, **chosen, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    with demo:
        try:
            wait_until(lambda: len(list(running.iterdir())) == 3)
            yield demo
        finally:
            demo.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_the_demo_started(
    endless_demo: subprocess.Popen[str], temporary: Path, number: signal.Signals
) -> None:
    endless_demo.send_signal(number)
    endless_demo.send_signal(number)  # an impatient second one changes nothing
    stdout, stderr = endless_demo.communicate(timeout=PATIENCE_S)

    assert endless_demo.returncode == 128 + number
    told = json.loads(stdout)
    assert (told["ok"], told["failure"]) == (False, f"stopped by {number.name}")
    assert stderr.endswith(f"✗ stopped by {number.name}; nothing of it is left running\n")
    assert left_running(told) == []
    assert demo_folders(temporary) == []


def test_a_server_that_dies_fails_the_demo_and_its_agents_are_stopped(endless_demo: subprocess.Popen[str]) -> None:
    (server,) = (child for child in psutil.Process(endless_demo.pid).children() if "serve" in child.cmdline())
    server.kill()
    stdout, stderr = endless_demo.communicate(timeout=PATIENCE_S)

    assert endless_demo.returncode == 1
    told = json.loads(stdout)
    assert told["failure"].startswith("the meshfleet server did not answer")
    assert "✗ failed at: the meshfleet server did not answer" in stderr
    assert left_running(told) == []


def test_a_reader_that_leaves_does_not_leave_agents_behind(temporary: Path, tmp_path: Path) -> None:
    environ = {**os.environ, "MESHFLEET_OPENCODE": str(fake_opencode(tmp_path, FAILING))}
    with subprocess.Popen(command("--keep"), env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        demo.stdout.readline()
        demo.stdout.close()
        complaints = demo.stderr.read()
        assert demo.wait(PATIENCE_S) == 1

    assert complaints == b""
    ledger = demo_folders(temporary)[0] / "ledger" / "agent-mesh.json"
    assert left_running({"ledger": str(ledger)}) == []


@needs_full_disk
@pytest.mark.parametrize("options", [(), ("--json",)])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_demo_whose_result_can_not_be_written_ends_in_order_and_says_so(
    temporary: Path, tmp_path: Path, options: tuple[str, ...], unbuffered: str
) -> None:
    opencode = str(fake_opencode(tmp_path, FAILING))
    environ = {**os.environ, "MESHFLEET_OPENCODE": opencode, "PYTHONUNBUFFERED": unbuffered}
    with FULL.open("w") as full:
        done = subprocess.run(
            command(*options),
            env=environ,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    *report, last = done.stderr.splitlines()
    assert last.startswith("meshfleet: can't write to standard output: no space left on device")
    assert bool(report) is bool(options)
    ledger = demo_folders(temporary)[0] / "ledger" / "agent-mesh.json"
    assert left_running({"ledger": str(ledger)}) == []


@needs_full_disk
def test_a_demo_whose_report_can_not_be_written_still_has_a_result(temporary: Path, tmp_path: Path) -> None:
    environ = {**os.environ, "MESHFLEET_OPENCODE": str(fake_opencode(tmp_path, FAILING))}
    with FULL.open("w") as full:
        done = subprocess.run(
            command("--json"),
            env=environ,
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    assert done.returncode == 1
    assert json.loads(done.stdout)["ok"] is False
    assert left_running(json.loads(done.stdout)) == []
    assert len(demo_folders(temporary)) == 1


def test_a_demo_without_room_for_its_folder_says_so_and_leaves_nothing(temporary: Path, tmp_path: Path) -> None:
    line = f"ulimit -f 0; exec {shlex.join(command('--json'))}"
    environ = {**os.environ, "MESHFLEET_OPENCODE": str(fake_opencode(tmp_path, FAILING))}
    done = subprocess.run(
        ["bash", "-c", line], env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "set TMPDIR to one with room" in done.stderr
    assert demo_folders(temporary) == []


def test_a_demo_on_a_full_disk_says_so(temporary: Path, tmp_path: Path) -> None:
    alone = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    mount = f"mount -t tmpfs -o size=4k none {shlex.quote(str(temporary))}"
    if not shutil.which("unshare") or subprocess.run([*alone, "sh", "-c", mount], check=False).returncode != 0:
        pytest.skip("no tmpfs can be mounted here; the test with a file size limit stands in for this one")
    environ = {**os.environ, "MESHFLEET_OPENCODE": str(fake_opencode(tmp_path, FAILING))}
    done = subprocess.run(
        [*alone, "sh", "-c", f"{mount} && {shlex.join(command())}; code=$?; ls -A {temporary}; exit $code"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "no space left on device; set TMPDIR to a folder with room" in done.stderr
