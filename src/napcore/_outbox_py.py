"""Plain twin, second part: what waits for one client."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final, final

from napcore._event_py import Event
from napcore._ledger_py import Entry, Ledger, bound, payload_size, size_of
from napcore.types import EventClass, Outcome, Overflow

__all__ = ("CONTROL_LIMIT", "Outbox")

CONTROL_LIMIT: Final = 16777216
"""Bytes of control frames that may wait; one frame more is taken, then the link is closed."""

_OVERFLOWS: Final = ("drop_oldest", "drop_newest", "disconnect")
_TRY_AGAIN_LATER: Final = 1013


@final
class Outbox(Ledger):
    """Two lanes towards one client, bounded by count, bytes and age; it neither waits nor does I/O.

    The *event lane* is a queue: offered events wait, are staged while a write is under way, are
    written, and are confirmed once the client is known to have them. Its bounds count what waits
    or is staged; an empty lane takes any event up to ``max_frame``. What is staged or written is
    *in flight*. The *control lane* belongs to the link: it has no age and goes first.

    What has to go at the bound is the oldest message, without one the oldest notice or meta event,
    and a request only when nothing else is left; what stays keeps its order.

    At all times ``received == confirmed + unconfirmed + queued + sum(dropped.values())``.

    Args:
        owner: whatever stands for the client; ``fan_out`` reports it as ready.
        max_events: bound on waiting events.
        max_bytes: bound on their bytes.
        max_frame: largest event taken, in bytes.
        overflow: at the bound evict the oldest, refuse the newest, or clear the lane and ask
            for the link to be closed (``close_code`` 1013).
        message_ttl: seconds a message may wait.
        notice_ttl: seconds a notice, meta event or unknown event may wait.
        request_ttl: seconds a request may wait.

    ``math.inf`` is no limit.

    Raises:
        ValueError: a limit is 0, negative or NaN, or ``overflow`` is unknown.
    """

    __slots__ = (
        "_bytes",
        "_close_code",
        "_control",
        "_control_bytes",
        "_control_staged",
        "_gathered",
        "_lane",
        "_last_written",
        "_latest",
        "_max_bytes",
        "_max_events",
        "_max_frame",
        "_overflow",
        "_staged",
        "_torn",
        "_torn_event",
        "_ttl",
        "_written",
        "owner",
    )

    owner: Any
    """Whatever stands for the client."""

    def __init__(
        self,
        owner: Any = None,
        *,
        max_events: float = 4096,
        max_bytes: float = 4194304,
        max_frame: int = 52428800,
        overflow: Overflow = "drop_oldest",
        message_ttl: float = 60.0,
        notice_ttl: float = 600.0,
        request_ttl: float = 86400.0,
    ) -> None:
        if overflow not in _OVERFLOWS:
            raise ValueError(f"overflow must be one of {', '.join(_OVERFLOWS)}, not {overflow!r}")
        super().__init__()
        self.owner = owner
        self._max_events = bound("max_events", max_events)
        self._max_bytes = bound("max_bytes", max_bytes)
        self._max_frame = bound("max_frame", max_frame)
        self._overflow = overflow
        notice = bound("notice_ttl", notice_ttl)
        self._ttl = {
            EventClass.MESSAGE: bound("message_ttl", message_ttl),
            EventClass.NOTICE: notice,
            EventClass.REQUEST: bound("request_ttl", request_ttl),
            EventClass.META: notice,
        }
        self._lane: deque[Entry] = deque()  # waits
        self._staged: deque[Entry] = deque()  # handed to a write that has not ended
        self._written: deque[Entry] = deque()  # in the socket or at the peer, unconfirmed
        self._control: deque[bytes] = deque()
        self._control_staged = 0  # how many of the first control frames are staged
        self._control_bytes = 0
        self._latest = b""  # the frame last offered as the latest of its kind
        self._gathered: int | None = None  # bytes handed to a write that has not ended
        self._torn = 0  # bytes already out of the one frame that is then staged between writes
        self._torn_event = False  # whether that is an event
        self._bytes = 0
        self._close_code = 0
        self._last_written = 0

    @property
    def close_code(self) -> int:
        """The close code the link is to be closed with, 0 for none."""
        return self._close_code

    @property
    def unconfirmed(self) -> int:
        """Events written but not confirmed."""
        return len(self._written)

    @property
    def in_flight(self) -> int:
        """Events staged or written, and not confirmed."""
        return len(self._staged) + len(self._written)

    @property
    def in_flight_bytes(self) -> int:
        """Their bytes."""
        return sum(entry.size for entry in (*self._staged, *self._written))

    @property
    def in_flight_sequence(self) -> int:
        """The sequence of the last of them; 0 if there is none."""
        last = self._staged or self._written
        return last[-1].sequence if last else 0

    @property
    def queued(self) -> int:
        """Events waiting or being written."""
        return len(self._lane) + len(self._staged)

    @property
    def queued_bytes(self) -> int:
        """Their bytes."""
        return self._bytes

    @property
    def control_queued(self) -> int:
        """Control frames waiting or being written."""
        return len(self._control)

    def __len__(self) -> int:
        """Frames of both lanes not yet written."""
        return self.queued + self.control_queued

    def __repr__(self) -> str:
        return f"<Outbox queued={self.queued} unconfirmed={self.unconfirmed} received={self.received}>"

    def offer(self, payload: bytes | Event, event_class: int, sequence: int, now: float) -> Outcome:
        """Put one event into the lane, or say why not.

        ``sequence`` never falls from one offer to the next; ``now`` is monotonic, in seconds.

        Raises:
            TypeError: ``payload`` is neither bytes nor an Event.
            ValueError: ``event_class`` is no ``EventClass``.
        """
        size = payload_size(payload)
        expiry = now + self._ttl[EventClass(event_class)]
        self._received += 1
        if self._close_code:
            self._dropped["disconnect"] += 1
            return Outcome.DISCONNECT
        if size > self._max_frame:
            self._dropped["oversize"] += 1
            return Outcome.OVERSIZE
        outcome = Outcome.QUEUED
        # With nothing waiting any frame is taken, whatever is being written.
        while self._lane and (self.queued + 1 > self._max_events or self._bytes + size > self._max_bytes):
            if self._overflow == "drop_newest":
                self._dropped["newest"] += 1
                return Outcome.DROPPED_NEWEST
            if self._overflow == "disconnect":
                self.clear("disconnect")
                self._dropped["disconnect"] += 1
                self._close_code = _TRY_AGAIN_LATER
                return Outcome.DISCONNECT
            self._evict()
            outcome = Outcome.DROPPED_OLDEST
        self._lane.append(Entry(payload, event_class, sequence, expiry, size))
        self._bytes += size
        self._max_queued = max(self._max_queued, self.queued)
        return outcome

    def offer_control(self, frame: bytes, *, latest: bool = False) -> Outcome:
        """Put one frame of the link itself (an answer, a heartbeat, a pong) ahead of all events.

        ``latest`` says that it makes an earlier one of its kind pointless: if that still waits, it
        takes its place.

        Returns DISCONNECT, with ``close_code`` set and the frame counted as ``late``, when more
        than ``CONTROL_LIMIT`` bytes of them wait already.

        Raises:
            TypeError: ``frame`` is not bytes.
        """
        size = size_of(frame)
        if latest:
            earlier, self._latest = self._latest, frame
            for at in range(self._control_staged, len(self._control)):
                if self._control[at] is earlier:
                    self._control[at] = frame
                    self._control_bytes += size - len(earlier)
                    return Outcome.QUEUED
        if self._control_bytes > CONTROL_LIMIT:
            self._late += 1
            self._close_code = _TRY_AGAIN_LATER
            return Outcome.DISCONNECT
        self._control.append(frame)
        self._control_bytes += size
        return Outcome.QUEUED

    def gather(self, now: float, max_bytes: int = 65536, max_events: float = math.inf) -> list[bytes]:
        """Stage the next frames for one write: control frames, then fresh events, oldest first.

        At least one frame, if there is one that may go, and no more than ``max_bytes`` otherwise;
        no more than ``max_events`` events. Events past their lifetime are dropped on the way
        (reason ``ttl``). What the last write left of a frame comes before everything else.

        Raises:
            RuntimeError: the frames of an earlier call are still staged.
            TypeError: the lane holds an Event, which has no wire form.
        """
        if self._gathered is not None:
            raise RuntimeError("frames are staged already: wrote(), sent() or lose_link() comes first")
        frames: list[bytes] = []
        total = events = 0
        if self._torn:
            torn = self._staged[0].payload if self._torn_event else self._control[0]
            assert isinstance(torn, bytes)
            frames.append(torn[self._torn :])
            total = len(frames[0])
        for frame in list(self._control)[self._control_staged :]:
            if frames and total + len(frame) > max_bytes:
                break
            frames.append(frame)
            total += len(frame)
            self._control_staged += 1
        while self._lane and self._control_staged == len(self._control) and events < max_events:
            entry = self._lane[0]
            if entry.expiry <= now:
                self._drop_first("ttl")
                continue
            if not isinstance(entry.payload, bytes):
                self._unstage()
                raise TypeError("an Event cannot be written, offer bytes")
            if frames and total + entry.size > max_bytes:
                break
            frames.append(entry.payload)
            total += entry.size
            events += 1
            self._staged.append(self._lane.popleft())
        if frames:
            self._gathered = total
        return frames

    def sent(self, size: int) -> int:
        """The first ``size`` bytes of what was gathered are out, and no more will follow by themselves.

        Whole frames are written: control frames are done, events wait for ``confirm``. A frame
        that is out in part stays staged: nothing may go before its rest. What was behind it waits
        again, in its old place.

        Returns the sequence of the event written last, ever; 0 if there was none.

        Raises:
            ValueError: ``size`` is negative or more than what was gathered.
        """
        if not 0 <= size <= (self._gathered or 0):
            raise ValueError(f"{size} of {self._gathered or 0} bytes cannot have been sent")
        if self._gathered is None:
            return self._last_written
        left = size + self._torn
        event = self._torn_event  # else control frames come first
        while self._staged or self._control_staged:
            event = event or not self._control_staged
            frame_size = self._staged[0].size if event else len(self._control[0])
            if left < frame_size:
                break
            left -= frame_size
            if event:
                entry = self._staged.popleft()
                entry.payload = None
                self._bytes -= entry.size
                self._last_written = entry.sequence
                self._written.append(entry)
            else:
                self._control_bytes -= len(self._control.popleft())
                self._control_staged -= 1
            event = False
        self._torn = left
        self._torn_event = event and left > 0
        self._unstage()
        return self._last_written

    def wrote(self) -> int:
        """All of what was gathered is out; see ``sent``."""
        return self.sent(self._gathered or 0)

    def confirm(self, sequence: int) -> int:
        """The client has all written events up to ``sequence``; returns how many are newly confirmed."""
        count = 0
        while self._written and self._written[0].sequence <= sequence:
            self._written.popleft()
            count += 1
        self._confirmed += count
        return count

    def take(self, now: float, limit: int = 0) -> list[Any]:
        """Hand over up to ``limit`` fresh payloads (0: all) in process; they count as confirmed.

        Raises:
            ValueError: ``limit`` is negative.
        """
        if limit < 0:
            raise ValueError("limit must be 0 or more")
        taken: list[Any] = []
        while self._lane and not (limit and len(taken) == limit):
            if self._lane[0].expiry <= now:
                self._drop_first("ttl")
                continue
            entry = self._lane.popleft()
            self._bytes -= entry.size
            self._confirmed += 1
            taken.append(entry.payload)
        return taken

    def lose_link(self) -> int:
        """The link is gone: what was given to it and not confirmed is ``uncertain``.

        An event of which ``sent`` has told that it is out in part counts as not written: it waits
        again. Control frames are cleared and counted as ``late``, ``close_code`` is 0 again.
        Returns how many events became uncertain.
        """
        if self._gathered is None:
            self._torn = 0
            self._torn_event = False
            self._unstage()
        uncertain = len(self._staged) + len(self._written)
        self._dropped["uncertain"] += uncertain
        self._bytes -= sum(entry.size for entry in self._staged)
        self._staged.clear()
        self._written.clear()
        self._late += len(self._control)
        self._control.clear()
        self._control_staged = self._control_bytes = self._torn = 0
        self._torn_event = False
        self._gathered = None
        self._close_code = 0
        return uncertain

    def clear(self, reason: str) -> int:
        """Drop all events that wait, for ``reason``; returns how many. What is staged stays.

        Raises:
            ValueError: ``reason`` is not in ``DROP_REASONS``.
        """
        if reason not in self._dropped:
            raise ValueError(f"unknown drop reason {reason!r}")
        count = len(self._lane)
        while self._lane:
            self._drop_first(reason)
        return count

    def _evict(self) -> None:
        at = min(range(len(self._lane)), key=lambda at: (self._lane[at].rank, at))
        self._bytes -= self._lane[at].size
        del self._lane[at]
        self._dropped["oldest"] += 1

    def _drop_first(self, reason: str) -> None:
        self._bytes -= self._lane.popleft().size
        self._dropped[reason] += 1

    def _unstage(self) -> None:
        """Put back what is staged, but for a torn frame."""
        self._control_staged = int(self._torn > 0 and not self._torn_event)
        while len(self._staged) > self._torn_event:
            self._lane.appendleft(self._staged.pop())
        self._gathered = None
