"""A relay in a thread and a loop of its own: a plugin that blocks the framework's loop cannot stall it."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio

from napcore.core.calls import Answer
from napcore.core.filter import Filter
from napcore.core.onebot import encode_call
from napcore.core.policy import Policy
from napcore.core.stats import RelayStatistics
from napcore.dispatch import Event, Request, peek_request
from napcore.errors import ConfigError, NotSent
from napcore.net.account_news import AccountNews
from napcore.net.crossing import BlockingCall, LoopCall, ThreadCall, ThreadSubscription
from napcore.net.local import Caller, read_answer
from napcore.net.mailbox import Mailbox, current_wake
from napcore.net.relay import Relay
from napcore.net.runner import backend_options
from napcore.net.watchdog import Watchdog, watch_loop

if TYPE_CHECKING:
    from napcore.core.config import Config

__all__ = ("RelayThread", "start_thread")

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
    opens: bool = True,
) -> RelayThread:
    """Run the relay that ``config`` describes in a thread of its own; returns once it listens.

    ``timeout`` is in seconds. With ``opens`` false it neither listens nor dials until
    ``RelayThread.open`` is called: who subscribes before that misses nothing. With ``watchdog``, a
    loop that is held up for a quarter of a second is told of in the log, with the line that holds
    it up: the relay's own, and each loop that calls or subscribes.

    Raises:
        ConfigError: something in the configuration cannot be carried out, or the backend is not installed.
        OSError: the port cannot be had.
        TimeoutError: it did not come to listening in time.
    """
    relay = Relay.from_config(config)
    relay.opens_on_entry = opens
    return RelayThread(relay, backend, timeout, watchdog)


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
    def accounts(self) -> tuple[int, ...]:
        """The accounts that can be called now."""
        return self._relay.traffic.accounts.served

    @property
    def failed(self) -> BaseException | None:
        """A fault inside napcore that ended it, if one happened."""
        return self._relay.failed

    async def open(self) -> None:
        """Listen and dial, if :func:`start_thread` was told to wait with that.

        Raises:
            ConfigError, OSError: as ``Relay.listen``.
            RuntimeError: the relay has ended.
        """
        mailbox, over = self._mailbox(), anyio.Event()
        raised: list[BaseException] = []

        async def work() -> None:
            try:
                await self._relay.open()
            except (ConfigError, OSError, RuntimeError) as error:
                raised.append(error)
            finally:
                mailbox.post(over.set)

        if not self._post(partial(self._relay.start, "listening and dialling", work)):
            raise RuntimeError("the relay has ended")
        await over.wait()
        if raised:
            raise raised[0]

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
        return read_answer(action, await self.ask(encode_call(action, params), self_id=self_id, timeout=timeout))

    async def ask(self, request: bytes, *, self_id: int | None = None, timeout: float | None = 30.0) -> Answer:
        """The same for a request that is JSON already; returns the answer as it came, with the request's own echo.

        ``timeout`` None is as long as the relay waits (``call_timeout``).

        Raises:
            BadEvent: it is no request.
            CallTimeout: no answer in time.
            NotSent: the relay has ended.
        """
        peeked = peek_request(request)
        pending = LoopCall(peeked.action, self, self._mailbox())
        self._ask(pending, peeked, self_id)
        try:
            return await pending.wait(timeout)
        finally:
            self._post(pending.cancel)

    def follow_accounts(self) -> AccountNews:
        """Which accounts have links, from now on; for the event loop that runs here."""
        news = AccountNews(self._mailbox())
        self._post(partial(news.follow, self._relay.traffic.accounts))
        return news

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
        pending = BlockingCall(action, self)
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
        subscription = ThreadSubscription(self._mailbox(), policy)
        work = partial(self._relay.start, "a subscription of another thread", subscription.serve, self._relay)
        if not self._post(partial(work, filter, name, policy)):
            raise RuntimeError("the relay has ended")
        try:
            await subscription.wait_opened()
            yield subscription
        finally:
            if self._post(subscription.leave):
                # So that its name is free again. Bounded, for the relay's loop may stand still.
                with anyio.move_on_after(LEAVE_TIMEOUT, shield=True):
                    await subscription.wait_ended()

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

    def _ask(self, pending: ThreadCall, request: Request, self_id: int | None) -> None:
        if not self._post(partial(pending.begin, self._relay, request, self_id)):
            raise NotSent(pending.action, "the relay has ended")
