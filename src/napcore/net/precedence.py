"""Which event may begin when: in order within a key, and not more computing at once than is of use.

Made for frameworks that look at many handlers before one of them begins. The looking may overlap;
what is kept in order is the beginning. Three rules:

1. An event waits ahead of its first handler (:meth:`Place.wait`) until every event before it in its key
   has left its place, or has had ``patience`` seconds.
2. It leaves its place when that handler begins, or when it has come to its end without one
   (:meth:`Place.leave`): what a handler does, however long it waits, holds nobody up.
3. While ``limit`` events have not left, another enters only when the event loop has nothing better
   to do (:meth:`Precedence.room`): those that wait for something cost nothing, those that compute
   would all come to their end together, at the end.

So a handler may wait for the next event of its own key for as long as it likes, and a rule that does
so holds its key up for ``patience`` seconds at most.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable
from typing import Final

import anyio
import anyio.lowlevel

__all__ = ("Place", "Precedence")

IDLE: Final = 0.0005
"""Seconds that two turns of an event loop take at most if nobody computes."""

_used: Final = time.perf_counter if sys.platform == "win32" else time.thread_time
"""What the loop's thread has computed: other threads and programs make its turns longer, not its work.
Windows counts that in steps of 16 ms."""


class Place:
    """One event's place among those of its key. Made by :meth:`Precedence.enter`."""

    __slots__ = ("_ahead", "_gone", "_key", "_precedence", "entered_at", "left")

    def __init__(self, precedence: Precedence, key: Hashable, ahead: tuple[Place, ...], now: float) -> None:
        self.entered_at = now
        self.left = False
        """Whether it holds nobody up any more."""
        self._precedence = precedence
        self._key = key
        self._ahead = ahead
        self._gone: anyio.Event | None = None

    async def wait(self) -> None:
        """Wait until its turn has come to begin. Several handlers of one event may wait at once."""
        for place in self._ahead:
            if not place.left and not self.left:
                with anyio.move_on_after(self._precedence.remaining(place)):
                    await place.gone()

    def leave(self) -> None:
        """Hold nobody up any more; again, it does nothing."""
        if not self.left:
            self.left = True
            self._ahead = ()
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
        self._keys: dict[Hashable, dict[Place, None]] = {}

    def __len__(self) -> int:
        """Events that have entered and not left."""
        return len(self._open)

    async def room(self) -> None:
        """Wait until another event may enter."""
        await anyio.lowlevel.checkpoint()
        while len(self._open) >= self._limit:
            self._give_up()
            before = _used()
            await anyio.lowlevel.checkpoint()
            # Once more: trio turns the order of tasks round at random, so that one turn may be over at once.
            await anyio.lowlevel.checkpoint()
            if _used() - before < IDLE:
                return

    def enter(self, key: Hashable) -> Place:
        """A place behind all that have entered with this key."""
        places = self._keys.setdefault(key, {})
        place = Place(self, key, tuple(places), self._clock())
        places[place] = self._open[place] = None
        return place

    def remaining(self, place: Place) -> float:
        """Seconds for which a place may still hold others up."""
        return place.entered_at + self._patience - self._clock()

    def forget(self, key: Hashable, place: Place) -> None:
        """For :meth:`Place.leave` alone."""
        del self._open[place]
        del self._keys[key][place]
        if not self._keys[key]:
            del self._keys[key]

    def _give_up(self) -> None:
        """Let go of those that have had their time."""
        while self._open:
            first = next(iter(self._open))
            if self.remaining(first) > 0:
                return
            first.leave()
