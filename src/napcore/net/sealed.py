"""Sending over TLS without waiting: records are made and written at once, as frames in the clear are.

anyio's stream waits with every send, so that each would need a task of its own, which costs several
times what making and writing a record does. What the stream itself has to send, when it answers the
peer's TLS, takes the same way: records go out in the order in which they were made.
"""

from __future__ import annotations

import math
import os
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, final

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream, SocketStream
from anyio.streams.tls import TLSStream

from napcore.net.lane import CHUNK, Outgoing
from napcore.net.sockets import own_descriptor

__all__ = ("Sealed", "sealed")

AT_ONCE: Final = 4
"""Such writes before others have their turn."""


def sealed(stream: ByteStream) -> Sealed | None:
    """The way around a TLS stream's ``send``; None where there is none. It stays the stream's to be closed after it."""
    # anyio shows the TLS object, but not where its records come out: where that is not what it was, the
    # stream sends as ever.
    records = getattr(stream, "_write_bio", None)
    made = getattr(stream, "_ssl_object", None)
    if not isinstance(stream, TLSStream) or type(made) is not ssl.SSLObject or not isinstance(records, ssl.MemoryBIO):
        return None
    transport = stream.transport_stream
    if not isinstance(transport, SocketStream) or records.pending:
        return None
    descriptor = own_descriptor(transport)
    if descriptor < 0:
        return None
    found = Sealed(made, records, descriptor)
    stream.transport_stream = _Transport(transport, found)
    return found


@final
class Sealed:
    """Where the records of a TLS connection are made, and written to its socket, in order."""

    def __init__(self, tls: ssl.SSLObject, records: ssl.MemoryBIO, descriptor: int) -> None:
        self._tls = tls
        self._records = records
        self._descriptor = descriptor
        self.begun = False
        """Whether a flush has written something whose sender has not been told of it: :meth:`complete` comes first."""
        self._rest = bytearray()
        self._turn = anyio.Lock()

    @property
    def pending(self) -> bool:
        """Whether the socket had no room for all of what was written."""
        return bool(self._rest)

    def write(self, data: bytes) -> bool:
        """Send ``data``; whether all of it is out. Does not wait. Raises as :meth:`flush` does."""
        self._tls.write(data)
        return self.put(self._records.read())

    def flush(self, outgoing: Outgoing) -> bool:
        """Write what may go now; False where that would wait or take long.

        Raises:
            OSError: the connection is gone, or the peer's TLS does not allow it.
        """
        for _ in range(AT_ONCE):
            frames = outgoing.gather(time.monotonic(), CHUNK)
            if not frames:
                return True
            self.begun = not self.write(b"".join(frames))
            if self.begun:
                return False
            outgoing.wrote()
        return False

    async def complete(self, outgoing: Outgoing, patience: float) -> bool:
        """Bring a flush that has :attr:`begun` to its end; as :meth:`finish`."""
        # Somebody else may have finished it meanwhile.
        if self.begun and await self.finish(patience):
            self.begun = False
            outgoing.wrote()
        return not self.begun

    def put(self, records: bytes) -> bool:
        """The same for what is sealed already."""
        if self._descriptor < 0:
            raise BrokenPipeError("the connection is closed")
        sent = 0
        if not self._rest:
            try:
                sent = os.write(self._descriptor, records)
            except BlockingIOError:
                pass
        if sent < len(records):
            self._rest += memoryview(records)[sent:]
        return not self._rest

    async def finish(self, patience: float = math.inf) -> bool:
        """Wait until all is out; False if the peer took nothing of it for ``patience`` seconds.

        Raises:
            OSError: the connection is gone.
        """
        async with self._turn:
            while self._rest:
                with anyio.move_on_after(patience) as scope:
                    await anyio.wait_writable(self._descriptor)
                if scope.cancelled_caught:
                    return False
                try:
                    del self._rest[: os.write(self._descriptor, self._rest)]
                except BlockingIOError:
                    continue
        return True

    def close(self) -> None:
        """Write nothing any more."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class _Transport(ByteStream):
    """What the TLS stream sends through and receives from."""

    def __init__(self, stream: SocketStream, way: Sealed) -> None:
        self._stream = stream
        self._way = way

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._stream.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        # In this order: what is put later goes behind it.
        try:
            if not self._way.put(item):
                await self._way.finish()
        except OSError as error:
            raise anyio.BrokenResourceError from error
        await anyio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._stream.extra_attributes
