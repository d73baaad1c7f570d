"""What it costs to learn from received bytes where an event goes: peek beside JSON decoders.

Run with ``pytest bench/test_peek.py``; one group per size, sorted by time. msgspec's Struct does
not check UTF-8, all others do.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from bench import peek
from bench.measure import measure
from bench.workload import Workload


@cache
def workloads() -> dict[str, Workload]:
    return {workload.name: workload for workload in peek.workloads(1)}


@pytest.mark.parametrize("size", ["512 B", "950 B mix", "950 B Chinese", "950 B shuffled keys", "170 KB forward"])
@pytest.mark.parametrize("name", peek.competitors())
def test_peek(benchmark: Any, name: str, size: str) -> None:
    measure(benchmark, workloads()[size], name)
