"""Work for an event loop, posted from other threads."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import anyio
import anyio.lowlevel

from napcore.dispatch import Event

__all__ = ("Inbox", "Mailbox", "Wake", "current_wake")

WAITING_LIMIT: Final = 65_536
"""Events from other threads that may wait for a relay's loop."""

Wake: TypeAlias = Callable[[Callable[[], object]], object]
"""Has a function called by an event loop, soon, from any thread; raises RuntimeError once the loop has ended."""

_log = logging.getLogger("napcore.thread")


def current_wake() -> tuple[object, Wake]:
    """The event loop that runs here, asyncio's or trio's, and what wakes it.

    Raises:
        RuntimeError: none runs.
    """
    if "trio" in sys.modules:
        import trio  # noqa: PLC0415

        try:
            token = trio.lowlevel.current_trio_token()
        except RuntimeError:
            pass
        else:
            return token, token.run_sync_soon
    loop = asyncio.get_running_loop()
    return loop, loop.call_soon_threadsafe


class Mailbox:
    """What other threads want done on one loop. The loop is woken once for all that has come since it last looked.

    ``wake`` is that loop's; work is done in the order it was posted, and must neither wait,
    nor raise, nor start tasks.
    """

    def __init__(self, wake: Wake) -> None:
        self._wake = wake
        self._work: deque[Callable[[], object]] = deque()
        self._woken = False

    def __len__(self) -> int:
        """Pieces of work that have not been looked at."""
        return len(self._work)

    def post(self, work: Callable[[], object]) -> bool:
        """Have ``work`` done on the loop; False if the loop has ended. From any thread."""
        self._work.append(work)
        if self._woken:
            return True
        self._woken = True
        try:
            self._wake(self._take)
        except RuntimeError:
            # Its loop is closed, or trio's run has finished.
            self._woken = False
            self._work.clear()
            return False
        return True

    def _take(self) -> None:
        # First, so that what is posted from now on wakes the loop again.
        self._woken = False
        for _ in range(len(self._work)):
            do(self._work.popleft())


class Inbox:
    """What other threads want of a relay, done by a task of the relay as long as it runs.

    ``route`` is called with the events they publish.
    """

    def __init__(self, route: Callable[[list[Event]], object]) -> None:
        self._route = route
        self._mailbox: Mailbox | None = None
        self._work: deque[Callable[[], object]] = deque()
        self._events: deque[Event] = deque()
        self._announced = False
        self._news = anyio.Event()

    @property
    def is_open(self) -> bool:
        """Whether its relay runs, and takes things in."""
        return self._mailbox is not None

    def open(self) -> None:
        """Take things in, for the loop that runs here."""
        self._news = anyio.Event()
        self._announced = False
        self._mailbox = Mailbox(current_wake()[1])

    def close(self) -> None:
        """Take nothing in any more."""
        self._mailbox = None
        self._work.clear()
        self._events.clear()

    async def serve(self) -> None:
        """Do what is asked for; for ever. In a task, since links start tasks of their own."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            # Before anything is looked at, so that what is put in from now on is announced again.
            self._announced = False
            for _ in range(len(self._work)):
                do(self._work.popleft())
            if events := [self._events.popleft() for _ in range(len(self._events))]:
                self._route(events)
            await anyio.lowlevel.checkpoint()

    def post(self, work: Callable[[], object]) -> bool:
        """Have ``work`` done; it must neither wait nor raise. False if the relay does not run. From any thread."""
        self._work.append(work)
        return self._announce() or self._fail(self._work)

    def publish(self, event: Event) -> None:
        """Have an event routed, together with all that has come until then. From any thread.

        Raises:
            RuntimeError: the relay does not run, or its loop stands still.
        """
        if len(self._events) >= WAITING_LIMIT:
            raise RuntimeError(f"the relay's loop stands still: {WAITING_LIMIT} events wait for it")
        self._events.append(event)
        if not (self._announce() or self._fail(self._events)):
            raise RuntimeError("the relay is not running")

    def _announce(self) -> bool:
        mailbox = self._mailbox
        if mailbox is None:
            return False
        if self._announced:
            return True
        self._announced = True
        return mailbox.post(self._ring)

    def _ring(self) -> None:
        self._news.set()

    @staticmethod
    def _fail(queue: deque[Any]) -> bool:
        queue.clear()
        return False


def do(work: Callable[[], object]) -> None:
    """Do a piece of work; a fault in it spares the others, and is logged."""
    try:
        work()
    except Exception:
        _log.exception("work from another thread failed")
