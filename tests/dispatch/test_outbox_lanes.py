"""The outbox: what is gathered, taken, lost and cleared, and the memory behind it."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from napcore.types import DROP_REASONS, EventClass, Outcome

MESSAGE, META = EventClass.MESSAGE, EventClass.META


def numbers(payloads: list[bytes]) -> list[int]:
    return [int(payload) for payload in payloads]


# Evicting


def test_messages_go_first_then_notices_and_requests_last(core: Any, check: Callable[[Any], None]) -> None:
    outbox = core.Outbox(max_events=6, request_ttl=1000.0)
    classes = [EventClass.REQUEST, META, MESSAGE, EventClass.NOTICE, MESSAGE, EventClass.REQUEST]
    for number, event_class in enumerate(classes, 1):
        outbox.offer(b"%d" % number, event_class, number, 0.0)
    expected = [1, 2, 3, 4, 5, 6]
    for number, gone in ((7, 3), (8, 5), (9, 2), (10, 4), (11, 1), (12, 6)):
        assert outbox.offer(b"%d" % number, EventClass.REQUEST, number, 0.0) is Outcome.DROPPED_OLDEST
        check(outbox)
        expected.remove(gone)
        expected.append(number)
        assert outbox.queued == 6
    assert numbers(outbox.take(0.0)) == expected == [7, 8, 9, 10, 11, 12]
    assert outbox.dropped == {"oldest": 6}


def test_what_stays_between_evicted_events_keeps_its_order_and_no_holes_pile_up(
    core: Any, check: Callable[[Any], None]
) -> None:
    outbox = core.Outbox(max_events=64)
    for number in range(1, 5001):
        kind = EventClass.NOTICE if number % 500 == 0 else MESSAGE
        outbox.offer(b"%d" % number, kind, number, 0.0)
        if number % 100 == 50:
            check(outbox)
    notices = list(range(500, 5001, 500))
    messages = [number for number in range(4900, 5001) if number % 500][-(64 - len(notices)) :]
    assert sys.getsizeof(outbox) < 8192
    assert numbers(outbox.gather(0.0, 1 << 20)) == sorted(notices + messages)
    outbox.wrote()
    check(outbox)


def test_the_latest_of_its_kind_takes_the_place_of_one_that_waits(core: Any) -> None:
    outbox = core.Outbox()
    outbox.offer_control(b"answer")
    for number in range(3):
        outbox.offer_control(b"heartbeat %d" % number, latest=True)
    outbox.offer_control(b"pong")
    assert outbox.gather(0.0) == [b"answer", b"heartbeat 2", b"pong"]
    outbox.offer_control(b"heartbeat 3", latest=True)
    outbox.wrote()
    assert outbox.gather(0.0) == [b"heartbeat 3"]
    outbox.sent(5)
    outbox.offer_control(b"heartbeat 4", latest=True)
    assert outbox.gather(0.0) == [b"beat 3", b"heartbeat 4"]
    assert outbox.control_queued == 2


# Gathering


def test_gather_respects_max_bytes(core: Any, fill: Callable[..., list[Outcome]]) -> None:
    outbox = core.Outbox()
    fill(outbox, 10)
    assert numbers(outbox.gather(0.0, 35)) == [1, 2, 3]
    outbox.wrote()
    assert numbers(outbox.gather(0.0, 30)) == [4, 5, 6]
    outbox.wrote()
    for size in (5, 0, -1):
        assert len(outbox.gather(0.0, size)) == 1
        outbox.wrote()
    assert numbers(outbox.gather(0.0)) == [10]


def test_default_size_of_a_gather(core: Any) -> None:
    outbox = core.Outbox()
    for number in range(10):
        outbox.offer(bytes(10000), MESSAGE, number, 0.0)
    assert len(outbox.gather(0.0)) == 6


def test_gather_twice_is_a_mistake(core: Any, check: Callable[[Any], None], fill: Callable[..., list[Outcome]]) -> None:
    outbox = core.Outbox()
    fill(outbox, 2)
    outbox.gather(0.0, 10)
    with pytest.raises(RuntimeError, match="staged already"):
        outbox.gather(0.0)
    outbox.wrote()
    outbox.offer_control(b"c")
    outbox.gather(0.0, 1)
    with pytest.raises(RuntimeError, match="staged already"):
        outbox.gather(0.0)
    check(outbox)


def test_control_frames_go_first(core: Any, fill: Callable[..., list[Outcome]]) -> None:
    outbox = core.Outbox()
    fill(outbox, 2)
    assert outbox.offer_control(b"c1") is Outcome.QUEUED
    assert outbox.offer_control(b"c2") is Outcome.QUEUED
    assert (outbox.control_queued, len(outbox), outbox.queued, outbox.queued_bytes) == (2, 4, 2, 20)
    assert outbox.gather(0.0) == [b"c1", b"c2", b"0000000001", b"0000000002"]
    assert outbox.control_queued == 2
    assert outbox.wrote() == 2
    assert (outbox.control_queued, outbox.received, outbox.unconfirmed) == (0, 2, 2)


def test_control_frames_beyond_max_bytes(core: Any, fill: Callable[..., list[Outcome]]) -> None:
    outbox = core.Outbox()
    fill(outbox, 1, size=1)
    for frame in (b"c" * 8, b"d" * 8, b"e"):
        outbox.offer_control(frame)
    # Neither a later control frame nor an event overtakes one that does not fit.
    assert outbox.gather(0.0, 12) == [b"c" * 8]
    outbox.wrote()
    assert outbox.gather(0.0, 9) == [b"d" * 8, b"e"]
    outbox.offer_control(b"f")
    outbox.wrote()
    assert outbox.control_queued == 1
    assert outbox.gather(0.0, 2) == [b"f", b"1"]


def test_control_frames_do_not_expire(core: Any) -> None:
    outbox = core.Outbox()
    outbox.offer_control(b"c")
    assert outbox.gather(1e18) == [b"c"]


def test_events_have_no_wire_form(core: Any, check: Callable[[Any], None]) -> None:
    event = core.peek(b'{"post_type":1}')
    outbox = core.Outbox()
    outbox.offer_control(b"c")
    outbox.offer(b"old", MESSAGE, 1, -100.0)
    outbox.offer(b"x", MESSAGE, 2, 0.0)
    outbox.offer(event, META, 3, 0.0)
    outbox.offer(b"y", MESSAGE, 4, 0.0)
    for _ in range(2):
        with pytest.raises(TypeError, match="an Event cannot be written"):
            outbox.gather(0.0)
        check(outbox)
    # Nothing was staged by the attempts.
    assert (outbox.queued, outbox.control_queued, outbox.dropped) == (3, 1, {"ttl": 1})
    assert outbox.take(0.0) == [b"x", event, b"y"]
    assert outbox.gather(0.0) == [b"c"]


def test_control_limit(core: Any, check: Callable[[Any], None], fill: Callable[..., list[Outcome]]) -> None:
    assert core.CONTROL_LIMIT == 16 << 20
    outbox = core.Outbox()
    fill(outbox, 1)
    megabyte = bytes(1 << 20)
    for _ in range(17):
        assert outbox.offer_control(megabyte) is Outcome.QUEUED
    assert (outbox.close_code, outbox.control_queued) == (0, 17)
    assert outbox.offer_control(b"x") is Outcome.DISCONNECT
    assert (outbox.close_code, outbox.control_queued, outbox.late) == (1013, 17, 1)
    assert outbox.queued == 1
    assert outbox.offer(b"x", MESSAGE, 2, 0.0) is Outcome.DISCONNECT
    assert outbox.dropped == {"disconnect": 1}
    check(outbox)
    assert outbox.lose_link() == 0
    assert (outbox.close_code, outbox.control_queued, outbox.late, outbox.queued) == (0, 0, 18, 1)
    assert outbox.offer_control(megabyte) is Outcome.QUEUED


# Taking in process


def test_take(core: Any, check: Callable[[Any], None]) -> None:
    outbox = core.Outbox()
    events = [core.peek(b'{"post_type":"x","user_id":%d}' % number) for number in range(1, 8)]
    for number, event in enumerate(events):
        outbox.offer(event, event.event_class, number, 0.0)
    taken = outbox.take(0.0, 2)
    assert taken == events[:2]
    assert all(found is given for found, given in zip(taken, events, strict=False))
    check(outbox)
    assert (outbox.confirmed, outbox.queued) == (2, 5)
    assert outbox.take(0.0, limit=1) == events[2:3]
    assert outbox.take(0.0) == events[3:]
    assert outbox.take(0.0) == []
    assert (outbox.confirmed, outbox.queued, outbox.queued_bytes, outbox.unconfirmed) == (7, 0, 0, 0)
    with pytest.raises(ValueError, match="0 or more"):
        outbox.take(0.0, -1)


def test_take_passes_over_what_is_being_written(
    core: Any, check: Callable[[Any], None], fill: Callable[..., list[Outcome]]
) -> None:
    outbox = core.Outbox()
    fill(outbox, 6)
    outbox.gather(0.0, 10)
    outbox.wrote()
    outbox.gather(0.0, 20)
    assert numbers(outbox.take(0.0, 2)) == [4, 5]
    check(outbox)
    assert (outbox.confirmed, outbox.queued, outbox.unconfirmed) == (2, 3, 1)
    assert outbox.wrote() == 3
    assert outbox.confirm(3) == 3
    assert numbers(outbox.gather(0.0)) == [6]
    check(outbox)


# Losing the link, clearing


def test_lose_link(core: Any, check: Callable[[Any], None], fill: Callable[..., list[Outcome]]) -> None:
    outbox = core.Outbox()
    fill(outbox, 5)
    outbox.gather(0.0, 20)
    outbox.wrote()
    outbox.confirm(1)
    outbox.offer_control(b"c1")
    outbox.gather(0.0, 12)
    outbox.offer_control(b"c2")
    assert outbox.lose_link() == 2
    check(outbox)
    assert outbox.dropped == {"uncertain": 2}
    assert (outbox.late, outbox.control_queued, outbox.unconfirmed, outbox.confirmed) == (2, 0, 0, 1)
    assert (outbox.queued, outbox.queued_bytes) == (2, 20)
    assert numbers(outbox.gather(0.0)) == [4, 5]
    assert outbox.wrote() == 5


def test_clear(core: Any, check: Callable[[Any], None], fill: Callable[..., list[Outcome]]) -> None:
    for reason in DROP_REASONS:
        outbox = core.Outbox()
        fill(outbox, 5)
        outbox.gather(0.0, 10)
        outbox.wrote()
        outbox.gather(0.0, 10)
        assert outbox.clear(reason) == 3
        check(outbox)
        assert outbox.dropped == {reason: 3}
        assert (outbox.queued, outbox.queued_bytes, outbox.unconfirmed) == (1, 10, 1)
        assert outbox.clear(reason) == 0
        assert outbox.wrote() == 2
        check(outbox)


@pytest.mark.parametrize("reason", ["", "late", "OLDEST", "filtered"])
def test_clear_for_an_unknown_reason(core: Any, reason: str, fill: Callable[..., list[Outcome]]) -> None:
    outbox = core.Outbox()
    fill(outbox, 1)
    with pytest.raises(ValueError, match="unknown drop reason"):
        outbox.clear(reason)
    assert outbox.queued == 1


def test_dropped_names_reasons_in_order(core: Any, fill: Callable[..., list[Outcome]]) -> None:
    outbox = core.Outbox()
    for reason in reversed(DROP_REASONS):
        fill(outbox, 2)
        outbox.clear(reason)
    assert list(outbox.dropped.items()) == [(reason, 2) for reason in DROP_REASONS]
    outbox.dropped.clear()
    assert len(outbox.dropped) == 9


def test_repr(core: Any, fill: Callable[..., list[Outcome]]) -> None:
    outbox = core.Outbox()
    fill(outbox, 3)
    outbox.gather(0.0, 10)
    outbox.wrote()
    assert repr(outbox) == "<Outbox queued=2 unconfirmed=1 received=3>"


# Memory


def references(thing: object) -> int:
    return sys.getrefcount(thing)


def put(outbox: Any, payload: bytes, count: int) -> None:
    for _ in range(count):
        outbox.offer(payload, MESSAGE, 1, 0.0)


def test_payloads_are_let_go(core: Any) -> None:
    payload = bytes(range(200))
    before = references(payload)
    outbox = core.Outbox(max_events=4)

    put(outbox, payload, 10)
    assert references(payload) == before + 4
    outbox.gather(0.0, 400)
    assert references(payload) == before + 4
    outbox.wrote()
    assert references(payload) == before + 2
    outbox.take(0.0, 1)
    assert references(payload) == before + 1
    put(outbox, payload, 2)
    outbox.gather(100.0)
    assert references(payload) == before
    put(outbox, payload, 3)
    outbox.clear("hold")
    assert references(payload) == before
    put(outbox, payload, 3)
    outbox.offer_control(payload)
    outbox.gather(0.0, 400)
    assert references(payload) == before + 4
    outbox.lose_link()
    assert references(payload) == before + 2
    outbox.offer_control(payload)
    outbox.gather(0.0)
    outbox.wrote()
    assert references(payload) == before
    put(outbox, payload, 4)
    outbox.offer_control(payload)
    del outbox
    gc.collect()
    assert references(payload) == before


def test_cycles_with_the_owner_are_collected(core: Any) -> None:
    class Owner:
        outbox: Any

    owner = Owner()
    owner.outbox = core.Outbox(owner)
    owner.outbox.offer(b"x", MESSAGE, 1, 0.0)
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


def test_a_stuck_client_for_long(core: Any, check: Callable[[Any], None], fill: Callable[..., list[Outcome]]) -> None:
    """One event unconfirmed for ever, the lane full: each offer evicts one, memory stays bounded."""
    outbox = core.Outbox(max_events=50)
    fill(outbox, 3)
    outbox.gather(0.0, 20)
    outbox.wrote()
    outbox.gather(0.0, 10)
    before = sys.getsizeof(outbox)
    for number in range(4, 20004):
        outbox.offer(b"%d" % number, MESSAGE, number, 0.0)
    check(outbox)
    assert (outbox.queued, outbox.unconfirmed, outbox.dropped) == (50, 2, {"oldest": 19951})
    assert sys.getsizeof(outbox) <= before + 8192
    outbox.wrote()
    assert outbox.confirm(3) == 3
    assert numbers(outbox.take(0.0)) == list(range(19955, 20004))
    check(outbox)


def test_long_runs_through_the_ring(core: Any, check: Callable[[Any], None]) -> None:
    outbox = core.Outbox()
    sequence, seen = 0, []
    for turn in range(400):
        for _ in range(turn % 37):
            sequence += 1
            outbox.offer(b"%d" % sequence, MESSAGE, sequence, 0.0)
        seen += numbers(outbox.gather(0.0, 90))
        last = outbox.wrote()
        outbox.confirm(last - turn % 11)
        check(outbox)
    seen += numbers(outbox.take(0.0))
    assert seen == list(range(1, sequence + 1))
