"""A connection that has not said who it is.

Most of what a port under attack sees never becomes more than that, so it is read and answered on
its bare socket: without a stream of the event loop, its transport and its buffers, which cost more
than all the rest of a refusal.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream

__all__ = ("Newcomer",)


class Newcomer(ByteStream):
    """An accepted socket, which is not blocking, and may become a stream."""

    def __init__(self, raw: socket.socket, address: Any) -> None:
        self._raw = raw
        self._address = address[:2] if isinstance(address, tuple) else address
        self._stream: SocketStream | None = None

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The socket and the peer's address, as anyio's streams have them."""
        return {
            SocketAttribute.raw_socket: lambda: self._raw,
            SocketAttribute.remote_address: lambda: self._address,
        }

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Bytes as they come.

        Raises:
            EndOfStream: the peer has ended.
            BrokenResourceError: the connection is lost.
        """
        while True:
            try:
                data = self._raw.recv(max_bytes)
            except BlockingIOError:
                await anyio.wait_readable(self._raw)
            except OSError as error:
                raise anyio.BrokenResourceError from error
            else:
                if not data:
                    raise anyio.EndOfStream
                return data

    async def send(self, item: bytes) -> None:
        """Send all of ``item``.

        Raises:
            BrokenResourceError: the connection is lost.
        """
        left = memoryview(item)
        while left:
            try:
                left = left[self._raw.send(left) :]
            except BlockingIOError:
                await anyio.wait_writable(self._raw)
            except OSError as error:
                raise anyio.BrokenResourceError from error

    async def send_eof(self) -> None:
        """Say that nothing more will come."""
        with suppress(OSError):
            self._raw.shutdown(socket.SHUT_WR)

    async def stream(self) -> SocketStream:
        """The stream it becomes; nothing may be done here any more but :meth:`aclose`, which closes that.

        Raises:
            BrokenResourceError: the peer has gone.
        """
        try:
            self._stream = await SocketStream.from_socket(self._raw)
        except (OSError, ValueError) as error:
            raise anyio.BrokenResourceError from error
        return self._stream

    async def aclose(self) -> None:
        """Close the connection."""
        if self._stream is None:
            self._raw.close()
        else:
            await self._stream.aclose()
