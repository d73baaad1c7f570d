"""Plain twin of the compiled source: the path of an event from the read that brings it to the sockets.

A read brings messages. ``take`` finds the events among them (``_event_py``), tells when each of them
happened, and queues them for everyone who wants them (``_dispatch_py``). ``flush``, when no more has
come, writes to all links at once that have something to write (``_writer_py``). What is not ordinary is
for its callers: a message that is no event, an age that is not known, owners that cannot be written to now.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sized
from itertools import groupby
from typing import Any, Final, final

from napcore._dispatch_py import fan_out
from napcore._event_py import Event
from napcore._router_py import Router
from napcore._writer_py import flush_ready

__all__ = ("SLICE", "Source")

SLICE: Final = 128
"""Links that are written to before other tasks have their turn: half a millisecond."""

_SOON: Final = 0.02
"""Seconds; an answer about an age that is no older will do."""


@final
class Source:
    """Where events come from: what one link of an upstream brings, routed and written.

    Args:
        router: whose rows want them.
        clock: seconds that never go back.
        peek: finds the events among messages that came together; ``peek_batch`` with its first arguments.
        birth: when an event happened that has come now, given it, the account that stands in for a missing
            ``self_id``, and the time.
        write: takes owners that are not written to at once: more than a slice of them, or any while
            ``behind`` holds some.
        behind: owners that are still to be written to.
        on_gap: called, with the time, before what comes after a silence longer than ``gap``.
    """

    def __init__(
        self,
        router: Router,
        *,
        clock: Callable[[], float],
        peek: Callable[[list[bytes]], list[Event]],
        birth: Callable[[Event, int, float], float],
        write: Callable[[list[Any]], object],
        behind: Sized,
        on_gap: Callable[[float], object],
    ) -> None:
        self.account = 0
        """What stands in for a missing ``self_id``; 0 when unknown."""
        self.gap = math.inf
        """Seconds of silence that are not ordinary."""
        self.messages = 0
        """How many have come."""
        self.events = 0
        """How many of them were routed."""
        self._router = router
        self._clock = clock
        self._peek = peek
        self._birth = birth
        self._write = write
        self._behind = behind
        self._on_gap = on_gap
        self._ready: list[Any] = []  # owners that have something to be written
        self._took_at = -math.inf
        self._asked: tuple[object, ...] = ()  # about last, when, and the answer
        self._asked_at, self._age = -math.inf, 0.0

    def take(self, messages: list[bytes]) -> None:
        """What one read brought: its events are queued for everyone who wants them."""
        now = self._clock()
        self.messages += len(messages)
        if now - self._took_at > self.gap:
            self._on_gap(now)
        self._took_at = now
        events = self._peek(messages)
        if events:
            self.events += len(events)
            ready = fan_out(self._router, events, now, self.account, born=self._births(events, now)).ready
            self._ready = list(dict.fromkeys([*self._ready, *ready]))

    def _births(self, events: list[Event], now: float) -> list[float]:
        # Those that came together are mostly of one kind and one second, and who is soon asked the same again
        # would answer the same.
        born: list[float] = []
        for asked, run in groupby(events, lambda event: (event.self_id or self.account, event.kind, event.time)):
            first, *others = run
            if asked != self._asked or not 0 <= now - self._asked_at < _SOON:
                self._age = now - self._birth(first, self.account, now)
                self._asked, self._asked_at = asked, now
            born += [now - self._age] * (1 + len(others))
        return born

    def flush(self) -> None:
        """Have written what has been queued: at once, but for what ``write`` takes."""
        ready, self._ready = self._ready, []
        if len(ready) > SLICE or (ready and len(self._behind)):
            self._write(ready)
            return
        for owner in flush_ready(ready, self._clock()) if ready else ():
            owner.flush()
