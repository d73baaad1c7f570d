"""What all outboxes of a router may hold together, and which messages a row keeps longest."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]


@pytest.fixture
def message(event: Make) -> Make:
    """A message of 100 bytes or so."""

    def make(number: int, user: int = 7) -> Any:
        return event(post_type="message", message_type="private", user_id=user, message_id=number, message="x" * 30)

    return make


def ids(outbox: Any) -> list[int]:
    return [item.message_id for item in outbox.take(0.0)]


@pytest.mark.parametrize("limit", [0, -1, math.nan])
def test_the_limit_is_positive(core: Any, limit: float) -> None:
    with pytest.raises(ValueError, match="memory_limit must be more than 0"):
        core.Router(memory_limit=limit)


def test_a_payload_counts_once_however_many_hold_it(core: Any, message: Make) -> None:
    router = core.Router()
    outboxes = [core.Outbox() for _ in range(5)]
    for outbox in outboxes:
        router.add(outbox, "frame")
    core.fan_out(router, [message(1)], 0.0)
    size = outboxes[0].queued_bytes
    assert router.memory == size
    for outbox in outboxes:
        assert router.memory == size
        outbox.gather(0.0)
        outbox.wrote()
    assert router.memory == 0


def test_forms_count_apart_and_nobodys_event_not_at_all(core: Any, message: Make) -> None:
    router = core.Router()
    router.add(core.Outbox(1), "frame", users={7})
    router.add(core.Outbox(2), "json", users={7})
    core.fan_out(router, [message(1, user=8)], 0.0)
    assert router.memory == 0
    event = message(2)
    core.fan_out(router, [event], 0.0)
    assert router.memory == 2 * len(event.raw) + 2


def test_what_is_refused_does_not_count(core: Any, message: Make) -> None:
    router = core.Router()
    router.add(core.Outbox(max_frame=10), "json")
    core.fan_out(router, [message(1)], 0.0)
    assert router.memory == 0


def test_the_oldest_go_from_everyone_that_has_them(core: Any, message: Make, check: Callable[[Any], None]) -> None:
    size = len(message(1).raw)
    router = core.Router(memory_limit=3 * size)
    all_, some, other = core.Outbox("all"), core.Outbox("some"), core.Outbox("other")
    router.add(all_, "event")
    router.add(some, "event", users={1})
    router.add(other, "event", users={2})
    first = core.fan_out(router, [message(1, 1), message(2, 2), message(3, 1)], 0.0)
    assert (first.queued, first.dropped, router.memory) == (6, 0, 3 * size)
    report = core.fan_out(router, [message(4, 3)], 0.0)
    # Both who had the first lose it, though only one of them was offered something now.
    assert (report.queued, report.dropped, report.ready) == (1, 2, ["all"])
    assert (all_.dropped, some.dropped, other.dropped) == ({"budget": 1}, {"budget": 1}, {})
    for outbox in (all_, some, other):
        check(outbox)
    assert ids(all_) == [2, 3, 4]
    assert ids(some) == [3]
    assert ids(other) == [2]
    assert router.memory == 0


def test_a_batch_that_is_too_much_by_itself(core: Any, message: Make) -> None:
    size = len(message(10).raw)
    router = core.Router(memory_limit=2 * size)
    outbox = core.Outbox("a")
    router.add(outbox, "event")
    report = core.fan_out(router, [message(number) for number in range(10, 20)], 0.0)
    assert (report.queued, report.dropped) == (10, 8)
    assert ids(outbox) == [18, 19]


def test_one_event_larger_than_the_limit_is_dropped(core: Any, message: Make) -> None:
    router = core.Router(memory_limit=10)
    outbox = core.Outbox("a")
    router.add(outbox, "event")
    report = core.fan_out(router, [message(1)], 0.0)
    assert (report.queued, report.dropped, report.ready) == (1, 1, [])
    assert router.memory == 0


def test_what_is_kept_for_another_link_goes_first(core: Any, message: Make, check: Callable[[Any], None]) -> None:
    size = len(message(10).raw) + 2
    router = core.Router(memory_limit=3 * size)
    outbox = core.Outbox(delivery="at_least_once")
    router.add(outbox, "frame")
    core.fan_out(router, [message(number) for number in (11, 12)], 0.0)
    outbox.gather(0.0)
    outbox.wrote()
    core.fan_out(router, [message(number) for number in (13, 14)], 0.0)
    assert router.memory == 3 * size
    check(outbox)
    assert (outbox.unconfirmed, outbox.queued, outbox.dropped) == (2, 2, {})
    assert outbox.lose_link() == 1
    check(outbox)
    assert (outbox.queued, outbox.dropped) == (3, {"uncertain": 1})


def test_what_is_being_written_stays(core: Any, message: Make) -> None:
    size = len(message(10).raw) + 2
    router = core.Router(memory_limit=size)
    outbox = core.Outbox()
    router.add(outbox, "frame")
    core.fan_out(router, [message(11)], 0.0)
    frames = outbox.gather(0.0)
    core.fan_out(router, [message(12)], 0.0)
    assert outbox.dropped == {"budget": 1}
    assert (len(frames), outbox.in_flight, outbox.queued) == (1, 1, 1)


def test_memory_ends_with_the_outboxes_also_after_the_router(core: Any, message: Make) -> None:
    router = core.Router()
    outbox, other = core.Outbox(), core.Outbox()
    rows = [router.add(outbox, "frame"), router.add(other, "event")]
    core.fan_out(router, [message(1)], 0.0)
    router.remove(rows[0])
    assert router.memory > 0
    del outbox
    gc.collect()
    other.clear("hold")
    assert router.memory == 0
    core.fan_out(router, [message(1)], 0.0)
    del router
    gc.collect()
    assert len(ids(other)) == 1


# keep


def kept_first(core: Any, router: Any, outbox: Any, events: list[Any]) -> list[int]:
    core.fan_out(router, events, 0.0)
    return ids(outbox)


def test_what_a_row_keeps_goes_after_its_other_messages(core: Any, message: Make) -> None:
    router = core.Router()
    keeping, plain = core.Outbox(1, max_events=3), core.Outbox(2, max_events=3)
    row = router.add(keeping, "event", keep={"users": {1, 2}})
    router.add(plain, "event")
    assert len(router) == 2
    events = [message(number, user) for number, user in enumerate((1, 7, 2, 7, 8, 9), 1)]
    report = core.fan_out(router, events, 0.0)
    assert report.matched == 12
    assert ids(keeping) == [1, 3, 6]
    assert ids(plain) == [4, 5, 6]
    assert router.match(events[0]) == [row, row + 2]


def test_keeping_costs_no_match_and_shares_the_payload(core: Any, message: Make) -> None:
    router = core.Router()
    router.add(core.Outbox(1), "frame", keep={"users": {1}})
    router.add(core.Outbox(2), "frame")
    router.add(core.Outbox(3), "frame", users={5}, keep={})
    report = core.fan_out(router, [message(1, 1)], 0.0)
    assert (report.matched, report.ready) == (2, [2, 1])
    assert router.memory == len(message(1, 1).raw) + 2


def test_what_keeps_may_ask_for_texts_and_conditions(core: Any, event: Make) -> None:
    router = core.Router()
    outbox = core.Outbox(max_events=2)
    router.add(
        outbox,
        "event",
        keep={"text": {"prefix": ["/"]}, "condition": lambda event, account: event.user_id == 1 or 1 // 0},
    )
    for number, (user, text) in enumerate(((1, "/a"), (1, "b"), (2, "/c"), (1, "d"), (1, "/e")), 1):
        core.fan_out(
            router,
            [event(post_type="message", message_type="private", user_id=user, message_id=number, message=text)],
            0.0,
        )
    assert ids(outbox) == [1, 5]


def test_a_row_goes_with_what_it_keeps(core: Any, message: Make) -> None:
    router = core.Router()
    row = router.add(core.Outbox(), "event", keep={"users": {1}})
    assert router.add(core.Outbox(), "event") == row + 2
    with pytest.raises(KeyError):
        router.remove(row + 1)
    with pytest.raises(KeyError):
        router.replace(row + 1)
    router.replace(row, users={1, 2})
    router.remove(row)
    assert len(router) == 1
    assert [router.add(core.Outbox(), "event") for _ in range(3)] == [row, row + 1, row + 3]


def test_bad_rules_of_what_is_kept(core: Any) -> None:
    router = core.Router()
    for keep, error in (({"users": {"1"}}, TypeError), ({"kinds": [""]}, ValueError), ({"colour": 1}, TypeError)):
        with pytest.raises(error):
            router.add(core.Outbox(), keep=keep)
    with pytest.raises(TypeError):
        router.add(core.Outbox(), keep={"condition": 1})
    assert len(router) == 0
    assert router.add(core.Outbox()) == 0


def test_many_rows_that_keep(core: Any, message: Make) -> None:
    router = core.Router()
    outboxes = [core.Outbox(number, max_events=2) for number in range(150)]
    for number, outbox in enumerate(outboxes):
        router.add(outbox, "event", keep={"users": {number}})
    core.fan_out(router, [message(1, 77), message(2, 5), message(3, 99), message(4, 98)], 0.0)
    for number, outbox in enumerate(outboxes):
        assert ids(outbox) == ([1, 4] if number == 77 else [2, 4] if number == 5 else [3, 4])
