"""A server of a soak, which is asked without being waited for and ended in every way, and what it was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmark.over_stdio.client import Client, Dead
from benchmark.serving import SERVE

LEAVING_S: Final = 30.0
"""How long it may take to end by itself, busy as the machine is."""


class Server:
    """A top-level server that was just started.

    Args:
        environ: Its environment.
        cwd: The folder its agents work in.
        complaints: The file its stderr is added to.

    Attributes:
        pid: Its process.
        answers: What it was heard to answer so far, by the id of the call.
    """

    def __init__(self, environ: Mapping[str, str], cwd: Path, complaints: Path) -> None:
        self._client = Client(SERVE, environ, cwd, complaints)
        self._client.hail()
        self.pid = self._client.process.pid
        self.answers: dict[int, dict[str, Any]] = {}

    def ask(self, tool: str, **arguments: Any) -> int | None:
        """Call a tool; returns the id that its answer has, and None where the server has ended."""
        with suppress(Dead):
            return self._client.post(tool, **arguments)
        return None

    def hear(self) -> bool:
        """Take in what it has answered by now; False once it has ended."""
        try:
            while (line := self._client.answer_so_far()) is not None:
                self._take_in(line)
        except Dead:
            return False
        return True

    def leave(self) -> int:
        """Have it end by itself, and take in what it answers until then; returns its exit code."""
        self._take_in(*self._client.leave(LEAVING_S))
        return self._client.process.wait()

    def kill(self) -> None:
        """End it as a crash would; what it had answered until then counts."""
        self._take_in(*self._client.kill())

    def _take_in(self, *lines: bytes) -> None:
        self.answers |= {answer["id"]: answer for answer in map(json.loads, lines)}


@dataclass(slots=True)
class Asked:
    """A fleet that is asked of one server after the other until one has answered, under one idempotency key.

    Attributes:
        arguments: Of spawn_fleet.
        server: Which was asked last.
        call_id: Under which id.
    """

    arguments: dict[str, Any]
    server: Server | None = None
    call_id: int | None = None

    @property
    def answer(self) -> dict[str, Any] | None:
        """What it answered, as far as that was heard."""
        return None if self.server is None or self.call_id is None else self.server.answers.get(self.call_id)
