"""What a look at the mesh finds, and what it makes of a ledger that is missing, damaged, newer or another one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from meshfleet.agents.process import boot_id, current_identity, identify
from meshfleet.dashboard.collector import Collector
from meshfleet.dashboard.picture import EVERY_MESSAGE, Picture, Wanted
from meshfleet.ledger import Ledger
from meshfleet.mesh.cancelling import cancel
from meshfleet.mesh.receipts import ack_message
from meshfleet.model import SCHEMA_VERSION, Row
from tests.dashboard.meshes import (
    ANALYST,
    CHECKOUT,
    CRAWLER,
    ENGINEER,
    EXPLORER,
    NIGHTLY,
    NOW,
    REVIEWER,
    document,
    open_mesh,
    own_id,
    write_mesh,
)
from tests.ledgers import ledger_at


def collector(ledger: Ledger) -> Collector:
    return Collector(ledger, lambda: NOW)


def kinds(picture: Picture) -> list[str]:
    return [str(problem.kind) for problem in picture.problems]


def test_one_look_finds_fleets_agents_and_problems(ledger_file: Path) -> None:
    picture = collector(open_mesh(ledger_file)).look(Wanted())

    assert [fleet.status for fleet in picture.fleets] == ["failed", "complete", "running"]
    assert [agent.id for agent in picture.agents][:4] == [EXPLORER, ANALYST, ENGINEER, REVIEWER]
    assert kinds(picture) == ["retrying", "stalled", "undeliverable", "over_budget", "failed"]
    assert picture.names == {CHECKOUT: "checkout", NIGHTLY: "nightly crawl"} | {
        fleet.id: fleet.id[:8] for fleet in picture.fleets if fleet.name is None
    }
    assert (picture.trouble, picture.messages, picture.is_there) == (None, None, True)


def test_messages_an_agent_and_a_trail_are_looked_at_where_they_are_wanted(ledger_file: Path) -> None:
    look = collector(open_mesh(ledger_file)).look

    messages = look(Wanted(messages=EVERY_MESSAGE)).messages
    agent = look(Wanted(agent_id=ANALYST)).agent
    trail = look(Wanted(message_id=own_id(103))).trail

    assert messages is not None
    assert len(messages) == 5
    assert agent is not None
    assert agent.summary.role == "Analyst"
    assert trail is not None
    assert [delivery.state for delivery in trail.deliveries] == ["seen", "delivered", "sent"]


def test_what_is_wanted_and_is_not_there_is_left_out(ledger_file: Path) -> None:
    picture = collector(open_mesh(ledger_file)).look(Wanted(agent_id="nobody"))
    assert (picture.agent, picture.trouble) == (None, None)


def test_while_nothing_changes_nothing_is_made_anew(ledger_file: Path) -> None:
    look = collector(open_mesh(ledger_file)).look
    first = look(Wanted(messages=EVERY_MESSAGE))
    second = look(Wanted(messages=EVERY_MESSAGE))
    assert second.agents is first.agents
    assert second.messages is first.messages


def test_a_trail_is_followed_again_only_where_something_happened_to_it(ledger_file: Path) -> None:
    ledger = open_mesh(ledger_file)
    look = collector(ledger).look
    before = look(Wanted(messages=EVERY_MESSAGE)).messages
    ack_message(ledger, ENGINEER, own_id(102))
    after = look(Wanted(messages=EVERY_MESSAGE)).messages

    assert before is not None
    assert after is not None
    assert [one is other for one, other in zip(before, after, strict=True)] == [True, False, True, True, True]
    assert after[1].deliveries[0].acked_at is not None


def test_a_supervisor_that_goes_is_noticed_although_nobody_writes(ledger_file: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        identity = identify(process.pid)
        assert identity is not None
        rows = document()
        named = {"pid": identity.pid, "start_time": identity.start_time, "boot_id": boot_id()}
        rows["agents"][ANALYST]["supervisor"] = named
        look = collector(open_mesh(ledger_file, rows)).look
        before = look(Wanted()).agent_line(ANALYST)
        process.communicate(b"\n")
    after = look(Wanted()).agent_line(ANALYST)

    assert before is not None
    assert after is not None
    assert (before.condition, after.condition) == (None, "unsupervised")


def test_that_the_process_of_an_agent_ends_is_noticed_where_nobody_supervises_it(ledger_file: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        identity = identify(process.pid)
        assert identity is not None
        rows = document()
        here = {"pid": identity.pid, "start_time": identity.start_time, "boot_id": boot_id()}
        rows["agents"][ANALYST]["supervisor"] = {**here, "boot_id": "another"}
        rows["attempts"][f"{ANALYST}/1"] |= here
        look = collector(open_mesh(ledger_file, rows)).look
        before = [one.what for one in look(Wanted()).problems if one.agent_id == ANALYST]
        process.communicate(b"\n")
    after = [one.what for one in look(Wanted()).problems if one.agent_id == ANALYST]

    assert [what.partition(",")[0] for what in (*before, *after)] == ["goes on", "its process has ended"]


def test_the_process_of_a_run_is_known_where_it_is_of_this_boot(ledger_file: Path) -> None:
    identity = current_identity()
    rows = document()
    here = {"pid": identity.pid, "start_time": identity.start_time}
    rows["attempts"][f"{ANALYST}/1"] |= {**here, "boot_id": boot_id()}
    rows["attempts"][f"{ENGINEER}/2"] |= {**here, "boot_id": "another"}
    runs = collector(open_mesh(ledger_file, rows)).look(Wanted()).runs

    assert (runs[ANALYST].attempt, runs[ANALYST].leader) == (1, identity)
    assert (runs[ENGINEER].attempt, runs[ENGINEER].leader) == (2, None)
    assert runs.keys() == {ANALYST, ENGINEER}


def test_a_missing_ledger_is_no_trouble_and_nothing_is_made_for_it(tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "agent-mesh.json"
    picture = collector(ledger_at(file)).look(Wanted(messages=EVERY_MESSAGE))
    assert (picture.is_there, picture.trouble, picture.fleets) == (False, None, [])
    assert not file.parent.exists()


def test_a_ledger_that_comes_later_is_found(ledger_file: Path) -> None:
    look = collector(ledger_at(ledger_file)).look
    assert not look(Wanted()).is_there
    write_mesh(ledger_file)
    picture = look(Wanted())
    assert (picture.is_there, len(picture.fleets), picture.replaced_at) == (True, 3, None)


def test_of_a_damaged_ledger_what_was_there_before_stays_until_it_is_mended(ledger_file: Path) -> None:
    look = collector(open_mesh(ledger_file)).look
    look(Wanted())
    replace_with(ledger_file, b'{"schema_version": 2, "fleets"')
    damaged = look(Wanted())
    assert damaged.trouble is not None
    assert "meshfleet repair" in damaged.trouble
    assert len(damaged.fleets) == 3

    replace_with(ledger_file, json.dumps(document()).encode())
    assert look(Wanted()).trouble is None


def test_a_ledger_that_was_damaged_from_the_first_is_told_of(ledger_file: Path) -> None:
    ledger_file.write_text("{}}")
    picture = collector(ledger_at(ledger_file)).look(Wanted())
    assert picture.trouble is not None
    assert picture.fleets == ()


def test_a_damaged_journal_is_told_of(ledger_file: Path) -> None:
    cancel(open_mesh(ledger_file), agent_id=REVIEWER)
    (journal,) = ledger_file.parent.glob("*.ndjson")
    journal.write_bytes(journal.read_bytes().replace(b"cancelled", b"CANCELLED"))
    picture = collector(ledger_at(ledger_file)).look(Wanted())
    assert picture.trouble is not None
    assert journal.name in picture.trouble


def test_what_is_written_here_makes_no_other_ledger_of_it(ledger_file: Path) -> None:
    ledger = open_mesh(ledger_file)
    look = collector(ledger).look
    look(Wanted())
    cancel(ledger, agent_id=REVIEWER)
    ledger.compact()
    cancel(ledger, agent_id=ANALYST)
    picture = look(Wanted())
    assert picture.replaced_at is None
    reviewer = picture.agent_line(REVIEWER)
    assert reviewer is not None
    assert reviewer.status == "cancelled"


def test_a_newer_ledger_is_shown_and_said_to_be_read_only(ledger_file: Path) -> None:
    rows = document() | {"schema_version": SCHEMA_VERSION + 1}
    picture = collector(open_mesh(ledger_file, rows)).look(Wanted())
    assert len(picture.fleets) == 3
    assert picture.why_read_only is not None
    assert "upgrade meshfleet" in picture.why_read_only


def test_another_ledger_in_its_place_is_shown_and_told_of(ledger_file: Path) -> None:
    ledger = open_mesh(ledger_file)
    look = collector(ledger).look
    before = look(Wanted(messages=EVERY_MESSAGE))
    replace_with(ledger_file, json.dumps(_smaller(document())).encode())
    after = look(Wanted(messages=EVERY_MESSAGE))

    assert (before.replaced_at, after.replaced_at) == (None, NOW)
    assert [fleet.id for fleet in after.fleets] == [CHECKOUT]
    assert after.messages is not None
    assert CRAWLER not in {agent.id for agent in after.agents}


def test_a_ledger_that_is_removed_is_said_to_be_gone(ledger_file: Path) -> None:
    look = collector(open_mesh(ledger_file)).look
    look(Wanted())
    ledger_file.unlink()
    picture = look(Wanted())
    assert not picture.is_there
    assert picture.fleets == []


def test_a_ledger_that_can_not_be_read_is_told_of(ledger_file: Path) -> None:
    ledger_file.mkdir()
    picture = collector(ledger_at(ledger_file)).look(Wanted())
    assert picture.trouble is not None
    assert str(ledger_file) in picture.trouble


def replace_with(file: Path, data: bytes) -> None:
    """Put another file into its place, as a restore from a backup does."""
    other = file.with_suffix(".other")
    other.write_bytes(data)
    other.replace(file)


def _smaller(rows: Row) -> Row:
    return rows | {
        "fleets": {CHECKOUT: rows["fleets"][CHECKOUT]},
        "agents": {key: agent for key, agent in rows["agents"].items() if agent["fleet_id"] == CHECKOUT},
        "messages": {key: message for key, message in rows["messages"].items() if message["fleet_id"] == CHECKOUT},
        "inboxes": {},
    }
