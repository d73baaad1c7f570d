"""Plain twin of the compiled writer: how what waits for a client gets into its socket.

A flush takes from the outbox what may go now, behind it a ping if one is due, and hands all of it
to the socket in one call that never waits. The ping carries the sequence of the last event before
it; the pong says that the peer's WebSocket library has read everything up to there. What has not
been acknowledged can no longer be dropped, aged or overtaken, so there is a bound on it: the
*in-flight window*.

These are the only lines of ring 0 that write to a descriptor. Who may write, and when, is decided
by its callers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Final, final

from napcore._frame_py import frame, masked_frame
from napcore._outbox_py import Outbox
from napcore.types import Flushed

__all__ = ("CAN_WRITE", "WINDOW_BYTES", "WINDOW_EVENTS", "Owner", "Writer", "flush_ready")

CAN_WRITE: Final = os.name == "posix"
"""Whether a socket's descriptor can be written to."""

WINDOW_EVENTS: Final = 64
"""The automatic window is never narrower than this."""

WINDOW_BYTES: Final = 262144
"""Bytes in flight at most; one event of any size goes when there are none."""

UNCONFIRMED_EVENTS: Final = 256
"""With ``at_least_once`` a ping goes out behind so many unconfirmed events, or that many bytes, at the latest."""

UNCONFIRMED_BYTES: Final = 262144

PING_INTERVAL: Final = 1.0
"""Seconds after which a flush carries a ping again."""

_PING: Final = 9


