"""What it costs to learn which of many filters want an event; groups per filter must not matter.

Run with ``pytest bench/test_route.py``; one group per number of filters and groups, sorted by time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from bench import route
from bench.measure import measure
from bench.workload import Workload


@cache
def workload(filters: int, per_filter: int) -> Workload:
    return route.workload(1, filters, per_filter, 0.27)


@pytest.mark.parametrize("filters", [10, 1_000])
@pytest.mark.parametrize("per_filter", [1, 200])
@pytest.mark.parametrize("name", ["napcore", "set per filter", "dict index"])
def test_route(benchmark: Any, name: str, per_filter: int, filters: int) -> None:
    measure(benchmark, workload(filters, per_filter), name)
