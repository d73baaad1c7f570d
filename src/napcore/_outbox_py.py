"""Plain twin, second part: what waits for one client."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final, final

from napcore._lane_py import TRY_AGAIN_LATER, EventLane
from napcore._ledger_py import size_of
from napcore.types import Delivery, Outcome, Overflow

__all__ = ("CONTROL_LIMIT", "Outbox")

CONTROL_LIMIT: Final = 16777216
"""Bytes of control frames that may wait; one frame more is taken, then the link is closed."""


@final
class Outbox(EventLane):
    """Two lanes towards one client, bounded by count, bytes and age; it neither waits nor does I/O.

    The *event lane* is a queue: offered events wait, are staged while a write is under way, are
    written, and are confirmed once the client is known to have them. Its bounds count what waits
    or is staged; an empty lane takes any event up to ``max_frame``. What is staged or written is
    *in flight*. The *control lane* belongs to the link: it has no age and goes first.

    What has to go at the bound is the oldest message, then the oldest that is ``kept``, without
    one the oldest notice or meta event, and a request only when nothing else is left; what stays
    keeps its order.

    When a link is lost, what was written and is not confirmed is ``uncertain``: nothing is written
    twice. With ``at_least_once`` it is kept instead, counts against the bounds until it is
    confirmed, and is written again on the next link; where it fills the bound by itself, the oldest
    of it is kept no longer.

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
        delivery: ``at_most_once`` or ``at_least_once``.
        catch_up_rate: late events that may go per second; four times the rate of the last 10
            seconds' other events if that is more. None is 50. Late is what was born more than 5
            seconds before it is gathered, and behind what is late more than 1 second.

    ``math.inf`` is no limit.

    Raises:
        ValueError: a limit is 0, negative or NaN, or ``overflow`` or ``delivery`` is unknown.
    """

    __slots__ = (
        "_control",
        "_control_bytes",
        "_control_staged",
        "_gathered",
        "_gathered_fresh",
        "_gathered_late",
        "_last_written",
        "_latest",
        "_torn",
        "_torn_event",
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
        delivery: Delivery = "at_most_once",
        catch_up_rate: float | None = None,
    ) -> None:
        super().__init__(
            max_events,
            max_bytes,
            max_frame,
            overflow,
            message_ttl,
            notice_ttl,
            request_ttl,
            delivery,
            catch_up_rate,
        )
        self.owner = owner
        self._control: deque[bytes] = deque()
        self._control_staged = 0  # how many of the first control frames are staged
        self._control_bytes = 0
        self._latest: bytes | None = None  # the frame last offered as the latest of its kind
        self._gathered: int | None = None  # bytes handed to a write that has not ended
        self._gathered_fresh = self._gathered_late = 0  # how many of its events were late, and how many not
        self._torn = 0  # bytes already out of the one frame that is then staged between writes
        self._torn_event = False  # whether that is an event
        self._last_written = 0

    @property
    def control_queued(self) -> int:
        """Control frames waiting or being written."""
        return len(self._control)

    def __len__(self) -> int:
        """Frames of both lanes not yet written."""
        return self.queued + self.control_queued

    def __repr__(self) -> str:
        return f"<Outbox queued={self.queued} unconfirmed={self.unconfirmed} received={self.received}>"

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
                if earlier is not None and self._control[at] is earlier:
                    self._control[at] = frame
                    self._control_bytes += size - len(earlier)
                    return Outcome.QUEUED
        if self._control_bytes > CONTROL_LIMIT:
            self._late += 1
            self._close_code = TRY_AGAIN_LATER
            return Outcome.DISCONNECT
        self._control.append(frame)
        self._control_bytes += size
        return Outcome.QUEUED

    def gather(self, now: float, max_bytes: int = 65536, max_events: float = math.inf) -> list[bytes]:
        """Stage the next frames for one write: control frames, then fresh events, oldest first.

        At least one frame, if there is one that may go, and no more than ``max_bytes`` otherwise;
        no more than ``max_events`` events. Events past their lifetime are dropped on the way
        (reason ``ttl``), and those larger than ``max_frame`` has become (``oversize``). What the last
        write left of a frame comes before everything else. A late event waits for its turn, see
        ``pause``, and so do those behind it.

        Raises:
            RuntimeError: the frames of an earlier call are still staged.
            TypeError: the lane holds an Event, which has no wire form.
        """
        if self._gathered is not None:
            raise RuntimeError("frames are staged already: wrote(), sent() or lose_link() comes first")
        frames: list[bytes] = []
        total = events = 0
        self._gathered_fresh = self._gathered_late = 0
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
            if self._drop_if_unfit(now):
                continue
            entry = self._lane[0]
            late = self._goes_late(entry, now)
            if late and self._pace.pause(now, self._live()) > 0:
                break
            if not isinstance(entry.payload, bytes):
                self._unstage()
                raise TypeError("an Event cannot be written, offer bytes")
            if frames and total + entry.size > max_bytes:
                break
            self._catching_up = late
            if late:
                self._go_late(1)
                self._gathered_late += 1
            else:
                self._gathered_fresh += 1
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
                if not self._at_least_once:
                    self._forget(entry)
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

    def lose_link(self, refused_size: bool = False) -> int:
        """The link is gone: what was given to it and not confirmed is ``uncertain``.

        With ``at_least_once`` it waits again instead, but for events that were written and whose
        payload has been let go since. An event of which ``sent`` has told that it is out in part
        counts as not written: it waits again. Control frames are cleared and counted as ``late``,
        ``close_code`` is 0 again.

        ``refused_size`` says that the peer has closed for the size of a frame (1009; RFC 6455,
        7.4.1): the largest event in flight is dropped as ``oversize``, and so is from now on
        whatever is not smaller.

        Returns how many events became uncertain.
        """
        if refused_size and self.in_flight:
            self._drop_largest()
        if self._gathered is None:
            self._torn = 0
            self._torn_event = False
            self._lane.extendleft(reversed(self._staged))  # one at most
            self._staged.clear()
        given = [*self._written, *self._staged]
        again = [entry for entry in given if self._at_least_once and entry.parcel is not None]
        for entry in given:
            if entry not in again:
                self._forget(entry)
        self._lane.extendleft(reversed(again))
        uncertain = len(given) - len(again)
        self._dropped["uncertain"] += uncertain
        self._staged.clear()
        self._written.clear()
        self._max_queued = max(self._max_queued, self.queued)
        self._late += len(self._control)
        self._control.clear()
        self._control_staged = self._control_bytes = self._torn = 0
        self._torn_event = False
        self._gathered = None
        self._close_code = 0
        return uncertain

    def _go_late(self, count: int) -> None:
        self._pace.go(count)
        self._caught_up += count

    def _drop_largest(self) -> None:
        flight = [*self._written, *self._staged]
        largest = max(flight, key=lambda entry: entry.size)  # of several the first
        at = flight.index(largest)
        if at < len(self._written):
            del self._written[at]
        else:
            del self._staged[at - len(self._written)]
        self._max_frame = max(largest.size - 1, 0)
        self._forget(largest)
        self._dropped["oversize"] += 1

    def _is_ready(self) -> bool:
        return not self.holding and (len(self) > 0 or self._close_code > 0)

    def _unstage(self) -> None:
        """Put back what is staged, but for a torn frame."""
        self._control_staged = int(self._torn > 0 and not self._torn_event)
        count = len(self._staged) - self._torn_event
        # What is late is in front.
        self._go_late(-min(self._gathered_late, max(count - self._gathered_fresh, 0)))
        for _ in range(count):
            self._lane.appendleft(self._staged.pop())
        self._gathered = None