@final
class Writer:
    """The writing end of a link towards a client.

    ``flush`` writes to the descriptor; where that cannot be (TLS, or a platform without), a task
    takes frames with ``gather``, writes them its own way and says ``wrote``.

    Args:
        lane: the client's outbox.
        descriptor: of a connected stream socket, which the writer then owns and closes; -1 for none.
        masked: whether we are the WebSocket client (RFC 6455, 5.3).
        max_in_flight: events that may be written beyond the last acknowledgement; None is the
            larger of ``WINDOW_EVENTS`` and what the last second brought. ``math.inf`` is no bound
            on bytes either.
    """

    __slots__ = (
        "_early",
        "_gathered",
        "_last_second",
        "_mask",
        "_outstanding",
        "_ping",
        "_ping_rest",
        "_second_began",
        "_this_second",
        "_window",
        "closing",
        "descriptor",
        "error",
        "held",
        "lane",
        "pinged_at",
        "ponged",
        "progress",
        "trusting",
        "waking",
    )

    def __init__(
        self, lane: Outbox, descriptor: int = -1, *, masked: bool = False, max_in_flight: float | None = None
    ) -> None:
        self.lane = lane
        self.descriptor = descriptor
        self.held = False
        """Whether another task writes, so that ``flush_ready`` must leave the socket alone."""
        self.closing = False
        """Whether a close frame is under way: no event follows it."""
        self.trusting = False
        """Whether what is written counts as confirmed: the peer answers no pings."""
        self.waking = False
        """Whether somebody flushes it when the turn of late events comes: ``flush_ready`` need not say ``LATER``."""
        self.error = 0
        """The error number that a flush ended with."""
        self.progress = 0
        """Rises whenever the socket takes bytes or the peer acknowledges some."""
        self.pinged_at = -math.inf
        """When the last ping was written, in seconds of the caller's clock."""
        self.ponged = False
        """Whether the peer has ever answered one."""
        self._mask = masked
        self._window = max_in_flight
        self._gathered: int | None = None  # bytes of the lane's frames that are being written
        self._ping: tuple[int, bytes, float] | None = None  # being written: sequence, frame, when
        self._early = False  # whether its pong has come already
        self._ping_rest = b""  # what the socket did not take of a ping
        self._outstanding: int | None = None  # the sequence that the pong will confirm
        self._second_began = -math.inf
        self._this_second = self._last_second = 0

    @property
    def outstanding(self) -> bool:
        """Whether a ping is waiting for its pong."""
        return self._outstanding is not None

    def gather(self, now: float, max_bytes: int = 65536) -> list[bytes]:
        """The next frames to write, as ``Outbox.gather`` has them, and a ping behind them if one is due."""
        lane = self.lane
        frames = [self._ping_rest] if self._ping_rest else []
        before = lane.in_flight
        room = self._room(now)
        if room > 0 and self._bounded():
            max_bytes = min(max_bytes, WINDOW_BYTES - lane.in_flight_bytes)
        taken = lane.gather(now, max_bytes, room)
        self._this_second += lane.in_flight - before
        self._gathered = sum(map(len, taken))
        frames += taken
        if self._ping_is_due(now):
            sequence = lane.in_flight_sequence
            data = sequence.to_bytes(8, "big", signed=True)
            ping = masked_frame(data, os.urandom(4), _PING) if self._mask else frame(data, _PING)
            self._ping = sequence, ping, now
            frames.append(ping)
        return frames

    def sent(self, size: int) -> None:
        """The first ``size`` bytes of what was gathered are out; see ``Outbox.sent``."""
        lane = self.lane
        self.progress += size > 0
        part = min(size, len(self._ping_rest))
        self._ping_rest = self._ping_rest[part:]
        size -= part
        part = min(size, self._gathered or 0)
        last = lane.sent(part)
        size -= part
        if self.trusting:
            lane.confirm(last)
        if self._ping is not None and size > 0:
            self._outstanding, ping, self.pinged_at = self._ping
            self._ping_rest = ping[size:]
            if self._early:
                self._acknowledge(self._outstanding)
        self._ping = None
        self._early = False
        self._gathered = None

    def wrote(self) -> None:
        """All of what was gathered is out."""
        ping = len(self._ping[1]) if self._ping is not None else 0
        self.sent(len(self._ping_rest) + (self._gathered or 0) + ping)

    def flush(self, now: float) -> Flushed:
        """Write what may go now, in one call that does not wait."""
        frames = self.gather(now)
        if not frames:
            return self._outlook(now)
        try:
            taken = os.write(self.descriptor, b"".join(frames))
        except BlockingIOError:
            taken = 0
        except OSError as error:
            self.sent(0)
            self.error = error.errno or -1
            return Flushed.LOST
        self.sent(taken)
        if taken < sum(map(len, frames)):
            return Flushed.BLOCKED
        return self._outlook(now)

    def _outlook(self, now: float) -> Flushed:
        """What is to be done about what is left, when the socket has taken all it was given."""
        if self.lane.control_queued:
            return Flushed.MORE
        if not self.lane.queued or self._room(now) <= 0:
            return Flushed.DONE
        return Flushed.LATER if self.lane.pause(now) > 0 else Flushed.MORE

    def pong(self, data: bytes) -> bool:
        """A pong has come; True if it answers our last ping, so that what it covers is confirmed."""
        sequence = int.from_bytes(data, "big", signed=True)
        if len(data) != 8:
            return False
        if self._outstanding == sequence:
            self._acknowledge(sequence)
            return True
        # A peer may be quicker than the task that has yet to hear that its write has ended.
        self._early = self._early or (self._ping is not None and self._ping[0] == sequence)
        return False

    def _acknowledge(self, sequence: int) -> None:
        self.lane.confirm(sequence)
        self._outstanding = None
        self.ponged = True
        self.progress += 1

    def close(self) -> None:
        """Close the descriptor; nothing is written any more."""
        self.held = True
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()

    def _bounded(self) -> bool:
        return not self.trusting and self._window != math.inf

    def _room(self, now: float) -> float:
        """How many events may follow."""
        if self.closing:
            return 0
        if not self._bounded():
            return math.inf
        if self.lane.in_flight_bytes >= WINDOW_BYTES:
            return 0
        return max(0, self._width(now) - self.lane.in_flight)

    def _width(self, now: float) -> float:
        """The window, in events."""
        elapsed = now - self._second_began
        if elapsed >= 1.0:
            self._last_second = self._this_second if elapsed < 2.0 else 0
            self._this_second = 0
            self._second_began = now
        if self._window is not None:
            return self._window
        return max(WINDOW_EVENTS, self._last_second, self._this_second)

    def _ping_is_due(self, now: float) -> bool:
        lane = self.lane
        if self.closing or self._outstanding is not None or self._ping_rest or not lane.in_flight:
            return False
        if now - self.pinged_at >= PING_INTERVAL:
            return True
        if lane.at_least_once and (lane.in_flight >= UNCONFIRMED_EVENTS or lane.in_flight_bytes >= UNCONFIRMED_BYTES):
            return True
        return self._bounded() and (lane.in_flight * 2 >= self._width(now) or lane.in_flight_bytes * 2 >= WINDOW_BYTES)


class Owner:
    """Who has an outbox, such as ``Report.ready`` lists, and a writer that ``flush_ready`` finds at once."""

    def __init__(self) -> None:
        self.writer: Writer | None = None


def flush_ready(owners: Sequence[Any], now: float) -> list[Any]:
    """Flush the writers of owners, such as ``Report.ready`` lists, each once, all in one go.

    An owner's writer is its attribute ``writer``. Returns those whose flush was not the end of it,
    for their callers to look after: without a writer, with one that is held or has no descriptor,
    with a lane that wants its link closed, blocked, lost, or with more to write, be it later.
    """
    left = []
    for owner in owners:
        writer = owner.writer
        if not isinstance(writer, Writer) or writer.held or writer.descriptor < 0 or writer.lane.close_code:
            left.append(owner)
        else:
            flushed = writer.flush(now)
            if flushed is not Flushed.DONE and not (flushed is Flushed.LATER and writer.waking):
                left.append(owner)
    return left
