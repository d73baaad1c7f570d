"""What it costs to bring received bytes into the queues of all clients that want them, as frames.

Run with ``pytest bench/test_fan_out.py``; one group per number of clients, sorted by time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from bench import path
from bench.measure import measure
from bench.workload import Workload


@cache
def workload(clients: int) -> Workload:
    return path.realistic_workload(1, clients)


@pytest.mark.parametrize("clients", path.CLIENTS)
@pytest.mark.parametrize(
    "name",
    [
        "napcore",
        f"napcore, batches of {path.BATCH}",
        path.BEST,
        "orjson + set tests",
        "orjson + dumps per client",
    ],
)
def test_fan_out(benchmark: Any, name: str, clients: int) -> None:
    measure(benchmark, workload(clients), name)
