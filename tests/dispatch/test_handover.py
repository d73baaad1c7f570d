"""From one link to the next, over all interleavings: event, write, receive, pong, death, return.

What is checked is no drawing of the design but the plain outbox and the plain writer themselves; a
client and two streams of bytes stand around them. Every order of steps of a small world is walked.
Outboxes with a fault planted into them must be found out.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from napcore._dispatch_py import Outbox as PlainOutbox
from napcore._ledger_py import Parcel
from napcore._wire_py import Writer
from napcore.types import Delivery, EventClass

EVENTS = 3
DEATHS = 2
WINDOW = 2
SIZE = 2
"""Bytes of an event, so that it can be half written."""

PING = b"\x89\x08"


class World:
    """A client's outbox, its link, the bytes on their way, and what the client has seen."""

    def __init__(self, outbox: Any) -> None:
        self.outbox = outbox
        self.writer: Writer | None = None
        self.offered = 0
        self.deaths = 0
        self.wire = b""
        """To the client."""
        self.pongs: list[bytes] = []
        """From it."""
        self.seen: list[int] = []
        """Events the client got, by all links."""
        self.seen_here: list[int] = []
        """By this one."""

    def key(self) -> Any:
        """What tells this world from others."""
        box, writer = self.outbox, self.writer
        lanes = [
            [(entry.sequence, entry.parcel is None) for entry in lane]
            for lane in (box._lane, box._staged, box._written)
        ]
        return repr(
            (
                *(lanes, box._torn, box._torn_event, box.received, box.confirmed, box.dropped, box.holding),
                None if writer is None else (writer._outstanding, writer._ping_rest),
                *(self.offered, self.deaths, self.wire, self.pongs, self.seen, self.seen_here),
            )
        )

    def steps(self) -> Iterator[World]:
        """Every world that may be next."""
        if self.offered < EVENTS:
            yield self.next("offer")
        if self.writer is None:
            yield self.next("come_back")
            return
        for share in ("whole", "nothing", "half an event", "half a ping"):
            yield from self.attempt("write", share)
        if len(self.wire) >= (10 if self.wire.startswith(PING) else SIZE):
            yield self.next("receive")
        if self.pongs:
            yield self.next("take_pong")
        if self.deaths < DEATHS:
            for count in range(4):
                yield from self.attempt("die", count)
            yield from self.attempt("die_while_writing", 0)
            yield from self.attempt("die_while_writing", SIZE)

    def next(self, step: str, *args: Any) -> World:
        world = copy.deepcopy(self)
        getattr(world, step)(*args)
        return world

    def attempt(self, step: str, *args: Any) -> Iterator[World]:
        """The step, if it changes anything."""
        world = copy.deepcopy(self)
        if getattr(world, step)(*args):
            yield world

    def offer(self) -> None:
        self.offered += 1
        self.outbox.offer(b"%d" % self.offered * SIZE, EventClass.MESSAGE, self.offered, 0.0)

    def come_back(self) -> None:
        self.outbox.resume()
        self.writer = Writer(self.outbox, max_in_flight=WINDOW)

    def write(self, share: str) -> bool:
        assert self.writer is not None
        frames = self.writer.gather(0.0, 1)
        data = b"".join(frames)
        at = data.find(PING)
        sizes = {"whole": len(data), "nothing": 0, "half an event": 1, "half a ping": at + 3 if at > 0 else 0}
        size = sizes[share]
        if not frames or (size in (0, len(data)) and share not in ("whole", "nothing")):
            self.writer.sent(0)
            return False
        self.writer.sent(size)
        self.wire += data[:size]
        return True

    def receive(self) -> None:
        if self.wire.startswith(PING):
            self.pongs.append(self.wire[2:10])
            self.wire = self.wire[10:]
        else:
            assert self.wire[0] == self.wire[1], "half a frame came for a whole one"
            self.seen.append(int(self.wire[:1]))
            self.seen_here.append(self.seen[-1])
            self.wire = self.wire[SIZE:]

    def take_pong(self) -> None:
        assert self.writer is not None
        self.writer.pong(self.pongs.pop(0))

    def die(self, count: int) -> bool:
        """The link is cut; of what is on its way the client still gets so many frames."""
        for _ in range(count):
            if len(self.wire) < (10 if self.wire.startswith(PING) else SIZE):
                return False
            self.receive()
        self.outbox.lose_link()
        self.outbox.hold()
        self.deaths += 1
        self.writer = None
        self.wire, self.pongs, self.seen_here = b"", [], []
        return True

    def die_while_writing(self, size: int) -> bool:
        """So many bytes get through of a write whose end nobody hears of."""
        assert self.writer is not None
        data = b"".join(self.writer.gather(0.0, 1))
        if not data or (size and (self.wire or len(data) < size)):
            return False
        if size and data[0] == data[1]:  # an event as a whole, not the rest of one
            self.wire = data[:size]
        return self.die(1 if size and self.wire else 0)

    def check(self, delivery: Delivery) -> None:
        """What must hold in every world."""
        box = self.outbox
        dropped = box.dropped
        assert box.received == self.offered, "an event was not counted"
        assert box.received == box.confirmed + box.unconfirmed + box.queued + sum(dropped.values()), (
            "the ledger does not close"
        )
        assert box.in_flight <= WINDOW, "more than the window is in flight"
        assert self.seen_here == sorted(set(self.seen_here)), "a link brought events out of order"
        known = len(set(self.seen))
        assert box.confirmed <= known, "confirmed, and the client does not have it"
        assert set(dropped) <= {"uncertain"}
        if delivery == "at_most_once":
            assert len(self.seen) == known, "an event came twice"
            assert self.seen == sorted(self.seen), "events came out of order"
            assert dropped.get("uncertain", 0) <= WINDOW * self.deaths
        else:
            assert dropped == {}, "an event became uncertain"
        if self.writer is not None and not box.queued and not box.unconfirmed:
            missing = set(range(1, self.offered + 1)) - set(self.seen)
            if delivery == "at_least_once":
                assert not missing, "an event is lost"
            assert len(missing) <= sum(dropped.values()), "an event is missing, and nothing tells"


