"""The outbox: the way of an event through the lane, its bounds and lifetimes, and the ledger."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from napcore.types import EventClass, Outcome

MESSAGE, NOTICE, REQUEST, META = EventClass


def numbers(payloads: list[bytes]) -> list[int]:
    return [int(payload) for payload in payloads]


def test_new(core: Any) -> None:
    owner = object()
    outbox = core.Outbox(owner)
    assert outbox.owner is owner
    assert (outbox.received, outbox.confirmed, outbox.unconfirmed, outbox.queued) == (0, 0, 0, 0)
    assert (outbox.queued_bytes, outbox.max_queued, outbox.late, outbox.control_queued) == (0, 0, 0, 0)
    assert (outbox.close_code, outbox.dropped, len(outbox)) == (0, {}, 0)
    assert outbox.gather(0.0) == []
    assert outbox.take(0.0) == []
    assert (outbox.wrote(), outbox.confirm(10), outbox.lose_link(), outbox.clear("hold")) == (0, 0, 0, 0)
    assert core.Outbox().owner is None


def test_owner_may_change_and_nothing_else(core: Any) -> None:
    outbox = core.Outbox("a")
    outbox.owner = "b"
    assert outbox.owner == "b"
    for name in ("received", "close_code", "queued", "late", "dropped", "unknown"):
        with pytest.raises(AttributeError):
            setattr(outbox, name, 1)


@pytest.mark.parametrize("name", ["max_events", "max_bytes", "message_ttl", "notice_ttl", "request_ttl"])
@pytest.mark.parametrize("value", [0, -1, 0.0, -0.5, math.nan, -math.inf])
def test_limits_are_positive(core: Any, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be more than 0"):
        core.Outbox(**{name: value})
    core.Outbox(**{name: math.inf})


def test_other_bad_arguments(core: Any) -> None:
    for size in (0, -1):
        with pytest.raises(ValueError, match="max_frame must be more than 0"):
            core.Outbox(max_frame=size)
    for overflow in ("", "drop", None, 1):
        with pytest.raises(ValueError, match="overflow must be one of drop_oldest, drop_newest, disconnect"):
            core.Outbox(overflow=overflow)
    with pytest.raises(TypeError):
        core.Outbox(max_events="many")
    with pytest.raises(TypeError):
        core.Outbox(max_events=None)


def test_offers_of_the_wrong_type(core: Any) -> None:
    outbox = core.Outbox()
    for payload in (None, "text", bytearray(b"x"), core.peek_frame(b"{}")):
        with pytest.raises(TypeError):
            outbox.offer(payload, MESSAGE, 1, 0.0)
    for event_class in (-1, 4, 1 << 40):
        with pytest.raises(ValueError, match="is not a valid EventClass"):
            outbox.offer(b"x", event_class, 1, 0.0)
    for frame in (None, "text", bytearray(b"x"), core.peek(b'{"post_type":1}')):
        with pytest.raises(TypeError):
            outbox.offer_control(frame)
    assert (outbox.received, len(outbox)) == (0, 0)


def test_way_of_an_event(core: Any, check: Callable[[Any], None], fill: Callable[..., list[Outcome]]) -> None:
    outbox = core.Outbox()
    assert fill(outbox, 3) == [Outcome.QUEUED] * 3
    assert (outbox.queued, outbox.queued_bytes, outbox.max_queued) == (3, 30, 3)
    assert numbers(outbox.gather(1.0)) == [1, 2, 3]
    check(outbox)
    assert (outbox.queued, outbox.queued_bytes, outbox.unconfirmed) == (3, 30, 0)
    assert outbox.wrote() == 3
    check(outbox)
    assert (outbox.queued, outbox.queued_bytes, outbox.unconfirmed, outbox.confirmed) == (0, 0, 3, 0)
    assert outbox.confirm(2) == 2
    check(outbox)
    assert (outbox.unconfirmed, outbox.confirmed) == (1, 2)
    assert outbox.confirm(2) == 0
    assert outbox.confirm(99) == 1
    check(outbox)
    assert (outbox.unconfirmed, outbox.confirmed, outbox.received, outbox.dropped) == (0, 3, 3, {})
    assert outbox.wrote() == 3


def test_outcomes_are_outcomes(core: Any) -> None:
    outbox = core.Outbox()
    assert outbox.offer(b"x", 0, 1, 0.0) is Outcome.QUEUED
    assert outbox.offer_control(b"x") is Outcome.QUEUED


def test_confirm_reaches_written_events_only(
    core: Any, check: Callable[[Any], None], fill: Callable[..., list[Outcome]]
) -> None:
    outbox = core.Outbox()
    fill(outbox, 4)
    outbox.gather(0.0, 20)
    assert outbox.confirm(4) == 0
    outbox.wrote()
    assert outbox.confirm(4) == 2
    assert (outbox.confirmed, outbox.queued) == (2, 2)
    check(outbox)


def test_sequences_with_gaps(core: Any) -> None:
    outbox = core.Outbox()
    for sequence in (5, 9, 9, 1 << 62):
        outbox.offer(b"x", MESSAGE, sequence, 0.0)
    outbox.gather(0.0)
    assert outbox.wrote() == 1 << 62
    assert [outbox.confirm(sequence) for sequence in (4, 8, 9, (1 << 62) - 1, 1 << 62)] == [0, 1, 2, 0, 1]


# Bounds


def test_drop_oldest_by_count(core: Any, fill: Callable[..., list[Outcome]]) -> None:
    outbox = core.Outbox(max_events=3)
    assert fill(outbox, 5) == [Outcome.QUEUED] * 3 + [Outcome.DROPPED_OLDEST] * 2
    assert outbox.dropped == {"oldest": 2}
    assert (outbox.queued, outbox.max_queued) == (3, 3)
    assert numbers(outbox.gather(0.0)) == [3, 4, 5]


def test_drop_oldest_by_bytes(core: Any, check: Callable[[Any], None], fill: Callable[..., list[Outcome]]) -> None:
    outbox = core.Outbox(max_bytes=30)
    fill(outbox, 3)
    assert outbox.offer(b"4".zfill(11), MESSAGE, 4, 0.0) is Outcome.DROPPED_OLDEST
    assert (outbox.queued, outbox.queued_bytes, outbox.dropped) == (2, 21, {"oldest": 2})
    assert numbers(outbox.take(0.0)) == [3, 4]
    check(outbox)


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "disconnect"])
def test_an_empty_lane_takes_any_frame(core: Any, overflow: str, check: Callable[[Any], None]) -> None:
    outbox = core.Outbox(max_bytes=30, overflow=overflow)
    assert outbox.offer(bytes(1000), MESSAGE, 1, 0.0) is Outcome.QUEUED
    assert outbox.queued_bytes == 1000
    # What is being written does not make the lane any less empty.
    outbox.gather(0.0)
    assert outbox.offer(bytes(2000), MESSAGE, 2, 0.0) is Outcome.QUEUED
    assert (outbox.queued, outbox.queued_bytes, outbox.max_queued) == (2, 3000, 2)
    check(outbox)


def test_drop_oldest_evicts_all_for_a_giant(
    core: Any, check: Callable[[Any], None], fill: Callable[..., list[Outcome]]
) -> None:
    outbox = core.Outbox(max_bytes=30)
    fill(outbox, 3)
    assert outbox.offer(bytes(100), MESSAGE, 4, 0.0) is Outcome.DROPPED_OLDEST
    assert (outbox.queued, outbox.queued_bytes, outbox.dropped) == (1, 100, {"oldest": 3})
    check(outbox)


def test_what_is_being_written_is_not_evicted(
    core: Any, check: Callable[[Any], None], fill: Callable[..., list[Outcome]]
) -> None:
    outbox = core.Outbox(max_events=4)
    fill(outbox, 4)
    assert numbers(outbox.gather(0.0, 20)) == [1, 2]
    fill(outbox, 3, first=5)
    assert outbox.dropped == {"oldest": 3}
    assert (outbox.queued, outbox.max_queued) == (4, 4)
    assert outbox.wrote() == 2
    assert numbers(outbox.gather(0.0)) == [6, 7]
    check(outbox)


def test_what_is_written_leaves_the_bounds(core: Any, fill: Callable[..., list[Outcome]]) -> None:
    outbox = core.Outbox(max_events=2, max_bytes=20)
    for first in range(1, 100, 2):
        assert fill(outbox, 2, first=first) == [Outcome.QUEUED] * 2
        outbox.gather(0.0)
        outbox.wrote()
    assert (outbox.unconfirmed, outbox.dropped) == (100, {})


def test_drop_newest(core: Any, fill: Callable[..., list[Outcome]]) -> None:
    outbox = core.Outbox(max_events=2, overflow="drop_newest")
    assert fill(outbox, 4) == [Outcome.QUEUED] * 2 + [Outcome.DROPPED_NEWEST] * 2
    assert outbox.dropped == {"newest": 2}
    assert numbers(outbox.take(0.0)) == [1, 2]
    assert fill(outbox, 1, first=5) == [Outcome.QUEUED]


def test_disconnect(core: Any, check: Callable[[Any], None], fill: Callable[..., list[Outcome]]) -> None:
    outbox = core.Outbox(max_events=3, overflow="disconnect")
    fill(outbox, 1)
    outbox.gather(0.0)
    fill(outbox, 2, first=2)
    assert fill(outbox, 2, first=4) == [Outcome.DISCONNECT] * 2
    assert outbox.close_code == 1013
    # The two that waited, the one too many, and the one after it; not the one being written.
    assert outbox.dropped == {"disconnect": 4}
    assert (outbox.queued, outbox.queued_bytes) == (1, 10)
    assert outbox.offer(bytes(60 << 20), MESSAGE, 6, 0.0) is Outcome.DISCONNECT
    assert outbox.dropped == {"disconnect": 5}
    check(outbox)
    assert outbox.lose_link() == 1
    assert (outbox.close_code, outbox.dropped) == (0, {"disconnect": 5, "uncertain": 1})
    assert fill(outbox, 1, first=7) == [Outcome.QUEUED]


def test_oversize(core: Any, check: Callable[[Any], None]) -> None:
    outbox = core.Outbox(max_frame=100, max_bytes=math.inf)
    assert outbox.offer(bytes(101), MESSAGE, 1, 0.0) is Outcome.OVERSIZE
    assert outbox.offer(bytes(100), MESSAGE, 2, 0.0) is Outcome.QUEUED
    assert (outbox.dropped, outbox.queued) == ({"oversize": 1}, 1)
    check(outbox)


def test_size_of_an_event_is_its_bytes(core: Any) -> None:
    outbox = core.Outbox(max_frame=40)
    small, large = core.peek(b'{"post_type":1}'), core.peek(b'{"post_type":1}' + b" " * 30)
    assert outbox.offer(large, META, 1, 0.0) is Outcome.OVERSIZE
    assert outbox.offer(small, META, 2, 0.0) is Outcome.QUEUED
    assert outbox.queued_bytes == 15
    assert outbox.take(0.0) == [small]


def test_unlimited(core: Any, fill: Callable[..., list[Outcome]]) -> None:
    outbox = core.Outbox(
        max_events=math.inf, max_bytes=math.inf, message_ttl=math.inf, notice_ttl=math.inf, request_ttl=math.inf
    )
    assert set(fill(outbox, 5000)) == {Outcome.QUEUED}
    assert numbers(outbox.take(1e18)) == list(range(1, 5001))


def test_fractional_bounds(core: Any, fill: Callable[..., list[Outcome]]) -> None:
    outbox = core.Outbox(max_events=2.5)
    assert fill(outbox, 3) == [Outcome.QUEUED] * 2 + [Outcome.DROPPED_OLDEST]


# Lifetimes


@pytest.mark.parametrize(
    ("event_class", "lifetime"), [(MESSAGE, 60.0), (NOTICE, 600.0), (REQUEST, 86400.0), (META, 600.0)]
)
def test_default_lifetimes(core: Any, event_class: EventClass, lifetime: float, check: Callable[[Any], None]) -> None:
    for reader in ("gather", "take"):
        outbox = core.Outbox()
        outbox.offer(b"x", event_class, 1, 1000.0)
        outbox.offer(b"y", event_class, 2, 1000.5)
        assert getattr(outbox, reader)(1000.0 + lifetime) == [b"y"]
        assert outbox.dropped == {"ttl": 1}
        check(outbox)


def test_own_lifetimes(core: Any) -> None:
    outbox = core.Outbox(message_ttl=1, notice_ttl=2, request_ttl=3)
    for number, event_class in enumerate((MESSAGE, NOTICE, REQUEST, META)):
        outbox.offer(b"%d" % number, event_class, number, 0.0)
    assert outbox.take(1.5) == [b"1", b"2", b"3"]
    outbox.offer(b"a", META, 5, 0.0)
    outbox.offer(b"b", REQUEST, 6, 0.0)
    assert outbox.take(2.5) == [b"b"]
    assert outbox.dropped == {"ttl": 2}


def test_expired_among_fresh(core: Any, check: Callable[[Any], None]) -> None:
    outbox = core.Outbox(catch_up_rate=math.inf)
    for number in range(1, 41):
        outbox.offer(b"%d" % number, MESSAGE if number % 2 else NOTICE, number, 0.0)
    outbox.gather(0.0, 4)
    outbox.wrote()
    # 1 to 4 are written and unconfirmed while every second one behind them expires.
    assert numbers(outbox.gather(100.0, 10)) == [6, 8, 10, 12, 14, 16]
    check(outbox)
    assert outbox.dropped == {"ttl": 7}
    assert outbox.wrote() == 16
    assert outbox.confirm(4) == 4
    assert outbox.confirm(12) == 4
    check(outbox)
    assert numbers(outbox.gather(100.0)) == list(range(18, 41, 2))
    assert outbox.dropped == {"ttl": 18}
    check(outbox)


def test_expired_and_nothing_else(core: Any, fill: Callable[..., list[Outcome]]) -> None:
    outbox = core.Outbox()
    fill(outbox, 5)
    assert outbox.gather(60.0) == []
    assert outbox.dropped == {"ttl": 5}
    assert (outbox.queued, outbox.queued_bytes) == (0, 0)
    # Nothing was staged, so the next call may follow at once.
    fill(outbox, 1, now=60.0)
    assert numbers(outbox.gather(60.0)) == [1]


def test_what_is_staged_does_not_expire(core: Any, fill: Callable[..., list[Outcome]]) -> None:
    outbox = core.Outbox()
    fill(outbox, 2)
    outbox.gather(59.0)
    assert outbox.wrote() == 2
    assert (outbox.unconfirmed, outbox.dropped) == (2, {})
