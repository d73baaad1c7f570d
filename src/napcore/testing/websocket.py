"""One WebSocket in either role over anyio, made of websockets' Sans-I/O classes.

It shares nothing with napcore's own framing: what talks to a relay in a test or a demo is an
independent peer.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio
from anyio.abc import ByteStream, TaskGroup
from anyio.streams.tls import TLSStream
from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, State

__all__ = ("CHUNK", "MAX_FRAME", "SILENT", "Socket", "end_stream")

MAX_FRAME: Final = 50 << 20
"""NapCat's ``maxPayload`` in bytes."""

CLOSE_TIMEOUT: Final = 2.0
"""Seconds the peer has to finish the close handshake before the connection is cut."""

CHUNK: Final = 64 << 10
"""Bytes read at once."""

SILENT: Final = logging.Logger("napcore.testing.websocket", level=logging.CRITICAL)
"""For websockets' classes, which would log headers and frames at DEBUG: tokens and message texts."""


class Socket:
    """An open WebSocket: whole text messages in and out.

    :meth:`send` never waits and its buffer has no bound, as in NapCat; :meth:`drained` waits for
    it. :meth:`run` reads until the connection is gone.
    """

    def __init__(
        self, stream: ByteStream, protocol: Protocol, path: str, headers: Headers, early: Sequence[object] = ()
    ) -> None:
        self.path: Final = path
        """Path the WebSocket was opened with, query included."""
        self.headers: Final = headers
        """Headers the peer sent in the handshake."""
        self.closed: Final = anyio.Event()
        """Set when the connection is gone."""
        self.unsent = 0
        """Bytes that wait to be written."""
        self._stream = stream
        self._protocol = protocol
        self._early = early
        self._outgoing: list[bytes] = []
        self._parts: list[bytes] = []
        self._text = True
        self._tasks: TaskGroup | None = None
        self._draining = False
        self._progress = anyio.Event()
        self._gate: anyio.Event | None = None
        self._cutting = False
        self._queue_protocol()

    @property
    def open(self) -> bool:
        """Whether messages can still be sent."""
        return self._protocol.state is State.OPEN

    @property
    def close_code(self) -> int | None:
        """The close code (RFC 6455, 7.4) the peer sent, else the one we sent, else 1006; None while it is open."""
        protocol = self._protocol
        if protocol.state is not State.CLOSED:
            return None
        close = protocol.close_rcvd or protocol.close_sent
        return close.code if close is not None else 1006

    @property
    def close_reason(self) -> str | None:
        """The text that came with the peer's close code; None while it is open."""
        return self._protocol.close_reason

    @property
    def self_id(self) -> int | None:
        """The account named by the peer's ``X-Self-ID`` header."""
        value = self.headers.get("X-Self-ID", "")
        return int(value) if len(value) < 20 and value.isascii() and value.isdecimal() else None

    def send(self, message: bytes) -> bool:
        """Queue one text message; False if the connection is no longer open. Never waits."""
        if self._protocol.state is not State.OPEN:
            return False
        self._protocol.send_text(message)
        self._queue_protocol()
        return True

    def send_raw(self, data: bytes) -> None:
        """Queue bytes that are no frame of ours, to see what the peer makes of them."""
        self._queue(data)

    def ping(self, data: bytes = b"") -> None:
        """Queue a ping."""
        if self.open:
            self._protocol.send_ping(data)
            self._queue_protocol()

    async def drained(self, limit: int = 0) -> None:
        """Return once at most ``limit`` bytes wait to be written, or the connection is gone."""
        while self.unsent > limit and not self.closed.is_set():
            await self._progress.wait()

    def pause(self) -> None:
        """Stop reading: no message, no ping is looked at until :meth:`resume`."""
        if self._gate is None:
            self._gate = anyio.Event()

    def resume(self) -> None:
        """Read on."""
        if self._gate is not None:
            self._gate.set()
            self._gate = None

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Start the close handshake; without a code the peer sees 1005, as from NapCat."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._queue_protocol()

    def abort(self) -> None:
        """Cut the connection without a close frame."""
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    async def run(self, on_message: Callable[[bytes], Awaitable[None]]) -> None:
        """Read until the connection is gone; every message waits for the one before to be handled."""
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                try:
                    self._queue_protocol()
                    self._start_drain()
                    await self._hand_out(self._early, on_message)
                    await self._read(on_message)
                    with anyio.move_on_after(CLOSE_TIMEOUT):
                        await self.drained()
                finally:
                    # Others may send until this task runs again; a trio nursery that is closing takes no more tasks.
                    self._tasks = None
                tasks.cancel_scope.cancel()
        finally:
            self._protocol.receive_eof()
            self.closed.set()
            self._progress.set()
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(self._stream)

    async def _read(self, on_message: Callable[[bytes], Awaitable[None]]) -> None:
        while self._protocol.state is not State.CLOSED:
            try:
                data = await self._stream.receive(CHUNK)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                self._protocol.receive_eof()
            else:
                # A peer that does not read has not seen what lies in its buffers either.
                await self._opened()
                self._protocol.receive_data(data)
            events = self._protocol.events_received()
            self._queue_protocol()
            await self._hand_out(events, on_message)

    async def _hand_out(self, events: Sequence[object], on_message: Callable[[bytes], Awaitable[None]]) -> None:
        for event in events:
            if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                if event.opcode is not Opcode.CONT:
                    self._text = event.opcode is Opcode.TEXT
                self._parts.append(bytes(event.data))
                if event.fin:
                    message = b"".join(self._parts)
                    self._parts.clear()
                    if self._text and not _is_utf8(message):
                        self._protocol.fail(1007, "invalid UTF-8")
                        self._queue_protocol()
                        return
                    await self._opened()
                    await on_message(message)

    async def _opened(self) -> None:
        while self._gate is not None:
            await self._gate.wait()

    def _queue_protocol(self) -> None:
        for data in self._protocol.data_to_send():
            self._queue(data)
        if self._protocol.close_expected() and self._tasks is not None and not self._cutting:
            self._cutting = True
            self._tasks.start_soon(self._cut)

    def _queue(self, data: bytes) -> None:
        self._outgoing.append(data)
        self.unsent += len(data)
        self._start_drain()

    def _start_drain(self) -> None:
        if self._tasks is not None and self._outgoing and not self._draining:
            self._draining = True
            self._tasks.start_soon(self._drain)

    async def _drain(self) -> None:
        try:
            while self._outgoing:
                batch, self._outgoing = self._outgoing, []
                # An empty chunk is websockets' sign to end our half of the connection.
                end = not batch[-1]
                data = b"".join(batch)
                if data:
                    await self._stream.send(data)
                if end:
                    await end_stream(self._stream)
                self.unsent -= len(data)
                progress, self._progress = self._progress, anyio.Event()
                progress.set()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            self.abort()
        finally:
            self._draining = False

    async def _cut(self) -> None:
        await anyio.sleep(CLOSE_TIMEOUT)
        self.abort()


async def end_stream(stream: ByteStream) -> None:
    """End our half of a connection."""
    if isinstance(stream, TLSStream):
        # TLS has no half-closed state.
        await stream.aclose()
    else:
        await stream.send_eof()


def _is_utf8(message: bytes) -> bool:
    try:
        message.decode()
    except UnicodeDecodeError:
        return False
    return True
