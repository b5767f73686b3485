"""What a run has said and done so far, read from its growing event stream; judge.py says if that is an answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from meshfleet.agents.launch import open_trace
from meshfleet.agents.words import Words, readable_error
from meshfleet.model import TokensRow

CHUNK_BYTES: Final = 1024 * 1024
LONGEST_LINE_BYTES: Final = 16 * 1024 * 1024
#: How a step ends that was the model's last: it had said what it had to say.
FINISHED: Final = "stop"
#: How a step ends whose provider broke off without saying why; OpenCode 1.18 asks again, without end.
BROKEN_OFF: Final = "unknown"


@dataclass(slots=True)
class RunReport:
    """One run as its events tell it.

    Attributes:
        session_id: The OpenCode session, known from the first event on; to continue it.
        tokens: What the steps used, added up: each step is billed for its whole context.
        cost: In US dollars, as OpenCode reckons it; 0 for a model it knows no price of.
        steps: Steps that ended.
        tool_calls: Tool calls that ended, failed ones among them.
        last_tool: The tool called last.
        error: The last error event, for a person.
        error_events: How many there were.
        finish_reason: How the last step ended.
        finished: The last thing that happened is a step that ended with "stop": the model was done.
        broken_off_in_a_row: Steps in a row that the provider broke off; many are a loop OpenCode does not leave.
        last_event_at: When OpenCode wrote its last event, ms since the epoch.
    """

    session_id: str | None = None
    tokens: TokensRow = field(
        default_factory=lambda: TokensRow(total=0, input=0, output=0, reasoning=0, cache_read=0, cache_write=0)
    )
    cost: float = 0.0
    steps: int = 0
    tool_calls: int = 0
    last_tool: str | None = None
    error: str | None = None
    error_events: int = 0
    finish_reason: str | None = None
    finished: bool = False
    broken_off_in_a_row: int = 0
    last_event_at: int | None = None
    _words: Words = field(default_factory=Words)

    @property
    def words(self) -> str:
        """Every text of the run in order, joined by newlines; of much text the end, with a mark where it was cut."""
        return self._words.text

    @property
    def last_words(self) -> str:
        """The text that came last, or nothing."""
        return self._words.last

    @property
    def recovered(self) -> bool:
        """True when an error came and the run went on to its proper end nevertheless."""
        return self.finished and self.error_events > 0

    def take_in(self, event: dict[str, Any]) -> None:
        """Bring the report up to date with one more event; an unknown one counts as a sign of life only."""
        session, at = event.get("sessionID"), _count(event.get("timestamp"))
        if isinstance(session, str) and session and session.isprintable():
            self.session_id = session
        if at:
            self.last_event_at = at
        part = _object(event.get("part"))
        match event.get("type"):
            case "step_start":
                self.finished = False
            case "text":
                self._take_text(part)
            case "tool_use":
                self._take_tool(part)
            case "step_finish":
                self._take_step(part)
            case "error":
                self.finished = False
                self.error_events += 1
                self.error = readable_error(event.get("error"))

    def _take_text(self, part: dict[str, Any]) -> None:
        self.finished = False
        # synthetic text is OpenCode speaking to the model, after a compaction for one; the agent did not say it
        if isinstance(part.get("text"), str) and part.get("synthetic") is not True:
            self._words.add(part.get("id"), part["text"])

    def _take_tool(self, part: dict[str, Any]) -> None:
        self.finished = False
        self.tool_calls += 1
        if isinstance(part.get("tool"), str):
            self.last_tool = part["tool"]

    def _take_step(self, part: dict[str, Any]) -> None:
        reason = part.get("reason")
        self.finish_reason = reason if isinstance(reason, str) else None
        self.finished = self.finish_reason == FINISHED
        self.broken_off_in_a_row = self.broken_off_in_a_row + 1 if self.finish_reason == BROKEN_OFF else 0
        self.steps += 1
        self.cost += _amount(part.get("cost"))
        self._add_tokens(_object(part.get("tokens")))

    def _add_tokens(self, used: dict[str, Any]) -> None:
        cache = _object(used.get("cache"))
        plain = {name: _count(used.get(name)) for name in ("input", "output", "reasoning")}
        read, write = _count(cache.get("read")), _count(cache.get("write"))
        self.tokens["input"] += plain["input"]
        self.tokens["output"] += plain["output"]
        self.tokens["reasoning"] += plain["reasoning"]
        self.tokens["cache_read"] += read
        self.tokens["cache_write"] += write
        # a step the provider broke off has no total
        self.tokens["total"] += _count(used.get("total")) or sum(plain.values()) + read + write


class EventStream:
    """Reads a run's events.ndjson while it grows, from its beginning, each byte once."""

    def __init__(self, path: Path) -> None:
        self.report = RunReport()
        self._path = path
        self._offset = 0
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._skipping = False

    def advance(self) -> bool:
        """Take in what was appended since, at most 1 MiB; True when there was something, so there may be more."""
        try:
            with open_trace(self._path) as file:
                file.seek(self._offset)
                chunk = file.read(CHUNK_BYTES)
        except OSError:
            return False
        if not chunk:
            return False
        self._offset += len(chunk)
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._end_line(end)
        self._keep(rest)
        return True

    def _end_line(self, end: bytes) -> None:
        self._keep(end)
        line = b"".join(self._partial)
        skipped, self._skipping = self._skipping, False
        self._partial, self._partial_bytes = [], 0
        event = None if skipped else _event(line)
        if event is not None:
            self.report.take_in(event)

    def _keep(self, piece: bytes) -> None:
        self._partial_bytes += len(piece)
        if self._partial_bytes > LONGEST_LINE_BYTES:
            self._partial, self._skipping = [], True
        elif piece:
            self._partial.append(piece)


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return int(_amount(value))


def _amount(value: object) -> float:
    """Take a number as it should be; what is none, negative or beyond all bounds is nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return value if 0 <= value < 2**63 else 0
