"""How long to wait before the next dial. No clock here: the times are passed in."""

from __future__ import annotations

import random
from enum import Enum

__all__ = ("Backoff", "Lane")


class Lane(Enum):
    """Why the last try ended; it decides which delays follow."""

    LOST = "lost"
    """Refused, timed out, or an established link that ended."""
    BUSY = "busy"
    """A 403 after an earlier success with this token: the peer most likely still holds our old
    session (NoneBot2 refuses a second link of one account until it notices the first is dead)."""
    AUTH = "auth"
    """The peer refused the token."""


class Backoff:
    """Delays with full jitter: uniform between 0 and min(cap, base * 2**n).

    After ``stable`` seconds of an established link the count starts anew. ``cap`` is 5 s for
    loopback peers and 30 s for others; a refused token waits 30 to 300 s; a busy peer gets the
    quick delays for 60 s and counts as a refused token after that.
    """

    def __init__(
        self, *, loopback: bool, base: float = 0.5, stable: float = 30.0, rng: random.Random | None = None
    ) -> None:
        self.cap = 5.0 if loopback else 30.0
        self.base = base
        self.stable = stable
        self._random = rng or random.Random()
        self._tries = 0
        self._refusals = 0
        self._busy_since: float | None = None
        self._linked_at: float | None = None
        self.succeeded = False
        """Whether a handshake has ever succeeded; it tells a busy peer from a wrong token."""

    def linked(self, now: float) -> None:
        """A handshake succeeded."""
        self.succeeded = True
        self._linked_at = now

    def delay(self, now: float, lane: Lane = Lane.LOST) -> float:
        """Seconds to wait from ``now``, after a try or a link ended for the reason ``lane``."""
        if self._linked_at is not None:
            stable = now - self._linked_at >= self.stable
            if stable:
                self._tries = self._refusals = 0
            if stable or lane is not Lane.BUSY:
                # A link that is closed as busy right away is no success.
                self._busy_since = None
            self._linked_at = None
        if lane is Lane.BUSY:
            if self._busy_since is None:
                self._busy_since = now
            if now - self._busy_since < 60.0:
                return self._jitter(min(5.0, self.cap))
            lane = Lane.AUTH
        if lane is Lane.AUTH:
            low = min(300.0, 30.0 * 2 ** min(self._refusals, 4))
            self._refusals += 1
            return min(300.0, self._random.uniform(low, 2 * low))
        return self._jitter(self.cap)

    def _jitter(self, cap: float) -> float:
        top = min(cap, self.base * 2 ** min(self._tries, 16))
        self._tries += 1
        return self._random.uniform(0.0, top)
