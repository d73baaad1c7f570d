"""Whether the other end of an upstream link is still there. No clock here: the times are passed in.

NapCat sends no pings and looks for no dead peers; what it sends is a heartbeat that carries its
own interval. A pong shows that the process runs, not that QQ answers: that takes a call.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, Final

__all__ = ("Liveness", "Probe", "Step", "interval_of")

INTERVAL: Final = 30.0
"""Seconds between heartbeats until one has said otherwise (NapCat's default)."""

BEATS: Final = 2.5
"""Heartbeats that may be missing before the upstream is asked."""

GAP: Final = 1.5
"""Heartbeats in a silence that must have held one at least."""

ANSWER: Final = 5.0
"""Seconds it has to answer a ping."""

PROBE_EVERY: Final = 60.0
"""Seconds between two calls that ask whether it carries calls out."""

PROBE_ANSWER: Final = 10.0
"""Seconds it has to answer such a call."""

LONGEST: Final = 3600.0
"""Seconds; an interval beyond that is a mistake."""


class Step(Enum):
    """What is to be done about a link."""

    NOTHING = "nothing"
    PING = "ping"
    """It has been silent for too long: send a ping."""
    DEAD = "dead"
    """It did not answer and is on another machine, or another link has taken its place: cut it."""
    STALLED = "stalled"
    """It did not answer, but its system still holds the connection: keep it, and tell."""
    BACK = "back"
    """It is heard again after it was stalled."""


class Liveness:
    """One link's silence.

    ``patient`` is for a peer on this machine: that its process does not answer means that it
    stands still. Cutting such a link would lose what waits in it, and a new one would not be
    answered either.
    """

    def __init__(self, now: float, *, patient: bool) -> None:
        self.patient = patient
        self.interval = INTERVAL
        """Seconds between its heartbeats, as it said itself."""
        self.told = False
        """Whether it has said so."""
        self.gap = math.inf
        """More seconds of silence mean that heartbeats are missing: it stood still, or was cut off."""
        self.stalled = False
        self.silent_for = 0.0
        """Seconds the last silence that was noticed took, once it is over."""
        self.doubted = False
        """Whether another link of its account has come: it has to answer, wherever it is."""
        self._since = now
        self._asked_at: float | None = None

    def beat(self, interval: float) -> None:
        """A heartbeat said that the next follows within ``interval`` seconds."""
        if 0.0 < interval <= LONGEST:
            self.interval = interval
            self.told = True
            self.gap = interval * GAP

    def doubt(self) -> None:
        """Another link of its account has come."""
        self.doubted = True

    def look(self, now: float, heard_at: float) -> Step:
        """What is to be done at ``now``, when bytes last came at ``heard_at``. To be called about once a second."""
        heard_at = max(heard_at, self._since)
        if self._asked_at is None:
            if now - heard_at <= self.interval * BEATS and not self.doubted:
                return Step.NOTHING
            self._asked_at = now
            self.silent_for = now - heard_at
            return Step.PING
        if heard_at > self._asked_at:
            self.silent_for += heard_at - self._asked_at
            self._asked_at = None
            self.doubted = False
            was_stalled, self.stalled = self.stalled, False
            return Step.BACK if was_stalled else Step.NOTHING
        if now - self._asked_at < ANSWER:
            return Step.NOTHING
        if not self.patient or self.doubted:
            return Step.DEAD
        if self.stalled:
            return Step.NOTHING
        self.stalled = True
        return Step.STALLED


class Probe:
    """Whether an upstream that answers pings carries calls out; it is asked only when calls stay unanswered."""

    def __init__(self) -> None:
        self.stuck = False
        """Whether it owes us the answer to the last probe. Dialling anew would not help, and lose events."""
        self._asked_at = -math.inf
        self._open = False

    def wanted(self, now: float) -> bool:
        """Whether to probe now; it then counts as done."""
        if now - self._asked_at < PROBE_EVERY:
            return False
        self._asked_at = now
        self._open = True
        return True

    def look(self, now: float) -> bool:
        """Whether it has turned out to be stuck just now. To be called about once a second."""
        if self.stuck or not self._open or now - self._asked_at < PROBE_ANSWER:
            return False
        self.stuck = True
        return True

    def answered(self) -> bool:
        """An answer came, to whatever call. Whether it was stuck until now."""
        was_stuck, self.stuck = self.stuck, False
        self._open = False
        return was_stuck


def interval_of(data: Any) -> float:
    """The seconds a heartbeat event names for the next; 0 if it names none. On the wire they are milliseconds."""
    interval = data.get("interval")
    return interval / 1000 if type(interval) in (int, float) and math.isfinite(interval) else 0.0
