"""NoneBot2 alone against NoneBot2 with napcore, in one run: in process, and over a socket as NapCat would talk to it.

In process: CPU time per event of all threads, for validating the decoded dict and for handling the event, the two
taking turns. Over a
socket: the bot in a process of its own, a stand-in NapCat here; CPU of the bot for a burst that nothing wants, then how
long replies take at 20 messages a second that each want one matcher, and the bot's peak memory.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import anyio
import anyio.to_thread

from bench.framework_bot import KINDS, UNWANTED, message, wanted
from bench.report import Table, plain_table
from napcore.testing import Simulator
from napcore.testing.percentiles import percentile

RATE = 20.0
PATIENCE = 90.0
"""Seconds for a burst or for the replies; what is not there by then is reported so."""

AIMS = {
    "nothing wants it": "at least 500x better than NoneBot2 with 100 commands",
    "growth": "100 commands at no more than 2x the cost of 1",
    "one wants it": "at most 2x the cost of NoneBot2 with one lone matcher",
}


@dataclass(frozen=True)
class Options:
    """What to measure."""

    kinds: Sequence[str] = KINDS
    counts: Sequence[int] = (1, 10, 100, 1000)
    seconds: float = 2.0
    """How long each case may take in process."""
    serve_counts: Sequence[int] = (1, 100)
    out: Path | None = None


@dataclass
class Found:
    """What was measured."""

    place: dict[tuple[str, int], dict[str, float]] = field(default_factory=dict)
    served: dict[tuple[str, int, str], dict[str, Any]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def run(options: Options, say: Callable[[str], None]) -> Found:
    """Measure everything, telling each table as it is done."""
    found = Found()
    for kind in options.kinds:
        for count in options.counts:
            place(found, kind, count, options.seconds)
        say(place_table(found, kind))
    for kind in options.kinds:
        for count in options.serve_counts:
            for mode in ("stock", "napcore"):
                name = (kind, count, mode)
                try:
                    found.served[name] = anyio.run(serve, kind, count, mode)
                except (OSError, RuntimeError, TimeoutError) as error:
                    found.failures.append(f"{name}: {error!r}")
    if found.served:
        say(served_table(found))
    for line in verdicts(found):
        say(line)
    for failure in found.failures:
        say(f"FAILED {failure}")
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        flat = [{"kind": k, "count": n, **times} for (k, n), times in found.place.items()]
        wire = [{"kind": k, "count": n, "mode": m, **numbers} for (k, n, m), numbers in found.served.items()]
        path = options.out / "frameworks.json"
        path.write_text(json.dumps({"in_process": flat, "served": wire, "failures": found.failures}, indent=1))
    return found


def place(found: Found, kind: str, count: int, seconds: float) -> None:
    """One case in process."""
    command = [sys.executable, "-m", "bench.framework_bot", "place", kind, str(count), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        found.failures.append(f"{kind} {count}: {done.stderr[-500:]}")
    else:
        found.place[kind, count] = json.loads(done.stdout)


def place_table(found: Found, kind: str) -> str:
    """The in-process cases of one kind."""
    lines = []
    for (each, count), t in found.place.items():
        if each == kind:
            cells = [
                f"{t[f'{mode} {what}']:,.0f}" for what in ("parse", "none", "one") for mode in ("stock", "napcore")
            ]
            lines.append(
                [
                    str(count),
                    *cells,
                    f"{t['stock none'] / t['napcore none']:,.0f}x",
                    f"{1e6 / (t['napcore parse'] + t['napcore none']):,.0f}",
                ]
            )
    columns = ["matchers", "validate: NoneBot2", "napcore", "none: NoneBot2", "napcore", "one: NoneBot2", "napcore"]
    columns += ["gain on none", "events/s"]
    return plain_table(
        Table(
            f"{kind}, in process, microseconds of CPU to validate a message, and to handle it if none or one wants it",
            columns,
            lines,
        )
    )


def served_table(found: Found) -> str:
    """The cases over a socket."""
    names = ("events/s", "CPU us/event", "p50 ms", "p99 ms", "replies", "peak MiB")
    lines = [
        [kind, str(count), mode, *(str(numbers[name]) for name in names)]
        for (kind, count, mode), numbers in found.served.items()
    ]  # fmt: skip
    columns = ["kind", "matchers", "", "events/s", "CPU us/event", "reply p50 ms", "p99 ms", "replies", "peak MiB"]
    return plain_table(
        Table("over a socket: a burst nothing wants, then 20 messages/s for 3 s that one wants", columns, lines)
    )


def verdicts(found: Found) -> Iterator[str]:
    """The aims beside what was found."""
    one, hundred = found.place.get(("command", 1)), found.place.get(("command", 100))
    if one and hundred:
        gain = hundred["stock none"] / hundred["napcore none"]
        yield f"nothing wants it, 100 commands: {gain:,.0f}x better; aim: {AIMS['nothing wants it']}"
        yield f"100 commands cost {hundred['napcore none'] / one['napcore none']:.2f}x of 1; aim: {AIMS['growth']}"
        cost = hundred["napcore one"] / one["stock one"]
        yield f"one wants it: {cost:.2f}x a lone matcher; aim: {AIMS['one wants it']}"


# Over a socket.


async def serve(kind: str, count: int, mode: str) -> dict[str, Any]:
    """One case over a socket."""
    port = free_port()
    command = [sys.executable, "-m", "bench.framework_bot", "serve", kind, str(count), mode, str(port)]
    with bot_process(command) as bot:
        async with Simulator(10001, groups=1, heartbeat=1e6) as simulator:
            simulator.connect(f"ws://127.0.0.1:{port}/onebot/v11/ws")
            await simulator.wait_connected(timeout=PATIENCE)
            numbers = iter(range(1, 1_000_000))
            # stock NoneBot2 needs a tenth of a second and a few MiB for each event with a hundred commands
            burst = 1000 if mode == "napcore" or count < 10 else 40
            await say_and_wait(simulator, bot, [message(UNWANTED, next(numbers)) for _ in range(5)])
            cpu, start = cpu_seconds(bot.pid), time.monotonic()
            await say_and_wait(simulator, bot, [message(UNWANTED, next(numbers)) for _ in range(burst)])
            took, spent = time.monotonic() - start, cpu_seconds(bot.pid) - cpu
            latencies = await replies(simulator, [message(wanted(kind, n % count), next(numbers)) for n in range(60)])
            return {
                "events/s": round(burst / took),
                "CPU us/event": round(spent / burst * 1e6),
                "p50 ms": _ms(percentile(latencies, 50)),
                "p99 ms": _ms(percentile(latencies, 99)),
                "replies": f"{len(latencies)}/60",
                "peak MiB": peak_mib(bot.pid),
            }


async def say_and_wait(simulator: Simulator, bot: subprocess.Popen[str], events: list[dict[str, Any]]) -> None:
    """Send at once; return when the bot is through with all of them."""
    assert bot.stdout is not None
    for event in events:
        await simulator.emit(event)
    with anyio.fail_after(PATIENCE):
        await anyio.to_thread.run_sync(_read_lines, bot.stdout, len(events), abandon_on_cancel=True)


def _read_lines(stream: IO[str], count: int) -> None:
    for _ in range(count):
        if not stream.readline():
            raise RuntimeError("the bot ended")


async def replies(simulator: Simulator, events: list[dict[str, Any]]) -> list[float]:
    """Send at the rate; the seconds until each was answered, as far as it was."""
    start = time.monotonic()
    for number, event in enumerate(events):
        await anyio.sleep(max(0.0, start + number / RATE - time.monotonic()))
        await simulator.emit(event)
    with anyio.move_on_after(PATIENCE):
        await simulator.wait_for(lambda: len(simulator.replies.latencies) >= len(events), timeout=PATIENCE)
    return list(simulator.replies.latencies)


@contextmanager
def bot_process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """The bot, ended on the way out."""
    bot = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield bot
    finally:
        bot.kill()
        bot.wait(10)
        assert bot.stdout is not None
        bot.stdout.close()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def cpu_seconds(pid: int) -> float:
    """CPU time a process has used; NaN without /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib(pid: int) -> str:
    """The most memory a process has had; ``-`` without /proc."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return "-"
    return next((str(int(line.split()[1]) // 1024) for line in lines if line.startswith("VmHWM")), "-")


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}"
