"""What it costs to learn which rows' patterns a text has; how many there are must hardly matter.

Run with ``pytest bench/test_texts.py``; one group per number of patterns, sorted by time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from bench import texts
from bench.measure import measure
from bench.workload import Workload


@cache
def workload(size: int) -> Workload:
    return texts.workload(1, size, texts.KEYWORDS)


@pytest.mark.parametrize("size", [10, 1_000])
@pytest.mark.parametrize("name", ["napcore", "re alternation", "Python loop", "pyahocorasick"])
def test_texts(benchmark: Any, name: str, size: int) -> None:
    if name == "pyahocorasick":
        pytest.importorskip("ahocorasick")
    measure(benchmark, workload(size), name)
