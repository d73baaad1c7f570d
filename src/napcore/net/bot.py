"""The short form for bots: one upstream, its events, its actions."""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskStatus

from napcore.core.filter import Filter
from napcore.core.pacing import SendRate
from napcore.core.policy import Policy
from napcore.core.stats import RelayStatistics
from napcore.net.actions import Actions
from napcore.net.handlers import Handlers, Handling
from napcore.net.local import Caller, Subscription, add_subscription, remove_subscription
from napcore.net.relay import Relay
from napcore.net.upstream import Upstream
from napcore.net.workers import SLOW, WORKERS
from napcore.types import Off

__all__ = ("Bot", "connect")


def connect(
    url: str,
    *,
    token: str | None = None,
    filter: Filter | None = None,
    policy: Policy | None = None,
    timeout: float | Off = 10.0,
    ssl_context: ssl.SSLContext | None = None,
    call_timeout: float = 120.0,
    send_rate: SendRate = "auto",
    workers: int = WORKERS,
    slow: float | Off = SLOW,
) -> Bot:
    """A bot at the other end of ``url``, NapCat's "WebSocket server" (``ws://127.0.0.1:3001``).

    ::

        async with napcore.connect(url, token="...") as bot:
            async for event in bot:
                await bot.send(event, "hi")

    Nothing is dialled before the block is entered; entering it waits until the account is there.
    Once it has been there the link is kept: lost, it is dialled again, for ever, and the block goes on.

    ``filter`` and ``policy`` are those of ``async for``, as of ``Relay.subscribe``. ``timeout`` is for how many
    seconds a first link is tried; what comes after ``ssl_context`` is told to the :class:`Relay`
    inside.

    Raises:
        ConfigError: the URL is not ws:// or wss://, or another value is none.
    """
    relay = Relay(call_timeout=call_timeout, send_rate=send_rate, workers=workers, slow=slow)
    upstream = relay.add_upstream(url, token=token, ssl_context=ssl_context)
    return Bot(relay, upstream, filter, policy, math.inf if timeout == "off" else timeout)


class Bot(Actions, Caller, Handling["Bot"], anyio.AsyncContextManagerMixin):
    """One account and its events, made by :func:`connect`; on asyncio or trio.

    Events come in two ways. ``async for event in bot`` brings them one by one, to one task; they wait
    in a bounded queue from the moment the block is entered. Functions registered with :meth:`on`
    are called for those they ask for; a bot that has any when it is entered queues nothing for ``async for``
    before that begins.

    Every action is a method (:class:`Actions`), :meth:`send` answers where an event came from, and
    :meth:`call` takes any action by name. ``bot.relay`` is the relay inside.

    Entering the block raises:
        ConnectFailed: there is no link, or no account, and why; at once where the token is refused.
    """

    def __init__(
        self, relay: Relay, upstream: Upstream, filter: Filter | None, policy: Policy | None, timeout: float
    ) -> None:
        self.relay = relay
        """What does the work."""
        self._upstream = upstream
        self._filter = filter or Filter()
        self._policy = policy
        self._timeout = timeout
        self._events: Subscription | None = None
        self._read = False
        self._stopping = anyio.Event()

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Bot, None]:
        try:
            async with self.relay:
                if not len(self.relay.handlers):
                    self._listen()
                await self._upstream.first_link(self._timeout)
                yield self
        finally:
            self._forget()

    async def serve(self, *, task_status: TaskStatus[Bot] = anyio.TASK_STATUS_IGNORED) -> None:
        """Enter the block and stay until :meth:`aclose` or cancellation: ``napcore.run(bot.serve)``.

        Raises:
            ConnectFailed: as entering the block does.
        """
        async with self:
            task_status.started(self)
            await self._stopping.wait()

    async def aclose(self) -> None:
        """Make :meth:`serve` return."""
        self._stopping.set()

    @property
    def self_id(self) -> int | None:
        """The account, None before it is known; of several the one that came first."""
        return self.relay.traffic.accounts.first

    @property
    def state(self) -> str:
        """``connected``, ``connecting`` or as ``Upstream.state`` says."""
        return self._upstream.state

    @property
    def missed(self) -> int:
        """Events that ``async for`` did not get, for whatever reason."""
        return self._events.missed if self._events is not None else 0

    def __aiter__(self) -> Subscription:
        if self._events is None:
            self._listen()
        self._read = True
        assert self._events is not None
        return self._events

    async def call(
        self, action: str, params: Mapping[str, Any] | None = None, *, self_id: int | None = None, timeout: float = 30.0
    ) -> Any:
        """As ``Relay.call``."""
        return await self.relay.call(action, params, self_id=self_id, timeout=timeout)

    def statistics(self) -> RelayStatistics:
        """A snapshot of everything that is counted; once the block has been left, of how it did."""
        return self.relay.statistics()

    async def _act(self, action: str, params: dict[str, Any]) -> Any:
        return await self.relay.call(action, params)

    def _registering(self) -> Handlers:
        if not self._read:
            # Who registers functions mostly never iterates, and what nobody takes would only be lost.
            self._forget()
        return self.relay.handlers

    def _listen(self) -> None:
        relay = self.relay
        if not relay.running:
            raise RuntimeError("the bot is not connected; enter it with 'async with' first")
        self._events = add_subscription(relay.traffic, self._filter, "bot", self._policy, Subscription)

    def _forget(self) -> None:
        if self._events is not None:
            remove_subscription(self.relay.traffic, self._events)
            self._events = None

    def __repr__(self) -> str:
        return f"<Bot {self._upstream.name} {self.state}>"
