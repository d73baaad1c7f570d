"""The relay as its host sees it: entered, configured, asked and left.

What happens to an event, a request or an answer inside is in ``napcore.net.traffic``.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup, TaskStatus

from napcore.core.admission import Door
from napcore.core.filter import Filter
from napcore.core.hub import MEMORY_LIMIT, as_event
from napcore.core.message import check_message_format
from napcore.core.onebot import NAME
from napcore.core.pacing import SendRate
from napcore.core.policy import Policy
from napcore.core.stats import RelayStatistics
from napcore.dispatch import Event, Report
from napcore.errors import ConfigError
from napcore.net.client import RemoteClient, Session
from napcore.net.clients import HEARTBEAT
from napcore.net.drain import drain
from napcore.net.handlers import Handlers, Handling
from napcore.net.local import Caller, Subscription, open_subscription
from napcore.net.mailbox import Inbox
from napcore.net.tasks import scoped, sheltered_tasks
from napcore.net.traffic import Traffic
from napcore.net.upstream import Upstream
from napcore.net.upstreams import Upstreams
from napcore.net.websocket import check_url
from napcore.net.workers import SLOW, WORKERS
from napcore.net.ws_client import dial_session, dial_upstream
from napcore.net.ws_server import Listener, open_listener
from napcore.types import MessageFormat, Off

if TYPE_CHECKING:
    from napcore.core.config import Config
    from napcore.net.watchdog import Watchdog

__all__ = ("Relay",)

_log = logging.getLogger("napcore.relay")


class Relay(Caller, Handling["Relay"], anyio.AsyncContextManagerMixin):
    """Events from upstreams to any number of clients, calls the other way; on asyncio or trio.

    Use it as ``async with Relay() as relay:`` or ``await task_group.start(relay.serve)``. It
    belongs to the event loop and thread that entered it. Upstreams and clients may be added
    before and after that.

    A fault inside never cancels the host: it is logged, :attr:`failed` is set, and the next call
    of a public method raises it.

    ``memory_limit`` is that of a ``Hub``. ``call_timeout`` is how many seconds a call may wait for
    its upstream's answer. ``send_rate`` holds ``send_*`` calls back: ``"auto"`` for a minute after
    an upstream was away or a client catches up (5 a second for each account, 1 for each group; at
    most 20 and 5 at once), ``"safe"`` always, two numbers always and with these rates; what would
    wait for more than 20 s is refused.
    ``share_gets`` lets identical ``get_*`` calls share one answer: seconds for which it is good,
    0 only while it is under way. ``workers`` is how many handlers (:meth:`on`) run at once; one that
    takes ``slow`` seconds is told of in the log, and nothing waits for it any more.

    Raises:
        ConfigError: ``send_rate``, ``share_gets``, ``workers`` or ``slow`` is none of these.
        ValueError: ``memory_limit`` is 0, negative or NaN.
    """

    def __init__(
        self,
        *,
        memory_limit: float = MEMORY_LIMIT,
        call_timeout: float = 120.0,
        send_rate: SendRate = "auto",
        share_gets: float | Off = "off",
        workers: int = WORKERS,
        slow: float | Off = SLOW,
    ) -> None:
        self.failed: BaseException | None = None
        """A fault inside napcore, if one happened."""
        self.closing = False
        """Whether it is shutting down: nothing is dialled, nobody is let in, no call is sent any more."""
        self.handlers = Handlers(self, workers, slow)
        self.traffic = Traffic(self, memory_limit, call_timeout, send_rate, share_gets)
        self.upstreams = Upstreams(self)
        self.listeners: list[Listener] = []
        self._numbers = count(1)
        self._tasks: TaskGroup | None = None
        self._entered_at = 0.0
        self._stopping = anyio.Event()
        self.inbox = Inbox(self.traffic.publish)
        """Where other threads put what the relay's loop shall do."""
        self.watchdog: Watchdog | None = None
        """What watches its event loop, if anything does."""
        self.opens_on_entry = True
        """Whether it listens and dials as soon as it is entered; else that is what :meth:`open` is for."""
        self._on_entry: Callable[[], Awaitable[Any]] | None = None

    @classmethod
    def from_config(cls, config: Config) -> Relay:
        """A relay with the listener, upstreams and clients of ``config``; they start when it is entered.

        Raises:
            ConfigError: something in it cannot be carried out.
        """
        relay = cls(**config.arguments())
        listen = config.listen
        if listen is not None:
            relay._on_entry = lambda: relay.listen(**listen.arguments())
        for upstream in config.upstream:
            relay.add_upstream(**upstream.arguments())
        for client in config.client:
            relay.add_client(**client.arguments(config.defaults))
        return relay

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Relay, None]:
        async with sheltered_tasks() as self._tasks:
            self._entered_at = time.monotonic()
            self.inbox.open()
            self._tasks.start_soon(self._guard, "the inbox", self.inbox.serve)
            self.traffic.hub.check_thread()
            self._tasks.start_soon(self._guard, "the clock", self.traffic.tick)
            self.handlers.open()
            hurried = True
            try:
                if self.opens_on_entry:
                    await self.open()
                yield self
                hurried = False
            finally:
                try:
                    await drain(self, hurried=hurried)
                finally:
                    self.inbox.close()
                    self._tasks = None

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run until :meth:`aclose` or cancellation; reports started once everything listens.

        A fault inside napcore ends it too, and is raised. After :meth:`aclose` it takes up to 30 s: calls
        under way are answered and what waits is written, as far as the peers go along.
        """
        async with self:
            task_status.started()
            await self._stopping.wait()
        if self.failed is not None:
            raise self.failed

    async def open(self) -> None:
        """Listen and dial as the configuration says; for a relay that was not to do so on entry.

        Raises:
            ConfigError, OSError: as :meth:`listen`.
        """
        self._running()
        self.opens_on_entry = True
        if self._on_entry is not None:
            await self._on_entry()
        for upstream in self.upstreams.dialled:
            self._start_upstream(upstream)

    async def aclose(self) -> None:
        """Make :meth:`serve` return."""
        self._stopping.set()

    # What the host calls.

    async def listen(
        self,
        host: str | Sequence[str] = ("127.0.0.1", "::1"),
        port: int = 6710,
        *,
        token: str | None = None,
        upstream_token: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        allow_anonymous: bool = False,
        allowed_origins: Sequence[str] = (),
    ) -> Listener:
        """Open a port for upstreams and clients that dial us; 0 lets the system choose.

        Raises:
            ConfigError: it would be open to other machines without a token of 16 characters.
            OSError: the port cannot be had.
        """
        tasks = self._running()
        door = Door(token or None, upstream_token or None, tuple(allowed_origins), ssl_context is not None)
        listener = await open_listener(self, host, port, door, ssl_context, allow_anonymous=allow_anonymous)
        if self.closing:
            await listener.aclose()
            raise RuntimeError("the relay is shutting down")
        self.listeners.append(listener)
        tasks.start_soon(self._guard, f"the listener on port {listener.port}", listener.serve)
        _log.info("listening on %s", listener.url)
        return listener

    def add_upstream(
        self,
        url: str,
        *,
        token: str | None = None,
        self_id: int | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> Upstream:
        """Dial a OneBot implementation (NapCat's "WebSocket server") and keep the link.

        ``self_id`` is the account of events that name none; mostly it is learned.

        Raises:
            ConfigError: the URL is not ws:// or wss://.
        """
        self._check()
        upstream = Upstream(self, check_url(url), token=token, self_id=self_id, ssl_context=ssl_context)
        self.upstreams.add(upstream)
        if self._tasks is not None and self.opens_on_entry:
            self._start_upstream(upstream)
        return upstream

    def add_client(
        self,
        name: str,
        url: str | None = None,
        *,
        token: str | None = None,
        filter: Filter | None = None,
        policy: Policy | None = None,
        message_format: MessageFormat | None = None,
        heartbeat: float = HEARTBEAT,
        ssl_context: ssl.SSLContext | None = None,
    ) -> RemoteClient:
        """Add a client: one we dial, once per account, or (``url`` None) one that dials us.

        ``message_format`` is how messages of events are written for it, "array" or "string" (CQ
        codes), whatever the upstream sends; None is as received. Its requests may have either.
        ``heartbeat`` is the seconds between our heartbeat events on its links.

        Raises:
            ConfigError: the name is taken or malformed, the URL is not ws:// or wss://, or there is
                no such format.
        """
        self._check()
        if not NAME.fullmatch(name):
            raise ConfigError(f"a name is 1 to 64 letters, digits, '_', '.' or '-', not {name!r}", key="name")
        if name in self.traffic.clients:
            raise ConfigError(f"a client named {name!r} exists already", key="name")
        check_message_format(message_format)
        if not heartbeat > 0:
            raise ConfigError(f"must be greater than 0, not {heartbeat!r}", key="heartbeat")
        client = RemoteClient(
            self,
            name,
            check_url(url) if url is not None else None,
            token=token or None,
            filter=filter or Filter(),
            policy=policy or Policy(),
            message_format=message_format,
            heartbeat=heartbeat,
            ssl_context=ssl_context,
        )
        self.traffic.clients.add(client)
        if url is not None and self._tasks is not None:
            for self_id in self.traffic.accounts:
                self.traffic.clients.open(client, self_id)
        return client

    def subscribe(
        self, filter: Filter | None = None, *, name: str | None = None, policy: Policy | None = None
    ) -> AbstractAsyncContextManager[Subscription]:
        """Events of all accounts for a task in this process, from the block's start to its end.

        Raises:
            ConfigError: the name is taken.
        """
        self._running()
        return open_subscription(self.traffic, filter or Filter(), name or self.unique_name("sub"), policy)

    def publish(self, event: Event | bytes | dict[str, Any]) -> Report:
        """Route an event that did not come from an upstream, and start sending it.

        Raises:
            BadEvent: not a JSON object, or not an event.
        """
        self._running()
        return self.traffic.publish([as_event(event)])

    def publish_threadsafe(self, event: Event | bytes | dict[str, Any]) -> None:
        """Have an event routed as :meth:`publish` does, from any thread; does not wait.

        Raises:
            BadEvent: not a JSON object, or not an event.
            RuntimeError: the relay is not running, or its loop has not come round for 65,536 events.
        """
        self.inbox.publish(as_event(event))

    def stop_threadsafe(self) -> None:
        """As :meth:`aclose`, from any thread."""
        self.inbox.post(self._stopping.set)

    async def call(
        self, action: str, params: Mapping[str, Any] | None = None, *, self_id: int | None = None, timeout: float = 30.0
    ) -> Any:
        """Call a OneBot action and return its answer's data; ``timeout`` in seconds.

        ``self_id`` names the account; it may be left out while there is only one.

        Raises:
            CallError: one of its kinds; ``sent`` says whether the upstream got the call.
        """
        self._running()
        return await self.traffic.api.ask(action, params, self_id, timeout)

    def statistics(self) -> RelayStatistics:
        """A snapshot of everything that is counted; once the relay has ended, of how it did."""
        uptime = time.monotonic() - self._entered_at if self._tasks is not None else 0.0
        lag = self.watchdog.worst if self.watchdog is not None else 0.0
        listeners = tuple(listener.statistics() for listener in self.listeners)
        return self.traffic.statistics(tuple(self.upstreams))._replace(
            uptime=uptime, loop_lag=lag, listeners=listeners, handlers=self.handlers.statistics()
        )

    # What its links and clients ask of it.

    def start_dialling(self, session: Session) -> None:
        """Keep a link to a client we dial, unless it is shutting down."""
        if not self.closing:
            session.scope = anyio.CancelScope()
            self.start(f"client {session.label}", scoped, session, dial_session)

    async def remove_client(self, client: RemoteClient) -> None:
        """Close a client's links and forget it."""
        self.traffic.clients.forget(client, "shutdown")
        for link in [link for link in self.traffic.clients.links if link.client is client]:
            await link.link.close(1000, "no longer needed")

    def fail(self, what: str, error: BaseException) -> None:
        """Log a fault of napcore's own, keep the first for the host to see, and end :meth:`serve`."""
        _log.critical("%s failed inside napcore", what, exc_info=error)
        while len(inner := getattr(error, "exceptions", [])) == 1:
            # The task groups it came through.
            error = inner[0]
        self.failed = self.failed or error
        self._stopping.set()

    def unique_name(self, name: str) -> str:
        """``name`` with a number that no other has."""
        names = (f"{name}-{number}" for number in self._numbers)
        return next(unique for unique in names if unique not in self.traffic.hub.clients)

    # Its tasks.

    def _start_upstream(self, upstream: Upstream) -> None:
        if not self.closing:
            upstream.scope = anyio.CancelScope()
            self.start(f"upstream {upstream.name}", scoped, upstream, dial_upstream)

    def start(self, what: str, work: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Start a task of its own for ``what``, unless it has ended."""
        if self._tasks is not None:
            self._tasks.start_soon(self._guard, what, work, *args)

    async def _guard(self, what: str, work: Callable[..., Awaitable[None]], *args: Any) -> None:
        try:
            await work(*args)
        except Exception as error:
            self.fail(what, error)

    @property
    def running(self) -> bool:
        """Whether it has been entered, and not been left."""
        return self._tasks is not None

    def _registering(self) -> Handlers:
        self._check()
        return self.handlers

    def _check(self) -> None:
        if self.failed is not None:
            raise self.failed
        if self._tasks is not None:
            self.traffic.hub.check_thread()

    def _running(self) -> TaskGroup:
        self._check()
        if self._tasks is None:
            raise RuntimeError("the relay is not running; enter it with 'async with' or start serve() first")
        return self._tasks
