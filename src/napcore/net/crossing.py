"""What crosses over between a relay's thread and another: calls that wait for their answer, and subscriptions."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from functools import partial
from typing import Any, Final

import anyio
import anyio.lowlevel

from napcore.core.calls import Answer, Call
from napcore.core.filter import Filter
from napcore.core.policy import Policy
from napcore.dispatch import Event, Request
from napcore.errors import CallTimeout
from napcore.net.local import PendingCall, Subscription, read_answer
from napcore.net.mailbox import Mailbox
from napcore.net.relay import Relay

__all__ = ("BlockingCall", "LoopCall", "ThreadCall", "ThreadSubscription")

BATCH: Final = 64
"""Events that cross over to the subscriber's loop at once."""

LATE: Final = 5.0
"""Seconds after which an event is catch-up, so that what answers it is paced (``send_rate``)."""

TELL_AGAIN: Final = 10.0
"""Seconds for which the relay is not told once more that an account's events are late."""

_log = logging.getLogger("napcore.thread")


class ThreadCall:
    """A call that another thread waits for. It begins and is answered in the relay's thread."""

    client: object
    action: str
    _call: Call | None = None
    _relay: Relay | None = None

    def begin(self, relay: Relay, request: Request, self_id: int | None) -> None:
        """Send it."""
        self._relay = relay
        self._call = relay.traffic.api.forward(request, self, self_id)

    def cancel(self) -> None:
        """Nobody waits any more."""
        if self._relay is not None:
            self._relay.traffic.api.cancel(self, self._call)

    def answer(self, answer: Answer) -> None:
        """Hand the answer over to the thread that waits."""
        raise NotImplementedError


class LoopCall(ThreadCall, PendingCall):
    """One that is awaited on an event loop, that of ``mailbox``."""

    def __init__(self, action: str, client: object, mailbox: Mailbox) -> None:
        PendingCall.__init__(self, action, client)
        self._mailbox = mailbox

    def answer(self, answer: Answer) -> None:
        """Post it to the loop."""
        self._mailbox.post(partial(PendingCall.answer, self, answer))


class BlockingCall(ThreadCall):
    """One that a thread waits for without an event loop."""

    def __init__(self, action: str, client: object) -> None:
        self.action = action
        self.client = client
        self._answer: Answer | None = None
        self._over = threading.Event()

    def answer(self, answer: Answer) -> None:
        """Take it, and wake the thread."""
        if answer.final:
            self._answer = answer
            self._over.set()

    def wait(self, timeout: float) -> Any:
        """The answer's data; blocks the thread for ``timeout`` seconds at most.

        Raises:
            CallError: one of its kinds.
        """
        self._over.wait(timeout)
        if self._answer is None:
            raise CallTimeout(self.action, f"no answer within {timeout:g} s")
        return read_answer(self.action, self._answer)


