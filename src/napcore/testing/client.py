"""A OneBot client that writes down what it gets: the other end of a relay in tests and demos."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import anyio
import orjson
from anyio.abc import ByteStream, Listener, TaskGroup
from websockets.http11 import Request

from napcore.net.tasks import own_tasks
from napcore.testing.answers import encode
from napcore.testing.change import Change
from napcore.testing.handshake import accept_socket, dial_socket, open_listener, query_value
from napcore.testing.websocket import MAX_FRAME, Socket

__all__ = ("Manners", "RecordingClient")

Manners: TypeAlias = Literal["nonebot", "aiocqhttp"]
"""Whose rules a listening client keeps at the door."""


class _Own:
    """Stands for "an echo of the client's own choosing"."""


_OWN: Final = _Own()


class RecordingClient(anyio.AsyncContextManagerMixin):
    """A OneBot 11 client in either role: it dials (:meth:`connect`) or is dialled (:meth:`listen`).

    ``delay`` is how many seconds it spends on each event before it reads on, ``receive_buffer``
    its SO_RCVBUF in bytes: with both it is a slow bot (below 128 KiB loopback itself crawls, since
    one of its segments is 64 KiB). ``record=False`` counts events without
    keeping them. ``max_size`` is the largest message it takes, in bytes; a larger one is refused
    with 1009.

    Use it as an async context manager, on asyncio or trio; leaving it cuts every link.
    """

    def __init__(
        self,
        *,
        token: str = "",
        delay: float = 0.0,
        receive_buffer: int | None = None,
        record: bool = True,
        max_size: int = MAX_FRAME,
    ) -> None:
        self.token = token
        self.delay = delay
        self.events: list[dict[str, Any]] = []
        """Events that came, meta events left out."""
        self.raw: list[bytes] = []
        """The bytes of each of :attr:`events`."""
        self.meta: list[dict[str, Any]] = []
        """Meta events: lifecycles and heartbeats."""
        self.answers: list[dict[str, Any]] = []
        """API answers, in the order they came, wanted or not."""
        self.count = 0
        """How many events came, meta events left out."""
        self.refused: list[str] = []
        """Why links were turned down at the door."""
        self.on_event: Callable[[dict[str, Any]], None] | None = None
        """Called with each event (meta events left out) before ``delay``."""
        self.url = ""
        """Where it listens."""
        self._receive_buffer = receive_buffer
        self._record = record
        self._max_size = max_size
        self._links: list[Socket] = []
        self._paused = False
        self._waiting: dict[bytes, list[dict[str, Any]]] = {}
        self._echo = 0
        self._change = Change()
        self._tasks: TaskGroup | None = None

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[RecordingClient, None]:
        try:
            async with own_tasks() as self._tasks:
                yield self
        finally:
            self._tasks = None

    @property
    def links(self) -> list[Socket]:
        """The open links, oldest first."""
        return list(self._links)

    async def connect(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> Socket:
        """Dial ``url`` as a bot in forward mode does; the token goes into ``Authorization``.

        Raises:
            Refused: nobody there, or turned down.
        """
        tasks = self._running()
        shown = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        link = await dial_socket(
            url,
            {**shown, **(headers or {})},
            timeout=timeout,
            max_size=self._max_size,
            receive_buffer=self._receive_buffer,
            ssl_context=ssl_context,
        )
        self._admit(link)
        tasks.start_soon(self._serve, link)
        return link

    async def listen(
        self,
        path: str = "/onebot/v11/ws",
        *,
        port: int = 0,
        manners: Manners = "nonebot",
        ssl_context: ssl.SSLContext | None = None,
    ) -> str:
        """Be dialled, as a bot in reverse mode is; returns the URL.

        ``nonebot`` turns down a missing or doubled ``X-Self-ID`` and a wrong token with 403;
        ``aiocqhttp`` a missing ``X-Self-ID`` or ``X-Client-Role`` with 400, no token with 401, a wrong one with 403.

        Raises:
            OSError: the port is taken.
        """
        tasks = self._running()
        listener, url = await open_listener(
            "127.0.0.1", port, receive_buffer=self._receive_buffer, ssl_context=ssl_context
        )
        tasks.start_soon(self._listen, listener, path.rstrip("/"), manners)
        self.url = url + path
        return self.url

    async def received(self, events: int, *, timeout: float = 10.0) -> list[dict[str, Any]]:
        """Wait until at least ``events`` events have come in all (meta events left out), and return :attr:`events`.

        Raises:
            TimeoutError: not within ``timeout`` seconds.
        """
        await self._change.wait_for(
            lambda: self.count >= events, timeout, lambda: f"{self.count} of {events} events have come"
        )
        return self.events

    async def wait_connected(self, links: int = 1, *, timeout: float = 10.0) -> list[Socket]:
        """Wait until at least ``links`` links are open and each has had its first frame; returns them.

        Raises:
            TimeoutError: not within ``timeout`` seconds.
        """
        await self._change.wait_for(
            lambda: len(self._links) >= links, timeout, lambda: f"{len(self._links)} of {links} links are open"
        )
        return self.links

    async def wait_for(self, condition: Callable[[], bool], *, timeout: float = 10.0) -> None:
        """Wait until ``condition()`` holds; it is looked at when a link, an event or an answer comes or a link goes.

        Raises:
            TimeoutError: not within ``timeout`` seconds.
        """
        await self._change.wait_for(condition, timeout, lambda: "the condition does not hold")

    async def call(
        self,
        action: str,
        params: Mapping[str, Any] | None = None,
        *,
        echo: Any = _OWN,
        link: Socket | None = None,
        timeout: float = 30.0,
    ) -> dict[str, Any]:
        """Make an API call and return the whole answer, whatever its status.

        The answer is the first one whose echo equals ``echo``, type included; by default that
        is a decimal string, as NoneBot2's. ``link`` defaults to the newest link.

        Raises:
            ConnectionError: there is no link.
            TimeoutError: no such answer within ``timeout`` seconds.
        """
        if isinstance(echo, _Own):
            self._echo += 1
            echo = str(self._echo)
        key = encode(echo)
        found = self._waiting.setdefault(key, [])
        try:
            self.send({"action": action, "params": dict(params or {}), "echo": echo}, link=link)
            await self._change.wait_for(lambda: bool(found), timeout, lambda: f"no answer to {action}")
        finally:
            self._waiting.pop(key, None)
        return found[0]

    def send(self, message: Mapping[str, Any] | bytes, *, link: Socket | None = None) -> None:
        """Send a request, or any bytes, without waiting for an answer.

        Raises:
            ConnectionError: there is no link.
        """
        if link is None:
            if not self._links:
                raise ConnectionError("no link is open")
            link = self._links[-1]
        link.send(message if isinstance(message, bytes) else encode(dict(message)))

    def pause(self) -> None:
        """Stop reading on every link, also on those to come: a bot whose loop is blocked."""
        self._paused = True
        for link in self._links:
            link.pause()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        for link in self._links:
            link.resume()

    def _running(self) -> TaskGroup:
        if self._tasks is None:
            raise RuntimeError("use the client inside `async with`")
        return self._tasks

    async def _listen(self, listener: Listener[Any], path: str, manners: Manners) -> None:
        async with listener:
            await listener.serve(partial(self._take, path, manners))

    async def _take(self, path: str, manners: Manners, stream: ByteStream) -> None:
        link = await accept_socket(stream, partial(self._check, path, manners), max_size=self._max_size)
        if link is not None:
            self._admit(link)
            await self._serve(link)

    def _check(self, path: str, manners: Manners, request: Request) -> tuple[int, str] | None:
        refusal = self._objection(path, manners, request)
        if refusal is not None:
            self.refused.append(refusal[1])
            self._change.notify()
        return refusal

    def _objection(self, path: str, manners: Manners, request: Request) -> tuple[int, str] | None:
        headers = request.headers
        if urlsplit(request.path).path.rstrip("/") != path:
            return 404, "wrong path"
        self_id = headers.get("X-Self-ID")
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        given = given.strip() or query_value(request.path, "access_token")
        right = not self.token or (scheme.lower() in ("bearer", "token", "") and given == self.token)
        if manners == "nonebot":
            if not self_id:
                return 403, "Missing X-Self-ID Header"
            if any(link.headers.get("X-Self-ID") == self_id for link in self._links):
                return 403, "Duplicate X-Self-ID"
            return None if right else (403, "wrong token")
        if self.token and not given:
            return 401, "missing token"
        if not right:
            return 403, "wrong token"
        if headers.get("X-Client-Role", "").lower() not in ("universal", "event", "api"):
            return 400, "missing X-Client-Role Header"
        return None if self_id else (400, "missing X-Self-ID Header")

    def _admit(self, link: Socket) -> None:
        if self._paused:
            link.pause()
        self._links.append(link)
        self._change.notify()

    async def _serve(self, link: Socket) -> None:
        try:
            await link.run(self._on_message)
        finally:
            self._links.remove(link)
            self._change.notify()

    async def _on_message(self, message: bytes) -> None:
        try:
            data = orjson.loads(message)
        except orjson.JSONDecodeError:
            # Lone surrogates and numbers beyond double are fine with most JSON parsers.
            data = json.loads(message)
        if "post_type" not in data:
            # orjson rounds integers beyond 64 bits, and an echo may be one.
            self._take_answer(json.loads(message))
        elif data["post_type"] == "meta_event":
            self.meta.append(data)
            self._change.notify()
        else:
            self.count += 1
            if self._record:
                self.events.append(data)
                self.raw.append(message)
            self._change.notify()
            if self.on_event is not None:
                self.on_event(data)
            if self.delay:
                await anyio.sleep(self.delay)

    def _take_answer(self, data: dict[str, Any]) -> None:
        if self._record:
            self.answers.append(data)
        waiting = self._waiting.get(encode(data.get("echo")))
        if waiting is not None:
            waiting.append(data)
        self._change.notify()
