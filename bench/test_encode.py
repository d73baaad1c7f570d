"""What it costs to make frames of an event, and to make an event of a dict.

Run with ``pytest bench/test_encode.py``; one group per form and size, sorted by time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from bench import encode
from bench.measure import measure
from bench.workload import Workload


@cache
def workloads() -> dict[str, Workload]:
    return {workload.name: workload for workload in encode.workloads(1)}


PEERS = {
    "frame": ("napcore", "websockets Frame.serialize", "plain Python"),
    "masked frame": ("napcore", "websockets Frame.serialize", "websockets apply_mask", "plain Python"),
    "dict to event": ("napcore", "orjson.dumps", "msgspec encode", "json.dumps"),
}


@pytest.mark.parametrize("size", ["950 B mix", "170 KB forward"])
@pytest.mark.parametrize(("form", "name"), [(form, name) for form, names in PEERS.items() for name in names])
def test_encode(benchmark: Any, form: str, name: str, size: str) -> None:
    measure(benchmark, workloads()[f"{form}, {size}"], name)
