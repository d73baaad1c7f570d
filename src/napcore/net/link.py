"""One live connection: bytes in, messages out; frames out of a lane, bytes out."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import anyio
from anyio.abc import ByteStream, SocketAttribute, TaskGroup
from websockets.frames import Frame
from websockets.protocol import CLIENT, State
from websockets.protocol import Protocol as WebSocketProtocol

from napcore.dispatch import frame, masked_frame
from napcore.net.websocket import MessageReader, is_loopback
from napcore.types import Outcome

__all__ = ("Lane", "Link")

CHUNK: Final = 64 << 10
"""Bytes gathered for one write, and read at once."""

SLICE: Final = 256 << 10
"""A larger frame is handed to the socket in pieces of this size, each of which counts as progress."""

SEND_BUFFER: Final = 256 << 10
"""SO_SNDBUF: what is in the kernel can no longer be dropped, aged or overtaken."""

CLOSE_TIMEOUT: Final = 2.0
"""Seconds a close handshake may take before the connection is cut."""


class Lane(Protocol):
    """Where a link's frames wait: an ``Outbox`` towards a client, a ``RequestLane`` towards an upstream."""

    @property
    def close_code(self) -> int:
        """1013 when the link is to be closed for being too slow, else 0."""
        ...

    @property
    def control_queued(self) -> int:
        """Frames that go ahead of everything else."""
        ...

    def offer_control(self, frame: bytes, /) -> Outcome:
        """Queue such a frame."""
        ...

    def gather(self, now: float, max_bytes: int = ..., /) -> list[bytes]:
        """The next frames to write."""
        ...

    def wrote(self) -> int:
        """They are out; returns the sequence of the last event among them."""
        ...

    def confirm(self, sequence: int, /) -> int:
        """The peer has them."""
        ...

    def lose_link(self) -> int:
        """The link is gone."""
        ...


