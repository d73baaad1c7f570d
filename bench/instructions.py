"""Instructions per event, counted by valgrind: the same on a busy machine as on an idle one.

The same child runs with two numbers of events; the difference of the two counts holds neither
the start of the interpreter nor the making of the inputs, which is the same in both.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple, NoReturn

import orjson

from bench.corpus import Events, by_size, cover, encoded, fresh, mixed, realistic, zipf_groups
from bench.peers import decode_head
from bench.report import Table
from napcore import dispatch


class Job(NamedTuple):
    """What is counted, and with how many events."""

    few: int
    many: int
    make: Callable[[int], tuple[Callable[[int], object], float]]
    """Gets ``many``; returns the work for a number of events, and deliveries per event."""


def _events(count: int) -> Events:
    random = Random(1)
    return encoded(random, mixed(random, count), zipf_groups(random, count))


def _each(read: Callable[[bytes], object], raws: list[bytes]) -> Callable[[int], object]:
    def work(count: int) -> None:
        for raw in raws[:count]:
            read(raw)

    return work


def _reading(read: Callable[[bytes], object]) -> Callable[[int], tuple[Callable[[int], object], float]]:
    # Every hundred has the same shares of every kind of event.
    return lambda many: (_each(read, fresh(_events(100).raws * (many // 100))), 0.0)


def _large(many: int) -> tuple[Callable[[int], object], float]:
    raws = by_size(1)["170 KB forward"].raws
    return _each(dispatch.peek, fresh((raws * many)[:many])), 0.0


def _nothing(many: int) -> tuple[Callable[[int], object], float]:
    return _each(callable, fresh(_events(100).raws * (many // 100))), 0.0


def _fan_out(clients: int, per_filter: int | None) -> Callable[[int], tuple[Callable[[int], object], float]]:
    def make(many: int) -> tuple[Callable[[int], object], float]:
        random = Random(1)
        groups: list[int] = zipf_groups(random, 100)
        if per_filter is None:
            sets = realistic(random, clients)
        else:
            sets, spoken = cover(random, clients, per_filter, 0.27)
            groups = [spoken[number % len(spoken)] for number in range(100)]
        events = encoded(random, mixed(random, 100, messages_only=True), groups)
        router = dispatch.Router()
        outboxes = [dispatch.Outbox(max_events=math.inf, max_bytes=math.inf) for _ in sets]
        for outbox, chosen in zip(outboxes, sets, strict=True):
            router.add(outbox, "frame", groups=chosen)
        heads = [(dispatch.peek(raw),) for raw in fresh(events.raws * (many // 100))]
        # The rings have grown once before anything is counted, as those of a running relay have.
        for head in heads:
            dispatch.fan_out(router, head, 0.0)
        for outbox in outboxes:
            outbox.take(0.0)

        def work(count: int) -> None:
            for head in heads[:count]:
                dispatch.fan_out(router, head, 0.0)

        return work, sum(group in chosen for group in groups for chosen in sets) / len(groups)

    return make


JOBS: dict[str, Job] = {
    "loop and call alone": Job(1_000, 5_000, _nothing),
    "peek, 950 B mix": Job(1_000, 5_000, _reading(dispatch.peek)),
    "msgspec Struct, 950 B mix": Job(1_000, 5_000, _reading(decode_head)),
    "orjson.loads, 950 B mix": Job(1_000, 5_000, _reading(orjson.loads)),
    "peek, 170 KB forward": Job(8, 40, _large),
    "fan_out, 100 clients, filters of 1 to 200 groups": Job(1_000, 5_000, _fan_out(100, None)),
    "fan_out, 1000 clients x 1 groups, 27% wanted": Job(200, 1_000, _fan_out(1_000, 1)),
    "fan_out, 1000 clients x 200 groups, 27% wanted": Job(200, 1_000, _fan_out(1_000, 200)),
}


def child(name: str, many_times: bool) -> NoReturn:
    """One run of a job: its inputs are always those of the larger number of events."""
    job = JOBS[name]
    work, deliveries = job.make(job.many)
    work(job.many if many_times else job.few)
    sys.stdout.write(f"{deliveries}\n")
    sys.stdout.flush()
    os._exit(0)  # the end of the interpreter would count too: more queued events, more to free


def available() -> bool:
    """Whether valgrind is installed."""
    return shutil.which("valgrind") is not None


def table(names: Sequence[str], tell: Callable[[str], None]) -> Table:
    """Counts these jobs; ``tell`` hears what is going on, since each takes a while."""
    lines = []
    for name in names:
        tell(f"counting: {name}")
        job = JOBS[name]
        (few, deliveries), (many, _) = _count(name, False), _count(name, True)
        events = (many - few) / (job.many - job.few)
        lines.append([name, f"{events:,.0f}", f"{events / deliveries:,.1f}" if deliveries else "-"])
    return Table("instructions (callgrind)", ("work", "per event", "per delivery"), lines)


def _count(name: str, many_times: bool) -> tuple[int, float]:
    code = f"from bench.instructions import child; child({name!r}, {many_times})"
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return counted(done.stderr, done.returncode), float(done.stdout or 0)


def counted(log: str, returncode: int = 0) -> int:
    """The instructions that callgrind's log reports.

    Raises:
        RuntimeError: it reports none, or the child failed.
    """
    found = re.search(r"Collected\s*:\s*(\d+)", log)
    if returncode or found is None:
        raise RuntimeError(f"valgrind failed ({returncode}):\n{log[-2000:]}")
    return int(found[1])
