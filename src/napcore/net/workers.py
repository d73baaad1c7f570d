"""A bounded pool of workers: jobs of one key in order, different keys at once, slow ones told of by name and line.

:meth:`WorkerPool.submit` -> ``Backlog.offer`` -> ``Backlog.take`` -> a task of its own, or a thread for
code that is not async -> ``Backlog.finish``. Who may begin when is decided in ``napcore.core.backlog``.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Final, Literal, TypeAlias

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup, TaskStatus

from napcore.core.backlog import Backlog, End, Job, WorkerStatistics
from napcore.core.stats import LossReport
from napcore.net.mailbox import Mailbox, current_wake
from napcore.net.places import place_of_awaitable, place_of_error, place_of_thread
from napcore.net.tasks import own_tasks
from napcore.types import Off, Outcome

__all__ = ("DRAIN_LIMIT", "SLOW", "WORKERS", "Turn", "Work", "WorkerPool", "release_turn")

WORKERS: Final = 64
"""Jobs that run at once, released ones not counted."""

MAX_RUNNING: Final = 1024
"""Jobs that run at once, released ones counted."""

MAX_JOBS: Final = 4096
"""Jobs that wait at most."""

MAX_BYTES: Final = 32 << 20
"""Bytes that they hold at most, as far as it was said."""

THREADS: Final = 64
"""Threads for jobs that are not async."""

SLOW: Final = 5.0
"""Seconds after which a job is told of, and nothing waits for it any more."""

DRAIN_LIMIT: Final = 5.0
"""Seconds that jobs have to come to their end when a pool is closed."""

TOLD: Final = 10
"""Jobs that are named when a pool is closed before they have ended."""

_LOSS_TEXTS: Final = {
    "oldest": "too many waited, and the oldest had to go; the handlers take too long",
    "newest": "too many waited, and the newest were refused; the handlers take too long",
    "ttl": "they had waited past their lifetime; the handlers take too long",
    "shutdown": "they had not ended when the handlers were stopped",
}

_log = logging.getLogger("napcore.handlers")

Work: TypeAlias = "Callable[[Turn], object]"
"""What a job does: a coroutine function, or a plain one for a thread. It is given its turn."""


class Turn:
    """A job's turn: until it has ended, or is released, the next job of its key waits."""

    __slots__ = ("_pool", "awaitable", "in_thread", "job", "name", "thread", "work")

    def __init__(self, pool: WorkerPool, work: Work, name: str, in_thread: bool) -> None:
        self.name = name
        """Who is at work, for the log."""
        self.work = work
        self.in_thread = in_thread
        self.thread: int | None = None
        """The thread it runs in, while it does."""
        self.awaitable: object = None
        self.job: Job[Turn]
        self._pool = pool

    def release(self) -> None:
        """Let the next job of the key begin though this one goes on; again, it does nothing. From any thread."""
        self._pool.release(self)

    def place(self) -> str:
        """Where it stands, in words; empty where that cannot be seen."""
        try:
            if self.thread is not None:
                return place_of_thread(self.thread)
            if self.awaitable is not None:
                return place_of_awaitable(self.awaitable)
        except Exception:
            # It looks at what other code is made of, and must not end the pool.
            _log.debug("handler %s cannot be looked at", self.name, exc_info=True)
        return "waiting for a free thread" if self.in_thread else ""


_TURN: ContextVar[Turn | None] = ContextVar("_TURN", default=None)


def release_turn() -> None:
    """Let the next event of the same group, or of the same private chat, begin though this handler goes on.

    Events of one group begin one after the other: the next is handled when the handler has
    returned. A handler that means to take long, or that waits for something only a later event can
    bring, calls this first, and is not told of as slow. It may be called in a task or a thread that
    the handler has started, and again; outside of handlers it does nothing.
    """
    turn = _TURN.get()
    if turn is not None:
        turn.release()


