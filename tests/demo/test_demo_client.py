"""The demo's MCP client against a real `meshfleet serve`."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from meshfleet.demo.client import serving
from meshfleet.errors import Conflict, Unavailable

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


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
