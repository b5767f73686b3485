"""What a person reads at the end of a demo: who said what to whom, every receipt, each agent, and the verdict."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from rich.columns import Columns
from rich.padding import Padding
from rich.text import Text

from meshfleet.demo.observe import Activity, Observation
from meshfleet.demo.outcome import Outcome, duration_ms, token_total
from meshfleet.demo.palette import BAD_SIGN, BAD_STYLE, receipt_style, role_text, route_text, status_sign, status_style
from meshfleet.demo.project import PROJECT_FILES
from meshfleet.demo.wording import amount, first_line, on_one_line, seconds, shown
from meshfleet.mesh.receipts import ACK
from meshfleet.model import ORCHESTRATOR, AgentStatus, Row, recipients_of
from meshfleet.settings import beside

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

#: Lines shown of a payload, and of what an agent said last; the ledger has all of both.
PAYLOAD_LINES: Final = 2
LAST_WORDS_LINES: Final = 3
#: Columns of a time such as `  12.3 s`.
_TIME_WIDTH: Final = 8
_UNDER_TIME: Final = _TIME_WIDTH + 2


def print_report(console: Console, title: str, outcome: Outcome) -> None:
    """Print all of it."""
    console.print()
    console.print(Text.assemble(("meshfleet", "bold"), f"  {shown(title)}, {seconds(outcome.duration_s)}"))
    if outcome.seen is not None:
        _print_section(console, "Messages", _messages(outcome.seen))
        _print_section(console, "Agents", _agents(outcome, outcome.seen))
        _print_section(console, "Orchestrator", _calls(outcome))
    if outcome.server_words and not outcome.ok:
        _print_section(console, "Server's last words", iter([Indented(Text(shown(outcome.server_words)), 2)]))
    _print_section(console, "Project", _changes(outcome))
    _print_section(console, "Ledger", _whereabouts(outcome))
    console.print()
    print_verdict(console, outcome)


def print_verdict(console: Console, outcome: Outcome) -> None:
    """Print in one sentence how it went; in a file it is one line."""
    console.print(_verdict(outcome), soft_wrap=not console.is_terminal)


def _print_section(console: Console, title: str, parts: Iterator[RenderableType]) -> None:
    console.print()
    console.print(Text(title, style="bold"))
    for part in parts:
        # a path broken by us could not be copied
        console.print(part, soft_wrap=isinstance(part, Text))


def _messages(seen: Observation) -> Iterator[RenderableType]:
    if not seen.messages:
        yield Indented(Text("none was sent", style="dim"), 2)
    for message in seen.messages:
        at = seconds(seen.seconds_at(message["timestamp"]))
        yield Text.assemble(
            (f"{at:>{_TIME_WIDTH}}  ", "dim"), route_text(seen, message), "  ", (message["type"], "bold")
        )
        yield Indented(Text(on_one_line(message["payload"])), _UNDER_TIME, PAYLOAD_LINES)
        yield from _trail(seen, message)
        if len(recipients_of(message)) > 1:
            yield Indented(_completeness(seen, message), _UNDER_TIME)


def _trail(seen: Observation, message: Row) -> Iterator[RenderableType]:
    """The receipts of a message, each with its time and who wrote it."""
    receipts = seen.receipts_of(message["id"])
    if not receipts:
        is_for_orchestrator = message["to_agent_id"] == ORCHESTRATOR
        none = Text("in its inbox", style="dim") if is_for_orchestrator else Text("no receipt", style=BAD_STYLE)
        yield Indented(none, _UNDER_TIME)
        return
    entries = []
    for receipt in receipts:
        at = seconds(seen.seconds_at(receipt["timestamp"]))
        who, note = seen.name_of(receipt["agent_id"]), receipt.get("note")
        entry = Text.assemble((f"✓ {shown(receipt['action'])}", receipt_style(receipt)), (f" {at} by ", "dim"))
        entry.append_text(role_text(who))
        if note:
            entry.append(f" “{first_line(note)}”", style="dim")
        entries.append(entry)
    # side by side as many as fit, none of them broken that fits by itself
    yield Padding(Columns(entries, padding=(0, 3)), (0, 0, 0, _UNDER_TIME))


def _completeness(seen: Observation, message: Row) -> Text:
    """How far a message to several is acknowledged; it is once the last of them has."""
    acknowledged = [receipt for receipt in seen.receipts_of(message["id"]) if receipt["action"] == ACK]
    counted = f"{len(acknowledged)} of {len(recipients_of(message))} acknowledged"
    if not message["acknowledged"]:
        return Text(counted, style=BAD_STYLE)
    return Text(f"{counted}: complete at {seconds(seen.seconds_at(acknowledged[-1]['timestamp']))}", style="green")


def _agents(outcome: Outcome, seen: Observation) -> Iterator[RenderableType]:
    width = max(len(agent["role"]) for agent in seen.agents)
    for agent in seen.agents:
        role = role_text(agent["role"])
        role.pad_right(width - role.cell_len)
        style, took = status_style(agent["status"]), duration_ms(agent)
        yield Text.assemble(
            (f"  {status_sign(agent['status'])} ", style),
            role,
            (f"  {agent['status']}", style),
            f"  {seconds(took / 1000) if took is not None else _unfinished(agent)}",
            (f"  {amount(token_total(agent), 'token')}", "dim"),
        )
        if agent.get("error"):
            yield Indented(Text(on_one_line(agent["error"]), style="red"), 4)
        logs = outcome.logs_of(agent)
        if logs and outcome.kept and agent["status"] != AgentStatus.COMPLETE:
            yield Text(f"    {logs}", style="dim")
        words = outcome.results.get(agent["id"]) or seen.activities.get(agent["id"], Activity()).words
        if words:
            yield Indented(Text(on_one_line(words)), 4, LAST_WORDS_LINES)


def _calls(outcome: Outcome) -> Iterator[RenderableType]:
    yield Indented(Text(f"called {', '.join(outcome.called)}, and nothing else"), 2)


def _unfinished(agent: Row) -> str:
    return "then stopped" if "started_at" in agent else "never started"


def _changes(outcome: Outcome) -> Iterator[RenderableType]:
    changed = outcome.changed_files
    if not changed:
        yield Indented(Text("no file was changed", style="dim"), 2)
    for name, text in changed.items():
        before = PROJECT_FILES.get(name)
        lines = text.splitlines()
        if before is None:
            yield Indented(Text(f"{shown(name)}  new, {amount(len(lines), 'line')}"), 2)
            continue
        yield Indented(Text(shown(name)), 2)
        for line in list(difflib.unified_diff(before.splitlines(), lines, n=0, lineterm=""))[2:]:
            if not line.startswith("@@"):
                yield Indented(Text(shown(line), style="green" if line.startswith("+") else "red"), 4)


def _whereabouts(outcome: Outcome) -> Iterator[RenderableType]:
    folder = outcome.folder
    if not outcome.kept:
        yield Indented(Text("removed with the demo's folder; keep both with --keep", style="dim"), 2)
        return
    places = {"ledger": folder.ledger, "project": folder.project}
    if not outcome.ok:
        places |= {"agents' logs": beside(folder.ledger, "runs"), "server's log": folder.server_log}
    width = max(map(len, places))
    for name, path in places.items():
        yield Text(f"  {name:<{width}}  {path}")


def _verdict(outcome: Outcome) -> Text:
    if outcome.stopped_by is not None:
        return Text.assemble((f"{BAD_SIGN} {outcome.failure}", BAD_STYLE), "; nothing of it is left running")
    if outcome.failure is not None:
        return Text.assemble((f"{BAD_SIGN} failed at: ", BAD_STYLE), shown(outcome.failure))
    return Text.assemble(("✓ ok: ", "bold green"), "every message to an agent was acknowledged by it")


class Indented:
    """A text of at most some lines, moved to the right; the last line says when there was more."""

    def __init__(self, text: Text, columns: int, lines: int | None = None) -> None:
        self._text = text
        self._columns = columns
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Break it for the width there is."""
        width = max(1, options.max_width - self._columns)
        broken = self._text.wrap(console, width)
        for line in broken[: self._lines]:
            line.rstrip()
            if self._lines is not None and len(broken) > self._lines and line is broken[self._lines - 1]:
                line.append(" …")
                line.truncate(width, overflow="ellipsis")
            yield Text(" " * self._columns).append_text(line)