def walk(outbox: Any, delivery: Delivery) -> int:
    """Every world that can come of this one; how many there are."""
    first = World(outbox)
    first.come_back()
    known = {first.key()}
    ahead = [first]
    while ahead:
        world = ahead.pop()
        world.check(delivery)
        for after in world.steps():
            key = after.key()
            if key not in known:
                known.add(key)
                ahead.append(after)
    return len(known)


class NoRing(PlainOutbox):  # type: ignore[misc]
    """Nothing is kept while there is no link."""

    def offer(self, *args: Any, **options: Any) -> Any:
        return None if self.holding else super().offer(*args, **options)


class LiveSkipsReplay(PlainOutbox):  # type: ignore[misc]
    """What comes while the link is up goes ahead of what was held."""

    def offer(self, *args: Any, **options: Any) -> Any:
        outcome = super().offer(*args, **options)
        if not self.holding:
            self._lane.rotate(1)
        return outcome


class SilentGap(PlainOutbox):  # type: ignore[misc]
    """What was on the wire at a cut is forgotten."""

    def lose_link(self, refused_size: bool = False) -> int:
        count: int = super().lose_link(refused_size)
        self._dropped["uncertain"] -= count
        self._received -= count
        return count


class UncountedWire(PlainOutbox):  # type: ignore[misc]
    """What is written is done with."""

    def sent(self, size: int) -> int:
        last: int = super().sent(size)
        self._written.clear()
        return last


class TrustWritten(PlainOutbox):  # type: ignore[misc]
    """What is written counts as received."""

    def sent(self, size: int) -> int:
        last: int = super().sent(size)
        self.confirm(last)
        return last


class Resend(PlainOutbox):  # type: ignore[misc]
    """What was on the wire at a cut is written again, come what may."""

    def lose_link(self, refused_size: bool = False) -> int:
        self._at_least_once = True
        for entry in self._written:
            entry.parcel = Parcel(b"%d" % entry.sequence * SIZE)
        try:
            count: int = super().lose_link(refused_size)
        finally:
            self._at_least_once = False
        return count


class ForgetCopies(PlainOutbox):  # type: ignore[misc]
    """What is written is not kept for another link."""

    def sent(self, size: int) -> int:
        last: int = super().sent(size)
        for entry in self._written:
            entry.parcel = None
        return last


class RestOfAFrame(PlainOutbox):  # type: ignore[misc]
    """The next link begins with the rest of a frame that the last one began."""

    def lose_link(self, refused_size: bool = False) -> int:
        torn, event = (self._torn, self._torn_event) if self._gathered is None else (0, False)
        count: int = super().lose_link(refused_size)
        if torn and event:
            self._staged.append(self._lane.popleft())
            self._torn, self._torn_event = torn, True
        return count


@pytest.mark.parametrize(("delivery", "least"), [("at_most_once", 1000), ("at_least_once", 1000)])
def test_every_order_of_steps_keeps_the_promise(delivery: Delivery, least: int) -> None:
    assert walk(PlainOutbox(delivery=delivery), delivery) > least


@pytest.mark.parametrize(
    ("planted", "delivery", "why"),
    [
        (NoRing, "at_most_once", "an event was not counted"),
        (NoRing, "at_least_once", "an event was not counted"),
        (LiveSkipsReplay, "at_most_once", "out of order"),
        (LiveSkipsReplay, "at_least_once", "out of order"),
        (SilentGap, "at_most_once", "an event was not counted"),
        (UncountedWire, "at_most_once", "the ledger does not close"),
        (UncountedWire, "at_least_once", "the ledger does not close"),
        (TrustWritten, "at_most_once", "confirmed, and the client does not have it"),
        (TrustWritten, "at_least_once", "confirmed, and the client does not have it"),
        (Resend, "at_most_once", "an event came twice|confirmed"),
        (ForgetCopies, "at_least_once", "an event became uncertain"),
        (RestOfAFrame, "at_most_once", "half a frame"),
    ],
)
def test_what_is_planted_is_found(planted: Any, delivery: Delivery, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        walk(planted(delivery=delivery), delivery)
