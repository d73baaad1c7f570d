"""What conditions and go-cqhttp's expressions cost.

Run with ``pytest bench/test_conditions.py``; one group per piece of work, sorted by time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from bench import conditions
from bench.measure import measure
from bench.workload import Workload


@cache
def workload(name: str) -> Workload:
    if name == "expression":
        return conditions.expression(1)
    return conditions.many_rows(1, name == "asked", conditions.CONDITIONAL)


@pytest.mark.parametrize("name", ["napcore", "jsonpath style"])
def test_expression(benchmark: Any, name: str) -> None:
    measure(benchmark, workload("expression"), name)


@pytest.mark.parametrize("share", ["asked", "never asked"])
@pytest.mark.parametrize("name", ["napcore", "without conditions"])
def test_many_rows(benchmark: Any, name: str, share: str) -> None:
    measure(benchmark, workload(share), name)