class Link:
    """An open WebSocket, in either role.

    One task reads (:meth:`run`); one drainer, started when something waits and gone when nothing
    does, owns the writing side, control frames included, so that no frame is torn or overtaken
    inside. A send that is cancelled or takes too long ends the connection: a socket is never
    used again behind half a frame.

    ``on_messages`` is called with the text messages of each read; it must not wait.
    ``stall_limit`` is how many seconds the peer may take nothing while something waits.
    """

    def __init__(
        self,
        name: str,
        stream: ByteStream,
        protocol: WebSocketProtocol,
        lane: Lane,
        on_messages: Callable[[list[bytes]], None],
        *,
        early: Sequence[Frame] = (),
        stall_limit: float = math.inf,
    ) -> None:
        self.name = name
        self.lane = lane
        self.loopback = is_loopback(stream)
        self.stall_limit = stall_limit
        self.cause = ""
        """Why it ended, in words; empty while it is open."""
        self.closed = anyio.Event()
        """Set when the connection is gone and nothing of it is left."""
        self._stream = stream
        self._protocol = protocol
        self._reader = MessageReader(protocol)
        self._early = early
        self._on_messages = on_messages
        self._masked = protocol.side is CLIENT
        self._tasks: TaskGroup | None = None
        self._drained: anyio.Event | None = None
        self._cutting = False
        self._eof = False
        _bound_send_buffer(stream)

    @property
    def open(self) -> bool:
        """Whether frames can still be sent."""
        return self._protocol.state is State.OPEN and not self._eof

    @property
    def close_code(self) -> int | None:
        """The code the peer closed with (RFC 6455, 7.4); None if it did not."""
        received = self._protocol.close_rcvd
        return int(received.code) if received is not None else None

    @property
    def binary(self) -> int:
        """Binary messages that came and were left out: OneBot 11 has none."""
        return self._reader.binary

    async def run(self) -> None:
        """Serve the connection until it ends. What the peer or the network does never raises here."""
        try:
            if self._eof:
                return
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                try:
                    self._take(self._early)
                    self.flush()
                    await self._read()
                    if self._drained is not None:
                        # A last close frame, or the answers before it, may still be on their way out.
                        with anyio.move_on_after(CLOSE_TIMEOUT):
                            await self._drained.wait()
                finally:
                    # Other tasks flush until this one runs again, and a trio nursery that is closing takes no more.
                    self._tasks = None
                tasks.cancel_scope.cancel()
        finally:
            self._eof = True
            self.cause = self.cause or self._closed_why()
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(self._stream)
            self.lane.lose_link()
            self.closed.set()

    def flush(self) -> None:
        """See to it that what waits in the lane is written. Does not wait."""
        if self.lane.close_code and self.open:
            self.start_close(self.lane.close_code, "too slow: the queue overflowed")
        if self._tasks is not None and self._drained is None:
            self._drained = anyio.Event()
            self._tasks.start_soon(self._drain)

    def send(self, data: bytes) -> None:
        """Queue one text message ahead of all events: an answer, a lifecycle, a heartbeat."""
        if self.open:
            self.lane.offer_control(masked_frame(data, os.urandom(4)) if self._masked else frame(data))
            self.flush()

    def start_close(self, code: int, reason: str) -> None:
        """Begin the close handshake, ahead of queued events; ``reason`` is cut to 123 bytes (RFC 6455, 5.5)."""
        self.cause = self.cause or f"closed with {code}: {reason}"
        if self.open:
            self._protocol.send_close(code, reason.encode()[:123].decode(errors="ignore"))
            self._obey()

    async def close(self, code: int, reason: str) -> None:
        """Close and wait until the connection is gone: bounded, and carried through even when cancelled."""
        self.start_close(code, reason)
        with anyio.CancelScope(shield=True):
            # It cuts itself when the peer does not complete the handshake.
            await self.closed.wait()

    def abort(self, cause: str) -> None:
        """Cut the connection without a word."""
        self.cause = self.cause or cause
        self._eof = True
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    async def _read(self) -> None:
        protocol, stream = self._protocol, self._stream
        while not self._eof:
            try:
                data = await stream.receive(CHUNK)
            except anyio.EndOfStream:
                protocol.receive_eof()
                self._obey()
                return
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
                return
            protocol.receive_data(data)
            self._take(protocol.events_received())

    def _take(self, events: Sequence[Any]) -> None:
        messages = self._reader.messages([event for event in events if isinstance(event, Frame)])
        self._obey()
        if messages:
            self._on_messages(messages)

    def _obey(self) -> None:
        # The protocol asks for pongs, its side of the close handshake, and the end of the stream (b"").
        for data in self._protocol.data_to_send():
            if data:
                self.lane.offer_control(data)
                self.flush()
            else:
                self._eof = True
        if self._protocol.state is not State.OPEN and not self._cutting and self._tasks is not None:
            self._cutting = True
            self._tasks.start_soon(self._cut)

    async def _cut(self) -> None:
        await anyio.sleep(CLOSE_TIMEOUT)
        self.abort("the close handshake was not completed")

    async def _drain(self) -> None:
        lane, drained = self.lane, self._drained
        try:
            while True:
                if self._protocol.state is State.OPEN:
                    frames = lane.gather(time.monotonic(), CHUNK)
                elif lane.control_queued:
                    # Nothing but the close handshake may follow a close frame: one at a time.
                    frames = lane.gather(time.monotonic(), 0)
                else:
                    break
                if not frames:
                    break
                if not await self._write(frames[0] if len(frames) == 1 else b"".join(frames)):
                    self.abort(f"it took nothing for {self.stall_limit:g} s while events were waiting")
                    return
                lane.confirm(lane.wrote())
            # Only now may another follow: behind what may be half a frame nothing goes out.
            self._drained = None
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            # EndOfStream: a TLS stream whose peer has gone.
            self.abort("connection lost while writing")
        finally:
            if drained is not None:
                drained.set()

    async def _write(self, data: bytes) -> bool:
        view = memoryview(data)
        for start in range(0, len(data), SLICE):
            with anyio.move_on_after(self.stall_limit) as scope:
                await self._stream.send(data if len(data) <= SLICE else bytes(view[start : start + SLICE]))
            if scope.cancelled_caught:
                return False
        return True

    def _closed_why(self) -> str:
        received, sent = self._protocol.close_rcvd, self._protocol.close_sent
        if received is not None and not (sent is not None and self._protocol.close_rcvd_then_sent is False):
            return f"closed by the peer with {received.code}{': ' + received.reason if received.reason else ''}"
        if sent is not None:
            return f"closed with {int(sent.code)}: {sent.reason}"
        return "connection lost"


def _bound_send_buffer(stream: ByteStream) -> None:
    raw = stream.extra(SocketAttribute.raw_socket, None)
    if raw is not None:
        with suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
