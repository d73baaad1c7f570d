"""What waits for workers: in order within a key, bounded, and no more begun at once than there are workers."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Collection, Hashable, Mapping
from typing import Generic, Literal, NamedTuple, TypeVar

from napcore.types import Outcome

__all__ = ("Backlog", "End", "Job", "WorkerStatistics")

T = TypeVar("T")

End = Literal["handled", "failed", "shutdown"]
"""How a job that had begun came to its end."""


class WorkerStatistics(NamedTuple):
    """What became of the jobs of a pool.

    The ledger always closes: received = handled + running + queued + sum(dropped).
    """

    received: int
    """Jobs that were offered."""
    handled: int
    """Jobs that came to an end of their own, those that failed among them."""
    failed: int
    """Jobs that raised."""
    running: int
    """Jobs that have begun and not ended."""
    released: int
    """Those of the running ones that nothing waits for any more."""
    queued: int
    """Jobs that wait."""
    max_queued: int
    """The most that ever waited."""
    dropped: dict[str, int]
    """Jobs that did not come to an end, by reason: ``oldest`` and ``newest`` (too many waited), ``ttl``
    (past their lifetime), ``shutdown``; reasons that never occurred are left out."""


class Job(Generic[T]):
    """One piece of work, on its way through a :class:`Backlog`."""

    __slots__ = ("begun_at", "expiry", "item", "key", "number", "released", "size")

    def __init__(self, key: Hashable, item: T, expiry: float, number: int, size: int) -> None:
        self.key = key
        """Jobs of one key begin in the order they came."""
        self.item = item
        """What is to be done."""
        self.expiry = expiry
        """When it is no longer worth beginning."""
        self.number = number
        """It came as the n-th."""
        self.size = size
        """Bytes it holds while it waits."""
        self.begun_at = math.inf
        """When it began."""
        self.released = False
        """Whether it has let go of its key and of its worker."""


class Backlog(Generic[T]):
    """Jobs that wait and jobs that run. It starts nothing and has no clock: whoever takes a job carries it out.

    A job that has been taken holds its key, so that the next one of the key waits, and one of
    ``workers`` places. It gives both back when it is finished or released. A released job still
    counts as running; nothing is taken while ``max_running`` jobs run.

    ``max_jobs`` may wait, with ``max_bytes`` in all, though one may always wait; at these bounds the oldest of all
    go (``drop_oldest``), which are those of keys that are stuck, or the new one is refused
    (``drop_newest``).
    """

    def __init__(
        self,
        *,
        workers: int,
        max_running: float = math.inf,
        max_jobs: float = math.inf,
        max_bytes: float = math.inf,
        overflow: Literal["drop_oldest", "drop_newest"] = "drop_oldest",
    ) -> None:
        self._workers = workers
        self._max_running = max_running
        self._max_jobs = max_jobs
        self._max_bytes = max_bytes
        self._bytes = 0
        self._drop_newest = overflow == "drop_newest"
        self._waiting: OrderedDict[int, Job[T]] = OrderedDict()  # oldest first
        self._queues: dict[Hashable, deque[Job[T]]] = {}  # the same by key; no key with an empty one
        self._ready: OrderedDict[Hashable, None] = OrderedDict()  # keys with a queue that nobody holds
        self._held: set[Hashable] = set()
        self._running: OrderedDict[int, Job[T]] = OrderedDict()
        self._places = workers
        self._received = self._handled = self._failed = self._max_queued = 0
        self._dropped: dict[str, int] = {}
        self._lost = 0

    @property
    def running(self) -> Collection[Job[T]]:
        """The jobs that have begun, in that order; a view."""
        return self._running.values()

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._waiting and not self._running

    @property
    def dropped(self) -> Mapping[str, int]:
        """Jobs dropped so far, by reason; a view."""
        return self._dropped

    @property
    def lost(self) -> int:
        """How many that are in all."""
        return self._lost

    def offer(self, key: Hashable, item: T, now: float, expiry: float = math.inf, size: int = 0) -> Outcome:
        """Let an item of ``size`` bytes wait for its turn; never raises for a bound, and never waits.

        It is not begun after ``expiry``, on the clock of ``now``. The outcomes are ``QUEUED``, ``DROPPED_OLDEST``,
        ``DROPPED_NEWEST`` and ``STALE``, as those of an outbox.
        """
        self._received += 1
        if now >= expiry:
            self._drop("ttl")
            return Outcome.STALE
        outcome = Outcome.QUEUED
        while self._waiting and (len(self._waiting) >= self._max_jobs or self._bytes + size > self._max_bytes):
            if self._drop_newest:
                self._drop("newest")
                return Outcome.DROPPED_NEWEST
            self._evict()
            outcome = Outcome.DROPPED_OLDEST
        job = Job(key, item, expiry, self._received, size)
        self._waiting[job.number] = job
        self._bytes += size
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = deque()
            if key not in self._held:
                self._ready[key] = None
        queue.append(job)
        self._max_queued = max(self._max_queued, len(self._waiting))
        return outcome

    def refuse(self, reason: str) -> None:
        """Count a job as received and dropped."""
        self._received += 1
        self._drop(reason)

    def take(self, now: float) -> Job[T] | None:
        """The next job to begin, which holds its key from now on; None if none may. Keys have their turn one by one.

        Jobs past their lifetime are dropped on the way.
        """
        while self._ready and self._places and len(self._running) < self._max_running:
            key = next(iter(self._ready))
            job = self._pop(key)
            if now >= job.expiry:
                self._drop("ttl")
                continue
            self._ready.pop(key, None)
            self._held.add(key)
            self._places -= 1
            job.begun_at = now
            self._running[job.number] = job
            return job
        return None

    def release(self, job: Job[T]) -> bool:
        """Let the next job of its key begin, and another in its place, though it goes on; whether that was news."""
        if job.released or job.number not in self._running:
            return False
        job.released = True
        self._give_back(job)
        return True

    def finish(self, job: Job[T], end: End = "handled") -> None:
        """It has come to its end."""
        del self._running[job.number]
        if not job.released:
            self._give_back(job)
        if end == "shutdown":
            self._drop(end)
            return
        self._handled += 1
        self._failed += end == "failed"

    def clear(self) -> int:
        """Drop all that waits, as ``shutdown``; how many that were."""
        count = len(self._waiting)
        self._waiting.clear()
        self._queues.clear()
        self._ready.clear()
        self._bytes = 0
        if count:
            self._drop("shutdown", count)
        return count

    def statistics(self) -> WorkerStatistics:
        """A snapshot of the ledger."""
        return WorkerStatistics(
            received=self._received,
            handled=self._handled,
            failed=self._failed,
            running=len(self._running),
            released=len(self._running) - (self._workers - self._places),
            queued=len(self._waiting),
            max_queued=self._max_queued,
            dropped=dict(self._dropped),
        )

    def _give_back(self, job: Job[T]) -> None:
        self._places += 1
        self._held.discard(job.key)
        if job.key in self._queues:
            self._ready[job.key] = None

    def _evict(self) -> None:
        oldest = next(iter(self._waiting.values()))
        self._pop(oldest.key)
        self._drop("oldest")

    def _pop(self, key: Hashable) -> Job[T]:
        queue = self._queues[key]
        job = queue.popleft()
        del self._waiting[job.number]
        self._bytes -= job.size
        if not queue:
            del self._queues[key]
            self._ready.pop(key, None)
        return job

    def _drop(self, reason: str, count: int = 1) -> None:
        self._dropped[reason] = self._dropped.get(reason, 0) + count
        self._lost += count
