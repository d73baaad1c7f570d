"""What it costs to read and write CQ strings, and to convert whole events.

Run with ``pytest bench/test_message.py``; one group per piece of work, sorted by time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from bench import message
from bench.measure import measure
from bench.workload import Workload


@cache
def workloads() -> dict[str, Workload]:
    return {workload.name: workload for workload in message.workloads(1)}


@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("name", ["napcore", *message.PEERS, "loads, convert, dumps", "json, convert, json"])
def test_message(benchmark: Any, number: int, name: str) -> None:
    workload = list(workloads().values())[number]
    if name not in [case.name for case in workload.cases]:
        pytest.skip("not for this piece of work, or not installed")
    measure(benchmark, workload, name)
