"""`benchmark/stdio.py` measures servers of others, and says in a word what it can't."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from benchmark import stdio
from benchmark.over_stdio import client
from benchmark.over_stdio.client import Client, Dead
from benchmark.over_stdio.compare import QUICK, compare
from benchmark.over_stdio.rows import ROWS
from benchmark.over_stdio.session import House, Subject
from benchmark.over_stdio.sheet import Sheet, percentile
from tests.agents.agents_helpers import eventually

SCRIPT: Final = Path(stdio.__file__)
FAKE: Final = (sys.executable, str(Path(__file__).with_name("fake_mesh.py")))


def sheet_of(*faults: str) -> Sheet:
    [sheet] = compare([Subject("fake", (*FAKE, *faults))], QUICK, lambda _: None)
    return sheet


def test_a_tool_that_a_server_lacks_is_not_offered_and_the_others_are_measured() -> None:
    sheet = sheet_of()
    lacking = {name for name, word in sheet.words.items() if word == "not offered"}
    assert {"list_fleets_ms", "batch_ms", "waiters", "woken_p50_ms"} <= lacking
    assert all(sheet.figure(name) for name in ("initialize_ms", "sends_per_s", "read_p99_ms", "together_s", "spawn_ms"))
    assert {row.key for row in ROWS} == set(sheet.rounds) | set(sheet.words)


def test_what_one_server_acknowledges_and_another_overwrites_is_lost() -> None:
    assert sheet_of().figure("together_lost") == QUICK.throng.sends


def test_a_server_that_takes_no_ledger_as_it_is_gets_its_messages_by_sends() -> None:
    assert sheet_of().figure("large_messages") == QUICK.load.messages


def test_a_server_that_dies_is_told_of_in_a_line_and_not_asked_again() -> None:
    sheet = sheet_of("dies")
    assert sheet.figure("pings_per_s") is not None
    assert sheet.words["sends_per_s"] == sheet.words["together_lost"] == "ended with exit code 3"


def test_a_refusal_is_told_of_and_what_does_not_need_it_is_measured() -> None:
    sheet = sheet_of("refuses")
    assert sheet.words["sends_per_s"] == 'refused: {"error":"not today"}'
    assert sheet.figure("reads_per_s") is None
    assert sheet.figure("together_refused") == QUICK.throng.servers * QUICK.throng.sends


def test_a_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE_S", 0.2)
    assert sheet_of("deaf").words["sends_per_s"] == "did not answer within 0.2 s"


def test_a_server_that_never_greets_is_one_line_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        stdio.main(["--quick", "--server", "false and more"])
    assert ended.value.code == 1
    assert capsys.readouterr().err == "false and more: ended with exit code 1\n"


def test_two_servers_are_compared_by_a_script_that_is_started_by_its_path(tmp_path: Path) -> None:
    command = shlex.join(FAKE)
    file = tmp_path / "figures.json"
    said = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--json", str(file), "--server", command, "--server", command],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    head, _, *rows = [line for line in said.stdout.splitlines() if line.startswith("|")]
    assert head == "|  | A: fake 1 | B: fake 1 | first : second |"
    assert len(rows) == len(ROWS)
    assert rows[0].startswith("| start to `initialize` answered | ")
    assert {record["server"] for record in json.loads(file.read_text())} == {"A: fake 1", "B: fake 1"}


def test_what_a_server_asks_meanwhile_is_declined_and_what_it_tells_is_passed_over(tmp_path: Path) -> None:
    words = [{"method": "notifications/message"}, {"id": 7, "method": "roots/list"}, {"id": 1, "result": {}}]
    script = f"import sys\nprint({chr(10).join(map(json.dumps, words))!r}, flush=True)\nprint(input())\ninput()"
    server = Client((sys.executable, "-c", script), {}, tmp_path, tmp_path / "errors.log")
    try:
        assert json.loads(server.answer()) == {"id": 1, "result": {}}
        assert json.loads(server.answer())["error"]["message"] == "not offered"
    finally:
        server.kill()


def test_a_server_that_reads_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE_S", 0.1)
    server = Client(("sleep", "60"), {}, tmp_path, tmp_path / "errors.log")
    try:
        with pytest.raises(Dead, match="did not answer"):
            server.write(b"x" * 2**20)
    finally:
        server.kill()


@pytest.mark.parametrize("end", [Client.kill, Client.leave])
def test_what_a_server_answered_before_its_end_is_still_heard(
    end: Callable[[Client], list[bytes]], tmp_path: Path
) -> None:
    answers = [{"id": 1, "result": {}}, {"id": 2, "result": {}}]
    script = f"print({chr(10).join(map(json.dumps, answers))!r}, flush=True)\nopen('said', 'w')\ninput()"
    server = Client((sys.executable, "-c", script), {}, tmp_path, tmp_path / "errors.log")
    eventually((tmp_path / "said").exists, "it has answered")
    assert [json.loads(line) for line in end(server)] == answers
    assert server.process.returncode == (-9 if end is Client.kill else 1)
    assert server.kill() == []


def test_what_is_asked_before_a_client_leaves_is_answered(tmp_path: Path) -> None:
    house = House(Subject("fake", FAKE), tmp_path)
    server = house.begin()
    server.hail()
    called = server.post("ping")
    greeted, answered = map(json.loads, server.leave())
    assert (greeted["result"]["serverInfo"]["name"], answered["id"]) == ("fake", called)
    assert server.process.returncode == 0


def test_a_server_that_does_not_end_by_itself_is_killed(tmp_path: Path) -> None:
    server = Client(("sleep", "60"), {}, tmp_path, tmp_path / "errors.log")
    assert server.leave(patience_s=0.1) == []
    assert server.process.returncode == -9


def test_a_percentile_is_a_time_that_was_measured() -> None:
    assert percentile([0.003, 0.001, 0.002], 50) == 2
    assert percentile([0.001], 99) == 1
