"""The reading side of a link: woken once for what has come, whole messages out.

A plain socket is read past its stream, through a descriptor of our own: straight into the reader,
without a bytes object, a queue and a second turn of the event loop in between. On asyncio and
uvloop the loop itself calls the reader; on trio a task waits until there is something to read.
Everything else (TLS, a platform without descriptors) is read through the stream.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

from napcore.dispatch import CAN_POLL, CAN_READ, Assembly, Reader, Source, Writer
from napcore.net.pool import Member, pool, readable_waiter, watch_descriptor
from napcore.net.reference import ReferenceReader
from napcore.net.sockets import own_descriptor

__all__ = ("MessageReader", "Receiver", "make_reader", "why_closed")

CHUNK: Final = 64 << 10
"""Bytes read at once through a stream."""

CLIENT_AT_ONCE: Final = 2048
"""Bytes read from a client before others have their turn: a flood of calls costs them half a millisecond at a time."""

UNFINISHED: Final = Assembly(256 << 20)
"""What unfinished messages of all links in this process may take together."""


class MessageReader(Protocol):
    """What a receiver feeds: a ``Reader``, or websockets' parser in its clothes."""

    due: bool

    @property
    def at_once(self) -> int:
        """Bytes read before others have their turn."""
        ...

    @property
    def over(self) -> bool:
        """Whether nothing is read any more."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the connection has ended."""
        ...

    @property
    def close_code(self) -> int:
        """The peer's, 0 if it has sent none."""
        ...

    @property
    def close_reason(self) -> str:
        """The same in words."""
        ...

    @property
    def fault_code(self) -> int:
        """What to close with because of what came; 0 if all was well."""
        ...

    @property
    def fault(self) -> str:
        """The same in words."""
        ...

    @property
    def binary(self) -> int:
        """Binary messages that came."""
        ...

    def feed(self, data: bytes, /) -> list[bytes]:
        """What these bytes complete."""
        ...

    def pull(
        self,
        descriptor: int,
        on_read: Callable[[list[bytes]], None],
        source: Source | None = None,
        /,
    ) -> None:
        """The same for what a socket has."""
        ...

    @property
    def reads(self) -> int:
        """How often something came."""
        ...

    def take_pings(self) -> list[bytes]:
        """What is to be answered with pongs."""
        ...

    def close(self) -> None:
        """Nothing is read any more."""
        ...


def make_reader(*, masked: bool, writer: Writer | None) -> MessageReader:
    """The reader for a peer that masks its frames or does not.

    ``NAPCORE_READER=websockets`` in the environment takes websockets' parser, to compare with.
    """
    if os.environ.get("NAPCORE_READER") == "websockets":
        return ReferenceReader(masked=masked, writer=writer)
    if writer is not None:
        return Reader(masked=masked, writer=writer, assembly=UNFINISHED, at_once=CLIENT_AT_ONCE)
    return Reader(masked=masked, assembly=UNFINISHED)


def why_closed(reader: MessageReader, sent: tuple[int, str] | None, answered: bool) -> str:
    """How a link ended, by the close frames: that which we ``sent``, perhaps as the answer to the peer's."""
    if reader.close_code and (sent is None or answered):
        return f"closed by the peer with {reader.close_code}{reader.close_reason and ': '}{reader.close_reason}"
    if sent is not None:
        return f"closed with {sent[0]}: {sent[1]}"
    return "connection lost"


