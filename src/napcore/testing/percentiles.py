"""Percentiles of what was measured."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ("percentile",)


def percentile(values: Iterable[float], percent: float) -> float | None:
    """The smallest value that at least ``percent`` of the values do not exceed; None of no values."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
