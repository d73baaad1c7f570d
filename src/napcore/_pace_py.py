"""Plain twin: how fast what is late may leave an outbox."""

from __future__ import annotations

import math
from typing import Final

__all__ = ("LATE", "RATE", "RECENT", "Pace")

LATE: Final = 5.0
"""Seconds after which an event is late: it leaves at the pace of catching up, whatever made it late."""

RECENT: Final = 1.0
"""Seconds; who has begun to catch up goes on until what is next is no older, or five seconds' worth came at once."""

RATE: Final = 50.0
"""Late events per second, unless told otherwise."""

_TIMES_LIVE: Final = 4.0
_WINDOW: Final = 10.0  # seconds over which the live rate is taken
_BURST: Final = 0.2  # seconds' worth that may go at once


class Pace:
    """A bucket that fills with ``rate`` late events per second, or four times the live rate if that is more.

    ``live`` is how many events have come in time, ever.
    """

    __slots__ = ("_began", "_filled_at", "_last", "_live_then", "_rate", "_tokens")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._tokens = 0.0
        self._filled_at = -math.inf
        self._began = -math.inf  # of the window under way
        self._live_then = 0
        self._last = 0.0  # live events per second in the window before

    def note(self, now: float, live: int) -> None:
        """To be called from time to time, so that the live rate is known."""
        elapsed = now - self._began
        if elapsed >= _WINDOW:
            self._last = (live - self._live_then) / elapsed
            self._began = now
            self._live_then = live

    def pause(self, now: float, live: int) -> float:
        """Seconds until one late event may go; 0 if one may go now."""
        if math.isinf(self._rate):
            return 0.0
        self.note(now, live)
        rate = max(self._rate, _TIMES_LIVE * max(self._last, (live - self._live_then) / _WINDOW))
        self._tokens = min(max(1.0, rate * _BURST), self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now
        return 0.0 if self._tokens >= 1.0 else (1.0 - self._tokens) / rate

    def go(self, count: int) -> None:
        """So many go; negative: they came back."""
        if not math.isinf(self._rate):
            self._tokens -= count
