"""Servers in turn: each figure is taken of one, then of the next, round by round, so that a slow minute hits all."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmark.over_stdio import calls, starting, together, waiters
from benchmark.over_stdio.client import Dead, Refused
from benchmark.over_stdio.session import House, NotOffered, Session, Subject, housed
from benchmark.over_stdio.sheet import NOT_OFFERED, Sheet
from benchmark.seeding import history


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        starts: How often a server is started for the figures of its start.
        rounds: How often the others are taken.
        load: What is asked of one server.
        throng: What is asked of several at once.
        wait: How many wait, and for how long.
    """

    starts: int
    rounds: int
    load: calls.Load
    throng: together.Throng
    wait: waiters.Wait


@dataclass(frozen=True, slots=True)
class _Measurement:
    """What is taken in one house.

    Attributes:
        title: What it is about.
        keys: The figures.
        rounds: How often.
        take: By what.
        needs: The tools without which there is nothing to take.
        document: The ledger that is found.
    """

    title: str
    keys: tuple[str, ...]
    rounds: int
    take: Callable[[House, Sheet], None]
    needs: tuple[str, ...] = ()
    document: Path | None = None


THOROUGH: Final = Plan(
    starts=5,
    rounds=3,
    load=calls.Load(2_000, 30, 1_000, 100, 100_000, 60, 1_000, 100),
    throng=together.Throng(4, 500),
    wait=waiters.Wait(100, 8, 100),
)
QUICK: Final = Plan(
    starts=1,
    rounds=1,
    load=calls.Load(20, 2, 10, 3, 200, 1, 5, 2),
    throng=together.Throng(2, 5),
    wait=waiters.Wait(1, 0.2, 2),
)


def compare(subjects: Sequence[Subject], plan: Plan, say: Callable[[str], None]) -> list[Sheet]:
    """Measure servers; returns a sheet for each.

    Args:
        subjects: Which.
        plan: How much.
        say: Is told what is measured next.
    """
    sheets = [Sheet() for _ in subjects]
    with tempfile.TemporaryDirectory() as name:
        for measurement in _measurements(plan, Path(name)):
            say(f"over stdio: {measurement.title}")
            for _ in range(measurement.rounds):
                for subject, sheet in zip(subjects, sheets, strict=True):
                    _take(measurement, subject, sheet)
    return sheets


def names_of(commands: Sequence[tuple[str, ...]]) -> list[str]:
    """What servers call themselves; two of the same name are told apart by a letter.

    Raises:
        Dead: One of them does not greet; the text begins with its command.
    """
    names = [_name_of(command) for command in commands]
    if len(set(names)) == len(names):
        return names
    return [f"{letter}: {name}" for letter, name in zip("ABCDEFGH", names, strict=False)]


def _measurements(plan: Plan, folder: Path) -> list[_Measurement]:
    load = plan.load
    large, fleets = folder / "large.json", folder / "fleets.json"
    large.write_text(json.dumps(history(load.messages)))
    fleets.write_text(json.dumps(history(0, load.fleets)))
    return [
        _Measurement("starting", starting.KEYS, plan.starts, starting.measure_starting),
        _Measurement("calls", calls.KEYS, plan.rounds, partial(calls.measure_calls, load=load)),
        _Measurement(
            "calls where many messages lie",
            calls.LARGE_KEYS,
            plan.rounds,
            partial(calls.measure_large, load=load),
            calls.LARGE_NEEDS,
            document=large,
        ),
        _Measurement(
            "a list of many fleets",
            calls.FLEETS_KEYS,
            plan.rounds,
            partial(calls.measure_fleets, load=load),
            ("list_fleets",),
            document=fleets,
        ),
        _Measurement(
            "several servers at once",
            together.KEYS,
            plan.rounds,
            partial(together.measure_together, throng=plan.throng),
            together.NEEDS,
        ),
        _Measurement(
            "agents that wait", waiters.KEYS, 1, partial(waiters.measure_waiters, wait=plan.wait), waiters.NEEDS
        ),
    ]


def _take(measurement: _Measurement, subject: Subject, sheet: Sheet) -> None:
    """One round; one that died, or has nothing of it, is not asked again."""
    keys = measurement.keys
    if sheet.tools is not None and not sheet.tools.issuperset(measurement.needs):
        sheet.say_of_the_rest(NOT_OFFERED, keys)
    if all(key in sheet.words for key in keys):
        return
    try:
        with housed(subject, measurement.document) as house:
            measurement.take(house, sheet)
    except (Dead, Refused, NotOffered) as error:
        sheet.say_of_the_rest(str(error), keys)


def _name_of(command: tuple[str, ...]) -> str:
    try:
        with housed(Subject("", command)) as house:
            about = Session(house.begin()).about["serverInfo"]
            return f"{about['name']} {about['version']}"
    except (Dead, Refused) as error:
        raise Dead(f"{shlex.join(command)}: {error}") from None
