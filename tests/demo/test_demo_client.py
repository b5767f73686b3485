"""The demo's MCP client against a real `meshfleet serve`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import anyio
import psutil
import pytest

from meshfleet.demo import child, client
from meshfleet.demo.client import serving
from meshfleet.errors import Conflict, Unavailable

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

NAMES_WHAT_IT_LOADED: Final = """
import sys
from meshfleet.cli import main
sys.argv = ["meshfleet", "serve"]
main()
print("loaded", [name for name in ("mcp", "mcp_types") if name in sys.modules], file=sys.stderr)
"""
GREETED: Final = (
    """read greeting; echo '{"id": 1, "result": {"serverInfo": {"name": "sh", "version": "7"}}}'; read ready"""
)
ENDLESS: Final = "trap '' TERM; (trap '' TERM; exec sleep 600) & sleep 600"


def environment(ledger: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "MESHFLEET_DATA_FILE": str(ledger), **more}


def running_servers() -> list[int]:
    mine = psutil.Process().children(recursive=True)
    return [child.pid for child in mine if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


async def test_a_tool_s_result_comes_back_and_a_refusal_is_raised(ledger_file: Path, tmp_path: Path) -> None:
    async with serving(environment(ledger_file), tmp_path, tmp_path / "log") as client:
        listed = await client.call("list_fleets")
        with pytest.raises(Unavailable, match=r"refused fleet_status: .*nobody"):
            await client.call("fleet_status", fleet_id="nobody")
        with pytest.raises(Unavailable, match="did not answer no_such_tool"):
            await client.call("no_such_tool")

    assert listed == {"fleets": []}
    assert running_servers() == []


async def test_its_server_need_not_load_the_sdk(ledger_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", NAMES_WHAT_IT_LOADED]
    async with serving(environment(ledger_file), tmp_path, tmp_path / "log", command) as server:
        await server.call("list_fleets")
        with pytest.raises(Unavailable):
            await server.call("no_such_tool")

    assert (tmp_path / "log").read_text(encoding="utf-8").splitlines()[-1] == "loaded []"


def test_a_demo_is_loaded_without_the_sdk() -> None:
    look = "import sys, meshfleet.demo.run; sys.exit('mcp' in sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", look], check=True, timeout=60)


async def test_the_server_is_out_of_reach_of_a_terminal_s_ctrl_c(tmp_path: Path) -> None:
    async with serving({}, tmp_path, tmp_path / "log", ["/bin/sh", "-c", f"{GREETED}; read more"]) as server:
        (pid,) = running_servers()
        group = os.getpgid(pid)

    assert group == pid
    assert server.server == ("sh", "7")


async def test_it_is_told_home_and_path_and_what_it_is_given_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    command = ["/bin/sh", "-c", f"env >&2; pwd >&2; {GREETED}"]
    async with serving({"GIVEN": "y", "TERM": "dumb"}, tmp_path, tmp_path / "log", command):
        pass
    told = (tmp_path / "log").read_text(encoding="utf-8").splitlines()

    assert {f"HOME={os.environ['HOME']}", f"PATH={os.environ['PATH']}", "GIVEN=y", "TERM=dumb"} <= set(told)
    assert "SECRET=x" not in told
    assert told[-1] == str(tmp_path.resolve())


async def test_what_is_long_gets_through_whole_in_both_directions(tmp_path: Path) -> None:
    long = "x" * 1_000_000
    answer = json.dumps({"id": 2, "result": {"content": [{"type": "text", "text": json.dumps({"said": long})}]}})
    (tmp_path / "answer").write_text(f"{answer}\n")
    script = f"{GREETED}; sleep 0.2; head -n 1 >heard; cat answer"
    async with serving({}, tmp_path, tmp_path / "log", ["/bin/sh", "-c", script]) as server:
        answered = await server.call("echo", text=long)
    heard: dict[str, Any] = json.loads((tmp_path / "heard").read_text())

    assert answered == {"said": long}
    assert heard["params"] == {"name": "echo", "arguments": {"text": long}}


async def test_what_is_no_answer_is_passed_over_and_a_question_is_declined(tmp_path: Path) -> None:
    script = f"""
    echo 'welcome to the shell'; echo '[1]'
    {GREETED}; read call
    echo '{{"method": "notifications/message", "params": {{}}}}'
    echo '{{"id": 1, "result": {{"content": []}}}}'
    echo '{{"id": "q", "method": "roots/list"}}'; read declined
    for said in "$greeting" "$ready" "$call" "$declined"; do echo "$said" >&2; done
    echo '{{"id": 2, "result": {{"content": [{{"type": "image"}}, {{"type": "text", "text": "{{}}"}}]}}}}'
    """
    async with serving({}, tmp_path, tmp_path / "log", ["/bin/sh", "-c", script]) as server:
        assert await server.call("look") == {}
    greeting, ready, call, declined = map(json.loads, (tmp_path / "log").read_text().splitlines())

    assert (greeting["method"], ready["method"], call["method"]) == (
        "initialize",
        "notifications/initialized",
        "tools/call",
    )
    assert {message["jsonrpc"] for message in (greeting, ready, call, declined)} == {"2.0"}
    assert (declined["id"], declined["error"]["code"]) == ("q", -32601)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("""{"id": 2, "result": {"content": [{"type": "text", "text": "well"}]}}""", "no JSON object: well"),
        ("""{"id": 2, "result": {"isError": true, "content": [{"type": "text", "text": "no"}]}}""", "refused look: no"),
        ("""{"id": 2, "result": {"content": 7}}""", "what is no JSON object"),
        ("""{"id": 2, "error": {"code": 1, "message": "busy"}}""", "did not answer look: busy"),
        ("""{"id": 2, "error": "busy"}""", "did not answer look: busy"),
        ("", "did not answer look: it has ended"),
        ("x" * 2000, "did not answer look: it says a line of more than 1000 bytes"),
    ],
)
async def test_an_answer_that_is_none_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, told: str
) -> None:
    monkeypatch.setattr(child, "MOST_LINE_BYTES", 1000)
    script = f"{GREETED}; read call; printf '%s' '{answer}'; case '{answer}' in '{{'*) echo;; esac"
    async with serving({}, tmp_path, tmp_path / "log", ["/bin/sh", "-c", script]) as server:
        with pytest.raises(Unavailable, match=told):
            await server.call("look")


async def test_a_server_that_reads_nothing_any_more_is_gone(tmp_path: Path) -> None:
    async with serving({}, tmp_path, tmp_path / "log", ["/bin/sh", "-c", f"{GREETED}; exec <&-; cat"]) as server:
        with pytest.raises(Unavailable, match="did not answer look: it has ended"):
            await server.call("look", text="x" * 1_000_000)


async def test_a_server_that_does_not_answer_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving({}, tmp_path, tmp_path / "log", ["/bin/sh", "-c", f"{GREETED}; cat >&2"]) as server:
        monkeypatch.setattr(client, "CALL_TIMEOUT_S", 0.1)
        with pytest.raises(Unavailable, match="did not answer look: nothing came within 0 s"):
            await server.call("look")


@pytest.mark.parametrize("command", [["/nowhere/meshfleet"], ["a\0b"]])
async def test_a_command_that_can_not_be_run_is_said_to_be_none(tmp_path: Path, command: list[str]) -> None:
    with pytest.raises(Unavailable, match="the meshfleet server did not start"):
        async with serving({}, tmp_path, tmp_path / "log", command):
            pytest.fail("there is no server to talk to")


async def test_a_server_that_has_more_to_say_is_heard_out(tmp_path: Path) -> None:
    script = f"{GREETED}; cat >&2; head -c 1000000 /dev/zero; echo over >&2"
    async with serving({}, tmp_path, tmp_path / "log", ["/bin/sh", "-c", script]):
        pass

    assert (tmp_path / "log").read_text() == "over\n"


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_server_that_will_not_end_is_killed_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    monkeypatch.setattr(child, "PATIENCE_S", 0.1)
    with anyio.CancelScope() as scope:
        async with serving({}, tmp_path, tmp_path / "log", ["/bin/sh", "-c", f"{GREETED}; {ENDLESS}"]):
            with anyio.fail_after(60):
                while len(started := psutil.Process().children(recursive=True)) < 3:
                    await anyio.sleep(0.01)
            if cancelled:
                scope.cancel()
                await anyio.sleep_forever()

    _, alive = psutil.wait_procs(started, timeout=20)
    assert alive == []


async def test_the_server_ends_and_the_error_stays_itself_when_the_block_raises(
    ledger_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(Conflict, match="out of here"):
        async with serving(environment(ledger_file), tmp_path, tmp_path / "log"):
            raise Conflict("out of here")

    assert running_servers() == []


async def test_a_server_that_can_t_start_is_said_to_and_its_reason_is_in_its_log(
    ledger_file: Path, tmp_path: Path
) -> None:
    unfit = environment(ledger_file, MESHFLEET_LOG_LEVEL="shouting")
    with pytest.raises(Unavailable, match="the meshfleet server did not start"):
        async with serving(unfit, tmp_path, tmp_path / "log"):
            pytest.fail("there is no server to talk to")

    assert "MESHFLEET_LOG_LEVEL is 'shouting'" in (tmp_path / "log").read_text(encoding="utf-8")
