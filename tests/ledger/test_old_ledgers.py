"""Ledgers of every schema, as fixtures: they load, they are written to, and v0.9 can read what comes of it.

COMPATIBILITY.md has the matrix; each of its rows names a fixture of this folder and a test of this module.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from meshfleet.errors import Conflict, Corrupt
from meshfleet.ledger import Ledger
from meshfleet.ledger.lock import LedgerLock
from meshfleet.ledger.schema import BACKFILL_NOTE
from meshfleet.mesh.fleets import collect_results, fleet_status, list_fleets
from meshfleet.mesh.messages import Draft, send_message
from meshfleet.mesh.receipts import ack_message, get_receipts
from meshfleet.model import ORCHESTRATOR, now_ms
from meshfleet.settings import beside
from tests.ledger.rows import bytes_of, message, quiet_ledger, send
from tests.ledger.v2_reader import read_as_v2
from tests.ledgers import ledger_at
from tests.mesh.fleets import inbox_of
from tests.mesh.fleets import row as row_of
from tests.server.serving import environ_for, raw_server, refusal_in, said_in

FIXTURES: Final = Path(__file__).with_name("fixtures")
WRITABLE: Final = ("ledger-v0.json", "ledger-v1.json", "ledger-v2.json", "ledger-v2-unknown-fields.json", "ours")
NEWER: Final = "ledger-v3-newer.json"
NUMBERS: Final = {"schema_version", "generation", "seq", "lineage"}
OURS: Final = {*NUMBERS, "attempts", "outcomes"}


def put_in_place(name: str, ledger_file: Path) -> dict[str, Any]:
    """Copy a fixture to where the ledger is; returns the document that its snapshot is."""
    source = FIXTURES / name
    for path in source.iterdir() if source.is_dir() else [source]:
        target = ledger_file.with_name(path.name) if source.is_dir() else ledger_file
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
    document: dict[str, Any] = json.loads(ledger_file.read_bytes())
    return document


def running_fleet(ledger: Ledger) -> tuple[str, list[str]]:
    """A fleet that runs, and its agents."""
    fleets = list_fleets(ledger)["fleets"]
    fleet_id = next(fleet["id"] for fleet in fleets if fleet["status"] == "running")
    return fleet_id, [agent["id"] for agent in fleet_status(ledger, fleet_id)["agents"]]


@pytest.mark.parametrize("name", [*WRITABLE, NEWER])
def test_a_ledger_of_any_schema_is_read_and_reading_writes_nothing(name: str, ledger_file: Path) -> None:
    document = put_in_place(name, ledger_file)
    before = bytes_of(ledger_file.parent)
    ledger = quiet_ledger(ledger_file)
    fleets = list_fleets(ledger)["fleets"]
    assert [fleet["id"] for fleet in fleets] == list(document["fleets"])
    assert {fleet["status"] for fleet in fleets} == {"failed", "running"}
    for fleet in fleets:
        agents = fleet_status(ledger, fleet["id"])["agents"]
        for agent in agents:
            agent.pop("used", None)  # derived, of a running one
        assert agents == [row for row in document["agents"].values() if row["fleet_id"] == fleet["id"]]
        assert len(collect_results(ledger, fleet["id"])["results"]) == len(agents)
    assert inbox_of(ledger, ORCHESTRATOR)["messages"][0]["payload"] == "The invoice template is missing."
    ledger.close()
    assert bytes_of(ledger_file.parent) == before


@pytest.mark.parametrize("name", ["ledger-v0.json", "ledger-v1.json"])
def test_flags_of_v0_and_v1_become_receipts(name: str, ledger_file: Path) -> None:
    document = put_in_place(name, ledger_file)
    acknowledged = [row for row in document["messages"].values() if row["acknowledged"]]
    assert len(acknowledged) == 3
    expected = {
        f"{row['id']}:{agent_id}:ack": {
            "message_id": row["id"],
            "agent_id": agent_id,
            "action": "ack",
            "timestamp": row["timestamp"],
            "note": "backfilled_from_v1_acknowledged_flag",
        }
        for row in acknowledged
        for agent_id in row.get("recipients", [row["to_agent_id"]])
    }
    ledger = quiet_ledger(ledger_file)
    assert ledger.read(lambda view: {row["message_id"]: 1 for row in view.rows("receipts")}).keys() == {
        row["id"] for row in acknowledged
    }
    for row in document["messages"].values():
        trail = [receipt for receipt in expected.values() if receipt["message_id"] == row["id"]]
        in_order = sorted(trail, key=lambda receipt: receipt["agent_id"])
        assert get_receipts(ledger, row["id"])["receipts"] == in_order
    send(ledger, "new")
    assert ledger.compact()
    assert read_as_v2(ledger_file)["receipts"] == expected


@pytest.mark.parametrize("name", ["ledger-v2.json", "ledger-v2-unknown-fields.json", "ours"])
def test_flags_of_v2_become_no_receipts(name: str, ledger_file: Path) -> None:
    document = put_in_place(name, ledger_file)
    message_id = next(row["id"] for row in document["messages"].values() if not row["acknowledged"])
    document["messages"][message_id]["acknowledged"] = True
    ledger_file.write_text(json.dumps(document))
    ledger = quiet_ledger(ledger_file)
    assert not [row for row in get_receipts(ledger, message_id)["receipts"] if row.get("note") == BACKFILL_NOTE]


@pytest.mark.parametrize("name", WRITABLE)
def test_what_comes_of_a_transaction_and_a_compaction_is_what_v090_can_read(name: str, ledger_file: Path) -> None:
    document = put_in_place(name, ledger_file)
    ledger = quiet_ledger(ledger_file)
    fleet_id, agents = running_fleet(ledger)
    sent = send_message(ledger, Draft(agents[0], "*", fleet_id, "question", "Is it “rounded” twice?"))
    assert sent["recipients"] == agents[1:]
    assert ack_message(ledger, agents[1], sent["message_id"])["ok"]
    assert ledger.compact()
    ledger.close()

    after = read_as_v2(ledger_file)
    touched = {sent["message_id"]}
    for table in document.keys() - NUMBERS - {"receipts", "inboxes"}:
        for key in document[table] if isinstance(document[table], dict) else []:
            if name != "ours" or table != "messages":
                assert after[table][key] == document[table][key], (table, key)
    assert after["messages"].keys() - document["messages"].keys() >= touched
    assert document.get("receipts", {}).items() <= after["receipts"].items()
    for agent_id, waiting in document["inboxes"].items():
        if name != "ours":
            arrived = [sent["message_id"]] if agent_id in agents[2:] else []
            assert after["inboxes"][agent_id] == [*waiting, *arrived]
    assert list(after)[:4] == ["schema_version", "generation", "seq", "lineage"]
    known = {*OURS, "fleets", "agents", "messages", "inboxes", "capabilities", "receipts", "templates"}
    assert after.keys() - known == document.keys() - known


def test_unknown_fields_and_tables_survive_whatever_is_done_to_their_rows(ledger_file: Path) -> None:
    document = put_in_place("ledger-v2-unknown-fields.json", ledger_file)
    for _ in range(2):
        ledger = quiet_ledger(ledger_file)
        _, agents = running_fleet(ledger)
        (message_id,) = (key for key, row in document["messages"].items() if "priority" in row)
        assert ack_message(ledger, agents[1], message_id)["ok"]
        ledger.compact()
        ledger.close()
    after = read_as_v2(ledger_file)
    assert after["messages"][message_id] == {**document["messages"][message_id], "acknowledged": True}
    for table in ("agents", "fleets", "templates", "capabilities"):
        assert after[table] == document[table]
    assert document["receipts"].items() <= after["receipts"].items()
    unknown = {"written_by", "votes", "audit"}
    assert {name: after[name] for name in unknown} == {name: document[name] for name in unknown}


def test_our_own_ledger_is_read_with_what_its_journal_holds(ledger_file: Path) -> None:
    """A folder that was copied: the snapshot is not the file its journal was written beside, only its content is."""
    document = put_in_place("ours", ledger_file)
    lines = ledger_file.with_name("agent-mesh.journal.2.ndjson").read_text().splitlines()[1:]
    pending = [operation for line in lines for operation in json.loads(line)["ops"]]
    assert len(pending) == 6
    ledger = quiet_ledger(ledger_file)
    for name, table, key, *row in (operation for operation in pending if operation[0] == "put"):
        assert row_of(ledger, table, key) == row[0], name
    statuses = {row["status"] for row in document["agents"].values()}
    assert statuses == {"pending", "running", "complete", "failed", "interrupted"}
    assert document["attempts"]
    send(ledger, "new")
    assert ledger.read(lambda view: view.seq) == document["seq"] + len(lines) + 1


# -- newer than we are ----------------------------------------------------------------------------------------------


def a_newer_one_of_v09(ledger_file: Path) -> None:
    put_in_place(NEWER, ledger_file)


def a_newer_one_of_ours(ledger_file: Path) -> None:
    document = put_in_place("ours", ledger_file)
    ledger_file.write_text(json.dumps({**document, "schema_version": 3}))


@pytest.mark.parametrize("make", [a_newer_one_of_v09, a_newer_one_of_ours])
def test_a_newer_ledger_is_read_and_nothing_writes_to_it(make: Callable[[Path], None], ledger_file: Path) -> None:
    make(ledger_file)
    ledger = ledger_at(ledger_file)
    assert len(list_fleets(ledger)["fleets"]) >= 2
    # taking the locks leaves their files, and nothing else
    for _ in range(2):
        before = bytes_of(ledger_file.parent)
        fleet_id, agents = running_fleet(ledger)
        with pytest.raises(Conflict, match=r"\.json is of schema 3, which is newer than 2.*upgrade meshfleet"):
            send_message(ledger, Draft(agents[0], agents[1], fleet_id, "result", "hello"))
        assert not ledger.compact()
    ledger.close()
    assert bytes_of(ledger_file.parent) == before


def test_a_server_on_a_newer_ledger_answers_and_says_why_it_does_not_write(tmp_path: Path) -> None:
    file = tmp_path / "ledger" / "agent-mesh.json"
    document = put_in_place(NEWER, file)
    whole = file.read_bytes()
    fleet_id, *_ = (key for key, row in document["fleets"].items() if row["status"] == "running")
    with raw_server(environ_for(file)) as server:
        agents = said_in(server.call("fleet_status", fleet_id=fleet_id))["agents"]
        refused = server.call(
            "send_message",
            from_agent_id=agents[0]["id"],
            to_agent_id=agents[1]["id"],
            fleet_id=fleet_id,
            type="result",
            payload="hello",
        )
        assert "schema 3, which is newer than 2; it can only be read: upgrade meshfleet" in refusal_in(refused)
        server.end()
    assert file.read_bytes() == whole


# -- under a running server -----------------------------------------------------------------------------------------


def test_a_ledger_edited_by_hand_under_a_running_server_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "ledger" / "agent-mesh.json"
    document = _with_living_agents(put_in_place("ledger-v2.json", file), file)
    fleet_id, *_ = (key for key, row in document["fleets"].items() if row["status"] == "running")
    with raw_server(environ_for(file)) as server:
        first = said_in(server.call("fleet_status", fleet_id=fleet_id))["agents"][0]
        document["agents"][first["id"]]["role"] = "Auditor"
        edited = file.with_name("edited")
        edited.write_text(json.dumps(document))
        edited.rename(file)
        assert said_in(server.call("fleet_status", fleet_id=fleet_id))["agents"][0]["role"] == "Auditor"

        sent = said_in(_hello(server, fleet_id, first["id"]))
        document = json.loads(file.read_bytes())
        document["agents"][first["id"]]["role"] = "Keeper of accounts"
        file.write_text(json.dumps(document, indent=2))
        assert said_in(server.call("fleet_status", fleet_id=fleet_id))["agents"][0]["role"] == "Keeper of accounts"
        waiting = said_in(server.call("get_inbox", agent_id=first["id"]))["messages"]
        assert [message["id"] for message in waiting] == [sent["message_id"]]

        whole = file.read_bytes()
        file.write_bytes(whole[:-40])
        told = refusal_in(_hello(server, fleet_id, first["id"]))
        assert "agent-mesh.json is damaged: line" in told
        assert "nothing is written until it is mended" in told
        assert file.read_bytes() == whole[:-40]
        file.write_bytes(whole)
        assert said_in(_hello(server, fleet_id, first["id"]))["recipients"] == [first["id"]]
        server.end()


def test_a_ledger_deleted_under_a_running_server_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "ledger" / "agent-mesh.json"
    document = _with_living_agents(put_in_place("ledger-v2.json", file), file)
    fleet_id, *_ = (key for key, row in document["fleets"].items() if row["status"] == "running")
    agent_id = next(key for key, row in document["agents"].items() if row["fleet_id"] == fleet_id)
    aside = tmp_path / "aside.json"
    # while somebody else compacts, the server does not, and the journal alone holds what is sent
    compacting = LedgerLock(beside(file, "compact.lock"))
    with raw_server(environ_for(file)) as server, closing(compacting), compacting.held(1000):
        said_in(_hello(server, fleet_id, agent_id))
        file.rename(aside)
        for told in (
            refusal_in(server.call("fleet_status", fleet_id=fleet_id)),
            refusal_in(_hello(server, fleet_id, agent_id)),
        ):
            assert "agent-mesh.json is damaged: it is gone, but agent-mesh.journal.1.ndjson continues it" in told
        assert not file.exists()
        aside.rename(file)
        assert len(said_in(server.call("get_inbox", agent_id=agent_id))["messages"]) == 1

        for path in file.parent.iterdir():
            path.unlink()
        assert said_in(server.call("list_fleets"))["fleets"] == []
        assert f"fleet_id '{fleet_id}' is no fleet" in refusal_in(_hello(server, fleet_id, agent_id))
        server.end()


def _with_living_agents(document: dict[str, Any], file: Path) -> dict[str, Any]:
    """Have the agents that v0.9.0 left at work be alive, or the server writes at some moment that they are not."""
    for row in document["agents"].values():
        if row["status"] in {"pending", "running"}:
            row.update(pid=os.getpid(), started_at=now_ms())
    file.write_text(json.dumps(document))
    return document


def _hello(server: Any, fleet_id: str, agent_id: str) -> dict[str, Any]:
    said: dict[str, Any] = server.call(
        "send_message", from_agent_id="me", to_agent_id=agent_id, fleet_id=fleet_id, type="result", payload="hello"
    )
    return said


def test_an_old_ledger_that_is_damaged_is_refused_like_any_other(ledger_file: Path) -> None:
    document = put_in_place("ledger-v1.json", ledger_file)
    document["messages"]["broken"] = {**message("broken"), "timestamp": "yesterday"}
    ledger_file.write_text(json.dumps(document, indent=2))
    with pytest.raises(Corrupt, match="messages broken: timestamp is of type str"):
        send(quiet_ledger(ledger_file), "new")


def test_the_matrix_in_the_documentation_names_every_fixture_and_tests_that_exist() -> None:
    text = Path(__file__).parents[2].joinpath("COMPATIBILITY.md").read_text()
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.endswith("` |") and "`test_" in line]
    assert {row[4].strip(" `/") for row in rows} == {path.name for path in FIXTURES.iterdir()}
    assert {row[5].strip(" `") for row in rows} <= globals().keys()
