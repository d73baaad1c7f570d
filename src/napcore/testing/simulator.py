"""A stand-in NapCat: events at a given rate, answers to API requests, both link roles."""

from __future__ import annotations

import json
import math
import ssl
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream, Listener, TaskGroup
from websockets.http11 import Request

from napcore.net.tasks import own_tasks
from napcore.testing.answers import answer, encode, failed, ok
from napcore.testing.change import Change
from napcore.testing.events import EventMaker, lifecycle
from napcore.testing.handshake import Refused, accept_socket, dial_socket, open_listener, query_value
from napcore.testing.replies import ReplyClock
from napcore.testing.websocket import Socket

__all__ = ("Simulator",)

Hook: TypeAlias = Callable[[dict[str, Any]], Any]

HANDSHAKE_TIMEOUT: Final = 2.0
"""Seconds NapCat waits for the server it dials."""

HIGH_WATER: Final = 8 << 20
"""Bytes unsent on a link at which ``emit`` waits; NapCat itself would let them grow."""

_KEPT: Final = 10_000
_BATCH: Final = 64


class Simulator(anyio.AsyncContextManagerMixin):
    """A stand-in NapCat for tests, demos and load.

    As NapCat it may listen (:meth:`listen`), dial bots (:meth:`connect`), or both at once; each
    link gets a lifecycle event first, then heartbeats and every event emitted. API requests are
    answered as NapCat would, with the echo they came with.

    Use it as an async context manager, on asyncio or trio; leaving it cuts every link.

    ``groups`` and ``seed`` go to :class:`EventMaker`; ``token`` is what peers must show and what
    is shown to peers; ``heartbeat`` is in seconds, ``math.inf`` is none.
    """

    def __init__(
        self,
        self_id: int = 1444683668,
        *,
        groups: int | Sequence[int] = 190,
        seed: int | None = None,
        token: str = "",
        heartbeat: float = 30.0,
    ) -> None:
        self.self_id: Final = self_id
        self.events: Final = EventMaker(self_id, groups, seed=seed)
        """Makes the events of :meth:`run`."""
        self.replies: Final = ReplyClock()
        """Send times of events, and how long bots took to answer them."""
        self.token = token
        self.heartbeat = heartbeat
        self.on_call: Hook | None = None
        """Answers a request in place of NapCat's own answers. It returns None for silence, a dict
        with ``status`` and ``retcode`` for a whole answer (the echo is added unless given), bytes
        for a frame sent as it is, a tuple for several of these in turn, anything else for the
        ``data`` of a successful answer. :meth:`answer` gives what NapCat would say."""
        self.sent = 0
        """Events emitted while at least one link was there to take them."""
        self.lost = 0
        """Events emitted while there was none."""
        self.called = 0
        """Requests received."""
        self.refusals = 0
        """Dials that brought no link."""
        self.last_refusal: Refused | None = None
        """Why the last of them failed."""
        self.url = ""
        """Where it listens, such as ``ws://127.0.0.1:3001``."""
        self._calls: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._links: list[Socket] = []
        self._event_links: list[Socket] = []
        self._change = Change()
        self._tasks: TaskGroup | None = None
        self._emitter: anyio.CancelScope | None = None

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Simulator, None]:
        try:
            async with own_tasks() as self._tasks:
                yield self
        finally:
            self._tasks = None

    @property
    def links(self) -> list[Socket]:
        """The open links, oldest first; a link on ``/api`` gets no events."""
        return list(self._links)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The last 10,000 requests received."""
        return list(self._calls)

    async def listen(self, port: int = 0, *, host: str = "127.0.0.1", ssl_context: ssl.SSLContext | None = None) -> str:
        """Take links as NapCat's WebSocket server does; returns the URL.

        A wrong token is told by a 1403 frame after the handshake, then the link is closed without a code.

        Raises:
            OSError: the port is taken.
        """
        tasks = self._running()
        listener, self.url = await open_listener(host, port, ssl_context=ssl_context)
        tasks.start_soon(self._listen, listener)
        return self.url

    def connect(
        self, url: str, *, token: str | None = None, reconnect: float = 5.0, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        """Dial a bot as NapCat's WebSocket client does, again ``reconnect`` seconds after every end or failure."""
        self._running().start_soon(
            partial(self._connect, url, self.token if token is None else token, reconnect, ssl_context)
        )

    async def wait_connected(self, links: int = 1, *, timeout: float = 10.0) -> list[Socket]:
        """Wait until at least ``links`` links are open at once, and return them.

        Raises:
            TimeoutError: not within ``timeout`` seconds.
        """
        await self._change.wait_for(
            lambda: len(self._links) >= links, timeout, lambda: f"{len(self._links)} of {links} links are open"
        )
        return self.links

    async def wait_called(self, calls: int = 1, *, timeout: float = 10.0) -> list[dict[str, Any]]:
        """Wait until at least ``calls`` requests have come in all, and return :attr:`calls`.

        Raises:
            TimeoutError: not within ``timeout`` seconds.
        """
        await self._change.wait_for(
            lambda: self.called >= calls, timeout, lambda: f"{self.called} of {calls} requests have come"
        )
        return self.calls

    async def wait_for(self, condition: Callable[[], bool], *, timeout: float = 10.0) -> None:
        """Wait until ``condition()`` holds; looked at when a link or request comes, a link goes, a dial fails.

        Raises:
            TimeoutError: not within ``timeout`` seconds.
        """
        await self._change.wait_for(condition, timeout, lambda: "the condition does not hold")

    async def emit(self, event: Mapping[str, Any] | bytes) -> None:
        """Send one event, or any bytes, to every event link.

        Like NapCat it does not wait for slow peers; only when 8 MiB are unsent on a link it does.
        """
        for link in self._emit(event):
            await link.drained(HIGH_WATER)
        await anyio.lowlevel.checkpoint()

    async def run(self, rate: float, seconds: float = math.inf) -> int:
        """Emit ``rate`` events a second for ``seconds``; returns how many.

        Event n is due n/rate seconds after the start whatever happened before (an open loop):
        a delay is made good by a burst, so slowness of a peer shows up as latency, not as a lower rate.
        """
        total = math.inf if math.isinf(seconds) else round(rate * seconds)
        start = time.monotonic()
        count = 0
        while count < total:
            wait = start + count / rate - time.monotonic()
            if wait > 0:
                await anyio.sleep(wait)
            due = min(total, int((time.monotonic() - start) * rate) + 1, count + _BATCH)
            slow: list[Socket] = []
            while count < due:
                count += 1
                slow = self._emit(self.events.next())
            for link in slow:
                await link.drained(HIGH_WATER)
            await anyio.lowlevel.checkpoint()
        return count

    def start(self, rate: float) -> None:
        """Emit in the background, ``rate`` events a second, until :meth:`stop`."""
        self.stop()
        scope = self._emitter = anyio.CancelScope()
        self._running().start_soon(self._run_in, scope, rate)

    def stop(self) -> None:
        """End what :meth:`start` began."""
        if self._emitter is not None:
            self._emitter.cancel()
            self._emitter = None

    def sent_at(self, message_id: int) -> float | None:
        """When the message was emitted, on ``time.monotonic()``; None if unknown or over 100,000 messages ago."""
        return self.replies.sent_at(message_id)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """What NapCat would answer."""
        return answer(request, self.events)

    def _running(self) -> TaskGroup:
        if self._tasks is None:
            raise RuntimeError("use the simulator inside `async with`")
        return self._tasks

    def _emit(self, event: Mapping[str, Any] | bytes) -> list[Socket]:
        # Returns the links that have fallen behind.
        data = self._encode(event)
        if self._event_links:
            self.sent += 1
        else:
            self.lost += 1
        return [link for link in self._event_links if link.send(data) and link.unsent > HIGH_WATER]

    def _encode(self, event: Mapping[str, Any] | bytes) -> bytes:
        if isinstance(event, bytes):
            return event
        self.replies.note_event(event)
        return encode(event)

    async def _run_in(self, scope: anyio.CancelScope, rate: float) -> None:
        with scope:
            await self.run(rate)

    async def _listen(self, listener: Listener[Any]) -> None:
        async with listener:
            await listener.serve(self._take)

    async def _take(self, stream: ByteStream) -> None:
        link = await accept_socket(stream, _accept_all)
        if link is None:
            return
        if self.token and not self._admits(link):
            link.send(encode(failed(1403, "token验证失败", None)))
            link.close()
            await link.run(_ignore)
            return
        await self._serve(link, events=urlsplit(link.path).path.rstrip("/") != "/api")

    def _admits(self, link: Socket) -> bool:
        # The query wins when it is not empty; a bare token without "Bearer" passes too.
        given = query_value(link.path, "access_token") or link.headers.get("Authorization", "").split("Bearer ")[-1]
        return given == self.token

    async def _connect(self, url: str, token: str, reconnect: float, ssl_context: ssl.SSLContext | None) -> None:
        headers = {
            "X-Self-ID": str(self.self_id),
            "Authorization": f"Bearer {token}",
            "x-client-role": "Universal",
            "User-Agent": "OneBot/11",
        }
        while True:
            try:
                link = await dial_socket(url, headers, timeout=HANDSHAKE_TIMEOUT, ssl_context=ssl_context)
            except Refused as refusal:
                self.refusals += 1
                self.last_refusal = refusal
                self._change.notify()
            else:
                await self._serve(link, events=True)
            await anyio.sleep(reconnect)

    async def _serve(self, link: Socket, *, events: bool) -> None:
        if events:
            link.send(encode(lifecycle(self.self_id)))
            self._event_links.append(link)
        self._links.append(link)
        self._change.notify()
        try:
            async with anyio.create_task_group() as tasks:
                if events:
                    self._start(link, tasks)
                await link.run(partial(self._on_message, link))
                tasks.cancel_scope.cancel()
        finally:
            self._links.remove(link)
            if events:
                self._event_links.remove(link)
            self._change.notify()

    def _start(self, link: Socket, tasks: TaskGroup) -> None:
        """What goes on on a link that gets events, beside answers."""
        if not math.isinf(self.heartbeat):
            tasks.start_soon(self._beat, link)

    async def _beat(self, link: Socket) -> None:
        while True:
            await anyio.sleep(self.heartbeat)
            link.send(encode(self.events.heartbeat(self.heartbeat)))

    async def _on_message(self, link: Socket, message: bytes) -> None:
        try:
            request = json.loads(message)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            link.send(encode(failed(1400, "json解析失败,请检查数据格式", None)))
            return
        self._take_request(link, request)

    def _take_request(self, link: Socket, request: dict[str, Any]) -> None:
        self._calls.append(request)
        self.called += 1
        self.replies.note_call(request)
        self._change.notify()
        self._send_answer(link, request, self.answer(request) if self.on_call is None else self.on_call(request))

    def _send_answer(self, link: Socket, request: dict[str, Any], result: Any) -> None:
        if result is None:
            return
        if isinstance(result, tuple):
            for part in result:
                self._send_answer(link, request, part)
            return
        if isinstance(result, bytes):
            link.send(result)
            return
        echo = request.get("echo")
        echo = "" if echo is None else echo
        if not (isinstance(result, dict) and "status" in result and "retcode" in result):
            result = ok(result, echo)
        link.send(encode(result if "echo" in result else {**result, "echo": echo}))


def _accept_all(request: Request) -> None:
    return None


async def _ignore(message: bytes) -> None:
    return None