class WorkerPool(anyio.AsyncContextManagerMixin):
    """Carries jobs out, on asyncio or trio: ``async with WorkerPool() as pool: pool.submit(work, key=..., name=...)``.

    Jobs of one ``key`` begin in the order they were submitted, each when the one before has ended or
    has called ``turn.release()``. Different keys run at once, ``workers`` jobs at most. A job that has
    run for ``slow`` seconds without a release is told of in the log, with its name and the line it
    stands at, and is released: it goes on, but nothing waits for it any more, neither its key nor its
    place. So a job that waits for a later one of its key waits in vain for ``slow`` seconds at most.
    With the released ones ``max_running`` jobs run at most. ``slow="off"`` waits for ever.

    ``max_jobs`` may wait, with ``max_bytes`` in all; at these bounds ``overflow`` says which are
    dropped. What a job raises is logged with its name and line, and ends nothing else. Jobs that are
    not async run in threads, ``threads`` of them at most.

    Leaving the block drains the pool: for ``drain`` seconds what waits and runs goes on, then what still
    waits is dropped and what still runs is cancelled. A thread cannot be cancelled; it is left alone.
    """

    def __init__(
        self,
        *,
        workers: int = WORKERS,
        max_running: float = MAX_RUNNING,
        max_jobs: float | Off = MAX_JOBS,
        max_bytes: float | Off = MAX_BYTES,
        overflow: Literal["drop_oldest", "drop_newest"] = "drop_oldest",
        slow: float | Off = SLOW,
        threads: int = THREADS,
        drain: float = DRAIN_LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backlog: Backlog[Turn] = Backlog(
            workers=workers,
            max_running=max_running,
            max_jobs=math.inf if max_jobs == "off" else max_jobs,
            max_bytes=math.inf if max_bytes == "off" else max_bytes,
            overflow=overflow,
        )
        self._slow = math.inf if slow == "off" else float(slow)
        self._threads = threads
        self._drain_limit = drain
        self._clock = clock
        self._tasks: TaskGroup | None = None
        self._mailbox: Mailbox | None = None
        self._thread = 0
        self._limiter: anyio.CapacityLimiter | None = None
        self._closing = False
        self._timed: OrderedDict[int, Turn] = OrderedDict()  # running and not told of, the first to begin first
        self._wanted = anyio.Event()
        self._news = anyio.Event()
        self._rest = anyio.Event()
        self._losses = LossReport()
        self._lost = 0
        self._told_slow: dict[str, tuple[float, int]] = {}
        self._ended = False

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[WorkerPool, None]:
        async with own_tasks() as tasks:
            await tasks.start(self.serve)
            yield self
            await self.drain(self._drain_limit)

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Carry jobs out until it is closed or cancelled; what was submitted before begins now."""
        self._mailbox = Mailbox(current_wake()[1])
        self._thread = threading.get_ident()
        self._limiter = anyio.CapacityLimiter(self._threads)
        try:
            async with anyio.create_task_group() as self._tasks:
                if self._ended:
                    return
                task_status.started()
                self._tasks.start_soon(self._begin, self._tasks)
                await self._watch()
        finally:
            self._tasks = None
            self._closing = True
            self._backlog.clear()
            self._tell_losses(last=True)

    def submit(
        self,
        work: Work,
        *,
        key: Hashable = None,
        name: str,
        ttl: float = math.inf,
        size: int = 0,
        in_thread: bool = False,
    ) -> bool:
        """Have ``work`` done when it is its turn; False if it was dropped at once. Does not wait.

        Belongs to the pool's event loop. ``key`` None has no order. Once ``ttl`` seconds have passed
        it is not begun any more. ``size`` is how many bytes it holds while it waits. ``name`` is who is at
        work, for the log. ``in_thread`` says that ``work`` is not async.
        """
        turn = Turn(self, work, name, in_thread)
        if self._closing:
            self._backlog.refuse("shutdown")
            self._tell_losses()
            return False
        now = self._clock()
        outcome = self._backlog.offer(turn if key is None else key, turn, now, now + ttl, size)
        self._wanted.set()
        return outcome in (Outcome.QUEUED, Outcome.DROPPED_OLDEST)

    def release(self, turn: Turn) -> None:
        """As ``turn.release()``."""
        if threading.get_ident() == self._thread:
            self._release(turn)
        elif self._mailbox is not None:
            self._mailbox.post(lambda: self._release(turn))

    def statistics(self) -> WorkerStatistics:
        """A snapshot of the ledger."""
        return self._backlog.statistics()

    async def drain(self, limit: float) -> None:
        """Take nothing more, let what waits and runs go on for ``limit`` seconds, then :meth:`close`."""
        self._closing = True
        with anyio.move_on_after(limit):
            while not self._backlog.idle and self._tasks is not None:
                self._rest = anyio.Event()
                await self._rest.wait()
        running = [job.item for job in self._backlog.running]
        for turn in running[:TOLD]:
            place = turn.place()
            _log.warning(
                "closing: handler %s has not ended within %g s%s", turn.name, limit, f", {place}" if place else ""
            )
        if len(running) > TOLD:
            _log.warning("closing: nor have %d others", len(running) - TOLD)
        self.close()

    def close(self) -> None:
        """Drop what waits and cancel what runs, now; :meth:`serve` returns when that has ended."""
        self._closing = self._ended = True
        self._backlog.clear()
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    async def _begin(self, tasks: TaskGroup) -> None:
        """Begin what may begin; for ever.

        Here, and not where something was submitted or has ended: that may be in a callback of the loop, where no
        task can be started, and a handler shall not see what another has put into its context.
        """
        while True:
            now = self._clock()
            while (job := self._backlog.take(now)) is not None:
                turn = job.item
                turn.job = job
                if not self._timed:
                    self._news.set()
                self._timed[job.number] = turn
                tasks.start_soon(self._run, turn, name=f"napcore handler {turn.name}")
            if self._backlog.lost != self._lost:
                self._tell_losses()
            self._wanted = anyio.Event()
            await self._wanted.wait()

    async def _run(self, turn: Turn) -> None:
        _TURN.set(turn)
        end: End = "shutdown"
        try:
            if turn.in_thread:
                (result,) = await anyio.to_thread.run_sync(
                    self._run_in_thread, turn, limiter=self._limiter, abandon_on_cancel=True
                )
            else:
                result = turn.work(turn)
            if inspect.isawaitable(result):
                turn.awaitable = result
                await result
            end = "handled"
        except Exception as error:
            end = "failed"
            _tell_failure(turn, error)
        except anyio.get_cancelled_exc_class() as error:
            if anyio.current_effective_deadline() == -math.inf:
                # The pool ends; what waits would begin and be cancelled.
                self._closing = True
                self._backlog.clear()
                raise
            # It goes no further: anyio would cancel all the others.
            end = "failed"
            if _is_cancelled_itself() is not False:
                _log.warning("handler %s was cancelled", turn.name)
            else:
                # Something it waited for was.
                _tell_failure(turn, error)
        finally:
            turn.awaitable = None
            self._backlog.finish(turn.job, end)
            self._timed.pop(turn.job.number, None)
            self._wanted.set()
            if self._backlog.idle:
                self._rest.set()

    @staticmethod
    def _run_in_thread(turn: Turn) -> tuple[object]:
        turn.thread = threading.get_ident()
        try:
            # In a tuple, since trio takes no awaitable from a thread.
            return (turn.work(turn),)
        finally:
            turn.thread = None

    def _release(self, turn: Turn) -> bool:
        # It is meant to take long, and need not be told of.
        self._timed.pop(turn.job.number, None)
        news = self._backlog.release(turn.job)
        if news:
            self._wanted.set()
        return news

    async def _watch(self) -> None:
        """Tell of jobs that take long, and let others pass them; for ever."""
        if math.isinf(self._slow):
            await anyio.sleep_forever()
        while True:
            turn = next(iter(self._timed.values()), None)
            if turn is None:
                self._news = anyio.Event()
                await self._news.wait()
                continue
            due = turn.job.begun_at + self._slow
            wait = due - self._clock()
            if wait > 0:
                await anyio.sleep(wait)
            elif self._timed.pop(turn.job.number, None) is not None:
                self._tell_slow(turn)

    def _tell_slow(self, turn: Turn) -> None:
        now = self._clock()
        ran = now - turn.job.begun_at
        place = turn.place()
        told_at, untold = self._told_slow.get(turn.name, (-math.inf, 0))
        news = self._release(turn)
        if now - told_at < 60.0:
            self._told_slow[turn.name] = (told_at, untold + 1)
            return
        self._told_slow[turn.name] = (now, 0)
        _log.warning(
            "handler %s has run for %.1f s%s%s%s",
            turn.name,
            ran,
            f", {place}" if place else "",
            "; what comes after it begins now, without waiting for its end" if news else "",
            f" ({untold} more of it since this was last said)" if untold else "",
        )

    def _tell_losses(self, *, last: bool = False) -> None:
        self._lost = self._backlog.lost
        dropped = self._backlog.dropped
        news = self._losses.rest(self, dropped) if last else self._losses.due(self._clock(), self, dropped)
        for reason, count in news:
            _log.warning("%d events were not handled: %s", count, _LOSS_TEXTS[reason])


def _is_cancelled_itself() -> bool | None:
    """Whether asyncio cancels the task that runs here, past anyio; None where Python 3.10 cannot tell."""
    cancelling = getattr(asyncio.current_task(), "cancelling", None)
    return None if cancelling is None else cancelling() > 0


def _tell_failure(turn: Turn, error: BaseException) -> None:
    place = place_of_error(error)
    _log.error("handler %s failed%s", turn.name, f" {place}" if place else "", exc_info=error)
