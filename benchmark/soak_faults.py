"""What the agents of a soak are told to do: mostly wrong, each in its own way, as the fake runtime understands it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from tests.agents import fake_runtime

STARTS_NAME: Final = "starts"
ANSWERS: Final = "answers"

_SIGNALS: Final = ("SIGKILL", "SIGSEGV", "SIGHUP")
_PROMPTS: Final[dict[str, Callable[[Random], str]]] = {
    ANSWERS: lambda chance: f"begin\nwait {chance.random() * 2:.2f}\nanswer fine",
    "talks for a while": lambda chance: "begin\n" + "say hm\nwait 0.4\n" * chance.randrange(1, 12) + "answer done",
    "calls tools that fail": lambda _: "begin\ntool read\nfail bash\nfinish tool-calls\nanswer done all the same",
    "exits with a status": lambda chance: f"complain no luck\nexit {chance.randrange(1, 120)}",
    "exits 0 after an error": lambda _: "begin\nerror quota used up\nexit 0",
    "dies without a word": lambda _: "exit 0",
    "exits 0 in the middle": lambda _: "begin\nsay hm\nfinish tool-calls",
    "prints what is no event": lambda _: "raw {not json\nraw [1]\nraw null\ncomplain oh",
    "is killed": lambda chance: f"begin\nwait {chance.random():.2f}\ndie {chance.choice(_SIGNALS)}",
    "hangs silently": lambda _: "begin\nhang",
    "hangs before a word": lambda _: "hang",
    "hangs and ignores TERM": lambda _: "ignore SIGTERM\nbegin\nhang",
    "answers after its time": lambda _: "ignore SIGTERM\nbegin\nwait 12\nanswer late",
    "forks and fails": lambda _: "begin\nspawn 600\nexit 1",
    "forks what ignores TERM, and fails": lambda _: "begin\nspawn-stubborn 600\nspawn 600\nexit 1",
    "forks what ignores TERM, and hangs": lambda _: "begin\nspawn-stubborn 600\nignore SIGTERM\nhang",
    "forks and answers": lambda _: "begin\nleave 5\nanswer fine",
    "floods": lambda _: "begin\nflood 12000000\nhang",
}


def prompt_of(chance: Random) -> tuple[str, str]:
    """What one agent is to do: its name, and the prompt. Some recover at a later attempt, if there is one."""
    fault = ANSWERS if chance.random() < 0.15 else chance.choice(list(_PROMPTS))
    prompt = _PROMPTS[fault](chance)
    if chance.random() < 0.4:
        prompt = f"recover {chance.randrange(2, 4)}\n{prompt}"
    return fault, prompt


def install(folder: Path) -> Path:
    """Put an `opencode` into a folder that notes each run it begins beside it, and is the fake runtime."""
    runtime = fake_runtime.install(folder).rename(folder / "fake")
    program = folder / "opencode"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = run ] && echo "$MESHFLEET_ATTEMPT" >> "{folder / STARTS_NAME}"\nexec "{runtime}" "$@"\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    return program


def starts_in(folder: Path) -> list[str]:
    """The attempts that were begun, by their markers, one for each run."""
    path = folder / STARTS_NAME
    return path.read_text(encoding="ascii").split() if path.exists() else []
