"""The run: every load, round by round, every contender in each round; then table, JSON and pictures."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import chart, peers
from bench.report import Table, plain_table, section_text
from bench.rounds import Failed as WrongResult
from bench.rounds import Timing, interleave
from bench.wire import aims, receive
from bench.wire.build import CannotBuild, Tools, build
from bench.wire.contenders import C_EACH, OWN, Contender, contenders
from bench.wire.loads import Load, loads, quick
from bench.wire.measure import Failed, Sample, medians, sample
from bench.workload import SUBJECT, Row, Verdict, measured

LANE_MIB = 4.0
"""What a stalled client's queue may hold: ``Policy.max_bytes``."""

COLUMNS = (
    *("us/dlv", "x C", "us/event", "dlv/s", "CPU", "sink", "p50 us", "p99", "p99.9", "RSS MiB"),
    *("+MiB", "KiB/link", "up us", "lag", "missed", "pings", ""),
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How to run; ``only`` is a part of a load's name, ``who`` of a contender's."""

    out: Path
    only: str = ""
    who: str = ""
    rounds: int = 5
    quick: bool = False
    stall_seconds: float = 30.0


@dataclass
class Results:
    """Everything one run found out."""

    environment: dict[str, Any]
    loads: dict[str, dict[str, Sample]] = field(default_factory=dict)
    receive: list[Row] = field(default_factory=list)
    """Nanoseconds per message."""
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def run(options: Options, environment: dict[str, Any], say: Say) -> Results:
    """Measure what is asked for, say it as it comes, and write it into ``options.out``."""
    results = Results({**environment, "rounds": options.rounds})
    say(", ".join(f"{name} {value}" for name, value in results.environment.items()))
    say("us/dlv: CPU of the server's process per delivery, by the scheduler's account; medians of interleaved rounds")
    receiving(results, options, say)
    with tempfile.TemporaryDirectory() as folder:
        try:
            tools = build(Path(folder))
        except CannotBuild as error:
            results.skipped.append(f"skipped: everything: {error}")
            say(results.skipped[0])
            return results
        found, missing = contenders(tools)
        results.skipped += missing
        for load in chosen(options):
            measure(results, tools, [one for one in found if options.who in one.name], load, options, say)
    for line in results.skipped:
        say(line)
    if results.loads or results.receive:
        write(results, options.out, say)
    return results


def receiving(results: Results, options: Options, say: Say) -> None:
    """The rows about received bytes, as far as they are asked for: each peer in one process, in turn."""
    for workload in receive.workloads() if options.only in "receive" or "receive" in options.only else ():
        if options.only not in f"receive {workload.name}":
            continue
        who = [case for case in workload.cases if case.name == SUBJECT or options.who in case.name]
        try:
            row = measured(workload, interleave(who, workload.events, 7 if options.quick else 40))
        except WrongResult as error:
            results.failures.append(f"FAILED: receive {workload.name}: {error}")
            say(results.failures[-1])
            continue
        results.receive.append(row)
    if results.receive:
        say("\nns per message of thread CPU; NNx: the peer takes NN times as long as napcore")
        say(section_text(results.receive))
    results.skipped += peers.missing


def chosen(options: Options) -> list[Load]:
    """The loads that are asked for."""
    every = [load for load in loads(options.stall_seconds) if options.only in load.name]
    return [short for load in every if (short := quick(load)) is not None] if options.quick else every


def measure(results: Results, tools: Tools, found: Sequence[Contender], load: Load, options: Options, say: Say) -> None:
    """One load: rounds of all contenders, of which each starts with the next one."""
    able = [one for one in found if (one.filters or load.wanted == 100) and (one.bounded or not load.stalled)]
    samples: dict[str, list[Sample]] = {one.name: [] for one in able}
    for number in range(options.rounds if load.seconds <= 10 else 1):
        start = number % max(1, len(able))
        for one in (*able[start:], *able[:start]):
            try:
                samples[one.name].append(sample(tools, one, load))
            except Failed as error:
                results.failures.append(f"FAILED: {load.name}: {one.name}: {error}")
                say(results.failures[-1])
    figures = {name: medians(taken) for name, taken in samples.items() if taken}
    if not figures:
        return
    results.loads[load.name] = figures
    results.verdicts[load.name] = aims.verdicts(load, figures)
    calm = results.loads.get(load.name.replace("one stalled", "no stall"))
    if load.stalled and calm is not None:
        results.verdicts[load.name] += aims.stall_verdicts(calm, figures, LANE_MIB)
    say("\n" + text(load.name, figures, results.verdicts[load.name]))


def text(name: str, samples: dict[str, Sample], verdicts: Sequence[Verdict]) -> str:
    """One load's table, with what was promised about it."""
    floor = samples.get(C_EACH)
    lines = [[who, *_cells(one, floor)] for who, one in samples.items()]
    parts = [plain_table(Table(name, ("", *COLUMNS), lines))]
    if verdicts:
        parts += ["  promised:", *map(verdict_text, verdicts)]
    return "\n".join(parts)


def verdict_text(verdict: Verdict) -> str:
    """One line."""
    return f"  {verdict.value:.2f} {verdict.promise} (aim {verdict.aim:g}, floor {verdict.floor:g}): {verdict.word}"


def _cells(one: Sample, floor: Sample | None) -> list[str]:
    remarks = ["sink-bound"] if one.void else []
    remarks += ["STUCK"] if one.stuck else []
    return [
        f"{one.us_per_delivery:.3f}" if one.rate else "-",
        f"{one.us_per_delivery / floor.us_per_delivery:.2f}" if floor and one.rate else "-",
        f"{one.us_per_event:.2f}",
        f"{one.rate:.0f}",
        *(f"{share:.0%}" for share in (one.use, one.sink_use)),
        *(f"{time:.0f}" for time in (one.p50_us, one.p99_us, one.p999_us)),
        *(f"{size:.1f}" for size in (one.rss_mib, one.grown_mib, one.idle_kib)),
        f"{one.upstream_write_us:.0f}",
        *(str(count) for count in (one.lag, one.missed, one.pings)),
        " ".join(remarks),
    ]


def write(results: Results, out: Path, say: Say) -> None:
    """One JSON file, and a picture of each load's cost per delivery."""
    out.mkdir(parents=True, exist_ok=True)
    written = [out / "wire.json"]
    written[0].write_text(json.dumps(asdict(results), indent=1) + "\n", encoding="utf-8")
    rows = [
        Row("wire", name, timings, None, (), "")
        for name, samples in results.loads.items()
        if OWN in (timings := {who: Timing(one.us_per_delivery * 1e3, 0, one.runs) for who, one in samples.items()})
        and any(one.rate for one in samples.values())
    ]
    if rows:
        written.append(out / "wire.svg")
        written[1].write_text(chart.svg(rows, "CPU time per delivery, shorter is better"), encoding="utf-8")
    say("\nwritten: " + ", ".join(map(str, written)))
