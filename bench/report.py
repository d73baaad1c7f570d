"""The results as a table to read and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from bench.workload import SUBJECT, Row


@dataclass(frozen=True)
class Table:
    """Numbers that are not timings."""

    title: str
    columns: Sequence[str]
    lines: Sequence[Sequence[str]]


@dataclass
class Results:
    """Everything one run found out."""

    environment: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """What was left out, and why."""
    failures: list[str] = field(default_factory=list)
    """Cases whose results were wrong; their rows are missing."""


def table_text(rows: Sequence[Row]) -> str:
    """The rows of one section: napcore's time, and how many times as long each peer takes."""
    peers = [name for row in rows for name in row.timings if name != SUBJECT]
    peers = list(dict.fromkeys(peers))
    delivers = any(row.deliveries is not None for row in rows)
    columns = [rows[0].section, "ns/event", "p10", *(["dlv/event", "ns/dlv"] if delivers else []), *peers]
    return _aligned(columns, [_cells(row, peers, delivers) for row in rows])


def _cells(row: Row, peers: Sequence[str], delivers: bool) -> list[str]:
    own = row.timings[SUBJECT]
    cells = [row.name, f"{own.median:.0f}", f"{own.p10:.0f}"]
    if delivers:
        each = row.per_delivery(SUBJECT)
        cells += [f"{row.deliveries or 0:.2f}", "-" if each is None else f"{each:.1f}"]
    return cells + [f"{row.ratio(peer):.2f}x" if peer in row.timings else "-" for peer in peers]


def _aligned(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, cells)) for cells in zip(columns, *lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(row))
        for row in (list(zip(line, widths, strict=True)) for line in (columns, *lines))
    )


def verdict_lines(rows: Sequence[Row]) -> list[str]:
    """What was promised about these rows, and what came of it."""
    return [
        f"  {row.section}, {row.name}: {verdict.value:.2f} {verdict.promise}"
        f" (aim {verdict.aim:g}, floor {verdict.floor:g}): {verdict.word}"
        for row in rows
        for verdict in row.verdicts
    ]


def note_lines(rows: Sequence[Row]) -> list[str]:
    """The rows' notes; one that several rows share is printed once."""
    lines = []
    for note, sharing in groupby((row for row in rows if row.note), key=lambda row: row.note):
        names = [row.name for row in sharing]
        lines.append(f"  {names[0]}{' and following' if len(names) > 1 else ''}: {note}")
    return lines


def section_text(rows: Sequence[Row]) -> str:
    """Everything about one section."""
    parts = [table_text(rows), *note_lines(rows)]
    if verdicts := verdict_lines(rows):
        parts += ["  promised:", *verdicts]
    return "\n".join(parts)


def plain_table(table: Table) -> str:
    return f"{table.title}\n{_aligned(table.columns, table.lines)}"


def flatness(rows: Sequence[Row]) -> Table | None:
    """What 200 groups per filter cost, measured in what one group costs; None without such rows."""
    lines = []
    times = {row.name: row.timings[SUBJECT].median for row in rows}
    for name, few in times.items():
        many = times.get(name.replace(" x 1 groups", " x 200 groups"))
        if " x 1 groups" in name and many is not None:
            lines.append([name.replace(" x 1 groups", ""), f"{few:.0f}", f"{many:.0f}", f"{many / few:.2f}x"])
    if not lines:
        return None
    return Table("flat in groups per filter", (rows[0].section, "1 group, ns", "200 groups, ns", "ratio"), lines)


def as_json(results: Results) -> str:
    """All of it, for programs; times are nanoseconds per event."""
    rows = [
        {
            **asdict(row),
            "ratios": {peer: round(row.ratio(peer), 3) for peer in row.timings if peer != SUBJECT},
            "ns_per_delivery": {name: row.per_delivery(name) for name in row.timings} if row.deliveries else None,
        }
        for row in results.rows
    ]
    return json.dumps({**asdict(results), "rows": rows}, indent=1, ensure_ascii=False) + "\n"
