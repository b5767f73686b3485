"""What a person sees while the demo runs: a live view on a terminal, lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from meshfleet.demo.observe import Activity, Observation
from meshfleet.demo.outcome import duration_ms
from meshfleet.demo.palette import receipt_style, role_text, route_text, status_sign, status_style
from meshfleet.demo.wording import amount, first_line, on_one_line, seconds, shown
from meshfleet.model import AgentStatus, Row, now_ms, recipients_of

REFRESH_PER_SECOND: Final = 8
#: Lines of the live view that are not messages.
_OTHER_LINES: Final = 10
_FEWEST_MESSAGES: Final = 3
#: Columns of `complete`, of `123.4 s` and of `✓ delivered ✓ seen ✓ ack`, kept free so that nothing jumps.
_STATUS_WIDTH: Final = 8
_TIME_WIDTH: Final = 7
_RECEIPTS_WIDTH: Final = 24


class Progress(Protocol):
    """Shows a demo as it goes on, for as long as the `with` block lasts."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""

    def tell(self, what: str) -> None:
        """Say what is done before there is a fleet, and after."""

    def show(self, seen: Observation) -> None:
        """Show how the fleet stands now."""


def progress_on(console: Console, title: Callable[[], str]) -> Progress:
    """The kind of progress that this output can show, under a title that may come to know more."""
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveProgress(console, title)
    return LineProgress(console, title)


class LiveProgress:
    """A view that redraws itself and is gone at the end, when the report takes its place."""

    def __init__(self, console: Console, title: Callable[[], str]) -> None:
        self._console = console
        self._title = title
        self._seen: Observation | None = None
        self._told = ""
        self._began = time.monotonic()
        self._spinner = Spinner("dots", style="yellow")
        self._live = Live(
            console=console,
            get_renderable=self.view,
            refresh_per_second=REFRESH_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def tell(self, what: str) -> None:
        """Say it in a line below the view."""
        self._told = what

    def show(self, seen: Observation) -> None:
        """Have the next redraw show this."""
        self._seen = seen

    def view(self) -> RenderableType:
        """The view as it is now."""
        seen = self._seen
        head = Text.assemble(("meshfleet", "bold"), "  ", (shown(self._title()), "dim"), "  ")
        head.append(seconds(time.monotonic() - self._began))
        head.truncate(self._console.width, overflow="ellipsis")
        parts: list[RenderableType] = [head, ""]
        if seen is not None:
            parts += [self._agents(seen), "", self._messages(seen), ""]
        if self._told:
            parts.append(Text(shown(self._told), style="dim"))
        return Group(*parts)

    def _agents(self, seen: Observation) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(width=1)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, min_width=_STATUS_WIDTH)
        table.add_column(no_wrap=True, min_width=_TIME_WIDTH, justify="right")
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for agent in seen.agents:
            status, activity = agent["status"], seen.activities.get(agent["id"], Activity())
            running = status == AgentStatus.RUNNING
            doing = Text(on_one_line(activity.doing), style="default" if running else "dim")
            if running and activity.tool_calls:
                doing.append(f"  {amount(activity.tool_calls, 'call')}", style="dim")
            table.add_row(
                self._sign(status),
                role_text(agent["role"]),
                Text(status, style=status_style(status)),
                Text(_elapsed(agent)),
                doing,
            )
        return table

    def _sign(self, status: str) -> RenderableType:
        return self._spinner if status == AgentStatus.RUNNING else Text(status_sign(status), style=status_style(status))

    def _messages(self, seen: Observation) -> RenderableType:
        if not seen.messages:
            return Text("no messages yet", style="dim")
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(no_wrap=True, min_width=_TIME_WIDTH, justify="right")
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column(no_wrap=True, min_width=_RECEIPTS_WIDTH)
        room = max(_FEWEST_MESSAGES, self._console.height - _OTHER_LINES)
        for message in seen.messages[-room:]:
            table.add_row(
                Text(seconds(seen.seconds_at(message["timestamp"])), style="dim"),
                route_text(seen, message),
                Text(message["type"], style="bold"),
                Text(first_line(message["payload"])),
                _signs(seen.receipts_of(message["id"]), len(recipients_of(message))),
            )
        return table


def _signs(receipts: list[Row], recipients: int) -> Text:
    """What was done about a message; by how many of its recipients, where it has several."""
    done: dict[str, list[Row]] = {}
    for receipt in receipts:
        done.setdefault(receipt["action"], []).append(receipt)
    signs = []
    for action, those in done.items():
        many = f" {len(those)}/{recipients}" if recipients > 1 else ""
        signs.append(Text(f"✓ {shown(action)}{many}", style=receipt_style(those[0])))
    return Text(" ").join(signs) if signs else Text("unread", style="yellow")


def _elapsed(agent: Row) -> str:
    if "started_at" not in agent:
        return ""
    took = duration_ms(agent)
    return seconds((now_ms() - agent["started_at"] if took is None else took) / 1000)


class LineProgress:
    """A line for everything that is new: for pipes, files and terminals that can't redraw."""

    def __init__(self, console: Console, title: Callable[[], str]) -> None:
        self._console = console
        self._title = title
        self._told: set[tuple[str, ...]] = set()

    def __enter__(self) -> Self:
        self._print(Text(f"meshfleet: {shown(self._title())}"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing: what was printed stays."""

    def tell(self, what: str) -> None:
        """Say it in a line."""
        self._print(Text(shown(what)))

    def show(self, seen: Observation) -> None:
        """Say what is new since the last time, in the order in which it happened."""
        now = seen.seconds_at(now_ms())
        news = [(at, what) for key, at, what in _facts(seen, now) if self._is_new(key)]
        for at, what in sorted(news, key=lambda entry: entry[0]):
            self._print(Text(f"{seconds(at):>8}  {what}"))

    def _is_new(self, key: tuple[str, ...]) -> bool:
        if key in self._told:
            return False
        self._told.add(key)
        return True

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


def _facts(seen: Observation, now: float) -> Iterator[tuple[tuple[str, ...], float, str]]:
    """All that can be told of a fleet: a key that never changes, when it was in seconds, and the words."""
    for agent in seen.agents:
        role, status = shown(agent["role"]), agent["status"]
        yield ("status", agent["id"], status), now, f"{role} is {status}"
        doing = on_one_line(seen.activities.get(agent["id"], Activity()).doing)
        if status == AgentStatus.RUNNING and doing:
            yield ("doing", agent["id"], doing), now, f"{role} {doing}"
    for message in seen.messages:
        sender, kind = shown(seen.name_of(message["from_agent_id"])), message["type"]
        line = f"{route_text(seen, message).plain}  {kind}: {first_line(message['payload'])}"
        yield ("message", message["id"]), seen.seconds_at(message["timestamp"]), line
        for receipt in seen.receipts_of(message["id"]):
            who, action = shown(seen.name_of(receipt["agent_id"])), shown(receipt["action"])
            key = ("receipt", message["id"], receipt["agent_id"], receipt["action"])
            yield key, seen.seconds_at(receipt["timestamp"]), f"{who}: {action}, {sender}'s {kind}"
