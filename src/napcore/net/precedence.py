"""Which event may begin when: in order within a key, and not more computing at once than is of use.

Made for frameworks that look at many handlers before one of them begins. The looking may overlap;
what is kept in order is the beginning. Three rules:

1. An event waits at the point where its first handler would begin (:meth:`Place.wait`) until every
   event ahead of it in its key has come to that point, has come to its end, or has had ``patience``
   seconds.
2. It *leaves* its place there: what a handler does afterwards, however long it waits, holds nobody up.
3. While ``limit`` events have not left, another enters only when the event loop has nothing better
   to do (:meth:`Precedence.room`): those that wait for something cost nothing, those that compute
   would all come to their end together, at the end.

So a handler may wait for the next event of its own key for as long as it likes, and a rule that does
so holds its key up for ``patience`` seconds at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Final

import anyio
import anyio.lowlevel

__all__ = ("Place", "Precedence")

IDLE: Final = 0.0005
"""Seconds that a turn of an event loop takes at most if nobody computes."""


class Place:
    """One event's place among those of its key. Made by :meth:`Precedence.enter`."""

    __slots__ = ("_ahead", "_gone", "_key", "_precedence", "entered_at", "left")

    def __init__(self, precedence: Precedence, key: Hashable, ahead: Place | None, now: float) -> None:
        self.entered_at = now
        self.left = False
        """Whether it holds nobody up any more."""
        self._precedence = precedence
        self._key = key
        self._ahead = ahead
        self._gone: anyio.Event | None = None

    async def wait(self) -> None:
        """Wait until its turn has come to begin, and leave; at once the second time."""
        # Several handlers of one event may wait here at once.
        if self._ahead is not None and not self.left:
            with anyio.move_on_after(self._precedence.remaining(self._ahead)):
                await self._ahead.gone()
        self.leave()

    def leave(self) -> None:
        """Hold nobody up any more; again, it does nothing."""
        if not self.left:
            self.left = True
            self._ahead = None
            self._precedence.forget(self._key, self)
            if self._gone is not None:
                self._gone.set()

    async def gone(self) -> None:
        """Wait until it has left."""
        if not self.left:
            self._gone = self._gone or anyio.Event()
            await self._gone.wait()


class Precedence:
    """The places of all events that have entered and not left. Belongs to one event loop.

    ``limit`` is how many may compute at once; ``patience``, in seconds, how long one may hold others up.
    """

    def __init__(self, limit: int, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._patience = patience
        self._clock = clock
        self._open: dict[Place, None] = {}  # the first to enter first
        self._last: dict[Hashable, Place] = {}

    def __len__(self) -> int:
        """Events that have entered and not left."""
        return len(self._open)

    async def room(self) -> None:
        """Wait until another event may enter."""
        await anyio.lowlevel.checkpoint()
        while len(self._open) >= self._limit:
            self._give_up()
            began = time.perf_counter()
            await anyio.lowlevel.checkpoint()
            # Once more: trio turns the order of tasks round at random, so that one turn may be over at once.
            await anyio.lowlevel.checkpoint()
            if time.perf_counter() - began < IDLE:
                return

    def enter(self, key: Hashable) -> Place:
        """A place behind all that have entered with this key."""
        place = Place(self, key, self._last.get(key), self._clock())
        self._last[key] = place
        self._open[place] = None
        return place

    def remaining(self, place: Place) -> float:
        """Seconds for which a place may still hold others up."""
        return place.entered_at + self._patience - self._clock()

    def forget(self, key: Hashable, place: Place) -> None:
        """For :meth:`Place.leave` alone."""
        self._open.pop(place, None)
        if self._last.get(key) is place:
            del self._last[key]

    def _give_up(self) -> None:
        """Let go of those that have had their time."""
        while self._open:
            first = next(iter(self._open))
            if self.remaining(first) > 0:
                return
            first.leave()
