"""Stands in for OpenCode: takes `run --format json`, reads deeds from its prompt, and misbehaves as they say.

A deed a line, `verb argument`. A prompt whose first line is no deed is answered with itself, as a good agent would.

    answer TEXT     a whole step: start, the words, finish with "stop"
    begin | say TEXT | finish REASON | tool NAME | fail NAME | error MESSAGE     one event
    raw LINE        any line on stdout         complain TEXT   a line on stderr
    ignore SIGNAL   from now on                spawn SECONDS   a process in a session of its own
    spawn-stubborn SECONDS                     the same, deaf to TERM
    leave SECONDS                              the same, which ends by itself after that long
    environment     says the environment       arguments       says the command line
    wait SECONDS    hang                       flood BYTES     events without end
    until PATH      goes on once there is a file of that name
    exit STATUS     die SIGNAL         recover NUMBER  answer at once from this attempt on
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TextIO

SESSION: Final = f"ses_fake{os.getpid()}"
TOKENS: Final = {"total": 120, "input": 70, "output": 15, "reasoning": 5, "cache": {"write": 0, "read": 30}}
_parts = iter(range(1, sys.maxsize))


def install(folder: Path) -> Path:
    """Put an `opencode` that is this program into a folder."""
    program = folder / "opencode"
    program.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -S -E "{Path(__file__).absolute()}" "$@"\n', encoding="utf-8"
    )
    program.chmod(0o755)
    return program


def write(line: str, to: TextIO | None = None) -> None:
    to = to or sys.stdout
    to.write(line + "\n")
    to.flush()


def emit(kind: str, **fields: object) -> None:
    event = {"type": kind, "timestamp": time.time_ns() // 1_000_000, "sessionID": SESSION, **fields}
    write(json.dumps(event, ensure_ascii=False))


def part(kind: str, **fields: object) -> dict[str, object]:
    return {"id": f"prt_{next(_parts)}", "sessionID": SESSION, "type": kind, **fields}


def wait_for_file(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.01)


def say(text: str) -> None:
    emit("text", part=part("text", text=text))


def finish(reason: str) -> None:
    emit("step_finish", part=part("step-finish", reason=reason, tokens=TOKENS, cost=0.25))


def answer(text: str) -> None:
    emit("step_start", part=part("step-start"))
    say(text)
    finish("stop")


def call(name: str, status: str) -> None:
    emit("tool_use", part=part("tool", tool=name, callID="c", state={"status": status, "input": {}, "output": ""}))


def fail(message: str) -> None:
    emit("error", error={"name": "APIError", "data": {"message": message, "statusCode": 500}})


def spawn(seconds: str, *, stubborn: bool = False) -> None:
    script = f"{'trap : TERM; ' if stubborn else ''}echo up; sleep {seconds} & wait; while :; do sleep {seconds}; done"
    child = subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None
    child.stdout.readline()
    say(f"spawned {child.pid}")


def leave(seconds: str) -> None:
    subprocess.Popen(["sleep", seconds], stdout=subprocess.DEVNULL, start_new_session=True)


def flood(size: str) -> None:
    for _ in range(int(size) // 1000):
        say("x" * 1000)


def recover(number: str) -> None:
    if int(os.environ["MESHFLEET_ATTEMPT"].rpartition("/")[2]) >= int(number):
        answer("recovered")
        sys.exit()


def die(name: str) -> None:
    os.kill(os.getpid(), signal.Signals[name])
    time.sleep(60)


DEEDS: Final[dict[str, Callable[[str], object]]] = {
    "answer": answer,
    "begin": lambda _: emit("step_start", part=part("step-start")),
    "say": say,
    "finish": finish,
    "tool": lambda name: call(name, "completed"),
    "fail": lambda name: call(name, "error"),
    "error": fail,
    "raw": write,
    "complain": lambda text: write(text, sys.stderr),
    "ignore": lambda name: signal.signal(signal.Signals[name], signal.SIG_IGN),
    "spawn": spawn,
    "spawn-stubborn": lambda seconds: spawn(seconds, stubborn=True),
    "leave": leave,
    "environment": lambda _: say(json.dumps(dict(os.environ))),
    "arguments": lambda _: say(json.dumps(sys.argv[1:])),
    "wait": lambda seconds: time.sleep(float(seconds)),
    "until": wait_for_file,
    "hang": lambda _: time.sleep(3600),
    "flood": flood,
    "exit": lambda status: sys.exit(int(status)),
    "die": die,
    "recover": recover,
}


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        write("0.0.0-fake")
        return
    prompt = sys.stdin.buffer.read().decode("utf-8")
    deeds = [line.partition(" ") for line in prompt.splitlines()]
    if not deeds or deeds[0][0] not in DEEDS:
        answer(prompt)
        return
    for verb, _, argument in deeds:
        DEEDS[verb](argument)


if __name__ == "__main__":
    main()
