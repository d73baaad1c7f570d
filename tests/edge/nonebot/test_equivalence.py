"""NoneBot2 with the index does what NoneBot2 does: same handlers, order, state, answers, hooks, errors, matchers
left.
"""

from __future__ import annotations

import sys
from typing import Any

import nonebot
import pytest
from hypothesis import HealthCheck, event, given, settings

bench: Any = sys.modules["napcore_nonebot_bench"]
program: Any = sys.modules["napcore_nonebot_program"]


BACKENDS = ["asyncio"] if (nonebot.__version__ or "").startswith("2.3.") else ["asyncio", "trio"]
"""NoneBot2 runs on trio since 2.4."""


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_happens_with_and_without(backend: str) -> None:
    @settings(suppress_health_check=[HealthCheck.too_slow])
    @given(program.programs())
    def same(what: Any) -> None:
        stock, _ = bench.run(what, napcore_on=False, backend=backend)
        ours, statistics = bench.run(what, napcore_on=True, backend=backend)
        assert ours == stock
        assert not statistics.stepped_aside
        event(f"skipped some: {statistics.skipped > 0}")

    same()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_happens_when_unwanted_events_are_withheld(backend: str) -> None:
    @settings(suppress_health_check=[HealthCheck.too_slow])
    @given(program.programs())
    def same(what: Any) -> None:
        stock, _ = bench.run(what, napcore_on=False, backend=backend)
        ours, withheld = bench.run(what, napcore_on=True, withhold=True, backend=backend)
        assert ours == stock
        event(f"withheld some: {withheld > 0}")

    same()
