"""Plain twin: what an outbox keeps of one event, and what it counts of all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from napcore._event_py import Event
from napcore.types import DROP_REASONS, EventClass

__all__ = ("Budget", "Entry", "Ledger", "Parcel", "bound", "payload_size", "size_of")

_RANKS: Final = {EventClass.MESSAGE: 0, EventClass.NOTICE: 2, EventClass.META: 2, EventClass.REQUEST: 3}
"""The lower, the sooner an event is evicted; a message that is to be kept comes right behind the others."""


class Budget:
    """What the payloads that the outboxes of one router hold come to."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Parcel:
    """An event in one wire form, shared by all lanes that hold it; as long as it lives it counts once."""

    __slots__ = ("_budget", "payload", "size")

    def __init__(self, payload: bytes | Event, budget: Budget | None = None) -> None:
        self.payload = payload
        self.size = payload_size(payload)
        self._budget = budget
        if budget is not None:
            budget.bytes += self.size

    def __del__(self) -> None:
        budget = getattr(self, "_budget", None)  # there is none if it could not be made
        if budget is not None:
            budget.bytes -= self.size


@dataclass(eq=False)
class Entry:
    """One event in the lane."""

    parcel: Parcel | None
    """None once written and not to be written again: what is in the socket needs no memory here."""
    event_class: int
    kept: bool
    sequence: int
    born: float
    size: int

    @property
    def payload(self) -> bytes | Event:
        """What is written or taken."""
        assert self.parcel is not None
        return self.parcel.payload

    @property
    def rank(self) -> int:
        """The lower, the sooner it is evicted."""
        return _RANKS[EventClass(self.event_class)] + (self.kept and self.event_class == EventClass.MESSAGE)


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
