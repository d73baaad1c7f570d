"""Runs peers in turn in one process, so that noise and clock speed meet all of them alike.

A *case* is one way to do a piece of work. In each round every case gets fresh inputs (untimed),
works (thread CPU time, garbage collector off), and is checked (untimed). The order moves on by
one from round to round. Whoever is very slow sits rounds out.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

MIN_ROUNDS = 5
BUDGET_NS = 1_500_000_000
"""Time one case may take in all rounds together before it sits some out."""


@dataclass(frozen=True)
class Case:
    """One competitor."""

    name: str
    prepare: Callable[[], Any]
    """Makes the inputs of one round."""
    run: Callable[[Any], Any]
    """The timed work."""
    check: Callable[[Any, Any], None]
    """Gets inputs and result; raises AssertionError when the work was not done."""


@dataclass(frozen=True)
class Timing:
    """Nanoseconds per unit of work."""

    median: float
    p10: float
    rounds: int


class Failed(Exception):
    """A case did not do its work."""


def interleave(
    cases: Sequence[Case],
    units: int,
    rounds: int,
    *,
    budget_ns: float = BUDGET_NS,
    clock: Callable[[], int] = time.thread_time_ns,
) -> dict[str, Timing]:
    """Time every case ``rounds`` times; ``units`` is how much work one round of a case is.

    Raises:
        Failed: the result of a case is wrong.
    """
    every = {}
    for case in cases:  # warm-up: not counted, but checked
        every[case.name] = _interval(_sample(case, clock), rounds, budget_ns)
    samples: dict[str, list[int]] = {case.name: [] for case in cases}
    gc.collect()
    gc.freeze()
    try:
        for number in range(rounds):
            start = number % len(cases)
            for case in (*cases[start:], *cases[:start]):
                if number % every[case.name] == 0:
                    samples[case.name].append(_sample(case, clock))
    finally:
        gc.unfreeze()
    return {name: summary(times, units) for name, times in samples.items()}


def summary(times: Sequence[int], units: int) -> Timing:
    """Median and tenth percentile of samples of ``units`` each."""
    ordered = sorted(times)
    return Timing(statistics.median(ordered) / units, ordered[len(ordered) // 10] / units, len(ordered))


def _interval(first: int, rounds: int, budget_ns: float) -> int:
    """Every how many rounds a case takes part whose first sample took ``first`` ns."""
    return min(max(1, math.ceil(first * rounds / budget_ns)), max(1, rounds // MIN_ROUNDS))


def _sample(case: Case, clock: Callable[[], int]) -> int:
    inputs = case.prepare()
    enabled = gc.isenabled()
    gc.disable()
    try:
        start = clock()
        result = case.run(inputs)
        taken = clock() - start
    finally:
        if enabled:
            gc.enable()
    try:
        case.check(inputs, result)
    except AssertionError as error:
        raise Failed(f"{case.name}: {error}") from error
    return taken
