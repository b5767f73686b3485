"""What a person reads during and after a demo, and what must never reach the terminal."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from meshfleet.demo.observe import Activity, Observation
from meshfleet.demo.outcome import Outcome
from meshfleet.demo.pipeline import ANALYST, ENGINEER, EXPLORER
from meshfleet.demo.progress import LineProgress, LiveProgress, progress_on
from meshfleet.demo.report import print_report
from meshfleet.demo.wording import amount, first_line, on_one_line, shown
from tests.demo.observations import outcome, success, with_agent, with_message, without_messages, without_receipts

HOSTILE = "\x1b[31mred\x1b[0m \x07\x9b2J \u202eflip [bold]not bold[/bold] [/nonsense] \ud800"


def console(*, terminal: bool = False, width: int = 80, height: int = 24) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=terminal,
        width=width,
        height=height,
        markup=False,
        emoji=False,
        highlight=False,
        color_system=None,
        legacy_windows=False,
        _environ={"TERM": "xterm"} if terminal else {},
    )


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def report(told: Outcome, width: int = 80) -> str:
    paper = console(width=width)
    print_report(paper, "3 agents", told)
    return printed(paper)


def lines(seen: list[Observation]) -> str:
    paper = console()
    with LineProgress(paper, lambda: "3 agents") as progress:
        for one in seen:
            progress.show(one)
    return printed(paper)


def test_neither_the_report_nor_the_lines_before_it_name_a_command_that_an_example_is_not() -> None:
    assert report(outcome()).splitlines()[1].startswith("meshfleet  3 agents, ")
    assert lines([]).splitlines()[0] == "meshfleet: 3 agents"


def test_the_report_says_who_said_what_to_whom_and_who_saw_and_acknowledged_it() -> None:
    text = report(outcome())

    assert "   1.0 s  Explorer → Analyst  handoff" in text
    assert "README.md, line 7: or more till.py, line 10: a > b" in text
    assert "✓ seen 1.3 s by Analyst   ✓ ack 1.5 s by Analyst" in text
    assert text.count("✓ ack") == 4


@pytest.mark.parametrize("width", [40, 50, 60])
def test_no_receipt_is_broken_where_it_fits_a_line(width: int) -> None:
    text = report(outcome(), width)
    assert "✓ seen 1.3 s by Analyst" in text
    assert len(re.findall(r"✓ ack \d+\.\d s by \w+", text)) == 4


def test_the_report_says_of_each_agent_how_long_it_took_what_it_used_and_its_last_words() -> None:
    text = report(outcome())

    assert "✓ Engineer  complete  12.2 s  12,345 tokens" in text
    assert "The Engineer is done." in text


def test_the_report_ends_with_the_verdict() -> None:
    good, bad = report(outcome()), report(outcome(failure="Analyst's handoff to Engineer was never acknowledged"))

    assert good.endswith("✓ ok: every message to an agent was acknowledged by it\n")
    assert bad.endswith("✗ failed at: Analyst's handoff to Engineer was never acknowledged\n")


def test_the_report_says_where_the_ledger_is_or_how_to_keep_it() -> None:
    removed, kept = report(outcome()), report(outcome(kept=True))

    assert "keep both with --keep" in removed
    assert "/demo/ledger/agent-mesh.json" not in removed
    assert "/demo/ledger/agent-mesh.json" in kept


def test_the_report_of_a_failure_names_the_logs_the_error_and_the_server_s_words() -> None:
    seen = with_agent(success(), ANALYST, status="failed", error="opencode exited with status 1")
    text = report(outcome(seen, failure="boom", kept=True, server_words="WARNING too bad"), width=60)

    assert "✗ Analyst   failed" in text
    assert "opencode exited with status 1" in text
    assert "/demo/ledger/agent-mesh.runs/id-Analyst/1" in text
    assert "WARNING too bad" in text


def test_the_report_shows_what_changed_in_the_project() -> None:
    till = outcome().files["till.py"].replace("amount > D", "amount >= D")
    text = report(outcome(files={**outcome().files, "till.py": till}))

    assert "FINDINGS.md  new, 9 lines" in text
    assert "-    if amount > DISCOUNT_FROM:" in text
    assert "+    if amount >= DISCOUNT_FROM:" in text


def test_the_report_of_a_fleet_that_never_came_to_be_is_short_and_says_why() -> None:
    text = report(replace(outcome(failure="the meshfleet server did not start"), seen=None, files={}))

    assert "Messages" not in text
    assert text.endswith("✗ failed at: the meshfleet server did not start\n")


def test_a_broadcast_is_shown_as_complete_once_the_last_it_went_to_has_acknowledged_it() -> None:
    seen, peers = success(), [f"id-{ANALYST}", f"id-{ENGINEER}"]
    broadcast = {**seen.messages[0], "id": "all", "to_agent_id": "*", "recipients": peers, "acknowledged": False}
    acks = [
        {"message_id": "all", "agent_id": peer, "action": "ack", "timestamp": broadcast["timestamp"] + 100 * number}
        for number, peer in enumerate(peers, start=1)
    ]
    half = replace(seen, messages=(broadcast,), receipts=tuple(acks[:1]))
    whole = replace(seen, messages=({**broadcast, "acknowledged": True},), receipts=tuple(acks))

    assert "1 of 2 acknowledged\n" in report(outcome(half))
    assert "2 of 2 acknowledged: complete at 1.2 s\n" in report(outcome(whole))
    live = LiveProgress(console(), lambda: "")
    live.show(half)
    paper = console(width=100)
    paper.print(live.view())
    assert "✓ ack 1/2" in printed(paper)


def test_the_report_says_all_that_was_called_to_have_it_happen() -> None:
    assert "called spawn_fleet, wait, and nothing else\n" in report(outcome())


def test_what_is_for_the_orchestrator_waits_in_its_inbox_and_lacks_nothing() -> None:
    seen = without_receipts(success(), lambda row: row["message_id"] == "m4")
    text = report(outcome(with_message(seen, "m4", to_agent_id="orchestrator", acknowledged=False)))

    assert "Engineer → orchestrator" in text
    assert "in its inbox" in text
    assert "no receipt" not in text


def test_a_message_without_receipts_is_shown_as_such() -> None:
    assert "no receipt" in report(outcome(without_receipts(success(), lambda row: row["message_id"] == "m2")))


@pytest.mark.parametrize("width", [20, 80, 100])
def test_whatever_agents_say_is_shown_and_never_obeyed(width: int) -> None:
    seen = success()
    for number in range(1, 5):
        seen = with_message(seen, f"m{number}", payload=HOSTILE, from_agent_id=HOSTILE)
    for role in (EXPLORER, ANALYST, ENGINEER):
        seen = with_agent(seen, role, role=HOSTILE, error=HOSTILE, status="failed", output=HOSTILE)
    seen = replace(
        seen,
        receipts=tuple({**row, "note": HOSTILE, "action": HOSTILE} for row in seen.receipts),
        activities={row["id"]: Activity(HOSTILE, 1, HOSTILE) for row in seen.agents},
    )
    hostile = outcome(seen, failure=HOSTILE, files={HOSTILE: HOSTILE}, server_words=HOSTILE, kept=True)
    text = report(hostile, width) + lines([replace(seen, agents=({**seen.agents[0], "status": "running"},))])

    assert not set(text) & set("\x1b\x07\x9b\u202e\ud800")
    if width > 20:
        assert "[bold]not bold[/bold]" in text


def test_the_live_view_shows_hostile_words_without_obeying_them() -> None:
    paper = console(terminal=True)
    seen = with_message(with_agent(success(), EXPLORER, status="running"), "m1", payload=HOSTILE)
    seen = replace(seen, activities={"id-Explorer": Activity(HOSTILE, 3, HOSTILE)})
    with LiveProgress(paper, lambda: HOSTILE) as progress:
        progress.show(seen)
        paper.print(progress.view())
    # what is left without the view's own steering: cursor, erasing lines
    text = printed(paper).replace("\x1b[?25", "").replace("\x1b[2K", "").replace("\x1b[1A", "")

    assert "[31mred" in text
    assert not set(text) & set("\x1b\x07\x9b\u202e\ud800")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (40, 12)])
def test_the_live_view_fits_the_terminal_and_shows_the_newest_messages(width: int, height: int) -> None:
    paper = console(width=width, height=height)
    seen = success()
    many = tuple(
        {**seen.messages[0], "id": f"x{number}", "timestamp": seen.fleet["created_at"] + 1000 * number}
        for number in range(60)
    )
    live = LiveProgress(paper, lambda: "3 agents, a long title that is wider than some terminals are, surely it is")
    live.show(replace(seen, messages=many))
    live.tell("stopping")
    paper.print(live.view())

    rows = printed(paper).splitlines()
    assert len(rows) <= height
    assert max(map(len, rows)) <= width
    assert any("59.0 s" in row for row in rows)


def test_each_piece_of_news_is_printed_once_in_the_order_in_which_it_happened() -> None:
    early = with_agent(without_messages(success(), "m2", "m3", "m4"), EXPLORER, status="running")
    early = replace(early, activities={"id-Explorer": Activity("sends a message", 3, "")})
    text = lines([early, early, success()])

    assert text.count("Explorer → Analyst  handoff: README.md, line 7: or more …") == 1
    assert text.count("Explorer is running") == text.count("Explorer is complete") == 1
    assert text.count("Explorer sends a message") == 1
    sent, seen, acknowledged = (
        text.index(words)
        for words in ("Analyst → Explorer", "Explorer: seen, Analyst's result", "Explorer: ack, Analyst's result")
    )
    assert sent < seen < acknowledged


def test_only_a_terminal_that_can_redraw_gets_the_live_view() -> None:
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})

    assert isinstance(progress_on(console(terminal=True), lambda: ""), LiveProgress)
    assert isinstance(progress_on(console(), lambda: ""), LineProgress)
    assert isinstance(progress_on(dumb, lambda: ""), LineProgress)


def test_words_for_a_terminal_keep_their_letters_and_lose_their_power() -> None:
    assert shown("a\tb\r\nc") == "a    b\nc"
    assert shown("žluť 👩\u200d🚀") == "žluť 👩\u200d🚀"
    assert shown("\x1b[2J\x00\u2028") == r"\x1b[2J\x00\u2028"
    assert first_line("\n  one \ntwo") == "one …"
    assert first_line(" \n ") == ""
    assert on_one_line("a\n  b\t\tc") == "a b c"
    assert (amount(1, "token"), amount(12_345, "token")) == ("1 token", "12,345 tokens")
