"""How events are handed to the bot: in order within a conversation, and no more at once than it can carry."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine, Hashable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from napcore.core.backlog import Backlog, End, Job
from napcore.edge.aiocqhttp.places import place_of_tasks
from napcore.types import Outcome

if TYPE_CHECKING:
    import asyncio

__all__ = ("Handover", "HandoverStatistics")

PLACES: Final = 256
"""Events that wait for their turn or are handled at once; those that take long are not counted any more."""

MAX_RUNNING: Final = 1024
"""Events that are handled at once, however long they take."""

PATIENCE: Final = 0.5
"""Seconds an event waits for those before it in its conversation."""

SLOW: Final = 5.0
"""Seconds after which a handler is told of in the log, and has no place any more."""

GIVEN_UP: Final = 600.0
"""Seconds after which a handler is not counted at all any more: what it waits for does not come."""

TELL_AGAIN: Final = 60.0
"""Seconds between two warnings of handlers that take long at the same line."""

_log = logging.getLogger("napcore.aiocqhttp")

Begin: TypeAlias = "Callable[[list[asyncio.Task[Any]]], Coroutine[Any, Any, None]]"
"""Handles an event; tasks that it leaves behind and that count as its own are put into the list."""


class HandoverStatistics(NamedTuple):
    """What became of the events that were handed to a bot."""

    received: int
    """Events taken from the relay, and lifecycle events made here."""
    handled: int
    """Events whose handlers have all ended, or have been given up."""
    failed: int
    """Events of which a handler raised."""
    running: int
    """Events that are being handled."""
    waiting: int
    """Events that wait for those before them."""
    stale: int
    """Events that were past their lifetime when their turn came."""
    missed: int
    """Events lost in the relay's queue, or on the way from there, for whatever reason."""


class Handled:
    """One event on its way through the bot."""

    __slots__ = ("begin", "kind", "over", "tasks", "told")

    def __init__(self, begin: Begin, kind: str) -> None:
        self.begin = begin
        self.kind = kind
        self.tasks: list[asyncio.Task[Any]] = []
        """Its own, and those that its handlers have left behind and that count as its own."""
        self.over = False
        """Whether it is not counted any more."""
        self.told = False
        """Whether the log has been told that it takes long."""


