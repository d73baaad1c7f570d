"""One sample: start a server, let the driver load it, take down what both say; and the medians."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.wire.build import Tools
from bench.wire.contenders import Contender
from bench.wire.loads import Load

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds beyond the load's own that a sample may take: 1,000 handshakes are among them."""


class Failed(Exception):
    """A server that did not run, or did not do its work."""


@dataclass(frozen=True)
class Sample:
    """What one run, or the medians of several, came to."""

    us_per_delivery: float
    """Server CPU, receiving included, all threads."""
    us_per_event: float
    rate: float
    """Deliveries per second of wall time."""
    use: float
    """Share of a core the server took."""
    sink_use: float
    """The same of the driver."""
    p50_us: float
    p99_us: float
    p999_us: float
    rss_mib: float
    grown_mib: float
    """Peak memory above that of idle links."""
    idle_kib: float
    """Memory per link, idle."""
    upstream_write_us: float
    """The longest the upstream had to wait for room in its socket."""
    lag: int
    """Events not at all clients at the end."""
    missed: int
    """Events a client never got."""
    pings: int
    stuck: bool
    """Whether nothing arrived for three seconds."""
    runs: int = 1

    @property
    def void(self) -> bool:
        """Whether the sink was what limited the rate; the cost per delivery stands all the same."""
        return self.sink_use > 0.95 and self.use < 0.9


def sample(tools: Tools, contender: Contender, load: Load) -> Sample:
    """Run it once.

    Raises:
        Failed: it did not start, closed a link, or delivered something wrong.
    """
    driver = _start(
        [
            *(str(tools.driver), *load.arguments()),
            *(f"accept={int(contender.dials)}", f"tls={int(contender.tls)}"),
        ],
        processor=-1,
    )
    server = None
    try:
        own_port = int(_line(driver).split()[1])
        server = _start(contender.command(load, own_port), processor=0, modules=tools.node)
        port = int(_line(server).split()[1])
        seconds = load.warm + load.seconds + PATIENCE
        out, errors = driver.communicate(f"{port} {server.pid}\n", timeout=seconds)
        if driver.returncode:
            raise Failed(f"{errors.strip()} {_last_words(server)}")
        return _checked(json.loads(out), contender, load)
    except subprocess.TimeoutExpired:
        raise Failed("it took too long") from None
    finally:
        for process in (server, driver):
            if process is not None:
                process.kill()
                process.communicate()


def medians(samples: Sequence[Sample]) -> Sample:
    """Of each figure; whatever went wrong once has gone wrong."""
    first = samples[0]
    if len(samples) == 1:
        return first
    values: dict[str, Any] = {}
    for field, value in vars(first).items():
        every = [getattr(one, field) for one in samples]
        worst = field in ("missed", "lag", "upstream_write_us", "stuck")
        values[field] = type(value)(max(every) if worst else statistics.median(every))
    return Sample(**{**values, "runs": len(samples)})


def _start(command: Sequence[str], processor: int, modules: Path | None = None) -> subprocess.Popen[str]:
    """A child on one processor, where there are two: neither then disturbs the other's caches."""
    processors = sorted(os.sched_getaffinity(0))
    pinned = {processors[processor]} if len(processors) > 1 else set(processors)
    environment = {**os.environ, **({"BENCH_NODE_MODULES": str(modules)} if modules else {})}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, pinned),
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise Failed(f"it did not start: {_last_words(process)}")
    return line


def _last_words(process: subprocess.Popen[str]) -> str:
    process.kill()
    return process.communicate()[1].strip()[-300:]


def _checked(found: dict[str, Any], contender: Contender, load: Load) -> Sample:
    if found["wrong"]:
        raise Failed(f"{found['wrong']} deliveries were not what was sent, or not in order")
    if found["same_keys"]:
        raise Failed(f"{found['same_keys']} masking keys were zero or used twice in a row")
    if found["missed"] and not load.stalled:
        raise Failed(f"{found['missed']} events never came")
    if not found["deliveries"] and load.wanted and not load.stalled:
        raise Failed("nothing was delivered")
    cpu, seconds = found["cpu_ns"], found["seconds"]
    return Sample(
        us_per_delivery=cpu / max(1, found["deliveries"]) / 1e3,
        us_per_event=cpu / max(1, found["events"]) / 1e3,
        rate=found["deliveries"] / seconds,
        use=cpu / seconds / 1e9,
        sink_use=found["driver_cpu_ns"] / seconds / 1e9,
        p50_us=found["p50_us"],
        p99_us=found["p99_us"],
        p999_us=found["p999_us"],
        rss_mib=found["rss_kib"] / 1024,
        grown_mib=max(0, found["peak_kib"] - found["rss_idle_kib"]) / 1024,
        idle_kib=(found["rss_idle_kib"] - found["rss_bare_kib"]) / (load.links + load.stalled),
        upstream_write_us=found["upstream_write_us"],
        lag=found["lag"] if load.rate else 0,
        missed=found["missed"],
        pings=found["pings"],
        stuck=found["stuck"],
    )
