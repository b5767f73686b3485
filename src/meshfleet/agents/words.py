"""The words of a run, bounded in memory, and its errors as a person reads them; both come from stream.py's events."""

from __future__ import annotations

import json
import re
from typing import Any, Final

WORDS_LIMIT_BYTES: Final = 256 * 1024
RECENT_PARTS: Final = 8
ERROR_LIMIT_CHARACTERS: Final = 2_000
SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Words:
    """Texts in order, of which the last 256 KiB are given back; always valid UTF-8, and bounded in memory."""

    def __init__(self) -> None:
        self._settled = ""
        self._recent: dict[object, str] = {}
        self._cut_bytes = 0

    def add(self, part_id: object, text: str) -> None:
        """Append a text; one whose part came a moment ago takes its place, should OpenCode tell a part anew."""
        text = self._tail(SURROGATE.sub("\ufffd", text).strip())
        key = part_id if isinstance(part_id, str) else object()
        if text or key in self._recent:
            self._recent[key] = text
        if len(self._recent) > RECENT_PARTS:
            self._settle(self._recent.pop(next(iter(self._recent))))

    @property
    def text(self) -> str:
        """All that is kept, joined by newlines, with a mark where the beginning was cut."""
        kept, cut = _last_bytes("\n".join(filter(None, (self._settled, *self._recent.values()))))
        cut += self._cut_bytes
        return f"[{cut} bytes cut here; the run's files keep all of it]\n{kept}" if cut else kept

    @property
    def last(self) -> str:
        """The text that came last, or nothing."""
        return next(filter(None, reversed(self._recent.values())), "")

    def _settle(self, text: str) -> None:
        self._settled = "\n".join(filter(None, (self._settled, text)))
        if len(self._settled) > 2 * WORDS_LIMIT_BYTES:
            self._settled = self._tail(self._settled)

    def _tail(self, text: str) -> str:
        kept, cut = _last_bytes(text)
        self._cut_bytes += cut
        return kept


def _last_bytes(text: str) -> tuple[str, int]:
    """Give the end of a text that is within the limit, whole characters only, and the bytes before it."""
    whole = text.encode("utf-8")
    if len(whole) <= WORDS_LIMIT_BYTES:
        return text, 0
    kept = whole[-WORDS_LIMIT_BYTES:].decode("utf-8", errors="ignore")
    return kept, len(whole) - len(kept.encode("utf-8"))


def readable_error(error: object) -> str:
    """Make one sentence of an error event's nested data, whatever shape it came in."""
    data: dict[str, Any] = error if isinstance(error, dict) else {}
    inner: dict[str, Any] = data["data"] if isinstance(data.get("data"), dict) else {}
    message = inner.get("message") or data.get("message") or data.get("name") or error
    text = _unwrapped(message if isinstance(message, str) else json.dumps(message, default=str))
    status = inner.get("statusCode")
    if isinstance(status, int) and str(status) not in text:
        text = f"{text} (HTTP {status})"
    if text.startswith("Unexpected server error"):
        # all OpenCode 1.18 says of a model or provider it does not know
        text = f"{text} An unknown model or provider ends like this."
    return SURROGATE.sub("\ufffd", text)[:ERROR_LIMIT_CHARACTERS]


def _unwrapped(text: str) -> str:
    """Some providers put a whole JSON object into the message; its own message is what a person wants."""
    try:
        inner = json.loads(text)
    except (ValueError, RecursionError):
        return " ".join(text.split())
    found = inner.get("message") if isinstance(inner, dict) else None
    return " ".join(str(found or text).split())
