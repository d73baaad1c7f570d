"""A batch of events through the router into the outboxes."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

GROUP, OTHER = 342561735, 1062848088


@pytest.fixture
def message(event: Callable[..., Any]) -> Callable[[int], Any]:
    """A group message of the given group."""

    def make(group: int = GROUP) -> Any:
        return event(post_type="message", message_type="group", group_id=group, user_id=7)

    return make


def test_report(core: Any, message: Callable[..., Any]) -> None:
    router = core.Router()
    assert router.sequence == 0
    alice, bob, carol = core.Outbox("alice"), core.Outbox("bob"), core.Outbox("carol")
    router.add(alice, "event", groups={GROUP})
    router.add(bob, "json")
    router.add(carol, "json", kinds={"notice"})
    events = [message(), message(OTHER)]
    report = core.fan_out(router, events, 5.0)
    assert type(report) is core.Report
    assert (report.matched, report.queued, report.dropped, report.invalid) == (3, 3, 0, 0)
    assert report.ready == ["alice", "bob"]
    assert router.sequence == 2
    assert alice.take(5.0) == events[:1]
    assert bob.take(5.0) == [event.raw for event in events]
    assert carol.received == 0


def test_ready_is_in_the_order_of_the_first_touch(core: Any, message: Callable[..., Any]) -> None:
    router = core.Router()
    for name, group in (("a", 3), ("b", 2), ("c", 1), ("d", 2)):
        router.add(core.Outbox(name), groups={group})
    assert core.fan_out(router, [message(2), message(1), message(2)], 0.0).ready == ["b", "d", "c"]
    assert core.fan_out(router, [message(9)], 0.0).ready == []


def test_sequences(core: Any, message: Callable[..., Any]) -> None:
    router = core.Router()
    outbox = core.Outbox()
    router.add(outbox, groups={GROUP})
    core.fan_out(router, [message(OTHER), message(), message(OTHER), message()], 0.0)
    core.fan_out(router, [], 0.0)
    core.fan_out(router, [message(OTHER)], 0.0)
    assert router.sequence == 5
    outbox.gather(0.0)
    assert outbox.wrote() == 4
    assert [outbox.confirm(sequence) for sequence in (1, 2, 3, 4)] == [0, 1, 0, 1]


def test_forms_are_built_once_and_shared(core: Any, message: Callable[..., Any]) -> None:
    router = core.Router()
    outboxes = {form: [core.Outbox(), core.Outbox()] for form in ("event", "json", "frame", "masked", "sse")}
    for form, pair in outboxes.items():
        for outbox in pair:
            router.add(outbox, form)
    event = message()
    core.fan_out(router, [event], 0.0)
    first, second = ({form: pair[at].take(0.0)[0] for form, pair in outboxes.items()} for at in (0, 1))
    assert all(first[form] is second[form] for form in first)
    assert first["event"] is event
    assert first["json"] is event.raw
    assert first["frame"] == core.frame(event.raw)
    assert first["sse"] == b"data: " + event.raw + b"\n\n"
    masked = first["masked"]
    assert masked == core.masked_frame(event.raw, masked[2:6])


def test_each_event_has_a_masking_key_of_its_own(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    outbox = core.Outbox()
    router.add(outbox, "masked")
    small = event(post_type="x")
    core.fan_out(router, [small] * 3000, 0.0)
    keys = [frame[2:6] for frame in outbox.take(0.0)]
    assert len(keys) == 3000
    # 3,000 of 2 ** 32: two equal pairs are as good as impossible.
    assert len(set(keys)) >= 2999


def test_account_stands_in_for_self_id(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    outbox = core.Outbox()
    router.add(outbox, self_ids={5})
    anonymous, named = event(post_type="x"), event(post_type="x", self_id=6)
    assert core.fan_out(router, [anonymous, named], 0.0).matched == 0
    assert core.fan_out(router, [anonymous, named], 0.0, 5).matched == 1
    assert core.fan_out(router, [anonymous, named], 0.0, account=6).matched == 0


def test_invalid_is_passed_on(core: Any) -> None:
    assert core.fan_out(core.Router(), [], 0.0, invalid=3).invalid == 3
    assert core.fan_out(core.Router(), [], 0.0, 0, 4).invalid == 4


def test_any_iterable(core: Any, message: Callable[..., Any]) -> None:
    router = core.Router()
    router.add(core.Outbox())
    events = [message(), message()]
    for given in (events, tuple(events), iter(events), (event for event in events)):
        assert core.fan_out(router, given, 0.0).matched == 2


def test_what_is_no_event_stops_the_batch_before_it_starts(core: Any, message: Callable[..., Any]) -> None:
    router = core.Router()
    outbox = core.Outbox()
    router.add(outbox)
    for wrong in (b'{"post_type":"x"}', None, core.peek_frame(b"{}")):
        with pytest.raises(TypeError, match="expected events"):
            core.fan_out(router, [message(), wrong], 0.0)
    with pytest.raises(TypeError):
        core.fan_out(router, message(), 0.0)
    with pytest.raises((TypeError, AttributeError)):
        core.fan_out(None, [message()], 0.0)
    assert (router.sequence, outbox.received) == (0, 0)


def test_time_and_class_reach_the_outbox(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    outbox = core.Outbox()
    router.add(outbox, "event")
    events = [event(post_type=post_type) for post_type in ("message", "notice", "request", "meta_event")]
    core.fan_out(router, events, 1000.0)
    assert outbox.take(1060.0, 1) == [events[1]]
    assert outbox.take(1600.0) == [events[2]]
    assert outbox.dropped == {"ttl": 2}


def test_drops_are_counted(core: Any, message: Callable[..., Any]) -> None:
    router = core.Router()
    oldest = core.Outbox("oldest", max_events=2)
    newest = core.Outbox("newest", max_events=2, overflow="drop_newest")
    disconnect = core.Outbox("disconnect", max_events=2, overflow="disconnect")
    oversize = core.Outbox("oversize", max_frame=10)
    for outbox in (oldest, newest, disconnect, oversize):
        router.add(outbox)
    oldest.clear("hold")
    report = core.fan_out(router, [message() for _ in range(4)], 0.0)
    # oldest: 4 taken, 2 evicted; newest: 2 and 2; disconnect: 2, then 3 cleared, then 1; oversize: 4.
    assert (report.matched, report.queued, report.dropped) == (16, 4 + 2 + 2, 2 + 2 + 4 + 4)
    assert report.ready == ["oldest", "newest", "disconnect"]
    assert disconnect.close_code == 1013
    # What was dropped before is not counted again.
    report = core.fan_out(router, [message()], 0.0)
    assert (report.matched, report.queued, report.dropped) == (4, 1, 4)


def test_an_outbox_of_two_rows_is_listed_once(core: Any, message: Callable[..., Any]) -> None:
    router = core.Router()
    outbox = core.Outbox("one", max_events=3)
    router.add(outbox)
    router.add(outbox)
    report = core.fan_out(router, [message(), message()], 0.0)
    assert (report.matched, report.queued, report.dropped, report.ready) == (4, 4, 1, ["one"])
    assert outbox.queued == 3


def test_an_owner_of_two_outboxes_is_listed_for_each(core: Any, message: Callable[..., Any]) -> None:
    router = core.Router()
    owner = object()
    router.add(core.Outbox(owner))
    router.add(core.Outbox(owner))
    assert core.fan_out(router, [message()], 0.0).ready == [owner, owner]


def test_what_waits_already_makes_ready(core: Any, message: Callable[..., Any]) -> None:
    router = core.Router()
    outbox = core.Outbox("a", max_frame=10)
    router.add(outbox)
    outbox.offer_control(b"pong")
    assert core.fan_out(router, [message()], 0.0).ready == ["a"]
    outbox.gather(0.0)
    outbox.wrote()
    assert core.fan_out(router, [message()], 0.0).ready == []


def test_report_is_immutable(core: Any) -> None:
    report = core.fan_out(core.Router(), [], 0.0)
    for name in ("matched", "queued", "dropped", "invalid", "ready"):
        with pytest.raises(AttributeError):
            setattr(report, name, 1)
    assert repr(report) == "Report(matched=0, queued=0, dropped=0, invalid=0)"


def test_many_rows(core: Any, message: Callable[..., Any]) -> None:
    router = core.Router()
    outboxes = [core.Outbox(number) for number in range(300)]
    for number, outbox in enumerate(outboxes):
        assert router.add(outbox, "frame", groups={GROUP if number % 3 == 0 else OTHER}) == number
    report = core.fan_out(router, [message(), message()], 0.0)
    assert (report.matched, report.queued) == (200, 200)
    assert report.ready == list(range(0, 300, 3))
    assert {outbox.received for outbox in outboxes[::3]} == {2}
    assert {outbox.received for outbox in outboxes[1::3] + outboxes[2::3]} == {0}


def test_removed_rows_get_nothing_and_let_go(core: Any, message: Callable[..., Any]) -> None:
    class Owner:
        pass

    owner = Owner()
    gone = weakref.ref(owner)
    router = core.Router()
    row = router.add(core.Outbox(owner))
    del owner
    gc.collect()
    assert gone() is not None
    router.remove(row)
    gc.collect()
    assert gone() is None
    assert core.fan_out(router, [message()], 0.0).matched == 0


def test_a_router_changed_in_the_middle_of_a_batch(core: Any, message: Callable[..., Any]) -> None:
    """What a user has put into an event's data may run code when the event is evicted."""

    class Meddler:
        def __del__(self) -> None:
            for row in (1, 2):
                router.remove(row)
            for _ in range(200):
                router.add(core.Outbox(), groups={OTHER}, kinds={"message"})

    router = core.Router()
    lanes = [core.Outbox(number, max_events=1) for number in range(3)]
    for lane in lanes:
        router.add(lane, "event")
    core.fan_out(router, [message()], 0.0)
    for lane in lanes[1:]:
        lane.clear("shutdown")
    (first,) = lanes[0].take(0.0)
    first.data["meddler"] = Meddler()
    lanes[0].offer(first, 0, 1, 0.0)
    del first
    report = core.fan_out(router, [message(), message()], 0.0)
    assert len(router) == 201
    assert report.ready[0] == 0
    assert lanes[0].queued == 1
    assert core.fan_out(router, [message(OTHER)], 0.0).matched == 201


def test_cycles_through_the_router_are_collected(core: Any) -> None:
    class Owner:
        router: Any

    owner = Owner()
    owner.router = core.Router()
    owner.router.add(core.Outbox(owner))
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None
