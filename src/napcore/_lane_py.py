"""Plain twin: the event lane of an outbox, the queue of what one client is to get."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from napcore._event_py import Event
from napcore._ledger_py import Entry, Ledger, Parcel, bound
from napcore._pace_py import LATE, RATE, RECENT, Pace
from napcore.types import Delivery, EventClass, Outcome, Overflow

__all__ = ("TRY_AGAIN_LATER", "EventLane")

TRY_AGAIN_LATER: Final = 1013
"""The close code of a link that is too slow (IANA, WebSocket close codes)."""

_OVERFLOWS: Final = ("drop_oldest", "drop_newest", "disconnect")
_DELIVERIES: Final = ("at_most_once", "at_least_once")
_LINKED, _HELD, _HOLD_OVER, _NOT_HELD = range(4)


class EventLane(Ledger):
    """Offered events wait, are staged while a write is under way, are written, and are confirmed."""

    __slots__ = (
        "_aged",
        "_at_least_once",
        "_bytes",
        "_catching_up",
        "_caught_up",
        "_close_code",
        "_lane",
        "_max_bytes",
        "_max_events",
        "_max_frame",
        "_overflow",
        "_pace",
        "_presence",
        "_staged",
        "_ttl",
        "_written",
    )

    def __init__(
        self,
        max_events: float,
        max_bytes: float,
        max_frame: int,
        overflow: Overflow,
        message_ttl: float,
        notice_ttl: float,
        request_ttl: float,
        delivery: Delivery,
        catch_up_rate: float | None,
    ) -> None:
        if overflow not in _OVERFLOWS:
            raise ValueError(f"overflow must be one of {', '.join(_OVERFLOWS)}, not {overflow!r}")
        if delivery not in _DELIVERIES:
            raise ValueError(f"delivery must be one of {', '.join(_DELIVERIES)}, not {delivery!r}")
        super().__init__()
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
        self._at_least_once = delivery == "at_least_once"
        self._pace = Pace(RATE if catch_up_rate is None else bound("catch_up_rate", catch_up_rate))
        self._presence = _LINKED
        self._aged = 0  # events that were late when they came
        self._caught_up = 0
        self._catching_up = False  # whether what was staged last was late
        self._lane: deque[Entry] = deque()  # waits
        self._staged: deque[Entry] = deque()  # handed to a write that has not ended
        self._written: deque[Entry] = deque()  # in the socket or at the peer, unconfirmed
        self._bytes = 0  # of what waits, is staged, or is written and kept for another link
        self._close_code = 0

    @property
    def close_code(self) -> int:
        """The close code the link is to be closed with, 0 for none."""
        return self._close_code

    @property
    def max_frame(self) -> float:
        """The largest event taken, in bytes: as set, or as learned from a peer that took no larger."""
        return self._max_frame

    @property
    def at_least_once(self) -> bool:
        """Whether what is written is kept until it is confirmed."""
        return self._at_least_once

    @property
    def holding(self) -> bool:
        """Whether there is no link, so that events wait for one, or are not taken."""
        return self._presence != _LINKED

    @property
    def caught_up(self) -> int:
        """Events that were late when they were staged, and left at the pace of catching up."""
        return self._caught_up

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
        return sum(entry.size for entry in (*self._lane, *self._staged))

    def offer(
        self,
        payload: bytes | Event,
        event_class: int,
        sequence: int,
        now: float,
        *,
        kept: bool = False,
        born: float | None = None,
    ) -> Outcome:
        """Put one event into the lane, or say why not.

        ``sequence`` never falls from one offer to the next; ``now`` is monotonic, in seconds;
        ``kept`` messages are evicted after all others; ``born`` is when it happened, by the same
        clock, if that was earlier.

        Raises:
            TypeError: ``payload`` is neither bytes nor an Event.
            ValueError: ``event_class`` is no ``EventClass``.
        """
        return self._put(Parcel(payload), EventClass(event_class), sequence, now, kept, now if born is None else born)

    def confirm(self, sequence: int) -> int:
        """The client has all written events up to ``sequence``; returns how many are newly confirmed."""
        count = 0
        while self._written and self._written[0].sequence <= sequence:
            self._forget(self._written.popleft())
            count += 1
        self._confirmed += count
        return count

    def take(self, now: float, limit: int = 0, deadlines: list[float] | None = None) -> list[Any]:
        """Hand over up to ``limit`` fresh payloads (0: all) in process; they count as confirmed.

        ``deadlines`` gets, for each of them, the end of its lifetime on the clock of ``now``.

        Raises:
            ValueError: ``limit`` is negative.
        """
        if limit < 0:
            raise ValueError("limit must be 0 or more")
        taken: list[Any] = []
        while self._lane and not (limit and len(taken) == limit):
            if self._drop_if_unfit(now):
                continue
            entry = self._lane.popleft()
            taken.append(entry.payload)
            if deadlines is not None:
                deadlines.append(self._deadline(entry))
            self._forget(entry)
            self._confirmed += 1
        return taken

    def hold(self) -> None:
        """There is no link: until ``resume``, ``disconnect`` means ``drop_oldest``, and nobody is told of events."""
        self._presence = _HELD

    def end_hold(self, everything: bool = False) -> int:
        """There has been no link for long: what waits is dropped (reason ``hold``), requests stay.

        Until ``resume`` only requests are taken; with ``everything`` they go too, and none are taken.
        Returns how many events were dropped.
        """
        self._presence = _NOT_HELD if everything else _HOLD_OVER
        waiting = len(self._lane)
        for _ in range(waiting):
            if everything or self._lane[0].event_class != EventClass.REQUEST:
                self._drop_first("hold")
            else:
                self._lane.rotate(-1)
        return waiting - len(self._lane)

    def resume(self) -> None:
        """There is a link again."""
        self._presence = _LINKED

    def tick(self, now: float) -> None:
        """To be called about once a second: drops what expired in front, and notes how fast events come."""
        self._pace.note(now, self._live())
        while self._lane and self._drop_if_unfit(now):
            pass

    def pause(self, now: float) -> float:
        """Seconds until the event that waits first, which is late, may be written; 0 if it may, or is not late."""
        if not self._lane or not self._goes_late(self._lane[0], now) or self._is_unfit(self._lane[0], now):
            return 0.0
        return self._pace.pause(now, self._live())

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

    def _put(self, parcel: Parcel, event_class: int, sequence: int, now: float, kept: bool, born: float) -> Outcome:
        entry = Entry(parcel, event_class, kept, sequence, born, parcel.size)
        self._received += 1
        self._aged += self._is_late(entry, now)
        if self._close_code:
            self._dropped["disconnect"] += 1
            return Outcome.DISCONNECT
        if parcel.size > self._max_frame:
            self._dropped["oversize"] += 1
            return Outcome.OVERSIZE
        if self._is_stale(entry, now):
            self._dropped["ttl"] += 1
            return Outcome.STALE
        if self._presence == _NOT_HELD or (self._presence == _HOLD_OVER and event_class != EventClass.REQUEST):
            self._dropped["hold"] += 1
            return Outcome.NOT_HELD
        outcome = Outcome.QUEUED
        # With nothing waiting or kept any frame is taken, whatever is being written.
        while (self._lane or self._first_copy() is not None) and (
            self._counted() + 1 > self._max_events or self._bytes + parcel.size > self._max_bytes
        ):
            if self._overflow == "drop_newest":
                self._dropped["newest"] += 1
                return Outcome.DROPPED_NEWEST
            if self._overflow == "disconnect" and self._presence == _LINKED:
                self.clear("disconnect")
                self._dropped["disconnect"] += 1
                self._close_code = TRY_AGAIN_LATER
                return Outcome.DISCONNECT
            if not self._lane:
                self._forget_copy()
                continue
            self._evict()
            outcome = Outcome.DROPPED_OLDEST
        self._lane.append(entry)
        self._bytes += parcel.size
        self._max_queued = max(self._max_queued, self.queued)
        return outcome

    def _counted(self) -> int:
        """Events that the bound is on."""
        return self.queued + sum(entry.parcel is not None for entry in self._written)

    def _live(self) -> int:
        """Events that came in time."""
        return self._received - self._aged

    def _is_late(self, entry: Entry, now: float) -> bool:
        return now - entry.born > LATE

    def _goes_late(self, entry: Entry, now: float) -> bool:
        return now - entry.born > (RECENT if self._catching_up else LATE)

    def _deadline(self, entry: Entry) -> float:
        return entry.born + self._ttl[EventClass(entry.event_class)]

    def _is_stale(self, entry: Entry, now: float) -> bool:
        return self._deadline(entry) <= now

    def _is_unfit(self, entry: Entry, now: float) -> bool:
        return self._is_stale(entry, now) or entry.size > self._max_frame

    def _forget(self, entry: Entry) -> None:
        """It will not be written any more."""
        if entry.parcel is not None:
            self._bytes -= entry.size
            entry.parcel = None

    def _first_copy(self) -> Entry | None:
        """The first written event that is kept for another link."""
        return next((entry for entry in self._written if entry.parcel is not None), None)

    def _forget_copy(self) -> None:
        copy = self._first_copy()
        assert copy is not None
        self._forget(copy)

    def _evict(self) -> None:
        at = min(range(len(self._lane)), key=lambda at: (self._lane[at].rank, at))
        self._forget(self._lane[at])
        del self._lane[at]
        self._dropped["oldest"] += 1

    def _drop_first(self, reason: str) -> None:
        self._forget(self._lane.popleft())
        self._dropped[reason] += 1

    def _drop_if_unfit(self, now: float) -> bool:
        """Whether the event that waits first was past its lifetime, or larger than the peer takes."""
        first = self._lane[0]
        if not self._is_unfit(first, now):
            return False
        self._drop_first("ttl" if self._is_stale(first, now) else "oversize")
        return True

    def _lowest(self) -> int | None:
        """The lowest sequence of which a payload is held that can be let go."""
        held = self._first_copy()
        if held is None and self._lane:
            held = self._lane[0]
        return None if held is None else held.sequence

    def _economize(self, sequence: int) -> None:
        """Let go what is held of the event ``sequence``, the lowest here.

        What waits is dropped (reason ``budget``); what is written can then not be written again.
        """
        while self._lowest() == sequence:
            if self._first_copy() is not None:
                self._forget_copy()
            else:
                self._drop_first("budget")
