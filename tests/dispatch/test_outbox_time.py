"""The outbox and time: ages of events, the pace of catching up, and the time without a link."""

from __future__ import annotations

import importlib
import math
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from napcore.types import EventClass, Flushed, Outcome

MESSAGE, NOTICE, REQUEST, META = EventClass
Fill = Callable[..., list[Outcome]]
Check = Callable[[Any], None]


def numbers(payloads: list[bytes]) -> list[int]:
    return [int(payload) for payload in payloads]


def write(outbox: Any, now: float, most: float = math.inf) -> list[int]:
    frames = outbox.gather(now, 1 << 30, most)
    outbox.wrote()
    outbox.confirm(1 << 60)
    return numbers(frames)


# Ages


def test_a_lifetime_counts_from_birth(core: Any, check: Check) -> None:
    outbox = core.Outbox()
    assert outbox.offer(b"1", MESSAGE, 1, 100.0, born=50.0) is Outcome.QUEUED
    assert outbox.offer(b"2", MESSAGE, 2, 100.0) is Outcome.QUEUED
    assert outbox.take(110.0) == [b"2"]
    check(outbox)
    assert outbox.dropped == {"ttl": 1}


def test_what_is_past_its_lifetime_is_not_taken_at_all(core: Any, check: Check) -> None:
    outbox = core.Outbox(max_events=1, overflow="disconnect")
    outbox.offer(b"1", MESSAGE, 1, 100.0)
    assert outbox.offer(b"2", MESSAGE, 2, 100.0, born=40.0) is Outcome.STALE
    assert outbox.offer(b"3", NOTICE, 3, 100.0, born=-500.0) is Outcome.STALE
    check(outbox)
    assert (outbox.queued, outbox.dropped, outbox.close_code) == (1, {"ttl": 2}, 0)


