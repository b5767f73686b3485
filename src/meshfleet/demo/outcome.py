"""What a demo came to, and its form as JSON; how it looks to a person is report.py's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshfleet.demo.observe import Observation
from meshfleet.demo.project import PROJECT_FILES, DemoFolder
from meshfleet.model import Row, attempt_key
from meshfleet.settings import beside


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of a demo.

    Attributes:
        failure: The step that failed, or that it was stopped; None after a success.
        stopped_by: The signal that ended it before its time.
        seen: The fleet as it was last seen; None when it never came to one.
        opencode_version: As OpenCode tells it; None when it didn't.
        folder: Where it all happened.
        kept: Whether that folder is still there.
        files: The project's files at the end, by name.
        called: The tools that were called to have it all happen, in their order.
        results: What each agent said at its end, by its id, as wait told it.
        server_words: The end of what the meshfleet server wrote to stderr.
        duration_s: From the start of the server to the end of the fleet.
    """

    failure: str | None
    stopped_by: int | None
    seen: Observation | None
    opencode_version: str | None
    folder: DemoFolder
    kept: bool
    files: Mapping[str, str]
    called: tuple[str, ...]
    results: Mapping[str, str]
    server_words: str
    duration_s: float

    @property
    def ok(self) -> bool:
        """True when the agents did all they were to do."""
        return self.failure is None

    @property
    def changed_files(self) -> Mapping[str, str]:
        """The files that the agents wrote or changed."""
        return {name: text for name, text in self.files.items() if text != PROJECT_FILES.get(name)}

    def logs_of(self, agent: Row) -> Path | None:
        """The folder with the traces of an agent's last attempt; None when it was never started."""
        if "attempt" not in agent:
            return None
        return beside(self.folder.ledger, "runs") / attempt_key(agent["id"], agent["attempt"])

    def as_json(self) -> str:
        """One object on one line, in ASCII: it passes any terminal and any pipe."""
        seen = self.seen
        return json.dumps(
            {
                "ok": self.ok,
                "fleet_id": seen.fleet["id"] if seen else None,
                "agents": [self._agent(agent) for agent in seen.agents] if seen else [],
                "messages": list(seen.messages) if seen else [],
                "receipts": list(seen.receipts) if seen else [],
                "called": list(self.called),
                "opencode_version": self.opencode_version,
                "ledger": str(self.folder.ledger),
                "kept": self.kept,
                "duration_ms": round(self.duration_s * 1000),
                "failure": self.failure,
            }
        )

    def _agent(self, agent: Row) -> dict[str, Any]:
        logs = self.logs_of(agent)
        return {
            "id": agent["id"],
            "role": agent["role"],
            "status": agent["status"],
            "duration_ms": duration_ms(agent),
            "tokens": token_total(agent),
            "token_detail": agent.get("tokens"),
            "cost": agent.get("cost"),
            "attempt": agent.get("attempt"),
            "session_id": agent.get("session_id"),
            "output": agent.get("output"),
            "reason": agent.get("reason"),
            "error": agent.get("error"),
            "logs": str(logs) if logs else None,
        }


def duration_ms(agent: Row) -> int | None:
    """How long an agent took; None while it hasn't ended."""
    if "started_at" not in agent or "completed_at" not in agent:
        return None
    return int(agent["completed_at"] - agent["started_at"])


def token_total(agent: Row) -> int:
    """What an agent used up, as OpenCode counts it; 0 where it never said."""
    return int((agent.get("tokens") or {}).get("total", 0))
