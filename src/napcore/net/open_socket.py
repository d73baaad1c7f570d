"""One WebSocket that we dialled, as a framework's driver wants it: messages in, messages out, and how it ended."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import anyio

from napcore.core.liveness import Liveness, Step
from napcore.core.request_lane import RequestLane
from napcore.dispatch import masked_frame
from napcore.errors import ConnectionClosed
from napcore.net.link import Link
from napcore.net.sockets import UPSTREAM_PATIENCE, watch_peer
from napcore.net.tasks import own_tasks
from napcore.net.websocket import DialFailed, dial, public_url

__all__ = ("OpenSocket", "DialFailed", "open_socket")

LOOK: Final = 1.0
"""Seconds between looks at how long the peer has been silent."""

UNREAD: Final = 64 << 20
"""Bytes of messages that may wait to be received; a peer whose messages nobody reads is closed with 1013."""

UNSENT: Final = 8 << 20
"""Bytes that may wait to be written before sending waits."""

_log = logging.getLogger("napcore.websocket")


class _Lane(RequestLane):
    """Tells when everything has been written."""

    def __init__(self) -> None:
        super().__init__(masked=True)
        self.waiting = 0
        self.empty = anyio.Event()

    def wrote(self) -> int:
        """All that was gathered is out."""
        last = super().wrote()
        if not len(self):
            self.waiting = 0
            self.empty.set()
        return last


class OpenSocket:
    """An open WebSocket to a OneBot implementation; made by :func:`open_socket`. Messages up to 50 MiB, text only."""

    def __init__(self, url: str) -> None:
        self.link: Link
        self._lane = _Lane()
        self._messages: deque[bytes] = deque()
        self._unread = 0
        self._news = anyio.Event()
        self._name = public_url(url)
        self._over = False

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._over or not self.link.open

    async def receive(self) -> bytes:
        """The next message.

        Raises:
            ConnectionClosed: the connection has ended and everything has been received.
        """
        while not self._messages:
            if self._over:
                raise self._ended()
            self._news = anyio.Event()
            await self._news.wait()
        message = self._messages.popleft()
        self._unread -= len(message)
        return message

    async def send(self, data: bytes, opcode: int = 1) -> None:
        """Send one message; waits while more than 8 MiB have not been written.

        Raises:
            ConnectionClosed: the connection has ended.
        """
        while self._lane.waiting > UNSENT and not self.closed:
            self._lane.empty = anyio.Event()
            await self._lane.empty.wait()
        if self.closed:
            raise self._ended()
        self._lane.waiting += len(data)
        self._lane.offer_control(masked_frame(data, os.urandom(4), opcode))
        self.link.flush()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection and wait until it has gone."""
        await self.link.close(code, reason)

    def take(self, messages: list[bytes]) -> None:
        """What one read brought."""
        self._messages.extend(messages)
        self._unread += sum(map(len, messages))
        if self._unread > UNREAD:
            self.link.start_close(1013, "too slow: nobody receives what is sent")
        self._news.set()

    async def run(self) -> None:
        """Serve the link until it ends."""
        try:
            await self.link.run()
        finally:
            self._over = True
            self._news.set()
            self._lane.empty.set()
            if self.link.binary:
                _log.warning("%s sent %d binary messages, which were left out", self._name, self.link.binary)

    async def watch(self) -> None:
        """Look after a peer that is silent: a remote one that answers no ping has gone, one on this machine sleeps."""
        liveness = Liveness(time.monotonic(), patient=self.link.loopback)
        while True:
            await anyio.sleep(LOOK)
            step = liveness.look(time.monotonic(), self.link.heard_at)
            if step is Step.PING:
                self._lane.offer_control(masked_frame(b"", os.urandom(4), 9))
                self.link.flush()
            elif step is Step.DEAD:
                self.link.abort(f"it has been silent for {liveness.silent_for:.0f} s and does not answer")

    def _ended(self) -> ConnectionClosed:
        return ConnectionClosed(self.link.close_code or self.link.closed_with or 1006, self.link.cause)


@asynccontextmanager
async def open_socket(
    url: str, headers: Mapping[str, str], *, timeout: float = 10.0
) -> AsyncGenerator[OpenSocket, None]:
    """Dial ``url`` and hold the connection as long as the block lasts; on asyncio or trio. ``timeout`` is for dialling.

    Raises:
        DialFailed: it could not be had.
    """
    dialled = await dial(url, headers, timeout=timeout)
    opened = OpenSocket(url)
    link = opened.link = Link(
        public_url(url), dialled.stream, opened._lane, opened.take, client=True, early=dialled.early
    )
    link.stall_limit = 600.0 if link.loopback else 10.0
    watch_peer(dialled.stream, remote=not link.loopback, patience=UPSTREAM_PATIENCE)
    async with own_tasks() as tasks:
        tasks.start_soon(opened.run)
        tasks.start_soon(opened.watch)
        try:
            yield opened
        finally:
            with anyio.CancelScope(shield=True):
                await link.close(1000, "")