def test_fan_out_knows_when_events_were_born(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    short, long = core.Outbox("short", message_ttl=10.0), core.Outbox("long")
    for outbox in (short, long):
        router.add(outbox, "event")
    events = [event(post_type="message", message_type="private", message_id=number) for number in (1, 2, 3)]
    report = core.fan_out(router, events, 100.0, born=[30.0, 85.0, 100.0])
    assert (report.matched, report.queued, report.dropped, report.ready) == (6, 3, 3, ["short", "long"])
    assert [item.message_id for item in short.take(100.0)] == [3]
    assert [item.message_id for item in long.take(100.0)] == [2, 3]
    for born in ([], [1.0], [1.0] * 4):
        with pytest.raises(ValueError, match=f"{len(born)} times of birth for 3 events"):
            core.fan_out(router, events, 100.0, born=born)
    with pytest.raises(TypeError):
        core.fan_out(router, events, 100.0, born=[None] * 3)
    assert router.sequence == 3


def test_taking_tells_until_when_each_event_is_worth_handling(core: Any) -> None:
    outbox = core.Outbox(message_ttl=60.0, notice_ttl=600.0, request_ttl=math.inf)
    for number, event_class in enumerate((MESSAGE, NOTICE, REQUEST, META), 1):
        outbox.offer(b"%d" % number, event_class, number, 100.0, born=95.0)
    outbox.offer(b"5", MESSAGE, 5, 100.0, born=41.0)
    deadlines: list[float] = []
    assert numbers(outbox.take(100.0, 3, deadlines)) == [1, 2, 3]
    assert deadlines == [155.0, 695.0, math.inf]
    assert numbers(outbox.take(101.0, 0, deadlines)) == [4]
    assert deadlines[3:] == [695.0]
    assert outbox.dropped == {"ttl": 1}


# The pace of catching up


def backlog(core: Any, count: int, **options: Any) -> Any:
    """An outbox whose events were born at 0."""
    outbox = core.Outbox(message_ttl=math.inf, max_events=math.inf, **options)
    for number in range(1, count + 1):
        outbox.offer(b"%d" % number, MESSAGE, number, 0.0)
    return outbox


def drained(outbox: Any, start: float, seconds: float, step: float = 0.05) -> list[int]:
    """How many leave in each second when somebody writes every ``step`` seconds."""
    counts = [0] * int(seconds)
    for number in range(round(seconds / step)):
        counts[int(number * step)] += len(write(outbox, start + number * step))
    return counts


@pytest.mark.parametrize("rate", [0, -1, math.nan])
def test_the_rate_is_positive(core: Any, rate: float) -> None:
    with pytest.raises(ValueError, match="catch_up_rate must be more than 0"):
        core.Outbox(catch_up_rate=rate)


def test_what_is_late_leaves_at_50_a_second(core: Any, check: Check) -> None:
    outbox = backlog(core, 400)
    counts = drained(outbox, 100.0, 5.0)
    check(outbox)
    assert all(45 <= count <= 65 for count in counts)
    assert sum(counts) <= 5 * 50 + 10
    assert outbox.caught_up == sum(counts)


def test_five_seconds_are_not_late(core: Any) -> None:
    assert len(write(backlog(core, 400), 5.0)) == 400
    assert len(write(backlog(core, 400), 5.01)) == 10


def test_no_limit(core: Any) -> None:
    outbox = backlog(core, 400, catch_up_rate=math.inf)
    assert len(write(outbox, 100.0)) == 400
    assert outbox.pause(100.0) == 0.0
    assert outbox.caught_up == 400


def test_a_rate_of_ones_own(core: Any) -> None:
    outbox = backlog(core, 100, catch_up_rate=2)
    assert drained(outbox, 100.0, 3.0) == [2, 2, 2]


def test_four_times_the_live_rate_if_that_is_more(core: Any) -> None:
    outbox = core.Outbox(message_ttl=math.inf, max_events=math.inf)
    number = 0
    for second in range(20):
        outbox.tick(float(second))
        for _ in range(100):
            number += 1
            outbox.offer(b"%d" % number, MESSAGE, number, float(second))
        outbox.take(float(second))
    for _ in range(4000):
        number += 1
        outbox.offer(b"%d" % number, MESSAGE, number, 20.0, born=10.0)
    counts = drained(outbox, 20.0, 3.0)
    assert all(350 <= count <= 480 for count in counts), counts


def test_a_burst_of_late_events_is_not_the_live_rate(core: Any) -> None:
    outbox = core.Outbox(message_ttl=math.inf, max_events=math.inf)
    outbox.tick(0.0)
    for number in range(1, 20_001):
        outbox.offer(b"%d" % number, MESSAGE, number, 1.0, born=-9.0)
    assert sum(drained(outbox, 1.0, 4.0)) <= 4 * 50 + 10


def test_order_is_kept_and_what_is_live_waits_behind_what_is_late(core: Any) -> None:
    outbox = core.Outbox(message_ttl=math.inf, catch_up_rate=1)
    for number in (1, 2, 3):
        outbox.offer(b"%d" % number, MESSAGE, number, 50.0, born=10.0)
    outbox.offer(b"4", MESSAGE, 4, 50.0)
    assert write(outbox, 50.0) == [1]
    assert outbox.pause(50.25) == 0.75
    assert write(outbox, 50.25) == []
    assert write(outbox, 51.0) == [2]
    assert write(outbox, 52.0) == [3]
    # Behind what is late, two seconds are late too.
    assert outbox.pause(52.0) == 1.0
    outbox.offer(b"5", MESSAGE, 5, 53.0)
    outbox.offer(b"6", MESSAGE, 6, 53.0, born=50.0)
    assert write(outbox, 53.0) == [4, 5, 6]
    assert outbox.pause(53.0) == 0.0
    assert outbox.caught_up == 4


def test_control_frames_are_not_late(core: Any) -> None:
    outbox = backlog(core, 100)
    write(outbox, 100.0)
    outbox.offer_control(b"77")
    assert numbers(outbox.gather(100.0)) == [77]


def test_expired_events_in_front_cost_no_turn(core: Any) -> None:
    outbox = core.Outbox(catch_up_rate=1)
    for number in range(1, 101):
        outbox.offer(b"%d" % number, MESSAGE if number < 100 else NOTICE, number, 0.0)
    assert outbox.pause(70.0) == 0.0
    assert write(outbox, 70.0) == [100]
    assert outbox.dropped == {"ttl": 99}


def test_what_the_socket_did_not_take_has_its_turn_again(core: Any, check: Check) -> None:
    outbox = backlog(core, 30)
    assert len(outbox.gather(100.0)) == 10
    outbox.sent(3)
    check(outbox)
    assert outbox.caught_up == 3
    assert numbers(outbox.gather(100.0)) == [4, 5, 6, 7, 8, 9, 10]


def test_a_writer_says_later(core: Any) -> None:
    wire = importlib.import_module(core.__name__.replace("_dispatch", "_wire"))
    outbox = backlog(core, 100)
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        writer = wire.Writer(outbox, os.dup(near.fileno()))
        owner = type("Owner", (), {"writer": writer})()
        assert writer.flush(100.0) is Flushed.LATER
        assert outbox.unconfirmed == 10
        assert wire.flush_ready([owner], 100.0) == [owner]
        writer.waking = True
        assert wire.flush_ready([owner], 100.0) == []
        assert writer.flush(100.0) is Flushed.LATER
        outbox.offer_control(b"now")
        assert wire.flush_ready([owner], 100.0) == []
        assert far.recv(1000).endswith(b"now")
        writer.close()


# Without a link


def test_held_events_wait_and_nobody_is_told(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    outbox = core.Outbox("a")
    router.add(outbox, "json")
    outbox.hold()
    assert outbox.holding is True
    report = core.fan_out(router, [event(post_type="notice", notice_type="x")], 0.0)
    assert (report.queued, report.ready) == (1, [])
    outbox.resume()
    assert outbox.holding is False
    assert core.fan_out(router, [event(post_type="notice", notice_type="x")], 0.0).ready == ["a"]
    assert len(outbox.gather(0.0)) == 2


def test_disconnect_drops_the_oldest_while_held(core: Any, fill: Fill, check: Check) -> None:
    outbox = core.Outbox(max_events=3, overflow="disconnect")
    outbox.hold()
    assert fill(outbox, 5) == [Outcome.QUEUED] * 3 + [Outcome.DROPPED_OLDEST] * 2
    assert (outbox.close_code, outbox.dropped) == (0, {"oldest": 2})
    outbox.resume()
    assert fill(outbox, 1, first=6) == [Outcome.DISCONNECT]


def test_the_end_of_hold_spares_requests(core: Any, check: Check) -> None:
    outbox = core.Outbox()
    outbox.hold()
    for number, event_class in enumerate((MESSAGE, REQUEST, NOTICE, META, REQUEST, MESSAGE), 1):
        outbox.offer(b"%d" % number, event_class, number, 0.0)
    assert outbox.end_hold() == 4
    check(outbox)
    assert (outbox.queued, outbox.queued_bytes, outbox.dropped) == (2, 2, {"hold": 4})
    assert outbox.offer(b"7", MESSAGE, 7, 1.0) is Outcome.NOT_HELD
    assert outbox.offer(b"8", REQUEST, 8, 1.0) is Outcome.QUEUED
    assert outbox.offer(b"9", NOTICE, 9, 1.0) is Outcome.NOT_HELD
    check(outbox)
    outbox.resume()
    assert outbox.offer(b"10", MESSAGE, 10, 1.0) is Outcome.QUEUED
    assert numbers(outbox.take(1.0)) == [2, 5, 8, 10]
    assert outbox.dropped == {"hold": 6}


def test_no_hold_at_all(core: Any, fill: Fill, check: Check) -> None:
    outbox = core.Outbox()
    fill(outbox, 2)
    outbox.offer(b"3", REQUEST, 3, 0.0)
    assert outbox.end_hold(True) == 3
    assert outbox.offer(b"4", REQUEST, 4, 0.0) is Outcome.NOT_HELD
    check(outbox)
    assert outbox.dropped == {"hold": 4}


def test_fan_out_to_one_that_holds_no_more(core: Any, event: Callable[..., Any], check: Check) -> None:
    router = core.Router()
    outbox = core.Outbox("a")
    router.add(outbox, "event")
    outbox.end_hold()
    message = event(post_type="message", message_type="private")
    report = core.fan_out(router, [message] * 3, 0.0)
    assert (report.matched, report.queued, report.dropped) == (3, 0, 3)
    assert core.fan_out(router, [event(post_type="request", request_type="friend")], 0.0).queued == 1
    check(outbox)


def test_a_holder_with_holes(core: Any, check: Check) -> None:
    outbox = core.Outbox(max_events=50)
    for number in range(1, 201):
        outbox.offer(b"%d" % number, REQUEST if number % 5 == 0 else MESSAGE, number, 0.0)
    check(outbox)
    kept = [number for number in range(1, 201) if number % 5 == 0]
    outbox.end_hold()
    check(outbox)
    outbox.resume()
    for number in range(201, 231):
        outbox.offer(b"%d" % number, MESSAGE, number, 0.0)
    assert numbers(outbox.take(0.0)) == [*kept[-40:], *range(221, 231)]


def test_a_tick_drops_what_has_expired_in_front(core: Any, fill: Fill, check: Check) -> None:
    outbox = core.Outbox()
    fill(outbox, 3)
    outbox.offer(b"4", REQUEST, 4, 0.0)
    fill(outbox, 1, first=5)
    outbox.tick(59.0)
    assert outbox.queued == 5
    outbox.tick(60.0)
    check(outbox)
    assert (outbox.queued, outbox.dropped) == (2, {"ttl": 3})