class ThreadSubscription:
    """Events from a relay in another thread: ``async for event in subscription``.

    They wait in the relay's queue, with the bounds of its policy; a batch of up to 64 is on its
    way to the subscriber, whose events are dropped too if they are past their lifetime when their
    turn comes. Iteration ends when the subscription or the relay is closed.
    """

    def __init__(self, mailbox: Mailbox, policy: Policy | None = None) -> None:
        self.deadline = math.inf
        """When the event that was iterated last is past its lifetime, on the clock of ``time.monotonic``."""
        self._mailbox = mailbox
        self._events: deque[tuple[Event, float]] = deque()
        self._stale = 0
        self._lifetimes = (policy or Policy()).lifetimes
        self._told_late: dict[int, float] = {}
        self._asked = False
        self._over = False
        self._news = anyio.Event()
        self._opened = anyio.Event()
        self._ended = anyio.Event()
        self._error: Exception | None = None
        # These belong to the relay's thread.
        self._scope: anyio.CancelScope | None = None
        self._relay: Relay | None = None
        self._subscription: Subscription | None = None
        self._hungry = False
        self._wanted: anyio.Event | None = None
        self._left = False

    @property
    def missed(self) -> int:
        """Events lost so far, for whatever reason."""
        return self._stale + (self._subscription.missed if self._subscription is not None else 0)

    def __aiter__(self) -> ThreadSubscription:
        return self

    async def __anext__(self) -> Event:
        # Before anything is taken, so that a cancellation here loses no event.
        await anyio.lowlevel.checkpoint()
        while True:
            self._drop_stale(time.monotonic())
            if self._events:
                event, self.deadline = self._events.popleft()
                self._look_at_age(event, time.monotonic())
                return event
            if self._over:
                raise StopAsyncIteration
            self._news = anyio.Event()
            if not self._asked:
                self._asked = True
                relay = self._relay
                if relay is None or not relay.inbox.post(self._feed):
                    raise StopAsyncIteration
            await self._news.wait()

    # On the subscriber's loop.

    def _drop_stale(self, now: float) -> None:
        """Drop what was on its way here while this loop stood still."""
        dropped = 0
        while self._events and self._events[0][1] <= now:
            self._events.popleft()
            dropped += 1
        if dropped:
            self._stale += dropped
            name = self._subscription.name if self._subscription is not None else ""
            _log.warning("client %s lost %d events: they were past their lifetime when its turn came", name, dropped)

    def _look_at_age(self, event: Event, now: float) -> None:
        """Have the answers to what comes late paced; the relay hears of it ahead of them."""
        relay, self_id = self._relay, event.self_id
        if self_id is None or relay is None or not now - self.deadline + self._lifetimes[event.event_class] > LATE:
            return
        if now >= self._told_late.get(self_id, 0.0):
            self._told_late[self_id] = now + TELL_AGAIN
            relay.inbox.post(partial(relay.traffic.api.pacing.disturb, self_id, now))

    async def wait_opened(self) -> None:
        """For ``RelayThread`` alone: wait until the relay routes events here.

        Raises:
            ConfigError, RuntimeError: it will not.
        """
        await self._opened.wait()
        if self._error is not None:
            raise self._error

    async def wait_ended(self) -> None:
        """For ``RelayThread`` alone: wait until the relay has let go of it."""
        await self._ended.wait()

    def _take(self, events: list[Event], deadlines: list[float]) -> None:
        self._asked = False
        self._events.extend(zip(events, deadlines, strict=True))
        self._news.set()

    def _open(self, error: Exception | None = None) -> None:
        self._error = error
        self._opened.set()

    def _end(self) -> None:
        self._over = True
        self._news.set()
        self._opened.set()
        self._ended.set()

    # On the relay's.

    async def serve(self, relay: Relay, filter: Filter | None, name: str | None, policy: Policy | None) -> None:
        """For ``RelayThread`` alone: hand events over, a batch at a time."""
        self._relay = relay
        try:
            with anyio.CancelScope() as self._scope:
                async with relay.subscribe(filter, name=name, policy=policy) as self._subscription:
                    self._mailbox.post(self._open)
                    while not self._left:
                        if not self._hungry:
                            self._wanted = anyio.Event()
                            await self._wanted.wait()
                            continue
                        deadlines: list[float] = []
                        events = await self._subscription.batch(BATCH, deadlines)
                        if not events:
                            return
                        self._hungry = False
                        self._mailbox.post(partial(self._take, events, deadlines))
        except (ValueError, RuntimeError) as error:
            # ConfigError is a ValueError.
            self._mailbox.post(partial(self._open, error))
        finally:
            self._mailbox.post(self._end)

    def _feed(self) -> None:
        self._hungry = True
        if self._wanted is not None:
            self._wanted.set()

    def leave(self) -> None:
        """For ``RelayThread`` alone: the subscriber has gone."""
        self._left = True
        if self._scope is not None:
            self._scope.cancel()
