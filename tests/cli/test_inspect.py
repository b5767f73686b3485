"""`meshfleet inspect`: fleets, agents and messages as a terminal shows them, in a pipe, and as JSON."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from rich.cells import cell_len

from meshfleet.cli.inspect import sight_of
from meshfleet.cli.looking import Sight, show
from meshfleet.ledger import Ledger
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.messages import Draft, send_message
from meshfleet.mesh.overview.naming import NAMEABLE
from meshfleet.mesh.receipts import ack_message, write_receipt
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.specs import AgentSpec, FleetOptions
from meshfleet.mesh.supervision import Progress, note_progress
from meshfleet.model import Reason, TokensRow
from tests.cli import prepared
from tests.cli.terminals import in_terminal
from tests.mesh.fleets import bytes_of, open_ledger, start_all

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "cli.md"
OLD_LEDGERS: Final = sorted((Path(__file__).parents[1] / "ledger" / "fixtures").glob("ledger-v*.json"))
EVIL: Final = "Evil\x1b[31m\u202e\x9bRole\nof\ttwo  lines"
ESCAPED: Final = "Evil\\x1b[31m\\u202e\\x9bRole of two lines"
ESCAPES: Final = re.compile(r"\x1b\[[0-9;]*m")
SECRET: Final = "s3cret-value"


class Mesh:
    """A ledger with a fleet in which something went wrong, and one that has ended well."""

    def __init__(self, ledger_file: Path) -> None:
        self.file = ledger_file
        ledger = self.ledger()
        specs = [
            AgentSpec(role, f"be {role}\nand no other", env={"KEY": SECRET}) for role in ("Explorer", "Analyst", EVIL)
        ]
        options = FleetOptions(name="payments", max_attempts=2, max_tokens=5_000)
        self.fleet, (self.explorer, self.analyst, self.evil) = create_fleet(
            ledger, specs, cwd="/project", options=options
        )
        start_all(ledger)
        self.message = self._send(ledger, self.explorer, self.analyst, "look \x1b[2J\nthere")
        for action in ("delivered", "seen"):
            write_receipt(ledger, self.analyst, self.message, action)
        ack_message(ledger, self.analyst, self.message)
        self.broadcast = self._send(ledger, self.analyst, "*", "hear")
        write_receipt(ledger, self.explorer, self.broadcast, "rated", "a note")
        note_progress(ledger, [Progress(self.analyst, 1, "ses_1", _tokens(1_234), 0.5, 7)])
        settle_attempt(ledger, self.explorer, 1, Outcome(ok=True, output="found\nit", tokens=_tokens(1)))
        failed = Outcome(ok=False, reason=Reason.EXIT, error="it \x1b[5mbroke", exit_code=3)
        settle_attempt(ledger, self.evil, 1, failed, retry_base_ms=10**8)
        self.done, (lone,) = create_fleet(ledger, [AgentSpec("Lone", "go")], cwd="/project")
        start_all(ledger)
        settle_attempt(ledger, lone, 1, Outcome(ok=True, output="well"))
        ledger.close()

    def ledger(self) -> Ledger:
        """Another process's hold on it."""
        return open_ledger(self.file)

    def inspect(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run `meshfleet inspect` in a pipe."""
        given = {**os.environ, "MESHFLEET_DATA_FILE": str(self.file), **environ}
        return prepared.run("inspect", *arguments, environ=given)

    def plain(self, *arguments: str) -> list[list[list[str]]]:
        """The tables that a pipe gets, as rows of values."""
        done = self.inspect(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return [[re.split(r"  +", line) for line in part.splitlines()] for part in done.stdout.split("\n\n")]

    def json(self, *arguments: str, last: int | None = None) -> dict[str, Any]:
        """The one object that `--json` prints."""
        told: dict[str, Any] = json.loads(self.sight(*arguments, last=last)[0]())
        assert told.pop("version") == 1
        return told

    def sight(self, *arguments: str, last: int | None = None) -> Sight:
        """What there is to be shown."""
        options = [one for one in arguments if one.startswith("--")]
        name = next((one for one in arguments if not one.startswith("--")), None)
        return sight_of(self.ledger(), name, options, last)

    def _send(self, ledger: Ledger, sender: str, to: str, payload: str) -> str:
        message_id: str = send_message(ledger, Draft(sender, to, self.fleet, "handoff", payload))["message_id"]
        return message_id


def _tokens(total: int) -> TokensRow:
    return TokensRow(total=total, input=total, output=0, reasoning=0, cache_read=0, cache_write=0)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    """One for all: nothing here changes it, as every test would notice."""
    return Mesh(tmp_path_factory.mktemp("ledger") / "agent-mesh.json")


def named(table: list[list[str]]) -> list[dict[str, str]]:
    return [dict(zip(table[0], row, strict=True)) for row in table[1:]]


def test_a_pipe_gets_every_fleet_in_columns_of_whole_values(mesh: Mesh) -> None:
    (table,) = mesh.plain()
    one, other = named(table)
    assert (one["fleet"], one["name"], one["status"]) == (mesh.fleet, "payments", "running")
    assert (one["agents"], one["messages"], one["unread"]) == ("pending=1,running=1,complete=1", "2", "2")
    assert (one["tokens"], one["cost_usd"]) == ("1235", "0.500000")
    assert one["age_ms"].isdigit()
    assert (other["fleet"], other["name"], other["agents"]) == (mesh.done, "-", "complete=1")


def test_a_pipe_gets_a_fleet_its_agents_what_is_wrong_and_its_messages(mesh: Mesh) -> None:
    facts, agents, problems, messages = mesh.plain(mesh.fleet[:9])
    assert dict(facts)["fleet"] == mesh.fleet
    assert [(one["agent"], one["role"], one["status"], one["condition"]) for one in named(agents)] == [
        (mesh.explorer, "Explorer", "complete", "-"),
        (mesh.analyst, "Analyst", "running", "stalled"),
        (mesh.evil, ESCAPED, "pending", "retrying"),
    ]
    assert {(one["problem"], one["agent"]) for one in named(problems)} == {
        ("stalled", mesh.analyst),
        ("retrying", mesh.evil),
        ("undeliverable", mesh.explorer),
    }
    assert [(one["message"], one["from"], one["to"], one["state"], one["payload"]) for one in named(messages)] == [
        (mesh.message, mesh.explorer, mesh.analyst, "acked", "look \\x1b[2J there"),
        (mesh.broadcast, mesh.analyst, "*", "sent", "hear"),
    ]


def test_a_pipe_gets_an_agent_with_its_attempts_and_what_waits_for_it(mesh: Mesh) -> None:
    facts, attempts, unread = mesh.plain(mesh.evil)
    told = dict(facts)
    assert (told["agent"], told["role"], told["fleet"]) == (mesh.evil, ESCAPED, mesh.fleet)
    assert (told["condition"], told["error"], told["folder"]) == ("retrying", "it \\x1b[5mbroke", "/project")
    assert [(one["attempt"], one["result"], one["exit"]) for one in named(attempts)] == [("1", "failed", "3")]
    assert [one["message"] for one in named(unread)] == [mesh.broadcast]


def test_a_pipe_gets_a_message_with_its_witnessed_trail(mesh: Mesh) -> None:
    facts, trail = mesh.plain(mesh.message)
    assert (dict(facts)["payload"], dict(facts)["acknowledged"]) == ("look \\x1b[2J there", "yes")
    (one,) = named(trail)
    assert (one["recipient"], one["role"], one["state"], one["waits"]) == (mesh.analyst, "Analyst", "acked", "no")
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one[step]) for step in ("delivered", "seen", "acked")
    )
    _, trail, receipts = mesh.plain(mesh.broadcast)
    assert [(one["role"], one["state"], one["waits"]) for one in named(trail)] == [
        ("Explorer", "sent", "yes"),
        (ESCAPED, "sent", "yes"),
    ]
    assert [(one["receipt"], one["agent"], one["note"]) for one in named(receipts)] == [
        ("rated", mesh.explorer, "a note")
    ]


def test_a_pipe_gets_a_timeline_in_the_order_of_time(mesh: Mesh) -> None:
    (table,) = mesh.plain("--timeline", mesh.fleet)
    told = named(table)
    assert [one["at"] for one in told] == sorted(one["at"] for one in told)
    assert [one["what"] for one in told].count("receipt") == 4
    assert {one["message"] for one in told if one["what"] in {"message", "receipt"}} == {mesh.message, mesh.broadcast}
    (last,) = mesh.plain("--timeline", mesh.fleet, "--last", "3")
    assert last[1:] == table[-3:]


def test_a_pipe_gets_figures_and_problems(mesh: Mesh) -> None:
    (figures,) = mesh.plain("--metrics")
    told = dict(figures)
    assert (told["fleets"], told["agents.complete"], told["messages.handoff"]) == ("2", "2", "2")
    assert (told["tokens"], told["cost_usd"]) == ("1235", "0.500000")
    (problems,) = mesh.plain("--problems")
    assert [one["fleet"] for one in named(problems)] == [mesh.fleet] * 3


def test_json_tells_the_same_by_documented_names(mesh: Mesh) -> None:
    fleets = mesh.json()["fleets"]
    assert [(one["id"], one["agents"]) for one in fleets] == [
        (mesh.fleet, {"pending": 1, "running": 1, "complete": 1}),
        (mesh.done, {"complete": 1}),
    ]
    fleet = mesh.json(mesh.fleet)
    assert (fleet["fleet"], fleet["messages_left_out"]) == (fleets[0], 0)
    assert [one["role"] for one in fleet["agents"]] == ["Explorer", "Analyst", EVIL]
    agent = mesh.json(mesh.explorer)
    assert (agent["agent"]["output"], agent["agent"]["tokens"]) == ("found\nit", 1)
    assert [one["id"] for one in agent["unread"]] == [mesh.broadcast]
    message = mesh.json(mesh.message)["message"]
    assert (message["payload"], message["from_role"]) == ("look \x1b[2J\nthere", "Explorer")
    (recipient,) = message["recipients"]
    assert message["sent_at"] <= recipient["delivered_at"] <= recipient["seen_at"] <= recipient["acked_at"]
    timeline = mesh.json("--timeline", mesh.fleet, last=2)
    assert (len(timeline["moments"]), timeline["left_out"] > 5, timeline["fleet_id"]) == (2, True, mesh.fleet)
    assert mesh.json("--metrics")["metrics"]["agents"] == {"complete": 2, "pending": 1, "running": 1}
    assert {one["kind"] for one in mesh.json("--problems")["problems"]} == {"stalled", "retrying", "undeliverable"}


def test_every_field_of_the_json_is_documented(mesh: Mesh) -> None:
    section = DOCUMENT.read_text().partition("## inspect\n")[2].partition("\n## ")[0]
    documented = set(re.findall(r"\w+", section))
    fleet, moments = mesh.json(mesh.fleet), mesh.json("--timeline", mesh.fleet)
    told = [mesh.json(), mesh.json(mesh.explorer), mesh.json(mesh.message), mesh.json("--metrics"), fleet, moments]
    (recipient,) = mesh.json(mesh.message)["message"]["recipients"]
    objects = [*told, fleet["fleet"], *fleet["agents"], *fleet["problems"], *fleet["messages"], recipient]
    metrics = mesh.json("--metrics")["metrics"]
    fields = {field for one in [*objects, *moments["moments"], metrics, metrics["attempt_ms"]] for field in one}
    assert fields - documented == set()


def test_json_is_one_line(mesh: Mesh) -> None:
    done = mesh.inspect(mesh.explorer, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["version"] == 1


def test_only_so_many_messages_of_a_fleet_are_shown_and_the_rest_counted(mesh: Mesh) -> None:
    told = mesh.json(mesh.fleet, last=1)
    assert ([one["id"] for one in told["messages"]], told["messages_left_out"]) == ([mesh.broadcast], 1)


SIGHTS: Final = (
    "",
    "fleet",
    "analyst",
    "evil",
    "message",
    "broadcast",
    "--timeline",
    "--metrics",
    "--problems",
)


def sight(mesh: Mesh, what: str) -> list[str]:
    if what == "--timeline":
        return [what, mesh.fleet]
    return [what if what.startswith("-") else getattr(mesh, what)] if what else []


@pytest.mark.parametrize(("what", "columns"), [*((what, 80) for what in SIGHTS), ("fleet", 160), ("broadcast", 160)])
def test_a_terminal_is_never_overfull_and_obeys_only_our_colours(mesh: Mesh, what: str, columns: int) -> None:
    code, shown = in_terminal(["inspect", *sight(mesh, what)], mesh.file, columns=columns, TERM="xterm-256color")
    assert code == 0
    lines = ESCAPES.sub("", shown).splitlines()
    assert max(map(cell_len, lines)) <= columns
    assert "\x1b" not in "".join(lines)
    assert not set("\u202e\x9b") & set(shown)
    assert ESCAPES.search(shown)


@pytest.mark.parametrize("what", SIGHTS)
def test_no_secret_and_nothing_a_terminal_obeys_is_shown_and_nothing_changed(
    mesh: Mesh, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = bytes_of(mesh.file.parent)
    for as_json in (False, True):
        show(mesh.sight(*sight(mesh, what)), as_json=as_json)
    shown = capsys.readouterr().out
    assert SECRET not in shown
    assert shown.replace("\n", "").isprintable()
    assert bytes_of(mesh.file.parent) == before


def test_no_color_takes_the_colours_away(mesh: Mesh) -> None:
    _, shown = in_terminal(["inspect"], mesh.file, columns=80, TERM="xterm-256color", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", shown)
    _, shown = in_terminal(["inspect"], mesh.file, columns=80, TERM="xterm-256color")
    assert re.search(r"\x1b\[[0-9;]*33m", shown)


def test_a_terminal_sees_the_beginnings_of_ids_and_a_hint_at_problems(mesh: Mesh) -> None:
    _, shown = in_terminal(["inspect"], mesh.file, columns=80, TERM="dumb")
    assert mesh.fleet[:8] in shown
    assert mesh.fleet not in shown
    assert "3 problems: meshfleet inspect --problems" in shown
    assert mesh.inspect(mesh.fleet[:8]).returncode == 0


def test_where_there_is_no_ledger_there_are_no_fleets_and_none_is_made(mesh: Mesh, ledger_file: Path) -> None:
    told = mesh.inspect("--json", MESHFLEET_DATA_FILE=str(ledger_file))
    assert (told.returncode, json.loads(told.stdout)) == (0, {"version": 1, "fleets": []})
    code, shown = in_terminal(["inspect"], ledger_file, columns=80, TERM="dumb")
    assert (code, "no fleets yet" in shown) == (0, True)
    assert bytes_of(ledger_file.parent) == {}


@pytest.mark.parametrize("name", ["nothing", "", "../..", "\x1b[31m", "--timeline"])
def test_what_is_not_there_is_not_found(mesh: Mesh, name: str) -> None:
    done = mesh.inspect(*(["--timeline", "nothing"] if name == "--timeline" else [name]))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert " is no fleet" in line
    assert line.isprintable()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--metrics", "--problems"], "different things"),
        (["--metrics", "x"], "takes no id"),
        (["--timeline"], "say which"),
        (["--follow"], "--events only"),
        (["--last", "3"], "--last goes with a fleet"),
        (["x", "--last", "-1"], "--last"),
        (["x", "y"], "unexpected"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_bad_use_is_exit_code_2(mesh: Mesh, arguments: list[str], told: str) -> None:
    done = mesh.inspect(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_last_of_what_is_no_fleet_is_refused(mesh: Mesh) -> None:
    done = mesh.inspect(mesh.message, "--last", "3")
    assert (done.returncode, "is one of the messages" in done.stderr) == (2, True)


@pytest.mark.parametrize("fixture", OLD_LEDGERS, ids=lambda path: path.stem)
def test_everything_in_an_old_or_a_newer_ledger_can_be_looked_at(
    fixture: Path, ledger_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(fixture, ledger_file)
    ledger = open_ledger(ledger_file)
    ids = ledger.read(lambda view: [row["id"] for table in NAMEABLE for row in view.rows(table)])
    fleets = ledger.read(lambda view: [row["id"] for row in view.rows("fleets")])
    sights = [(None, []), (None, ["--metrics"]), (None, ["--problems"]), *((name, []) for name in ids)]
    for name, options in [*sights, *((fleet_id, ["--timeline"]) for fleet_id in fleets)]:
        for as_json in (False, True):
            show(sight_of(ledger, name, options, None), as_json=as_json)
    assert all(fleet_id in capsys.readouterr().out for fleet_id in fleets[:1])


def test_a_beginning_of_several_lists_them(ledger_file: Path) -> None:
    mesh = Mesh(ledger_file)
    ledger = mesh.ledger()
    row = ledger.read(lambda view: view.get("messages", mesh.message)) or {}
    ledger.transact(lambda transaction: transaction.put("messages", "twin-1", {**row, "id": "twin-1"}))
    ledger.transact(lambda transaction: transaction.put("messages", "twin-2", {**row, "id": "twin-2"}))
    ledger.close()
    done = mesh.inspect("twin-")
    assert (done.returncode, done.stdout) == (2, "")
    assert "2 ids: twin-1 (message, handoff); twin-2 (message, handoff); give more of it" in done.stderr


def test_a_damaged_ledger_is_told_of_in_one_line(ledger_file: Path) -> None:
    mesh = Mesh(ledger_file)
    ledger_file.write_bytes(b"{]")
    done = mesh.inspect()
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "meshfleet verify" in done.stderr
