"""`meshfleet doctor`: each thing it looks at, well and ill, and what it prints of it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from meshfleet.agents.admission import Memory
from meshfleet.agents.process import identify, is_same_process
from meshfleet.cli.checks import machine
from meshfleet.cli.checks import opencode as looking
from meshfleet.cli.checks.check import Check, Level
from meshfleet.cli.checks.ledger import look_at_ledger
from meshfleet.cli.checks.machine import look_at_machine
from meshfleet.cli.checks.opencode import look_at_opencode
from meshfleet.cli.doctor import doctor
from meshfleet.settings import Settings
from tests.cli.terminals import in_terminal
from tests.ledger.journals import write_behind
from tests.ledgers import ledger_at
from tests.mesh.fleets import bytes_of, fleet_of, start_all
from tests.server.serving import wait_until

SERVE: Final = [sys.executable, "-P", "-m", "meshfleet", "serve"]


def entry(command: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "local", "command": command or SERVE, "enabled": True, **more}


def environ_with(tmp_path: Path, configuration: Mapping[str, Any] | str, models: str = "a/b") -> dict[str, str]:
    """An environment with a stand-in for OpenCode that resolves to this configuration."""
    told = configuration if isinstance(configuration, str) else json.dumps(configuration)
    (tmp_path / "resolved.json").write_text(told)
    (tmp_path / "models").write_text(models)
    program = tmp_path / "bin" / "opencode"
    program.parent.mkdir(exist_ok=True)
    program.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        "--version) echo 1.18.33;;\n"
        f"debug) cat '{tmp_path}/resolved.json'; grep -q '^{{' '{tmp_path}/resolved.json';;\n"
        f"models) cat '{tmp_path}/models';;\n"
        "esac\n"
    )
    program.chmod(0o755)
    return {**os.environ, "MESHFLEET_OPENCODE": str(program), "MESHFLEET_DATA_FILE": str(tmp_path / "l" / "mesh.json")}


def by_id(checks: Iterable[Check]) -> dict[str, Check]:
    return {check.id: check for check in checks}


@pytest.fixture
def settings(ledger_file: Path) -> Settings:
    """The settings of a ledger with a fleet of two."""
    ledger_file.parent.chmod(0o700)
    ledger = ledger_at(ledger_file)
    fleet_of(ledger, "A", "B")
    ledger.close()
    return Settings(ledger_file, sse_port=0)


@pytest.mark.slow
def test_where_all_is_well_every_line_says_so_and_the_code_is_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "read_memory", lambda: Memory(16 * 10**9, 12 * 10**9))
    environ = environ_with(tmp_path, {"mcp": {"meshfleet": entry()}, "model": "a/b"}) | {"MESHFLEET_SSE_PORT": "0"}
    assert doctor(environ, tmp_path, as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "all is well"
    assert [line.split()[:2] for line in lines[:-1]] == [
        ["ok", name]
        for name in (
            *("meshfleet", "opencode", "entry", "server", "model"),
            *("folder", "ledger", "port", "memory", "disk", "tmp"),
        )
    ]
    assert not (tmp_path / "l").exists(), "the server that was tried was on a ledger of its own"


def test_what_failed_has_its_remedy_and_the_code_is_1(tmp_path: Path) -> None:
    environ = environ_with(tmp_path, {"mcp": {}}) | {"MESHFLEET_SSE_PORT": "x"}
    command = [sys.executable, "-P", "-m", "meshfleet", "doctor"]
    result = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, "")
    told = "failure  settings       MESHFLEET_SSE_PORT is 'x': it has to be a whole number, 0 or more\n"
    assert told in result.stdout
    assert (
        "failure  entry          OpenCode's configuration has no entry meshfleet for this server\n"
        "                        next: run meshfleet init\n"
    ) in result.stdout
    assert result.stdout.splitlines()[-1] == "2 failures, 1 warning"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_the_doctor_ends_what_it_asks(tmp_path: Path, number: signal.Signals) -> None:
    environ, told = environ_with(tmp_path, {"mcp": {}}), tmp_path / "told"
    os.mkfifo(told)
    program = Path(environ["MESHFLEET_OPENCODE"])
    # the program that npm installs is one that starts another
    program.write_text(
        f"""#!/bin/sh
        [ "$1" = --version ] && echo 1.18.33 && exit
        sh -c 'echo $$ >"{told}"; exec sleep 60'
        """
    )
    command = [sys.executable, "-P", "-m", "meshfleet", "doctor"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, cwd=tmp_path) as process:
        child = identify(int(told.read_text()))
        process.send_signal(number)
        assert process.wait(timeout=60) == 128 + number
    assert child is not None
    wait_until(lambda: not is_same_process(child))


def test_json_has_a_stable_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(environ_with(tmp_path, "broken"), tmp_path, as_json=True) == 1
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert (told["version"], told["ok"]) == (1, False)
    assert {tuple(check) for check in told["checks"]} == {("id", "level", "text", "remedy")}
    assert {check["level"] for check in told["checks"]} <= {"ok", "warning", "failure"}
    assert all((check["remedy"] is None) == (check["level"] == "ok") for check in told["checks"])


@pytest.mark.slow
def test_lines_are_broken_to_a_terminal_and_coloured_there_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = environ_with(tmp_path, {"mcp": {}}) | {"MESHFLEET_SSE_PORT": "x", "TERM": "xterm"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    for colourless in (False, True):
        if colourless:
            monkeypatch.setenv("NO_COLOR", "1")
        code, shown = in_terminal(["doctor"], tmp_path / "l" / "mesh.json", columns=60)
        assert code == 1
        assert ("\x1b[3" in shown) is not colourless
        plain = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
        assert "failure  entry          OpenCode's configuration has no" in plain
        assert "                        entry meshfleet for this server" in plain
        assert all(len(line) <= 60 for line in plain if "/" not in line)


def test_without_opencode_the_entry_is_read_from_the_files(home: Path, tmp_path: Path) -> None:
    file = home / ".config" / "opencode" / "opencode.jsonc"
    file.parent.mkdir(parents=True)
    file.write_text('{"mcp": {"meshfleet": {"type": "local", "command": ["/nowhere/meshfleet", "serve"]}}} // mine')
    found = by_id(look_at_opencode({**os.environ, "MESHFLEET_OPENCODE": "/nowhere/opencode"}, tmp_path))
    assert found["opencode"].level is Level.FAILURE
    assert (
        found["opencode"].remedy == "install it with npm install -g opencode-ai, or set MESHFLEET_OPENCODE to its path"
    )
    assert found["entry"] == Check("entry", Level.OK, f"/nowhere/meshfleet serve (in {file})")
    assert found["server"].level is Level.FAILURE
    assert "model" not in found


def test_an_inline_configuration_is_named_as_where_the_entry_is(tmp_path: Path) -> None:
    present = {"mcp": {"meshfleet": entry(["/nowhere/meshfleet"])}}
    environ = environ_with(tmp_path, present) | {"OPENCODE_CONFIG_CONTENT": json.dumps(present)}
    found = by_id(look_at_opencode(environ, tmp_path))
    assert found["entry"].text == "/nowhere/meshfleet (in OPENCODE_CONFIG_CONTENT)"


def test_a_configuration_that_opencode_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    found = by_id(look_at_opencode(environ_with(tmp_path, "broken"), tmp_path))
    assert found["configuration"].level is Level.FAILURE
    assert set(found) == {"opencode", "configuration"}


@pytest.mark.parametrize(
    ("present", "told", "remedy"),
    [
        (None, "has no entry meshfleet", "run meshfleet init"),
        (entry(enabled=False), "is disabled", "run meshfleet init, which enables it"),
        ({"enabled": True}, "starts no command", "run meshfleet init"),
        ({"type": "remote", "url": "u"}, "starts no command", "run meshfleet init"),
        ({"type": "local", "command": [1]}, "starts no command", "run meshfleet init"),
    ],
)
def test_an_entry_that_starts_nothing_is_a_failure(
    tmp_path: Path, present: dict[str, Any] | None, told: str, remedy: str
) -> None:
    servers = {} if present is None else {"meshfleet": present}
    found = by_id(look_at_opencode(environ_with(tmp_path, {"mcp": servers}), tmp_path))
    assert found["entry"].level is Level.FAILURE
    assert told in found["entry"].text
    assert found["entry"].remedy == remedy
    assert "server" not in found


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["/nowhere/meshfleet", "serve"], "did not start"),
        (["/bin/sh", "-c", "echo no luck >&2; exit 3"], ": no luck"),
        (["/bin/cat"], "the meshfleet server did not"),
    ],
)
def test_a_command_that_is_no_server_is_a_failure_with_what_it_said(
    tmp_path: Path, command: list[str], told: str
) -> None:
    found = by_id(look_at_opencode(environ_with(tmp_path, {"mcp": {"meshfleet": entry(command)}}), tmp_path))
    assert found["server"].level is Level.FAILURE
    assert told in found["server"].text
    assert found["server"].remedy == "run meshfleet init, or mend the command"


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "SERVER_TIMEOUT_S", 0.2)
    command = ["/bin/sh", "-c", "cat >/dev/null; exit"]
    found = by_id(look_at_opencode(environ_with(tmp_path, {"mcp": {"meshfleet": entry(command)}}), tmp_path))
    assert found["server"].text == "the server did not answer within 0 s"


@pytest.mark.slow
def test_the_server_is_tried_as_the_entry_has_it_but_on_a_ledger_of_its_own(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "mesh.json"
    variables = {"MESHFLEET_DATA_FILE": str(elsewhere), "MESHFLEET_TAXONOMY": "/nowhere"}
    present = {"mcp": {"meshfleet": entry(environment=variables)}}
    environ = {**environ_with(tmp_path, present), "MESHFLEET_AGENT_ID": "a-1"}
    checks = list(look_at_opencode(environ, tmp_path))
    assert [check.level for check in checks if check.id == "server"] == [Level.OK, Level.WARNING]
    assert any("MESHFLEET_TAXONOMY" in check.text for check in checks), "what the server says is amiss is told"
    assert not elsewhere.parent.exists()
    two = by_id(checks)["two-ledgers"]
    assert two.level is Level.WARNING
    assert str(elsewhere) in two.text
    assert two.remedy == f"set MESHFLEET_DATA_FILE={elsewhere} here, or the same in the entry"


@pytest.mark.parametrize(
    ("model", "known", "level", "told"),
    [
        ("a/b", "a/b\nc/d", Level.OK, "a/b"),
        (None, "a/b\nc/d", Level.WARNING, "none is configured, so OpenCode picks one of 2"),
        ("x/y", "a/b", Level.FAILURE, "OpenCode does not know 'x/y'"),
        (None, "", Level.FAILURE, "knows no model"),
    ],
)
def test_the_model_is_one_that_opencode_knows(
    tmp_path: Path, model: str | None, known: str, level: Level, told: str
) -> None:
    found = by_id(look_at_opencode(environ_with(tmp_path, {"mcp": {}, "model": model}, known), tmp_path))
    assert found["model"].level is level
    assert told in found["model"].text


def test_a_ledger_is_looked_at_and_left_as_it_is(settings: Settings) -> None:
    before = bytes_of(settings.data_file.parent)
    found = by_id(look_at_ledger(settings))
    assert {check.level for check in found.values()} == {Level.OK}
    assert list(found) == ["folder", "ledger", "lock", "permissions", "agents"]
    assert re.search(
        r"agent-mesh\.json: clean, .* bytes, 1 fleet, 2 agents$", found["ledger"].text.replace("kB", "bytes")
    )
    assert found["agents"].text == "2 agents at work, 2 of them waiting to be started"
    assert bytes_of(settings.data_file.parent) == before


def test_without_a_ledger_its_folder_is_what_counts(tmp_path: Path) -> None:
    found = by_id(look_at_ledger(Settings(tmp_path / "a" / "b" / "mesh.json")))
    assert [check.level for check in found.values()] == [Level.OK, Level.OK]
    assert found["folder"].text == f"{tmp_path / 'a' / 'b'} can be made"
    assert not (tmp_path / "a").exists()


def test_a_folder_that_can_t_be_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = by_id(look_at_ledger(Settings(tmp_path / "file" / "mesh.json")))
    assert found["folder"].level is Level.FAILURE


def test_a_damaged_ledger_is_a_failure_that_names_what_mends_it(settings: Settings) -> None:
    (journal,) = settings.data_file.parent.glob("*.ndjson")
    write_behind(journal, b'{"seq":2,"ops":[],"crc":"00000000"}\n')
    found = by_id(look_at_ledger(settings))
    assert found["ledger"].level is Level.FAILURE
    assert "has 1 error" in found["ledger"].text
    assert found["ledger"].remedy == "meshfleet verify lists them, meshfleet repair mends what is damaged"


def test_a_file_that_is_no_ledger_is_a_failure(ledger_file: Path) -> None:
    ledger_file.write_text('{"$schema": "https://opencode.ai/config.json"}')
    assert by_id(look_at_ledger(Settings(ledger_file)))["ledger"].level is Level.FAILURE


@contextmanager
def holding(lock: Path) -> Generator[int]:
    """A process that holds a lock and is stopped."""
    script = (
        f"import fcntl, os, signal; f = open({str(lock)!r}, 'r+'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", f"{script}; os.kill(os.getpid(), signal.SIGSTOP)"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)
        process.stdout.close()


def test_a_lock_that_a_stopped_process_holds_is_a_failure_that_names_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshfleet.cli.checks.ledger.LOCK_PATIENCE_MS", 50)
    lock = settings.data_file.with_name("agent-mesh.lock")
    with holding(lock) as pid:
        found = by_id(look_at_ledger(settings))["lock"]
    assert found.level is Level.FAILURE
    holder = f"process {pid}" if sys.platform == "linux" else "another process"
    assert found.text == f"{lock} is held by {holder} for more than 50 ms"


def test_files_that_others_may_read_are_a_warning(settings: Settings) -> None:
    settings.data_file.chmod(0o644)
    found = by_id(look_at_ledger(settings))["permissions"]
    assert found.level is Level.WARNING
    assert found.remedy == f"chmod go= {settings.data_file}"


def test_a_folder_that_others_may_write_to_is_a_warning(settings: Settings) -> None:
    folder = settings.data_file.parent
    folder.chmod(0o770)
    assert by_id(look_at_ledger(settings))["folder"].remedy == f"chmod go-w {folder}"
    folder.chmod(0o777 | stat.S_ISVTX)
    assert by_id(look_at_ledger(settings))["folder"].level is Level.OK


def test_agents_whose_supervisor_is_gone_are_a_warning(settings: Settings) -> None:
    ledger = ledger_at(settings.data_file)
    start_all(ledger, {"pid": os.getpid(), "start_time": 0.0, "boot_id": "another"})
    ledger.close()
    found = by_id(look_at_ledger(settings))["agents"]
    assert found.level is Level.WARNING
    assert found.text.startswith("2 agents at work without a supervisor: ")


def test_a_port_that_another_program_has_is_a_warning(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = by_id(look_at_machine(Settings(tmp_path / "mesh.json", sse_port=port)))["port"]
    assert found.level is Level.WARNING
    assert f"port {port} is taken by process {os.getpid()}" in found.text


def test_a_port_that_a_meshfleet_server_has_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_listener_on", lambda _port: (7, "/opt/bin/meshfleet serve"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(tmp_path / "mesh.json", sse_port=taken.getsockname()[1])
        found = by_id(look_at_machine(settings))["port"]
    assert found.level is Level.OK
    assert "that of meshfleet server 7" in found.text


@pytest.mark.parametrize(
    ("host", "level"),
    [("127.0.0.1", Level.OK), ("::1", Level.OK), ("0.0.0.0", Level.WARNING), ("999.1.1.1", Level.FAILURE)],  # noqa: S104
)
def test_a_host_is_one_of_this_machine_and_for_it_alone(tmp_path: Path, host: str, level: Level) -> None:
    found = by_id(look_at_machine(Settings(tmp_path / "mesh.json", sse_host=host, sse_port=0)))["port"]
    assert found.level is level


def test_memory_says_how_many_agents_it_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "read_memory", lambda: Memory(16 * 10**9, 9 * 10**9))
    free = Settings(tmp_path / "mesh.json", sse_port=0)
    assert by_id(look_at_machine(free))["memory"].text == "9.0 GB free, enough for about 10 agents at once"
    limited = Settings(tmp_path / "mesh.json", sse_port=0, max_running=4)
    assert by_id(look_at_machine(limited))["memory"].text.endswith("4 agents at once (MESHFLEET_MAX_RUNNING is 4)")
    monkeypatch.setattr(machine, "read_memory", lambda: Memory(16 * 10**9, 10**9))
    found = by_id(look_at_machine(free))["memory"]
    assert (found.level, found.text) == (Level.WARNING, "1.0 GB free, enough for about 1 agent at once")


@pytest.mark.parametrize(("free", "level"), [(5e9, Level.OK), (5e8, Level.WARNING), (5e7, Level.FAILURE)])
def test_a_disk_with_too_little_left_says_so(
    tmp_path: Path, free: float, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        def __init__(self, _path: str) -> None:
            self.free = int(free)

    monkeypatch.setattr("psutil.disk_usage", Usage)
    found = by_id(look_at_machine(Settings(tmp_path / "mesh.json", sse_port=0)))
    assert (found["disk"].level, found["tmp"].level) == (level, level)