class Handover:
    """Begins the handling of events, each in a task of its own, as aiocqhttp does.

    Events of one conversation begin in the order they came. Each waits until the one before it has been
    handled, ``patience`` seconds at most, and not for one that takes longer already: so a handler that is
    slow, or waits for a later event of its own group, holds others up by that much and no more. Where
    ``places`` events are under way, :meth:`room` waits; a handler that has run for ``slow`` seconds
    has none of them any more, one that has run for ``given_up`` seconds is not counted at all.

    Belongs to one asyncio loop. Nothing is cancelled here: neither does aiocqhttp.
    """

    def __init__(
        self,
        *,
        places: int = PLACES,
        max_running: int = MAX_RUNNING,
        patience: float = PATIENCE,
        slow: float = SLOW,
        given_up: float = GIVEN_UP,
    ) -> None:
        self._backlog: Backlog[Handled] = Backlog(workers=places, max_running=max_running)
        self._places = places
        self._max_running = max_running
        self._patience = patience
        self._slow = slow
        self._given_up = given_up
        self._context = copy_context()
        self._holders: dict[Hashable, Job[Handled]] = {}
        self._impatient: deque[tuple[float, Hashable, Handled]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._room: asyncio.Future[None] | None = None
        self._told: dict[str, float] = {}
        self._closed = False

    def statistics(self, missed: int = 0) -> HandoverStatistics:
        """A snapshot."""
        found = self._backlog.statistics()
        return HandoverStatistics(
            received=found.received,
            handled=found.handled,
            failed=found.failed,
            running=found.running,
            waiting=found.queued,
            stale=found.dropped.get("ttl", 0),
            missed=missed,
        )

    async def room(self) -> None:
        """Wait until one more event may be taken on."""
        while self._is_full():
            self._room = asyncio_loop().create_future()
            await self._room

    def offer(self, key: Hashable, begin: Begin, kind: str, expiry: float = math.inf) -> None:
        """Have an event handled by ``begin`` when it is its turn, or not at all after ``expiry``; does not wait.

        Events of one ``key`` are a conversation; None has no order.
        """
        if self._closed:
            return
        now = time.monotonic()
        item = Handled(begin, kind)
        holder = self._holders.get(key)
        outcome = self._backlog.offer(item if key is None else key, item, now, expiry)
        if outcome is Outcome.QUEUED and holder is not None and not self._pass(key, holder, now):
            self._impatient.append((now + self._patience, key, item))
            self._watch_patience()
        self._pump()

    def look(self) -> None:
        """To be called about once a second: tells of handlers that take long, and frees their places."""
        now = time.monotonic()
        for job in tuple(self._backlog.running):
            ran = now - job.begun_at
            if ran < self._slow:
                break
            if ran >= self._given_up:
                self._finish(job)
            elif not job.item.told:
                job.item.told = True
                self._tell_slow(job.item, ran, now)
                self._backlog.release(job)
                self._let_go(job)
        self._pump()

    def close(self) -> None:
        """Begin nothing more: what waits is dropped, what runs goes on."""
        self._closed = True
        self._backlog.clear()
        self._impatient.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_full(self) -> bool:
        found = self._backlog.statistics()
        under_way = found.queued + found.running - found.released
        return under_way >= self._places or found.running + found.queued >= self._max_running

    def _pump(self) -> None:
        """Begin what may begin."""
        while (job := self._backlog.take(time.monotonic())) is not None:
            if job.key is not job.item:
                self._holders[job.key] = job
            # A handler shall not see what another has put into its context.
            task: asyncio.Task[None] = self._context.copy().run(asyncio_loop().create_task, self._run(job))
            job.item.tasks.append(task)
        if self._room is not None and not self._room.done() and not self._is_full():
            self._room.set_result(None)

    async def _run(self, job: Job[Handled]) -> None:
        end: End = "failed"
        try:
            await job.item.begin(job.item.tasks)
            end = "handled"
        except Exception:
            _log.exception("a handler of %s failed", job.item.kind)
        finally:
            self._finish(job, end)
            self._pump()

    def _finish(self, job: Job[Handled], end: End = "handled") -> None:
        if not job.item.over:
            job.item.over = True
            self._backlog.finish(job, end)
            self._let_go(job)

    def _let_go(self, job: Job[Handled]) -> None:
        if self._holders.get(job.key) is job:
            del self._holders[job.key]

    def _pass(self, key: Hashable, holder: Job[Handled], now: float) -> bool:
        """Let the next of a conversation begin if the one before it takes long already."""
        if now - holder.begun_at < self._patience:
            return False
        self._backlog.release(holder)
        self._let_go(holder)
        return True

    def _watch_patience(self) -> None:
        if self._timer is None and self._impatient:
            wait = max(0.0, self._impatient[0][0] - time.monotonic())
            self._timer = asyncio_loop().call_later(wait, self._lose_patience)

    def _lose_patience(self) -> None:
        self._timer = None
        while self._impatient and self._impatient[0][0] <= time.monotonic():
            _, key, item = self._impatient.popleft()
            holder = self._holders.get(key)
            if holder is not None and not item.tasks:
                self._backlog.release(holder)
                self._let_go(holder)
                self._pump()
        self._watch_patience()

    def _tell_slow(self, item: Handled, ran: float, now: float) -> None:
        place = place_of_tasks(item.tasks)
        if now - self._told.get(place, -math.inf) >= TELL_AGAIN:
            self._told = {where: at for where, at in self._told.items() if now - at < TELL_AGAIN}
            self._told[place] = now
            _log.warning(
                "a handler of %s has run for %.0f s%s; others go on without it",
                item.kind,
                ran,
                f", at {place}" if place else "",
            )


def asyncio_loop() -> asyncio.AbstractEventLoop:
    """The loop that runs here."""
    import asyncio

    return asyncio.get_running_loop()
