"""Plain twin: what an outbox keeps of one event, and what it counts of all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from napcore._event_py import Event
from napcore.types import DROP_REASONS, EventClass

__all__ = ("Entry", "Ledger", "bound", "payload_size", "size_of")

_RANKS: Final = {EventClass.MESSAGE: 0, EventClass.NOTICE: 1, EventClass.META: 1, EventClass.REQUEST: 2}
"""The lower, the sooner an event is evicted."""


@dataclass
class Entry:
    """One event in the lane."""

    payload: bytes | Event | None
    """None once written: what is in the socket needs no memory here."""
    event_class: int
    sequence: int
    expiry: float
    size: int

    @property
    def rank(self) -> int:
        """The lower, the sooner it is evicted."""
        return _RANKS[EventClass(self.event_class)]


class Ledger:
    """Counters that outlive every link."""

    __slots__ = ("_confirmed", "_dropped", "_late", "_max_queued", "_received")

    def __init__(self) -> None:
        self._received = 0
        self._confirmed = 0
        self._max_queued = 0
        self._late = 0
        self._dropped = dict.fromkeys(DROP_REASONS, 0)

    @property
    def received(self) -> int:
        """Events ever offered."""
        return self._received

    @property
    def confirmed(self) -> int:
        """Events the client is known to have."""
        return self._confirmed

    @property
    def max_queued(self) -> int:
        """The most events that were ever queued at once."""
        return self._max_queued

    @property
    def late(self) -> int:
        """Control frames that no link took any more."""
        return self._late

    @property
    def dropped(self) -> dict[str, int]:
        """Events dropped, by reason (``DROP_REASONS``), reasons that never occurred left out."""
        return {reason: count for reason, count in self._dropped.items() if count}


def size_of(data: bytes) -> int:
    """Length of ``data``.

    Raises:
        TypeError: it is not bytes.
    """
    if not isinstance(data, bytes):
        raise TypeError(f"expected bytes, not {type(data).__name__}")
    return len(data)


def payload_size(payload: bytes | Event) -> int:
    """Bytes an event takes in a lane.

    Raises:
        TypeError: it is neither bytes nor an Event.
    """
    if isinstance(payload, Event):
        return len(payload.raw)
    return size_of(payload)


def bound(name: str, value: float) -> float:
    """A bound, as a float.

    Raises:
        ValueError: it is 0, negative or NaN.
    """
    if math.isnan(value) or value <= 0:
        raise ValueError(f"{name} must be more than 0, not {value!r}")
    return float(value)
