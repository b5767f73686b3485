"""Health: what is counted, and when the mesh is not well."""

from __future__ import annotations

import json
from pathlib import Path

from meshfleet.mesh.health import health
from tests.mesh.fleets import fleet_of, open_ledger, send


def test_a_mesh_that_works_is_ok_and_counted(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    send(ledger, fleet_id, b, sender=a)
    report = health(ledger, 0, [])
    assert (report["status"], report["problems"]) == ("ok", [])
    assert [report[name] for name in ("fleets", "agents", "messages", "capabilities")] == [1, 2, 1, 0]
    log = ledger_file.with_name("agent-mesh.events.log").read_text().splitlines()
    assert report["events"] == len(log)
    assert report["last_event_timestamp"] == json.loads(log[-1])["timestamp"]
    files = [path for path in ledger_file.parent.iterdir() if "json" in path.name]
    assert report["ledger_bytes"] == sum(path.stat().st_size for path in files)


def test_a_mesh_without_a_ledger_is_ok_and_empty(ledger_file: Path) -> None:
    report = health(open_ledger(ledger_file), 0, [])
    assert report["status"] == "ok"
    assert [report[name] for name in ("fleets", "events", "ledger_bytes", "events_log_bytes")] == [0, 0, 0, 0]
    assert report["last_event_timestamp"] is None


def test_a_ledger_that_can_not_be_read_is_an_error_in_words(ledger_file: Path) -> None:
    ledger_file.write_text("{")
    report = health(open_ledger(ledger_file), 0, ["no opencode"])
    assert report["status"] == "error"
    assert "is damaged" in report["problems"][0]
    assert report["problems"][1] == "no opencode"


def test_what_is_amiss_besides_degrades_it(ledger_file: Path) -> None:
    assert health(open_ledger(ledger_file), 0, ["no opencode"])["status"] == "degraded"
    ledger_file.write_text(json.dumps({"schema_version": 9}))
    report = health(open_ledger(ledger_file), 0, [])
    assert (report["status"], report["problems"]) == ("degraded", ["the ledger is of the newer schema 9 and only read"])


def test_a_torn_last_line_of_the_event_log_is_passed_over(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_of(ledger, "A")
    log = ledger_file.with_name("agent-mesh.events.log")
    last = json.loads(log.read_text().splitlines()[-1])["timestamp"]
    with log.open("a") as file:
        file.write('{"event":"message_se')
    assert health(ledger, 0, [])["last_event_timestamp"] == last
