"""A relay in a thread and a loop of its own: a plugin that blocks the framework's loop cannot stall it."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio

from napcore.core.calls import Answer, Call
from napcore.core.filter import Filter
from napcore.core.onebot import encode_call
from napcore.core.policy import Policy
from napcore.core.stats import RelayStatistics
from napcore.dispatch import Event, Request, peek_request
from napcore.errors import CallTimeout, NotSent
from napcore.net.local import Caller, PendingCall, Subscription, read_answer
from napcore.net.mailbox import Mailbox, current_wake
from napcore.net.relay import Relay
from napcore.net.runner import backend_options
from napcore.net.watchdog import Watchdog, watch_loop

if TYPE_CHECKING:
    from napcore.core.config import Config

__all__ = ("RelayThread", "ThreadSubscription", "start_thread")

BATCH: Final = 64
"""Events that cross over to the subscriber's loop at once."""

STOP_TIMEOUT: Final = 35.0
"""Seconds a relay may take to end: draining takes 30 at most."""

LEAVE_TIMEOUT: Final = 1.0
"""Seconds that leaving a subscription waits for the relay."""


def start_thread(
    config: Config,
    *,
    backend: Literal["asyncio", "trio"] = "asyncio",
    timeout: float = 10.0,
    watchdog: bool = True,
) -> RelayThread:
    """Run the relay that ``config`` describes in a thread of its own; returns once it listens.

    ``timeout`` is in seconds. With ``watchdog``, a loop that is held up for a quarter of a second
    is told of in the log, with the line that holds it up: the relay's own, and each loop that
    calls or subscribes.

    Raises:
        ConfigError: something in the configuration cannot be carried out, or the backend is not installed.
        OSError: the port cannot be had.
        TimeoutError: it did not come to listening in time.
    """
    return RelayThread(Relay.from_config(config), backend, timeout, watchdog)


