"""The sheets of one or two servers as a table, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmark.over_stdio.compare import Plan
from benchmark.over_stdio.rows import ROWS, Row
from benchmark.over_stdio.sheet import NOT_OFFERED, Sheet


def as_lines(names: Sequence[str], sheets: Sequence[Sheet], plan: Plan) -> list[str]:
    """The table in Markdown, with the ratio where there are two."""
    heads = ["", *names, *(["first : second"] if len(names) == 2 else [])]
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    said: list[str | None] = [None for _ in sheets]
    for row in ROWS:
        cells = [_title(row, plan), *(_cell(row, sheet, before) for sheet, before in zip(sheets, said, strict=True))]
        said = [sheet.words.get(row.key) for sheet in sheets]
        if len(sheets) == 2:
            cells.append(_ratio(row, *sheets))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def as_json(names: Sequence[str], sheets: Sequence[Sheet], plan: Plan) -> list[dict[str, Any]]:
    """A record for each figure of each server: all its rounds, or a word where there is none."""
    records = []
    for name, sheet in zip(names, sheets, strict=True):
        for row in ROWS:
            record: dict[str, Any] = {"server": name, "figure": row.key, "title": _title(row, plan), "unit": row.unit}
            record["median"] = sheet.figure(row.key)
            record["rounds"] = sheet.rounds.get(row.key, [])
            if row.key in sheet.words:
                record["word"] = sheet.words[row.key]
            records.append(record)
    return records


def _title(row: Row, plan: Plan) -> str:
    return row.title.format(load=plan.load, throng=plan.throng)


def _cell(row: Row, sheet: Sheet, said_above: str | None) -> str:
    figure = sheet.figure(row.key)
    if figure is not None:
        best = sheet.best(row.key, most=row.most_is_best) if row.compared else None
        aside = "" if best is None else f" ({best:,.{row.digits}f})"
        return f"{figure:,.{row.digits}f}{aside} {row.unit}".strip()
    word = sheet.words.get(row.key, "not known")
    return '"' if word == said_above != NOT_OFFERED else word.replace("|", "/")


def _ratio(row: Row, first: Sheet, second: Sheet) -> str:
    above, below = first.figure(row.key), second.figure(row.key)
    return f"{above / below:.2f}" if row.compared and above is not None and below else ""
