"""The outbox: what is kept for another link, what is evicted last, and what a peer is too small for."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import pytest

from napcore.types import EventClass, Outcome

MESSAGE, NOTICE, REQUEST, META = EventClass
Fill = Callable[..., list[Outcome]]
Check = Callable[[Any], None]


def numbers(payloads: list[bytes]) -> list[int]:
    return [int(payload) for payload in payloads]


def write(outbox: Any, now: float = 0.0, most: float = math.inf) -> list[int]:
    frames = outbox.gather(now, 1 << 30, most)
    outbox.wrote()
    return numbers(frames)


# at_least_once


@pytest.fixture
def outbox(core: Any) -> Any:
    return core.Outbox(delivery="at_least_once", max_events=10)


def test_the_delivery_is_told(core: Any, outbox: Any) -> None:
    assert outbox.at_least_once is True
    assert core.Outbox().at_least_once is False
    for delivery in ("", "exactly_once", None):
        with pytest.raises(ValueError, match="delivery must be one of at_most_once, at_least_once"):
            core.Outbox(delivery=delivery)


def test_what_is_written_and_not_confirmed_is_written_again(outbox: Any, fill: Fill, check: Check) -> None:
    fill(outbox, 6)
    assert write(outbox, most=4) == [1, 2, 3, 4]
    assert outbox.confirm(2) == 2
    check(outbox)
    assert (outbox.unconfirmed, outbox.queued, outbox.queued_bytes) == (2, 2, 20)
    assert outbox.lose_link() == 0
    check(outbox)
    assert (outbox.unconfirmed, outbox.queued, outbox.dropped) == (0, 4, {})
    assert write(outbox) == [3, 4, 5, 6]
    assert outbox.confirm(99) == 4
    check(outbox)
    assert (outbox.received, outbox.confirmed, outbox.max_queued) == (6, 6, 6)


def test_what_was_being_written_is_written_again(outbox: Any, fill: Fill, check: Check) -> None:
    fill(outbox, 3)
    assert numbers(outbox.gather(0.0)) == [1, 2, 3]
    assert outbox.lose_link() == 0
    check(outbox)
    assert write(outbox) == [1, 2, 3]


def test_half_a_frame_is_written_again_as_a_whole(outbox: Any, fill: Fill, check: Check) -> None:
    fill(outbox, 3)
    outbox.gather(0.0)
    outbox.sent(14)
    assert outbox.unconfirmed == 1
    assert outbox.lose_link() == 0
    check(outbox)
    assert write(outbox) == [1, 2, 3]


def test_what_is_kept_counts_until_it_is_confirmed(outbox: Any, fill: Fill, check: Check) -> None:
    fill(outbox, 8)
    write(outbox, most=6)
    assert fill(outbox, 2, first=9) == [Outcome.QUEUED] * 2
    assert fill(outbox, 1, first=11) == [Outcome.DROPPED_OLDEST]
    check(outbox)
    assert outbox.dropped == {"oldest": 1}  # number 7: what is written is not touched
    outbox.confirm(6)
    assert fill(outbox, 6, first=12) == [Outcome.QUEUED] * 6
    assert write(outbox) == [8, *range(9, 18)]


def test_bytes_of_what_is_kept_count_too(core: Any, fill: Fill) -> None:
    outbox = core.Outbox(delivery="at_least_once", max_bytes=100, overflow="drop_newest")
    fill(outbox, 9)
    write(outbox)
    assert (outbox.queued_bytes, outbox.in_flight_bytes) == (0, 90)
    assert fill(outbox, 2, first=10) == [Outcome.QUEUED, Outcome.DROPPED_NEWEST]
    outbox.confirm(1)
    assert fill(outbox, 1, first=12) == [Outcome.QUEUED]


def test_where_nothing_waits_the_oldest_copy_makes_room(outbox: Any, fill: Fill, check: Check) -> None:
    fill(outbox, 10)
    write(outbox)
    assert fill(outbox, 1, first=11) == [Outcome.QUEUED]
    assert (outbox.unconfirmed, outbox.queued, outbox.dropped) == (10, 1, {})
    assert outbox.lose_link() == 1
    check(outbox)
    assert outbox.dropped == {"uncertain": 1}
    assert write(outbox) == list(range(2, 12))


def test_a_peer_that_confirms_nothing_is_disconnected_when_the_policy_says_so(core: Any, fill: Fill) -> None:
    outbox = core.Outbox(delivery="at_least_once", max_events=3, overflow="disconnect")
    fill(outbox, 3)
    write(outbox)
    assert fill(outbox, 1, first=4) == [Outcome.DISCONNECT]
    assert outbox.close_code == 1013
    assert outbox.lose_link() == 0
    assert write(outbox) == [1, 2, 3]
    assert outbox.dropped == {"disconnect": 1}


def test_an_expired_event_is_not_written_again(outbox: Any, fill: Fill) -> None:
    fill(outbox, 2)
    write(outbox)
    fill(outbox, 1, first=3, now=50.0)
    outbox.lose_link()
    assert write(outbox, now=60.0) == [3]
    assert outbox.dropped == {"ttl": 2}


def test_again_and_again(outbox: Any, fill: Fill, check: Check) -> None:
    for round_ in range(200):
        fill(outbox, 3, first=1 + 3 * round_)
        write(outbox)
        outbox.lose_link()
        check(outbox)
        assert write(outbox, most=2) == [1 + 3 * round_, 2 + 3 * round_]
        outbox.lose_link()
        assert len(write(outbox)) == 3
        outbox.confirm(3 * round_ + 3)
    assert (outbox.confirmed, outbox.dropped) == (600, {})


def test_a_payload_is_let_go_once_confirmed(outbox: Any) -> None:
    payload = b"1" * 100
    alone = sys.getrefcount(payload)
    outbox.offer(payload, MESSAGE, 1, 0.0)
    outbox.gather(0.0)
    outbox.wrote()
    assert sys.getrefcount(payload) == alone + 1
    outbox.confirm(1)
    assert sys.getrefcount(payload) == alone


# kept


def test_a_kept_message_goes_after_the_others(core: Any, check: Check) -> None:
    outbox = core.Outbox(max_events=5)
    for number, (event_class, kept) in enumerate(
        [(MESSAGE, True), (NOTICE, False), (MESSAGE, False), (MESSAGE, True), (REQUEST, False)], 1
    ):
        outbox.offer(b"%d" % number, event_class, number, 0.0, kept=kept)
    left = [1, 2, 3, 4, 5]
    for number, gone in ((6, 3), (7, 1), (8, 4), (9, 2), (10, 5)):
        outbox.offer(b"%d" % number, REQUEST, number, 0.0)
        check(outbox)
        left.remove(gone)
        left.append(number)
    assert numbers(outbox.take(0.0)) == left


def test_a_kept_message_lives_as_long_as_a_message(core: Any) -> None:
    outbox = core.Outbox()
    outbox.offer(b"1", MESSAGE, 1, 0.0, kept=True)
    assert outbox.take(60.0) == []
    assert outbox.dropped == {"ttl": 1}


def test_only_messages_are_kept(core: Any) -> None:
    outbox = core.Outbox(max_events=2)
    outbox.offer(b"1", NOTICE, 1, 0.0, kept=True)
    outbox.offer(b"2", NOTICE, 2, 0.0)
    outbox.offer(b"3", NOTICE, 3, 0.0)
    assert numbers(outbox.take(0.0)) == [2, 3]


# 1009


@pytest.mark.parametrize("delivery", ["at_most_once", "at_least_once"])
def test_a_frame_that_the_peer_is_too_small_for(core: Any, check: Check, delivery: str) -> None:
    outbox = core.Outbox(delivery=delivery)
    assert outbox.max_frame == 52428800
    for number, size in enumerate((10, 500, 20, 500, 30), 1):
        outbox.offer(b"%0*d" % (size, number), MESSAGE, number, 0.0)
    write(outbox)
    assert outbox.lose_link(True) == (4 if delivery == "at_most_once" else 0)
    check(outbox)
    assert outbox.dropped["oversize"] == 1
    assert outbox.max_frame == 499
    # The other one of that size is not tried.
    assert write(outbox) == ([] if delivery == "at_most_once" else [1, 3, 5])
    assert outbox.dropped["oversize"] == (1 if delivery == "at_most_once" else 2)
    assert outbox.offer(b"x" * 500, MESSAGE, 6, 0.0) is Outcome.OVERSIZE
    assert outbox.offer(b"x" * 499, MESSAGE, 7, 0.0) is Outcome.QUEUED
    check(outbox)


def test_a_frame_refused_before_its_end(core: Any, fill: Fill, check: Check) -> None:
    outbox = core.Outbox()
    fill(outbox, 1)
    outbox.offer(b"%0900d" % 2, MESSAGE, 2, 0.0)
    fill(outbox, 1, first=3)
    outbox.gather(0.0)
    outbox.sent(400)
    assert outbox.lose_link(True) == 1
    check(outbox)
    assert outbox.dropped == {"oversize": 1, "uncertain": 1}
    assert write(outbox) == [3]


def test_nothing_in_flight_teaches_nothing(core: Any, fill: Fill) -> None:
    outbox = core.Outbox()
    fill(outbox, 2)
    assert outbox.lose_link(True) == 0
    assert (outbox.max_frame, outbox.queued, outbox.dropped) == (52428800, 2, {})