class RelayThread(Caller):
    """A relay in another thread, made by :func:`start_thread`; a context manager that stops it at the end.

    Every method may be called from any thread. :meth:`call`, :meth:`send` and :meth:`subscribe`
    belong to the event loop, asyncio's or trio's, that awaits them. Events and answers reach
    it in batches, with one wake-up for each.
    """

    _error: BaseException | None = None
    _abandoned = False

    def __init__(self, relay: Relay, backend: Literal["asyncio", "trio"], timeout: float, watchdog: bool) -> None:
        self._relay = relay
        self._watch = watchdog
        self._watchdogs: list[Watchdog] = []
        self._mailboxes: weakref.WeakKeyDictionary[Any, Mailbox] = weakref.WeakKeyDictionary()
        self._started = threading.Event()
        options = backend_options(backend, None)
        self._thread = threading.Thread(target=self._run, args=(backend, options), name="napcore-relay", daemon=True)
        self._thread.start()
        if not self._started.wait(timeout):
            self._abandoned = True
            self._relay.stop_threadsafe()
            raise TimeoutError(f"the relay does not listen within {timeout:g} s")
        if self._error is not None:
            self.stop()
            raise self._error
        # A thread that is cut off by the end of the process would drain nothing.
        atexit.register(self.stop)

    def __enter__(self) -> RelayThread:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def urls(self) -> tuple[str, ...]:
        """Where it listens."""
        return tuple(listener.url for listener in self._relay.listeners)

    @property
    def failed(self) -> BaseException | None:
        """A fault inside napcore that ended it, if one happened."""
        return self._relay.failed

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Drain the relay and end its thread; waits for that, ``timeout`` seconds at most.

        Raises:
            TimeoutError: it has not ended in time; it goes on ending by itself.
        """
        atexit.unregister(self.stop)
        if self._thread is threading.current_thread():
            raise RuntimeError("the relay's own thread cannot wait for its own end")
        self._relay.stop_threadsafe()
        self._thread.join(timeout)
        while self._watchdogs:
            watchdog = self._watchdogs.pop()
            watchdog.stop()
            watchdog.join()
        if self._thread.is_alive():
            raise TimeoutError(f"the relay has not ended within {timeout:g} s")

    def publish(self, event: Event | bytes | dict[str, Any]) -> None:
        """Have the relay route an event; does not wait. As ``Relay.publish_threadsafe``.

        Raises:
            BadEvent: not a JSON object, or not an event.
            RuntimeError: the relay has ended, or takes nothing.
        """
        self._relay.publish_threadsafe(event)

    async def call(
        self, action: str, params: Mapping[str, Any] | None = None, *, self_id: int | None = None, timeout: float = 30.0
    ) -> Any:
        """As ``Relay.call``."""
        pending = _LoopCall(action, self, self._mailbox())
        self._ask(pending, peek_request(encode_call(action, params)), self_id)
        try:
            return await pending.result(timeout)
        finally:
            self._post(pending.cancel)

    def call_sync(
        self, action: str, params: Mapping[str, Any] | None = None, *, self_id: int | None = None, timeout: float = 30.0
    ) -> Any:
        """The same for code without an event loop; blocks the thread.

        Raises:
            CallError: as :meth:`call`.
            RuntimeError: it was called in the relay's own thread, which would wait for itself.
        """
        if self._thread is threading.current_thread():
            raise RuntimeError("call_sync in the relay's own thread would wait for itself for ever")
        pending = _BlockingCall(action, self)
        self._ask(pending, peek_request(encode_call(action, params)), self_id)
        try:
            return pending.wait(timeout)
        finally:
            self._post(pending.cancel)

    @asynccontextmanager
    async def subscribe(
        self, filter: Filter | None = None, *, name: str | None = None, policy: Policy | None = None
    ) -> AsyncIterator[ThreadSubscription]:
        """As ``Relay.subscribe``: ``async with thread.subscribe() as events: async for event in events:``.

        Raises:
            ConfigError: the name is taken.
            RuntimeError: the relay has ended.
        """
        subscription = ThreadSubscription(self._mailbox())
        work = partial(self._relay.start, "a subscription of another thread", subscription._serve, self._relay)
        if not self._post(partial(work, filter, name, policy)):
            raise RuntimeError("the relay has ended")
        try:
            await subscription._opened.wait()
            if subscription._error is not None:
                raise subscription._error
            yield subscription
        finally:
            if self._post(subscription._leave):
                # So that its name is free again. Bounded, for the relay's loop may stand still.
                with anyio.move_on_after(LEAVE_TIMEOUT, shield=True):
                    await subscription._ended.wait()

    async def statistics(self) -> RelayStatistics:
        """A snapshot of everything that is counted; once the relay has ended, of how it did."""
        mailbox, over = self._mailbox(), anyio.Event()
        found: list[RelayStatistics] = []

        def look() -> None:
            found.append(self._relay.statistics())
            mailbox.post(over.set)

        if self._post(look):
            await over.wait()
        return found[0] if found else self._relay.statistics()

    def started(self, value: None = None) -> None:
        """For the relay alone: everything listens."""
        self._started.set()
        if self._abandoned:
            self._relay.stop_threadsafe()

    def _run(self, backend: str, options: dict[str, Any]) -> None:
        try:
            anyio.run(self._serve, backend=backend, backend_options=options)
        except BaseException as error:
            self._error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        if self._watch:
            with watch_loop() as watchdog:
                self._relay.watchdog = watchdog
                self._watchdogs.append(watchdog)
                await self._relay.serve(task_status=self)
        else:
            await self._relay.serve(task_status=self)

    def _post(self, work: Callable[[], object]) -> bool:
        return self._relay.inbox.post(work)

    def _mailbox(self) -> Mailbox:
        """That of the loop that runs here."""
        loop, wake = current_wake()
        mailbox = self._mailboxes.get(loop)
        if mailbox is None:
            # Nobody else puts in that of this loop.
            mailbox = self._mailboxes[loop] = Mailbox(wake)
            if self._watch and self._thread.is_alive():
                watchdog = Watchdog(wake, threading.get_ident(), name="the event loop that uses the relay")
                watchdog.start()
                self._watchdogs.append(watchdog)
        return mailbox

    def _ask(self, pending: _ThreadCall, request: Request, self_id: int | None) -> None:
        if not self._post(partial(pending.begin, self._relay, request, self_id)):
            raise NotSent(pending.action, "the relay has ended")


class _ThreadCall:
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


class _LoopCall(_ThreadCall, PendingCall):
    def __init__(self, action: str, client: object, mailbox: Mailbox) -> None:
        PendingCall.__init__(self, action, client)
        self._mailbox = mailbox

    def answer(self, answer: Answer) -> None:
        self._mailbox.post(partial(PendingCall.answer, self, answer))


class _BlockingCall(_ThreadCall):
    def __init__(self, action: str, client: object) -> None:
        self.action = action
        self.client = client
        self._answer: Answer | None = None
        self._over = threading.Event()

    def answer(self, answer: Answer) -> None:
        if answer.final:
            self._answer = answer
            self._over.set()

    def wait(self, timeout: float) -> Any:
        self._over.wait(timeout)
        if self._answer is None:
            raise CallTimeout(self.action, f"no answer within {timeout:g} s")
        return read_answer(self.action, self._answer)


class ThreadSubscription:
    """Events from a relay in another thread: ``async for event in subscription``.

    They wait in the relay's queue, with the bounds of its policy; a batch of up to 64 is on its
    way to the subscriber. Iteration ends when the subscription or the relay is closed.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._events: deque[Event] = deque()
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
        return self._subscription.missed if self._subscription is not None else 0

    def __aiter__(self) -> ThreadSubscription:
        return self

    async def __anext__(self) -> Event:
        # Before anything is taken, so that a cancellation here loses no event.
        await anyio.lowlevel.checkpoint()
        while not self._events:
            if self._over:
                raise StopAsyncIteration
            self._news = anyio.Event()
            if not self._asked:
                self._asked = True
                relay = self._relay
                if relay is None or not relay.inbox.post(self._feed):
                    raise StopAsyncIteration
            await self._news.wait()
        return self._events.popleft()

    # On the subscriber's loop.

    def _take(self, events: list[Event]) -> None:
        self._asked = False
        self._events.extend(events)
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

    async def _serve(self, relay: Relay, filter: Filter | None, name: str | None, policy: Policy | None) -> None:
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
                        events = await self._subscription.batch(BATCH)
                        if not events:
                            return
                        self._hungry = False
                        self._mailbox.post(partial(self._take, events))
        except (ValueError, RuntimeError) as error:
            # ConfigError is a ValueError.
            self._mailbox.post(partial(self._open, error))
        finally:
            self._mailbox.post(self._end)

    def _feed(self) -> None:
        self._hungry = True
        if self._wanted is not None:
            self._wanted.set()

    def _leave(self) -> None:
        self._left = True
        if self._scope is not None:
            self._scope.cancel()
