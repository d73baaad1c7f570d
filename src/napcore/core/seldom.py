"""What is worth telling, but not every time it happens. No clock here: the times are passed in."""

from __future__ import annotations

import math

__all__ = ("Seldom",)


class Seldom:
    """Something that is told of once in ``period`` seconds at most."""

    def __init__(self, period: float = 60.0) -> None:
        self._period = period
        self._told_at = -math.inf

    def due(self, now: float) -> bool:
        """Whether to tell of it now; then it is told of."""
        if now - self._told_at < self._period:
            return False
        self._told_at = now
        return True
