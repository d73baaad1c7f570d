"""``python -m bench hot``: the path of an event through ring 0, beside its peers."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any

from bench import chart, conditions, encode, instructions, memory, message, path, peek, peers, route, texts
from bench.report import Results, Table, as_json, flatness, plain_table, section_text
from bench.rounds import Failed, Timing, interleave
from bench.workload import SUBJECT, Row, Verdict, Workload, measured
from napcore import dispatch

SECTIONS: dict[str, Callable[[int], Iterator[Workload]]] = {
    "peek": peek.workloads,
    "route": route.workloads,
    "encode": encode.workloads,
    "message": message.workloads,
    "path": path.workloads,
    "text index": texts.workloads,
    "conditions": conditions.workloads,
}
EXTRAS = ("peek without SIMD", "memory", "text index, changes")
PACKAGES = (
    *("napcore", "orjson", "msgspec", "pyahocorasick", "pysimdjson", "websockets"),
    *("nonebot-adapter-onebot", "aiocqhttp"),
)


@dataclass(frozen=True)
class Options:
    """How to run; ``only`` is a part of "section, row"."""

    out: Path
    only: str = ""
    rounds: int = 40
    seed: int = 20251123
    quick: bool = False
    instructions: bool = False
    budget_ns: float = 1_000_000_000


Say = Callable[[str], None]


def run(options: Options, say: Say) -> Results:
    """Measure what is asked for, say it as it comes, and write JSON and pictures into ``options.out``."""
    results = Results(environment(options))
    say(", ".join(f"{name} {value}" for name, value in results.environment.items()))
    say(f"times in ns of thread CPU, medians of interleaved rounds; NNx: the peer takes NN times as long as {SUBJECT}")
    if not dispatch.COMPILED:
        results.skipped.append("skipped: the compiled core; what is called napcore is the plain twin")
    if options.instructions:
        count_instructions(results, options, say)
    else:
        for workloads in SECTIONS.values():
            section(results, workloads(options.seed), options, say)
        without_simd(results, options, say)
        memory_table(results, options, say)
        if wanted(options, EXTRAS[2]):
            add_table(results, texts.changes(options.seed), say)
    results.skipped += peers.missing
    for line in (*results.skipped, *results.failures):
        say(line)
    if results.rows or results.tables or results.failures:
        write(results, options.out, say)
    return results


def environment(options: Options) -> dict[str, Any]:
    return {**versions(), "simd": peek.simd() or "unknown", "rounds": options.rounds, "seed": options.seed}


def versions(*more: str) -> dict[str, Any]:
    """What runs here: interpreter, machine, core, and the packages that are compared."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {processor()}",
        "core": "compiled" if dispatch.COMPILED else "plain",
    }
    for package in (*PACKAGES, *more):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def processor() -> str:
    """The processor's name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def wanted(options: Options, name: str) -> bool:
    return options.only in name


def section(results: Results, workloads: Iterator[Workload], options: Options, say: Say) -> None:
    """Measure the rows of one section that are asked for; a row with a wrong result is reported, not timed."""
    rows = []
    for workload in workloads:
        name = f"{workload.section}, {workload.name}"
        if not wanted(options, name):
            continue
        try:
            timings = interleave(workload.cases, workload.events, options.rounds, budget_ns=options.budget_ns)
        except Failed as error:
            results.failures.append(f"FAILED: {name}: {error}")
            continue
        rows.append(measured(workload, timings))
    add(results, rows, say)


def add(results: Results, rows: list[Row], say: Say) -> None:
    if not rows:
        return
    results.rows += rows
    say("\n" + section_text(rows))
    if (flat := flatness(rows)) is not None:
        add_table(results, flat, say)


def add_table(results: Results, table: Table, say: Say) -> None:
    results.tables.append(table)
    say("\n" + plain_table(table))


def without_simd(results: Results, options: Options, say: Say) -> None:
    """The section ``peek`` again in a child process whose core uses no vector instructions."""
    name = EXTRAS[0]
    if peek.simd() == "off" or not any(wanted(options, part) for part in (name, "peek")):
        return
    if peek.simd() is None:
        results.skipped.append(f"skipped: {name}: this core has no attribute SIMD, so nothing can be switched off")
        return
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "bench", "hot", "--only", "peek", "--out", out]
        command += ["--rounds", str(options.rounds), "--seed", str(options.seed)]
        command += ["--quick"] if options.quick else []
        done = subprocess.run(
            command, env={**os.environ, "NAPCORE_SIMD": "off"}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            results.failures.append(f"FAILED: {name}: {done.stdout[-500:]}{done.stderr[-500:]}")
            return
        add(results, rows_of((Path(out) / "hot.json").read_text()), say)


def rows_of(text: str) -> list[Row]:
    """The rows in JSON that an earlier run wrote."""
    return [
        Row(
            row["section"],
            row["name"],
            {name: Timing(**timing) for name, timing in row["timings"].items()},
            row["deliveries"],
            [Verdict(**verdict) for verdict in row["verdicts"]],
            row["note"],
        )
        for row in json.loads(text)["rows"]
    ]


def memory_table(results: Results, options: Options, say: Say) -> None:
    if not wanted(options, EXTRAS[1]):
        return
    if memory.available():
        add_table(results, memory.table(), say)
        add_table(results, memory.texts_table(), say)
    else:
        results.skipped.append("skipped: memory: the C library has no mallinfo2")


def count_instructions(results: Results, options: Options, say: Say) -> None:
    names = [name for name in instructions.JOBS if wanted(options, name)]
    if instructions.available():
        if names:
            add_table(results, instructions.table(names, tell=say), say)
    else:
        results.skipped.append("skipped: instructions: valgrind is not installed")


def pictured(rows: list[Row]) -> list[Row]:
    """Of rows that differ in what is wanted, those with a usual share: a page should do."""
    return [row for row in rows if ", 27% wanted" in row.name] or rows if rows[0].section == "route" else rows


def write(results: Results, out: Path, say: Say) -> None:
    """One JSON file, and one picture per section."""
    out.mkdir(parents=True, exist_ok=True)
    name = "instructions" if any(table.title.startswith("instructions") for table in results.tables) else "hot"
    written = [out / f"{name}.json"]
    written[0].write_text(as_json(results), encoding="utf-8")
    for title, rows in groupby(results.rows, key=lambda row: row.section):
        picture = out / f"{title.replace(' ', '-')}.svg"
        picture.write_text(chart.svg(pictured(list(rows))), encoding="utf-8")
        written.append(picture)
    say("\nwritten: " + ", ".join(str(file) for file in written))
