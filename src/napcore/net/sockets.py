"""Sockets: listening ones, bound by hand (anyio 4.10 leaves the socket of a failed bind open), and connected ones."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream, SocketAttribute, SocketListener, SocketStream

from napcore.dispatch import CAN_WRITE, Writer
from napcore.types import Flushed

__all__ = ("bind", "bound_buffers", "drain_into_socket", "own_descriptor", "say_no_more", "send_sliced", "watch_peer")

BACKLOG = 1024
"""Connections the system may keep waiting to be accepted."""

KEEPALIVE: Final = {"TCP_KEEPIDLE": 20, "TCP_KEEPALIVE": 20, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
"""Seconds until an idle peer is asked, between two questions, and how many; TCP_KEEPALIVE is macOS's KEEPIDLE."""

UPSTREAM_PATIENCE: Final = 15.0
"""Seconds an upstream on another machine may leave what we sent unacknowledged."""

SLICE: Final = 256 << 10
"""What is larger is handed to a stream in pieces of this size, each of which counts as progress."""

SEND_BUFFER: Final = 256 << 10
"""SO_SNDBUF: what is in the kernel can no longer be dropped, aged or overtaken."""

SMALL_SEND_BUFFER: Final = 64 << 10
"""SO_SNDBUF towards a peer that answers no pings: nothing else bounds what is in flight."""

UNSENT: Final = 128 << 10
"""TCP_NOTSENT_LOWAT, where it exists: of that, what may wait for the network."""


async def say_no_more(stream: ByteStream) -> None:
    """Half-close a connection, where that can be done: TLS has no such thing."""
    with suppress(NotImplementedError, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        await stream.send_eof()


async def bind(host: str, port: int, *, receive_buffer: int | None = None) -> list[SocketListener]:
    """Listen on every address ``host`` stands for; port 0 lets the system choose, the same for all.

    ``receive_buffer`` is SO_RCVBUF in bytes, which accepted sockets inherit.

    Raises:
        OSError: the host is unknown, or an address or the port cannot be had; nothing is left open.
    """
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((entry[0], entry[4][0]) for entry in found):
            bound = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(bound)
            # Windows lets anybody share a port bound with SO_REUSEADDR, and take its connections.
            bound.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR), 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if receive_buffer is not None:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            bound.bind((address, port))
            port = bound.getsockname()[1]
            bound.listen(BACKLOG)
        return [await SocketListener.from_socket(bound) for bound in sockets]
    except BaseException:
        for bound in sockets:
            bound.close()
        raise


def own_descriptor(stream: ByteStream) -> int:
    """A descriptor of our own for a plain socket, -1 where nothing can be written past the stream.

    It is a duplicate: the event loops close theirs on their own when a connection breaks, and the
    number may be another connection's a moment later.
    """
    if not CAN_WRITE or not isinstance(stream, SocketStream):
        return -1
    try:
        return os.dup(stream.extra(SocketAttribute.raw_socket).fileno())
    except OSError:
        return -1


def watch_peer(stream: ByteStream, *, remote: bool, patience: float) -> None:
    """Let the kernel notice a peer that is gone without a word; it says so by an error on the connection.

    An idle connection is asked after 20 s, and given up after 40. A remote peer that does not
    acknowledge for ``patience`` seconds (infinite: it may take its time) what was sent is given up
    too, which keepalive alone does not do while something is in flight.
    """
    raw = stream.extra(SocketAttribute.raw_socket, None)
    if raw is None:
        return
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    if remote and patience < math.inf and hasattr(socket, "TCP_USER_TIMEOUT"):
        options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(patience * 1000)))
    for option in options:
        # Not every platform has them for every socket.
        with suppress(OSError):
            raw.setsockopt(*option)


def bound_buffers(stream: ByteStream, *, small: bool = False) -> None:
    """Let the kernel hold so many bytes at most, and send them without delay; ``small``: hold few."""
    raw = stream.extra(SocketAttribute.raw_socket, None)
    if raw is None:
        return
    options = [
        (socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_SEND_BUFFER if small else SEND_BUFFER),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    ]
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        options.append((socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT))
    for option in options:
        # Not every platform has them for every socket.
        with suppress(OSError):
            raw.setsockopt(*option)


async def drain_into_socket(writer: Writer, patience: float, later: Callable[[], None]) -> bool:
    """Write until nothing waits that may go now, and say ``later()`` if something may not yet.

    False if the peer took nothing for ``patience`` seconds.

    Raises:
        BrokenPipeError: the connection is gone.
    """
    while (flushed := writer.flush(time.monotonic())) is not Flushed.DONE:
        if flushed is Flushed.LATER:
            later()
            return True
        if flushed is Flushed.LOST:
            raise BrokenPipeError(writer.error, os.strerror(writer.error))
        if flushed is Flushed.MORE:
            await anyio.lowlevel.checkpoint()
            continue
        with anyio.move_on_after(patience) as scope:
            await anyio.wait_writable(writer.descriptor)
        if scope.cancelled_caught:
            return False
    return True


async def send_sliced(stream: ByteStream, data: bytes, patience: float) -> bool:
    """Send ``data``; False if the peer took nothing of it for ``patience`` seconds: half of it may be out then."""
    view = memoryview(data)
    for start in range(0, len(data), SLICE):
        with anyio.move_on_after(patience) as scope:
            await stream.send(data if len(data) <= SLICE else bytes(view[start : start + SLICE]))
        if scope.cancelled_caught:
            return False
    return True
