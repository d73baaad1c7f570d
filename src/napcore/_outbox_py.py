"""Plain twin, second part: what waits for one client."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any, Final, final

from napcore._event_py import Event
from napcore.types import DROP_REASONS, EventClass, Outcome, Overflow

__all__ = ("CONTROL_LIMIT", "Outbox", "size_of")

CONTROL_LIMIT: Final = 16777216
"""Bytes of control frames that may wait; one frame more is taken, then the link is closed."""

_OVERFLOWS: Final = ("drop_oldest", "drop_newest", "disconnect")
_TRY_AGAIN_LATER: Final = 1013


@dataclass
class _Entry:
    """One event in the lane."""

    payload: bytes | Event | None
    """None once written: what is in the socket needs no memory here."""
    sequence: int
    expiry: float
    size: int


@final
class Outbox:
    """Two lanes towards one client, bounded by count, bytes and age; it neither waits nor does I/O.

    The *event lane* is a queue: offered events wait, are staged while a write is under way, are
    written, and are confirmed once the client is known to have them. Its bounds count what waits
    or is staged; an empty lane takes any event up to ``max_frame``. The *control lane* belongs to
    the link: it has no age and goes first.

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
        "_confirmed",
        "_control",
        "_control_bytes",
        "_control_staged",
        "_dropped",
        "_lane",
        "_last_written",
        "_late",
        "_max_bytes",
        "_max_events",
        "_max_frame",
        "_max_queued",
        "_overflow",
        "_received",
        "_staged",
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
        self.owner = owner
        self._max_events = _limit("max_events", max_events)
        self._max_bytes = _limit("max_bytes", max_bytes)
        self._max_frame = _limit("max_frame", max_frame)
        self._overflow = overflow
        notice = _limit("notice_ttl", notice_ttl)
        self._ttl = {
            EventClass.MESSAGE: _limit("message_ttl", message_ttl),
            EventClass.NOTICE: notice,
            EventClass.REQUEST: _limit("request_ttl", request_ttl),
            EventClass.META: notice,
        }
        self._lane: deque[_Entry] = deque()  # waits
        self._staged: deque[_Entry] = deque()  # handed to a write that has not ended
        self._written: deque[_Entry] = deque()  # in the socket or at the peer, unconfirmed
        self._control: deque[bytes] = deque()
        self._control_staged = 0  # how many of the first control frames are staged
        self._control_bytes = 0
        self._bytes = 0
        self._close_code = 0
        self._last_written = 0
        self._received = 0
        self._confirmed = 0
        self._max_queued = 0
        self._late = 0
        self._dropped = dict.fromkeys(DROP_REASONS, 0)

    @property
    def close_code(self) -> int:
        """The close code the link is to be closed with, 0 for none."""
        return self._close_code

    @property
    def received(self) -> int:
        """Events ever offered."""
        return self._received

    @property
    def confirmed(self) -> int:
        """Events the client is known to have."""
        return self._confirmed

    @property
    def unconfirmed(self) -> int:
        """Events written but not confirmed."""
        return len(self._written)

    @property
    def queued(self) -> int:
        """Events waiting or being written."""
        return len(self._lane) + len(self._staged)

    @property
    def queued_bytes(self) -> int:
        """Their bytes."""
        return self._bytes

    @property
    def max_queued(self) -> int:
        """The most events that were ever queued at once."""
        return self._max_queued

    @property
    def late(self) -> int:
        """Control frames that no link took any more."""
        return self._late

    @property
    def control_queued(self) -> int:
        """Control frames waiting or being written."""
        return len(self._control)

    @property
    def dropped(self) -> dict[str, int]:
        """Events dropped, by reason (``DROP_REASONS``), reasons that never occurred left out."""
        return {reason: count for reason, count in self._dropped.items() if count}

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
        size = _size(payload)
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
        while self._lane and not self._fits(size):
            if self._overflow == "drop_newest":
                self._dropped["newest"] += 1
                return Outcome.DROPPED_NEWEST
            if self._overflow == "disconnect":
                self.clear("disconnect")
                self._dropped["disconnect"] += 1
                self._close_code = _TRY_AGAIN_LATER
                return Outcome.DISCONNECT
            self._drop_first("oldest")
            outcome = Outcome.DROPPED_OLDEST
        self._lane.append(_Entry(payload, sequence, expiry, size))
        self._bytes += size
        self._max_queued = max(self._max_queued, self.queued)
        return outcome

    def offer_control(self, frame: bytes) -> Outcome:
        """Put one frame of the link itself (an answer, a heartbeat, a pong) ahead of all events.

        Returns DISCONNECT, with ``close_code`` set and the frame counted as ``late``, when more
        than ``CONTROL_LIMIT`` bytes of them wait already.

        Raises:
            TypeError: ``frame`` is not bytes.
        """
        size = size_of(frame)
        if self._control_bytes > CONTROL_LIMIT:
            self._late += 1
            self._close_code = _TRY_AGAIN_LATER
            return Outcome.DISCONNECT
        self._control.append(frame)
        self._control_bytes += size
        return Outcome.QUEUED

    def gather(self, now: float, max_bytes: int = 65536) -> list[bytes]:
        """Stage the next frames for one write: control frames, then fresh events, oldest first.

        At least one frame, if there is one, and no more than ``max_bytes`` otherwise. Events past
        their lifetime are dropped on the way (reason ``ttl``).

        Raises:
            RuntimeError: the frames of an earlier call are still staged.
            TypeError: the lane holds an Event, which has no wire form.
        """
        if self._staged or self._control_staged:
            raise RuntimeError("frames are staged already: wrote() or lose_link() comes first")
        frames: list[bytes] = []
        total = 0
        for frame in self._control:
            if frames and total + len(frame) > max_bytes:
                break
            frames.append(frame)
            total += len(frame)
        self._control_staged = len(frames)
        if len(frames) < len(self._control):
            return frames
        while self._lane:
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
            self._staged.append(self._lane.popleft())
        return frames

    def wrote(self) -> int:
        """What was staged is written: control frames are done, events wait for ``confirm``.

        Returns the sequence of the event written last, ever; 0 if there was none.
        """
        for _ in range(self._control_staged):
            self._control_bytes -= len(self._control.popleft())
        self._control_staged = 0
        for entry in self._staged:
            entry.payload = None
            self._bytes -= entry.size
            self._last_written = entry.sequence
        self._written.extend(self._staged)
        self._staged.clear()
        return self._last_written

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

        Control frames are cleared and counted as ``late``, ``close_code`` is 0 again. Returns
        how many events became uncertain.
        """
        uncertain = len(self._staged) + len(self._written)
        self._dropped["uncertain"] += uncertain
        self._bytes -= sum(entry.size for entry in self._staged)
        self._staged.clear()
        self._written.clear()
        self._late += len(self._control)
        self._control.clear()
        self._control_staged = self._control_bytes = 0
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

    def _fits(self, size: int) -> bool:
        return self.queued + 1 <= self._max_events and self._bytes + size <= self._max_bytes

    def _drop_first(self, reason: str) -> None:
        self._bytes -= self._lane.popleft().size
        self._dropped[reason] += 1

    def _unstage(self) -> None:
        self._lane.extendleft(reversed(self._staged))
        self._staged.clear()
        self._control_staged = 0


def size_of(data: bytes) -> int:
    """Length of ``data``.

    Raises:
        TypeError: it is not bytes.
    """
    if not isinstance(data, bytes):
        raise TypeError(f"expected bytes, not {type(data).__name__}")
    return len(data)


def _limit(name: str, value: float) -> float:
    if math.isnan(value) or value <= 0:
        raise ValueError(f"{name} must be more than 0, not {value!r}")
    return float(value)


def _size(payload: bytes | Event) -> int:
    if isinstance(payload, Event):
        return len(payload.raw)
    return size_of(payload)
