"""Every key of every place, pressed in the program itself: where it leads, what it shows, and why it may not apply."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from textual.command import CommandList, CommandPalette
from textual.events import MouseScrollUp
from textual.widgets import Input, Static

from meshfleet.agents import foreground
from meshfleet.dashboard.app import DARK_THEME, LIGHT_THEME
from meshfleet.dashboard.picture import Picture, Wanted
from meshfleet.dashboard.screens.agent import AgentPlace
from meshfleet.dashboard.screens.confirm import Confirm
from meshfleet.dashboard.screens.fleets import FleetsPlace
from meshfleet.dashboard.screens.help import Help
from meshfleet.dashboard.screens.message_dialog import MessageDialog
from meshfleet.dashboard.screens.place import Place
from meshfleet.dashboard.screens.problems import ProblemsPlace
from meshfleet.dashboard.screens.resume_dialog import ResumeDialog
from meshfleet.dashboard.screens.template_dialog import TemplateDialog
from meshfleet.dashboard.widgets.fields import Tick
from meshfleet.dashboard.widgets.keybar import KeyBar
from meshfleet.dashboard.widgets.lines import Lines
from meshfleet.dashboard.widgets.title import Title
from meshfleet.dashboard.widgets.transcript import Transcript
from meshfleet.dashboard.widgets.views import Views
from meshfleet.ledger import Ledger
from meshfleet.mesh.templates import get_fleet_template
from meshfleet.model import ORCHESTRATOR, Row
from tests.dashboard.meshes import (
    ANALYST,
    CHECKOUT,
    CRAWLER,
    DOCS,
    ENGINEER,
    EXPLORER,
    NIGHTLY,
    REVIEWER,
    dashboard_of,
    document,
    open_mesh,
    own_id,
    write_mesh,
)
from tests.dashboard.pilots import PATIENCE_S, app_of, look, place_of, press, screen_of, seen, told, until
from tests.ledgers import ledger_at

if TYPE_CHECKING:
    from textual.pilot import Pilot

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def driven(
    ledger: Ledger, *keys: str, size: tuple[int, int] = (100, 30), **options: Any
) -> AsyncGenerator[Pilot[None]]:
    async with dashboard_of(ledger, **options).run_test(size=size) as pilot:
        await seen(pilot)
        await press(pilot, *keys)
        yield pilot


@pytest.fixture
def ledger(ledger_file: Path) -> Ledger:
    return open_mesh(ledger_file)


def lines_of(pilot: Pilot[None]) -> Lines:
    return place_of(pilot).query_one(Lines)


def current(pilot: Pilot[None]) -> Any:
    return lines_of(pilot).current


def shown(pilot: Pilot[None]) -> list[str]:
    """The keys of the rows that are shown, in order."""
    lines = lines_of(pilot)
    return [lines.listing.key(row) for row in lines._rows]


def heading(pilot: Pilot[None]) -> str:
    return lines_of(pilot).render_line(0).text


def below_list(pilot: Pilot[None]) -> str:
    line = place_of(pilot).query_one("#told", Static)
    return str(line.render()) if line.display else ""


def crumbs(pilot: Pilot[None]) -> list[str]:
    return app_of(pilot).crumbs


def transcript_of(pilot: Pilot[None]) -> Transcript:
    return place_of(pilot).query_one(Transcript)


def follows(pilot: Pilot[None]) -> bool:
    return transcript_of(pilot).follows


def row_of(ledger: Ledger, table: str, key: str) -> Row:
    row = ledger.read(lambda view: view.get(table, key))
    assert row is not None
    return row


# -- going about ------------------------------------------------------------------------------------------------------


async def test_it_begins_with_what_is_wrong(ledger: Ledger) -> None:
    async with driven(ledger) as pilot:
        assert isinstance(place_of(pilot), ProblemsPlace)
        assert current(pilot).agent_id == REVIEWER


async def test_the_digits_go_to_the_views_and_0_out_of_a_fleet(ledger: Ledger) -> None:
    async with driven(ledger) as pilot:
        for key, view in (("2", "fleets"), ("3", "agents"), ("4", "messages"), ("5", "events"), ("1", "problems")):
            await press(pilot, key)
            assert crumbs(pilot) == [view]
        await press(pilot, "2", "enter", "4")
        assert crumbs(pilot) == ["fleets", "checkout messages"]
        assert len(shown(pilot)) == 4
        await press(pilot, "5")
        assert crumbs(pilot) == ["fleets", "checkout events"]
        assert len(shown(pilot)) == 4
        await press(pilot, "3")
        assert shown(pilot) == [EXPLORER, ANALYST, ENGINEER, REVIEWER]
        await press(pilot, "0")
        assert crumbs(pilot) == ["agents"]
        assert len(shown(pilot)) == 7


async def test_enter_goes_in_and_escape_comes_back(ledger: Ledger) -> None:
    async with driven(ledger, "2", "enter", "down", "enter") as pilot:
        assert crumbs(pilot) == ["fleets", "checkout", "Analyst"]
        await press(pilot, "escape")
        assert crumbs(pilot) == ["fleets", "checkout"]
        assert current(pilot).id == ANALYST
        await press(pilot, "escape", "escape", "escape")
        assert crumbs(pilot) == ["fleets"]
        assert "this is where you began" in told(pilot)[-1]


async def test_a_problem_leads_to_its_agent_or_its_fleet(ledger: Ledger) -> None:
    async with driven(ledger, "enter") as pilot:
        assert crumbs(pilot) == ["problems", "Reviewer"]
        await press(pilot, "escape", "down", "down", "down", "enter")
        assert crumbs(pilot) == ["problems", "nightly crawl"]


async def test_a_message_and_an_event_lead_to_what_they_are_about(ledger: Ledger) -> None:
    async with driven(ledger, "4", "enter") as pilot:
        assert crumbs(pilot) == ["messages", f"message {own_id(104)[:8]}"]
        await press(pilot, "5", "down", "enter")
        assert crumbs(pilot) == ["events", "Reviewer"]
        await press(pilot, "escape", "down", "enter")
        assert crumbs(pilot) == ["events", f"message {own_id(101)[:8]}"]
        await press(pilot, "escape", "end", "enter")
        assert crumbs(pilot) == ["events", "checkout"]
        await press(pilot, "5", "0", "home", "enter")
        assert "names no fleet" in told(pilot)[-1]


async def test_the_cursor_moves_by_lines_pages_and_to_both_ends(ledger: Ledger) -> None:
    async with driven(ledger, "3", size=(100, 8)) as pilot:
        for key, place in (
            ("down", 1),
            ("j", 2),
            ("up", 1),
            ("k", 0),
            ("up", 0),
            ("end", 6),
            ("home", 0),
            ("G", 6),
            ("g", 0),
            ("pagedown", 3),
            # what is told of the row below the list takes a line of it
            ("pageup", 1),
        ):
            await press(pilot, key)
            assert lines_of(pilot)._cursor == place, key
        await press(pilot, "G")
        assert current(pilot) in lines_of(pilot).visible_rows


async def test_the_cursor_stays_on_its_row_while_others_go(ledger_file: Path) -> None:
    ledger = open_mesh(ledger_file)
    async with driven(ledger, "3", "down", "down") as pilot:
        rows = document()
        del rows["agents"][EXPLORER]
        other = ledger_file.with_suffix(".other")
        other.write_text(json.dumps(rows))
        other.replace(ledger_file)
        await look(pilot)
        assert (current(pilot).id, lines_of(pilot)._cursor) == (ENGINEER, 1)


async def test_q_leaves(ledger: Ledger) -> None:
    async with driven(ledger) as pilot:
        await pilot.press("q")
        await pilot.pause()
        assert pilot.app._exit


# -- what is shown ----------------------------------------------------------------------------------------------------


async def test_a_filter_keeps_rows_that_have_every_word_until_escape(ledger: Ledger) -> None:
    async with driven(ledger, "4", "slash", *"ANALYST bug") as pilot:
        assert shown(pilot) == []
        await press(pilot, *["backspace"] * 4, *" gen", "enter")
        assert shown(pilot) == []
        await press(pilot, "slash", *"analyst", "enter")
        assert set(shown(pilot)) == {own_id(101), own_id(102), own_id(104)}
        assert lines_of(pilot).has_focus
        await press(pilot, "escape")
        assert len(shown(pilot)) == 5
        assert crumbs(pilot) == ["messages"]


async def test_s_orders_by_the_next_column_and_shift_turns_it_round(ledger: Ledger) -> None:
    async with driven(ledger, "2") as pilot:
        assert shown(pilot) == [CHECKOUT, DOCS, NIGHTLY]
        await press(pilot, "S")
        assert shown(pilot) == [NIGHTLY, DOCS, CHECKOUT]
        await press(pilot, "s", "s")
        assert lines_of(pilot).arrangement.by == "TOKENS"
        assert shown(pilot) == [NIGHTLY, CHECKOUT, DOCS]


@pytest.mark.parametrize(
    ("keys", "first", "turned"),
    [
        (["1"], "SINCE▲", "SINCE▼"),
        (["2"], "AGE▲", "AGE▼"),
        (["3", *["s"] * 5], "LAST▲", "LAST▼"),
        (["3", *["s"] * 4], "RAN▼", "RAN▲"),
        (["4"], "SENT▼", "SENT▲"),
        (["3", "s"], "ROLE▲", "ROLE▼"),
    ],
)
async def test_the_arrow_points_up_where_the_smallest_of_what_is_shown_is_on_top(
    ledger: Ledger, keys: list[str], first: str, turned: str
) -> None:
    async with driven(ledger, *keys) as pilot:
        assert first in heading(pilot)
        await press(pilot, "S")
        assert turned in heading(pilot)


@pytest.mark.parametrize(
    ("keys", "columns", "below"),
    [
        (["2"], 80, "1 retrying 1 stalled  RAN 50m00  MSGS 4  UNREAD 4"),
        (["2"], 160, ""),
        (["3"], 80, f"ID {EXPLORER[:8]}  FLEET checkout"),
        (["3", "end"], 80, "attempt 3 was stopped after 30 min; set a longer timeout_ms  ID "),
        (["1"], 80, "attempt 1 failed: the provider answered 529 overloaded; it is tried again"),
        (["4"], 80, "shall I open a pull request?  TYPE question"),
        (["4", "end"], 160, ""),
        (["5", "down"], 60, "role=Reviewer fleet_id="),
    ],
)
async def test_below_a_list_is_what_it_has_no_room_for_of_the_row_under_the_cursor(
    ledger: Ledger, keys: list[str], columns: int, below: str
) -> None:
    async with driven(ledger, *keys, size=(columns, 24)) as pilot:
        assert below_list(pilot).startswith(below)
        assert bool(below_list(pilot)) == bool(below)


async def test_what_is_below_a_list_follows_the_cursor_and_the_width(ledger: Ledger) -> None:
    async with driven(ledger, "2", "end", size=(80, 24)) as pilot:
        assert below_list(pilot) == "over budget  RAN 40m00  MSGS 1  UNREAD 1"
        await press(pilot, "up")
        assert below_list(pilot) == "RAN 20m00"
        await pilot.resize_terminal(160, 24)
        await until(pilot, lambda: not below_list(pilot))
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: below_list(pilot) == "RAN 20m00")


async def test_a_text_too_long_for_three_lines_leaves_the_other_fields_their_room(ledger_file: Path) -> None:
    rows = document()
    rows["agents"][EXPLORER]["error"] = "long " * 100
    async with driven(open_mesh(ledger_file, rows), "3", size=(80, 24)) as pilot:
        assert below_list(pilot).startswith("long long")
        assert below_list(pilot).endswith(f"…  ID {EXPLORER[:8]}  FLEET checkout")
        assert place_of(pilot).query_one("#told").size.height == 3


@pytest.mark.parametrize(
    ("keys", "copied"),
    [
        (["y"], REVIEWER),
        (["2", "y"], CHECKOUT),
        (["3", "y"], EXPLORER),
        (["3", "enter", "y"], EXPLORER),
        (["4", "y"], own_id(104)),
        (["4", "enter", "y"], own_id(104)),
        (["5", "down", "y"], REVIEWER),
    ],
)
async def test_y_copies_the_id(ledger: Ledger, keys: list[str], copied: str) -> None:
    async with driven(ledger, *keys) as pilot:
        assert pilot.app.clipboard == copied


async def test_d_changes_between_light_and_dark(ledger: Ledger) -> None:
    async with driven(ledger, "d") as pilot:
        assert pilot.app.theme == LIGHT_THEME
        await press(pilot, "d")
        assert pilot.app.theme == DARK_THEME


async def test_the_help_tells_every_key_and_goes_with_escape(ledger: Ledger) -> None:
    async with driven(ledger, "2", "question_mark") as pilot:
        text = str(screen_of(pilot, Help).query_one(Static).render())
        assert all(deed.told in text for deed in FleetsPlace.DEEDS)
        assert max(map(len, text.splitlines())) <= 68, "in 80 columns no line is broken"
        await press(pilot, "escape")
        assert isinstance(pilot.app.screen, FleetsPlace)


async def test_the_palette_goes_to_an_agent_by_its_role(ledger: Ledger) -> None:
    async with driven(ledger) as pilot:
        await pilot.press("ctrl+p", *"agent engineer")
        found = screen_of(pilot, CommandPalette).query_one(CommandList)
        await until(pilot, lambda: found.option_count > 0 and found.highlighted is not None)
        await pilot.press("enter")
        await until(pilot, lambda: crumbs(pilot) == ["problems", "Engineer"])


@pytest.mark.parametrize("keys", [["question_mark"], ["down", "x"], ["ctrl+p"]], ids=["help", "question", "palette"])
async def test_what_was_said_is_gone_once_a_dialog_opens_over_it(ledger: Ledger, keys: list[str]) -> None:
    async with driven(ledger, "3", "x", size=(80, 24)) as pilot:
        assert "not at work" in told(pilot)[-1]
        await press(pilot, *keys)
        assert not isinstance(pilot.app.screen, Place)
        await until(pilot, lambda: told(pilot) == [])


async def test_what_was_said_stays_while_one_goes_from_place_to_place(ledger: Ledger) -> None:
    async with driven(ledger, "3", "x", "enter", "escape", "2") as pilot:
        assert "not at work" in told(pilot)[-1]


# -- an agent's output ------------------------------------------------------------------------------------------------


async def test_f_follows_and_scrolling_back_stops_it(ledger: Ledger) -> None:
    async with driven(ledger, "3", "down", "enter", size=(60, 12)) as pilot:
        transcript = transcript_of(pilot)
        assert follows(pilot)
        await press(pilot, "k")
        assert not follows(pilot)
        await press(pilot, "f")
        assert follows(pilot)
        assert transcript.scroll_offset.y == transcript.max_scroll_y > 0
        await press(pilot, "f", "home")
        assert transcript.scroll_offset.y == 0
        for key in ("j", "pagedown", "pageup", "G", "g", "end"):
            await press(pilot, key)
        assert transcript.scroll_offset.y == transcript.max_scroll_y


async def test_new_output_comes_and_space_holds_it(ledger: Ledger) -> None:
    events = ledger.data_file.with_name("agent-mesh.runs") / ANALYST / "1" / "events.ndjson"
    async with driven(ledger, "3", "down", "enter") as pilot:
        before = transcript_of(pilot).line_count
        await press(pilot, "space")
        with events.open("a") as file:
            file.write('{"type": "text", "part": {"text": "more"}}\n')
        await look(pilot)
        assert transcript_of(pilot).line_count == before
        await press(pilot, "space")
        await look(pilot)
        assert transcript_of(pilot).line_count == before + 1


async def test_a_search_goes_from_match_to_match(ledger: Ledger) -> None:
    async with driven(ledger, "3", "down", "enter", "n") as pilot:
        assert "nothing is searched for" in told(pilot)[-1]
        await press(pilot, "slash", *"TILL.py", "enter")
        assert told(pilot)[-1] == "match 2 of 2"
        await press(pilot, "n")
        assert told(pilot)[-1] == "match 1 of 2"
        await press(pilot, "N")
        assert told(pilot)[-1] == "match 2 of 2"
        await press(pilot, "escape")
        assert transcript_of(pilot).needle == ""
        assert isinstance(place_of(pilot), AgentPlace)
        await press(pilot, "slash", *"nowhere", "enter")
        assert "nothing here has" in told(pilot)[-1]


async def test_4_shows_the_messages_of_an_agent(ledger: Ledger) -> None:
    async with driven(ledger, "2", "enter", "down", "down", "enter", "4") as pilot:
        assert crumbs(pilot) == ["fleets", "checkout", "Engineer", "messages"]
        assert set(shown(pilot)) == {own_id(102), own_id(103)}


# -- acting -----------------------------------------------------------------------------------------------------------


async def test_x_asks_and_only_yes_cancels(ledger: Ledger) -> None:
    async with driven(ledger, "x") as pilot:
        for no in ("enter", "n", "escape", "q"):
            screen_of(pilot, Confirm)
            await press(pilot, no, "x")
        assert row_of(ledger, "agents", REVIEWER)["status"] == "pending"
        await press(pilot, "y")
        await until(pilot, lambda: told(pilot) == ["cancelled 1 agent"])
        assert row_of(ledger, "agents", REVIEWER)["status"] == "cancelled"
        await until(pilot, lambda: current(pilot).agent_id != REVIEWER)


async def test_the_buttons_of_a_question_are_reached_by_the_arrows(ledger: Ledger) -> None:
    async with driven(ledger, "x", "left", "enter") as pilot:
        await until(pilot, lambda: told(pilot) == ["cancelled 1 agent"])


async def test_cancelling_what_runs_where_no_server_does_says_what_to_run(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreground, "CLAIM_S", 0.0)
    rows = {"supervisor": {"pid": 1, "start_time": -1.0, "boot_id": "another"}}
    ledger.transact(lambda change: change.put("agents", ANALYST, {**row_in(change, ANALYST), **rows}))
    async with driven(ledger, "3", "down", "x", "y") as pilot:
        await until(pilot, lambda: any(f"meshfleet cancel {ANALYST}" in note for note in told(pilot)))
        await until(pilot, lambda: current(pilot).condition is not None)


async def test_r_resumes_with_what_is_typed_and_says_that_no_server_runs(
    ledger_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreground, "CLAIM_S", 0.0)
    rows = document()
    rows["agents"][CRAWLER]["cwd"] = str(tmp_path)
    for limit in ("over_budget", "max_tokens", "max_cost_usd"):
        rows["fleets"][NIGHTLY].pop(limit, None)
    ledger = open_mesh(ledger_file, rows)
    async with driven(ledger, "end", "r") as pilot:
        await press(pilot, "escape")
        assert row_of(ledger, "agents", CRAWLER)["status"] == "failed"
        await press(pilot, "r", *"again", "tab", "space", "tab", "enter")
        await until(pilot, lambda: any("none runs on this ledger" in note for note in told(pilot)))
        crawler = row_of(ledger, "agents", CRAWLER)
        assert (crawler["status"], crawler["continues"]) == ("pending", {"prompt": "again"})


async def test_what_the_rules_refuse_is_said(ledger: Ledger) -> None:
    async with driven(ledger, "end", "r", "enter") as pilot:
        screen_closed = isinstance(pilot.app.screen, Place)
        await until(pilot, lambda: any("is gone" in note or "over its budget" in note for note in told(pilot)))
        assert screen_closed
        assert row_of(ledger, "agents", CRAWLER)["status"] == "failed"


async def test_m_sends_to_the_agent_and_a_blank_message_not(ledger: Ledger) -> None:
    async with driven(ledger, "3", "down", "m") as pilot:
        screen_of(pilot, MessageDialog)
        await press(pilot, "ctrl+s")
        screen_of(pilot, MessageDialog)
        await press(pilot, *"hurry", "ctrl+s")
        await until(pilot, lambda: told(pilot) == ["sent to 1 agent"])
        (sent,) = [row for row in messages_in(ledger) if row["payload"] == "hurry"]
        assert (sent["from_agent_id"], sent["to_agent_id"], sent["type"]) == (ORCHESTRATOR, ANALYST, "question")
        await press(pilot, "m", "x", "escape")
        assert isinstance(pilot.app.screen, Place)
        assert len(messages_in(ledger)) == 6


async def test_m_on_a_fleet_goes_to_everyone_and_on_a_message_to_its_sender(ledger: Ledger) -> None:
    async with driven(ledger, "2", "m", *"all", "tab", "right", "right", "right", "enter", "ctrl+s") as pilot:
        await until(pilot, lambda: any(note.startswith("sent to 4 agents") for note in told(pilot)))
        await press(pilot, "4", "end", "up", "m", *"you", "ctrl+s")
        await until(pilot, lambda: any(note.startswith("sent to 1 agent") for note in told(pilot)))
        by_text = {row["payload"]: row for row in messages_in(ledger)}
        assert (by_text["all"]["to_agent_id"], by_text["all"]["type"]) == ("*", "alert")
        assert by_text["you"]["to_agent_id"] == EXPLORER


async def test_t_saves_a_template_under_a_name_that_can_be_one(ledger: Ledger) -> None:
    async with driven(ledger, "2", "t") as pilot:
        dialog = screen_of(pilot, TemplateDialog)
        assert dialog.query_one("#name", Input).value == "checkout"
        await press(pilot, "end", "exclamation_mark", "enter")
        assert "it has to be 1 to 64" in str(dialog.query_one("#refused", Static).render())
        await press(pilot, "backspace", "enter")
        await until(pilot, lambda: told(pilot) == ["saved checkout@v1: 4 agents"])
        saved = get_fleet_template(ledger, "checkout")["template"]
        assert [agent["role"] for agent in saved["agents"]] == ["Explorer", "Analyst", "Engineer", "Reviewer"]
        await press(pilot, "t", "escape")
        assert isinstance(pilot.app.screen, Place)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (["3", "x"], "not at work"),
        (["3", "down", "r"], "nothing to resume"),
        (["2", "slash", *"nowhere", "enter", "x"], "nothing here to do that to"),
        (["2", "slash", *"nowhere", "enter", "enter", "y"], "there is nothing here"),
    ],
)
async def test_a_key_that_does_not_apply_says_why(ledger: Ledger, keys: list[str], reason: str) -> None:
    async with driven(ledger, *keys) as pilot:
        assert reason in told(pilot)[-1]
        assert isinstance(pilot.app.screen, Place)


@pytest.mark.parametrize(
    ("options", "reason"), [({"read_only": True}, "--read-only"), ({"agent_id": ANALYST}, "an agent's own shell")]
)
async def test_read_only_takes_every_act_away(ledger: Ledger, options: dict[str, Any], reason: str) -> None:
    async with driven(ledger, "2", **options) as pilot:
        for key in ("x", "r", "m", "t"):
            await press(pilot, key)
            assert reason in told(pilot)[-1], key
            assert isinstance(pilot.app.screen, Place), key


# -- the mouse --------------------------------------------------------------------------------------------------------


async def test_a_click_chooses_a_row_and_a_double_click_opens_it(ledger: Ledger) -> None:
    async with driven(ledger, "2") as pilot:
        await pilot.click(Lines, offset=(5, 2))
        await pilot.pause()
        assert current(pilot).id == DOCS
        await pilot.click(Lines, offset=(5, 1), times=2)
        await seen(pilot)
        assert crumbs(pilot) == ["fleets", "checkout"]


async def test_a_click_on_a_heading_orders_by_it_and_another_turns_it_round(ledger: Ledger) -> None:
    async with driven(ledger, "2") as pilot:
        await pilot.click(Lines, offset=(2, 0))
        await pilot.pause()
        assert shown(pilot) == [DOCS, CHECKOUT, NIGHTLY]
        await pilot.click(Lines, offset=(2, 0))
        await pilot.pause()
        assert shown(pilot) == [NIGHTLY, CHECKOUT, DOCS]


async def test_crumbs_views_and_keys_can_be_clicked_on(ledger: Ledger) -> None:
    async with driven(ledger, "2", "enter", "down", "enter") as pilot:
        await pilot.click(Title, offset=(2, 0))
        await seen(pilot)
        assert crumbs(pilot) == ["fleets"]
        await pilot.click(Views, offset=(30, 0))
        await seen(pilot)
        assert crumbs(pilot) == ["agents"]
        await pilot.click(KeyBar, offset=(2, 0))
        await seen(pilot)
        assert crumbs(pilot) == ["agents", "Explorer"]


async def test_the_wheel_scrolls_back_and_stops_following(ledger: Ledger) -> None:
    async with driven(ledger, "3", "down", "enter", size=(60, 12)) as pilot:
        transcript_of(pilot).post_message(MouseScrollUp(None, 1, 1, 0, -1, 0, False, False, False))
        await until(pilot, lambda: not transcript_of(pilot).follows)


# -- a ledger in trouble ----------------------------------------------------------------------------------------------


async def test_trouble_with_the_ledger_is_said_until_it_is_over(ledger_file: Path) -> None:
    async with driven(ledger_at(ledger_file)) as pilot:
        assert "there is no ledger" in trouble(pilot)
        write_mesh(ledger_file)
        await look(pilot)
        assert trouble(pilot) == ""
        other = ledger_file.with_suffix(".other")
        other.write_text("{")
        other.replace(ledger_file)
        await look(pilot)
        assert "shown is what was there before" in trouble(pilot)
        await press(pilot, "2", "x")
        assert "repair" in told(pilot)[-1]
        assert len(shown(pilot)) == 3


async def test_a_newer_ledger_is_shown_and_can_not_be_acted_on(ledger_file: Path) -> None:
    async with driven(open_mesh(ledger_file, document() | {"schema_version": 3}), "2", "x") as pilot:
        assert "upgrade meshfleet" in trouble(pilot)
        assert "upgrade meshfleet" in told(pilot)[-1]


async def test_a_resume_dialog_says_whom_it_is_about(ledger: Ledger) -> None:
    async with driven(ledger, "end", "r") as pilot:
        assert "Crawler" in str(screen_of(pilot, ResumeDialog).query(Static).first().render())


async def test_a_sign_tells_whether_a_new_session_is_to_begin(ledger: Ledger) -> None:
    async with driven(ledger, "end", "r") as pilot:
        tick = screen_of(pilot, ResumeDialog).query_one(Tick)
        assert "○" in str(tick.render())
        await pilot.press("tab", "space")
        assert "●" in str(tick.render())


def trouble(pilot: Pilot[None]) -> str:
    line = place_of(pilot).query_one("#trouble", Static)
    return str(line.render()) if line.display else ""


def messages_in(ledger: Ledger) -> list[Row]:
    return ledger.read(lambda view: list(view.rows("messages")))


def row_in(view: Any, agent_id: str) -> Row:
    row: Row | None = view.get("agents", agent_id)
    assert row is not None
    return row


async def test_keys_that_come_faster_than_the_program_lead_to_one_place_only(ledger: Ledger) -> None:
    async with driven(ledger, "2") as pilot:
        lines = lines_of(pilot)
        lines.action_choose()
        lines.action_move(1)
        lines.action_choose()
        await pilot.pause()
        await seen(pilot)
        assert crumbs(pilot) == ["fleets", "checkout"]


@pytest.mark.parametrize("keys", [["5"], ["3", "enter"]], ids=["events", "output"])
async def test_a_place_may_be_left_while_a_look_from_it_takes_its_time(ledger: Ledger, keys: list[str]) -> None:
    async with driven(ledger, "2") as pilot:
        await press(pilot, *keys[:-1])
        app, begun, go_on = app_of(pilot), threading.Event(), threading.Event()
        look_at_once = app._collector.look

        def look_late(wanted: Wanted) -> Picture:
            begun.set()
            go_on.wait(PATIENCE_S)
            return look_at_once(wanted)

        app._collector.look = look_late  # type: ignore[method-assign]
        await pilot.press(keys[-1])
        await until(pilot, begun.is_set)
        await pilot.press("1")
        go_on.set()
        await seen(pilot)
        assert crumbs(pilot) == ["problems"]
