"""One live connection: bytes in, messages out; frames out of a lane, bytes out."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from typing import Final

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream, TaskGroup

from napcore.dispatch import Outbox, Source, Writer, frame, masked_frame
from napcore.net.catch_up import CatchUp
from napcore.net.lane import CHUNK, Lane
from napcore.net.receiver import Receiver, make_reader, why_closed
from napcore.net.sealed import sealed
from napcore.net.sockets import bound_buffers, drain_into_socket, own_descriptor, say_no_more, send_sliced
from napcore.net.websocket import CLOSE, PONG, TOO_BIG, close_data, is_loopback
from napcore.types import Flushed

__all__ = ("Link",)

PATIENCE: Final = 60.0
"""Seconds in which a peer that is alive must have answered its first ping, or will be sent none."""

CLOSE_TIMEOUT: Final = 2.0
"""Seconds a close handshake may take before the connection is cut."""

PONGS: Final = 16
"""Control frames that may wait before a pong joins them no more: the last ping is answered then (RFC 6455, 5.5.3)."""

_log = logging.getLogger("napcore.link")


class Link:
    """An open WebSocket, in either role.

    One task serves it (:meth:`run`); its ``Receiver`` reads. Frames towards a client go straight
    from its outbox into the socket, written by whoever calls :meth:`flush` (or ``flush_ready``, for
    many links at once) through the link's :attr:`writer`. When the socket has no room a drainer
    takes over, which is gone as soon as nothing waits; towards upstreams in the clear, and where a platform
    has no descriptors to write to, it always does, through the stream. Whoever writes owns the writing
    side, control frames included, so that no frame is torn or overtaken inside. A stream's send
    that is cancelled or takes too long ends the connection: nothing follows half a frame.

    ``on_messages`` is called with the text messages of each read; it may not wait. Those from an upstream
    go into a ``source``, which ``on_messages`` then feeds as well.
    ``stall_limit`` is how many seconds the peer may take nothing while something waits;
    ``max_in_flight`` is ``Writer``'s. ``client`` says which role is ours. ``early`` is what came
    behind the handshake.
    """

    def __init__(
        self,
        name: str,
        stream: ByteStream,
        lane: Lane,
        on_messages: Callable[[list[bytes]], None],
        *,
        client: bool,
        early: bytes = b"",
        source: Source | None = None,
        stall_limit: float = math.inf,
        max_in_flight: float | None = None,
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
        self._on_messages = on_messages
        self._masked = client
        self._tasks: TaskGroup | None = None
        self._drained: anyio.Event | None = None
        self._cutting = False
        self._eof = False
        self._sent_close: tuple[int, str] | None = None
        self._answered_close = False
        """Whether the close frame that was sent answered the peer's."""
        self._late_pong: bytes | None = None
        self._shut = False
        self._watched_ping = -math.inf
        self._reads = 0
        """What the reader had counted when that ping was first seen to be waiting for its pong."""
        self._heard = 0
        self._heard_at = 0.0
        self._progress = 0
        self._progress_at = math.inf
        self.writer: Writer | None = None
        """What writes to a client; None towards an upstream."""
        self._sealed = sealed(stream)
        if isinstance(lane, Outbox):
            self.writer = Writer(lane, own_descriptor(stream), masked=self._masked, max_in_flight=max_in_flight)
            self.writer.held = True
        self._outgoing = self.writer if self.writer is not None else lane
        self._catch_up = CatchUp(self.writer, self.flush) if self.writer is not None else None
        self._reader = make_reader(masked=not client, writer=self.writer)
        descriptor = self.writer.descriptor if self.writer is not None else -1
        self._receiver = Receiver(stream, self._reader, descriptor, self._take, source, early=early)
        bound_buffers(stream)

    @property
    def open(self) -> bool:
        """Whether frames can still be sent."""
        return self._sent_close is None and not self._eof

    @property
    def close_code(self) -> int | None:
        """The code the peer closed with (RFC 6455, 7.4); None if it did not."""
        return self._reader.close_code or None

    @property
    def closed_with(self) -> int | None:
        """The code we closed it with; None if we did not, or only answered the peer's close."""
        return None if self._sent_close is None or self._answered_close else self._sent_close[0]

    @property
    def heard_at(self) -> float:
        """When bytes were last found to have come, by ``time.monotonic()``: as fine as one looks."""
        if self._reader.reads != self._heard:
            self._heard, self._heard_at = self._reader.reads, time.monotonic()
        return self._heard_at

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
                self._hold(False)
                try:
                    if not self.open:
                        self._cut_soon()
                    self.flush()
                    if not self._eof:
                        await self._receiver.run()
                    if self._drained is not None:
                        # A last close frame, or the answers before it, may still be on their way out.
                        with anyio.move_on_after(CLOSE_TIMEOUT):
                            await self._drained.wait()
                finally:
                    # Other tasks flush until this one runs again, and a trio nursery that is closing takes no more.
                    self._tasks = None
                    self._hold(True)
                tasks.cancel_scope.cancel()
        finally:
            self._eof = True
            self.cause = self.cause or why_closed(self._reader, self._sent_close, self._answered_close)
            self._reader.close()
            if self.writer is not None:
                # First: as long as it has the socket too, closing the stream would tell the peer nothing.
                self.writer.close()
            if self._sealed is not None:
                self._sealed.close()
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(self._stream)
            if self.writer is not None and self.close_code is not None and not self._answered_close:
                # Its close frame answers ours: the peer has read everything before that.
                self.writer.lane.confirm(self.writer.lane.in_flight_sequence)
            self.lane.lose_link(self.close_code == TOO_BIG)
            self.closed.set()

    def flush(self) -> None:
        """See to it that what waits in the lane is written. Does not wait."""
        if self.lane.close_code and self.open:
            self.start_close(self.lane.close_code, "too slow: the queue overflowed")
        if self._tasks is None or self._drained is not None:
            return
        writer = self.writer
        if writer is not None and writer.descriptor >= 0:
            flushed = writer.flush(time.monotonic())
            if flushed is Flushed.DONE:
                return
            if flushed is Flushed.LATER:
                self._later()
                return
            if flushed is Flushed.LOST:
                self.abort("connection lost while writing")
                return
        elif self._sealed is not None and self._sent_close is None:
            try:
                over = self._sealed.flush(self._outgoing)
            except OSError:
                self.abort("connection lost while writing")
                return
            if over:
                self._see_to_pause(time.monotonic())
                return
        self._drained = anyio.Event()
        self._hold(True)
        self._tasks.start_soon(self._drain)

    def check(self, now: float) -> None:
        """To be called about once a second: sees to pings, and to a peer that does not answer them.

        ``now`` is ``time.monotonic()``.
        """
        writer = self.writer
        if writer is None or self._tasks is None or not self.open:
            return
        lane = writer.lane
        if lane.in_flight and not writer.outstanding:
            self.flush()
        if writer.outstanding and writer.pinged_at != self._watched_ping:
            self._watched_ping, self._reads = writer.pinged_at, self._reader.reads
        overdue = writer.outstanding and now - writer.pinged_at > PATIENCE
        if overdue and not writer.ponged and not writer.trusting and self._reader.reads > self._reads:
            _log.warning("link %s answers no pings: what is written to it counts as received", self.name)
            writer.trusting = True
            lane.confirm(lane.in_flight_sequence)
            bound_buffers(self._stream, small=True)
            self.flush()
        if not lane.queued or self._drained is not None or writer.waking or writer.progress != self._progress:
            self._progress, self._progress_at = writer.progress, now
        elif now - self._progress_at > self.stall_limit:
            self.abort(self._stalled())

    def send(self, data: bytes, *, latest: bool = False) -> None:
        """Queue one text message ahead of all events: an answer, a lifecycle, a heartbeat.

        ``latest``, towards clients only, is ``Outbox.offer_control``'s.
        """
        if self.open:
            made = masked_frame(data, os.urandom(4)) if self._masked else frame(data)
            if latest and self.writer is not None:
                self.writer.lane.offer_control(made, latest=True)
            else:
                self.lane.offer_control(made)
            self.flush()

    def start_close(self, code: int, reason: str) -> None:
        """Begin the close handshake, ahead of queued events; ``reason`` is cut to 123 bytes (RFC 6455, 5.5)."""
        self.cause = self.cause or f"closed with {code}: {reason}"
        if self.open:
            self._close_with(code, reason.encode()[:123].decode(errors="ignore"))

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

    def _take(self, messages: list[bytes]) -> None:
        """What one read brought."""
        reader = self._reader
        if reader.due:
            reader.due = False
            for data in reader.take_pings():
                self._pong(data)
            # Pongs, and what a pong to our ping has made room for.
            self.flush()
        if messages:
            self._on_messages(messages)
        if reader.over:
            self._end()

    def _end(self) -> None:
        """Nothing more is read: the peer has closed, broken a rule, or gone."""
        reader = self._reader
        if reader.fault_code:
            self.cause = self.cause or f"closed with {reader.fault_code}: {reader.fault}"
            self._close_with(reader.fault_code, reader.fault)
        elif reader.close_code and self._sent_close is None:
            self._answered_close = True
            self._close_with(reader.close_code, reader.close_reason)
        if reader.fault_code and not reader.ended:
            # It may be sending still: closed with that unread, the connection would be reset, and our
            # close frame lost with it. What comes is thrown away until it has gone, or is cut.
            if not self._masked and not self._shut and self._tasks is not None:
                self._shut = True
                self._tasks.start_soon(self._shut_down)
        elif not self._masked:
            # The server closes the connection, and at once; the client waits for it (RFC 6455, 7.1.1).
            self._eof = True
            self._receiver.stop()

    async def _shut_down(self) -> None:
        """Say that nothing more will come from us."""
        if self._drained is not None:
            await self._drained.wait()
        await say_no_more(self._stream)

    def _pong(self, data: bytes) -> None:
        if self.lane.control_queued >= PONGS:
            self._late_pong = data
        elif self._sent_close is None:
            self._offer(data, PONG)

    def _offer(self, data: bytes, opcode: int) -> None:
        self.lane.offer_control(masked_frame(data, os.urandom(4), opcode) if self._masked else frame(data, opcode))

    def _close_with(self, code: int, reason: str) -> None:
        """Send a close frame if none has been sent."""
        if self._sent_close is None:
            self._sent_close = code, reason
            if self.writer is not None:
                self.writer.closing = True
            self._offer(close_data(code, reason), CLOSE)
            self.flush()
            self._cut_soon()

    def _cut_soon(self) -> None:
        if not self._cutting and self._tasks is not None:
            self._cutting = True
            self._tasks.start_soon(self._cut)

    async def _cut(self) -> None:
        await anyio.sleep(CLOSE_TIMEOUT)
        self.abort("the close handshake was not completed")

    def _later(self) -> None:
        if self._catch_up is not None and self._tasks is not None:
            self._catch_up.later(self._tasks)

    def _hold(self, held: bool) -> None:
        if self.writer is not None:
            self.writer.held = held

    async def _drain(self) -> None:
        drained, writer = self._drained, self.writer
        try:
            if writer is not None and writer.descriptor >= 0:
                over = await drain_into_socket(writer, self.stall_limit, self._later)
            else:
                over = await self._drain_into_stream()
            if not over:
                self.abort(self._stalled())
                return
            # Only now may another follow: behind what may be half a frame nothing goes out.
            self._drained = None
            self._hold(False)
            if self._late_pong is not None:
                data, self._late_pong = self._late_pong, None
                self._pong(data)
                self.flush()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            # EndOfStream: a TLS stream whose peer has gone.
            self.abort("connection lost while writing")
        finally:
            if drained is not None:
                drained.set()

    async def _drain_into_stream(self) -> bool:
        """Write until nothing waits that may go now; False when the peer has stalled."""
        outgoing = self._outgoing
        if self._sealed is not None and not await self._sealed.complete(outgoing, self.stall_limit):
            return False
        while True:
            now = time.monotonic()
            if self._sent_close is None:
                frames = outgoing.gather(now, CHUNK)
            elif self.lane.control_queued:
                # Nothing but the close handshake may follow a close frame: one at a time.
                frames = outgoing.gather(now, 0)
            else:
                return True
            if not frames:
                self._see_to_pause(now)
                return True
            if not await send_sliced(self._stream, b"".join(frames), self.stall_limit):
                return False
            outgoing.wrote()

    def _see_to_pause(self, now: float) -> None:
        if self.writer is not None and self.writer.lane.pause(now) > 0:
            self._later()

    def _stalled(self) -> str:
        return f"it took nothing for {self.stall_limit:g} s while events were waiting"
