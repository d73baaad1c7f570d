"""How old events from upstreams are, told without the wall clock.

An event carries its upstream's ``time``. The difference to our monotonic clock, its *lag*, means
nothing by itself: the clocks count from different moments and may be wrong by hours. What counts
is how much larger an event's lag is than the smallest one lately: by so much it was delayed.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from typing import Final

from napcore.dispatch import Event

__all__ = ("Ages",)

BUCKET: Final = 60.0
"""Seconds of activity over which one smallest lag is kept."""

BUCKETS: Final = 10
"""How many of them are looked at."""

BELIEVED: Final = 3590.0
"""Seconds; who seems to be older has had its clock moved. Less than an hour, by which clocks are moved most
often, since events carry whole seconds."""

TOO_OLD: Final = 60.0
"""Seconds; when nothing younger comes for ``PATIENCE``, a clock has been moved as well."""

PATIENCE: Final = 120.0
"""Seconds of activity."""

PAUSE: Final = 60.0
"""The most seconds of silence that count as activity."""

MOST_CLOCKS: Final = 16384
"""Kinds of events, of all accounts, that are aged; any more are not."""

_MILLISECONDS: Final = 100_000_000_000
"""From here on a time is in milliseconds: in seconds it would be the year 5138."""

_MOVED: Final = (
    "account %d: every %s has seemed too old for %.0f s, so its clock or ours has been moved; ages are counted anew"
)

_log = logging.getLogger("napcore.ages")


class Ages:
    """When events happened, by our own clock.

    Every kind of event has a clock of its own: a message carries the QQ server's time, a heartbeat
    that of the machine its upstream runs on, and those may be far apart.
    """

    def __init__(self) -> None:
        self._clocks: dict[tuple[int, str | None], _Clock] = {}

    def birth(self, event: Event, account: int, now: float) -> float:
        """When an event happened that has come ``now``, in seconds of that clock.

        One without a time has happened now. ``account`` stands in for a missing ``self_id``.
        """
        time = event.time
        if not time or time < 0:
            return now
        key = event.self_id or account, event.kind
        clock = self._clocks.get(key)
        if clock is None:
            if len(self._clocks) >= MOST_CLOCKS:
                return now
            clock = self._clocks[key] = _Clock(now)
        age = clock.age(now - (time / 1000 if time >= _MILLISECONDS else time), now)
        if clock.moved:
            clock.moved = False
            _log.warning(_MOVED, key[0], key[1], PATIENCE)
        return now - age


class _Clock:
    """The lags of one clock against ours. It stands still while nothing comes."""

    __slots__ = ("_active", "_base", "_lags", "_old_for", "_seen_at", "_youngest", "moved")

    def __init__(self, now: float) -> None:
        self.moved = False
        """Whether it was found to have been moved."""
        self._lags: deque[float] = deque([math.inf], BUCKETS)  # the smallest of each bucket, the last under way
        self._base = math.inf  # the smallest of all
        self._active = 0.0  # seconds of the bucket under way
        self._seen_at = now
        self._old_for = 0.0  # seconds of activity in which everything was too old
        self._youngest = math.inf  # the smallest lag in them; infinite when there are none

    def age(self, lag: float, now: float) -> float:
        """By how many seconds an event with this lag was delayed."""
        active = min(now - self._seen_at, PAUSE)
        self._seen_at = now
        self._active += active
        if self._active >= BUCKET:
            self._active = 0.0
            self._lags.append(math.inf)
            self._base = min(self._lags)
        self._lags[-1] = min(self._lags[-1], lag)
        self._base = min(self._base, lag)
        age = lag - self._base
        if age <= TOO_OLD:
            self._youngest = math.inf
            return age
        self._old_for = 0.0 if math.isinf(self._youngest) else self._old_for + active
        self._youngest = min(self._youngest, lag)
        if self._old_for < PATIENCE:
            return age if age <= BELIEVED else 0.0
        self.moved = True
        self._base = self._youngest
        self._lags = deque([self._base], BUCKETS)
        self._youngest = math.inf
        return lag - self._base