class Receiver:
    """Reads a link's connection until it ends.

    ``on_read`` is called with the messages that came, and without any when the reader has something
    due; it may not wait. ``source`` is ``Reader.pull``'s. ``early`` is what has been read already.
    ``descriptor`` is one of our own for the stream's socket, -1 if there is none to borrow: then the
    receiver has one of its own as long as it runs.
    """

    def __init__(
        self,
        stream: ByteStream,
        reader: MessageReader,
        descriptor: int,
        on_read: Callable[[list[bytes]], None],
        source: Source | None = None,
        *,
        early: bytes = b"",
    ) -> None:
        self._stream = stream
        self._reader = reader
        self._descriptor = descriptor
        self._early = early
        self._on_read = on_read
        self._source = source
        self._failure: BaseException | None = None
        self._over = False
        self._done: anyio.Event | None = None  # for whoever waits for that
        self._member: Member | None = None

    async def run(self) -> None:
        """Read until the connection has ended or :meth:`stop` is called."""
        if self._early:
            self._feed(self._early)
            self._early = b""
            if self._over:
                return
        loop = anyio.lowlevel.current_token().native_token
        borrowed = self._descriptor >= 0
        if CAN_READ and not borrowed:
            self._descriptor = own_descriptor(self._stream)
        try:
            # Behind a take-over there is no way back to the stream.
            if not CAN_READ or self._descriptor < 0 or not self._take_over(loop):
                await self._read_stream()
            elif borrowed and CAN_POLL:
                await self._read_pooled()
            elif hasattr(loop, "add_reader"):
                await self._read_called(loop)
            else:
                await self._read_waiting()
        finally:
            if not borrowed and self._descriptor >= 0:
                os.close(self._descriptor)

    def stop(self) -> None:
        """Read no more. Does not wait."""
        self._over = True
        if self._done is not None:
            self._done.set()
        if self._member is not None:
            self._member.stop()

    def _take_over(self, loop: Any) -> bool:
        """Whether the socket can be read past its stream, with nothing of it lost in there."""
        if not hasattr(loop, "add_reader"):
            return True  # trio's streams read nothing ahead
        # asyncio's do, and anyio shows neither what has been read nor how to stop it: where these
        # two are not what they were, the stream is read as ever.
        transport: Any = getattr(self._stream, "_transport", None)
        queue = getattr(getattr(self._stream, "_protocol", None), "read_queue", None)
        if not isinstance(queue, deque) or not hasattr(transport, "pause_reading"):
            return False
        if not transport.is_closing():
            transport.pause_reading()
        while queue:
            self._feed(queue.popleft())
        return True

    async def _read_called(self, loop: Any) -> None:
        # Past anyio, which has nothing like it: a wake-up costs a third of what receive() does on
        # asyncio (18 us to 61), half on uvloop (11 to 21).
        self._done = anyio.Event()
        watch_descriptor(loop, self._descriptor, self._pull)
        try:
            if not self._over:
                await self._done.wait()
        finally:
            loop.remove_reader(self._descriptor)
        if self._failure is not None:
            raise self._failure

    async def _read_pooled(self) -> None:
        # Links to clients, to which hardly anything comes but pongs, and many of those at a time.
        self._member = Member(self._descriptor, self._reader, self._took)
        if not self._over:
            with pool() as shared:
                await shared.serve(self._member)
        if self._failure is not None:
            raise self._failure

    async def _read_waiting(self) -> None:
        # Four fifths of what receive() costs on trio: no attempt to read what is not there yet, and
        # no turn of the loop after having read.
        wait_readable = readable_waiter()
        while not self._over:
            await wait_readable(self._descriptor)
            self._reader.pull(self._descriptor, self._on_read, self._source)
            if self._reader.ended:
                return

    async def _read_stream(self) -> None:
        while not self._over:
            try:
                data = await self._stream.receive(min(CHUNK, 4 * self._reader.at_once))
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
                return
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        self._on_read(self._reader.feed(data))
        if self._source is not None:
            self._source.flush()

    def _pull(self) -> None:
        try:
            self._reader.pull(self._descriptor, self._on_read, self._source)
        except BaseException as error:
            self._fail(error)
        if self._reader.ended:
            self.stop()

    def _took(self, messages: list[bytes]) -> None:
        try:
            self._on_read(messages)
        except BaseException as error:
            self._fail(error)
        if self._reader.ended:
            self.stop()

    def _fail(self, error: BaseException) -> None:
        # For the task that runs the link: in a callback of the loop nobody would hear of it.
        self._failure = error
        self.stop()
