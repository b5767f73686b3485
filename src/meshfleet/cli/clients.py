"""The clients that `meshfleet init` knows by name, apart from what it does for them: every command loads this."""

from __future__ import annotations

from enum import StrEnum


class Client(StrEnum):
    """Whose configuration."""

    OPENCODE = "opencode"
    CLAUDE_CODE = "claude-code"
    CODEX = "codex"
    GENERIC = "generic"
