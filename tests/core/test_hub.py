"""The hub: publishing, queues, changes at run time, lifetimes on an injected clock, the thread rule."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import orjson
import pytest

import napcore
from napcore import BadEvent, ConfigError, Event, Filter, Hub, HubClient, Policy, peek
from napcore.core.stats import ClientStatistics

GROUP, OTHER = 342561735, 1062848088


def raw(number: int = 1, group: int = GROUP, **fields: Any) -> bytes:
    event = {"self_id": 10001, "post_type": "message", "message_type": "group", "group_id": group, "user_id": 7}
    return orjson.dumps({**event, "message_id": number, **fields})


def numbers(client: HubClient) -> list[int | None]:
    return [event.message_id for event in client.take()]


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hub(clock: Clock) -> Hub:
    return Hub(clock=clock)


def test_the_documented_example() -> None:
    event = napcore.peek(
        b'{"self_id":10001,"post_type":"message","message_type":"group","group_id":342561735,"user_id":7}'
    )
    assert event.kind == "message.group"
    assert event.group_id == 342561735
    with pytest.raises(BadEvent) as raised:
        napcore.peek(b'{"a":')
    assert (raised.value.offset, raised.value.reason) == (5, "unexpected end of data")

    hub = napcore.Hub()
    alice = hub.add("alice", napcore.Filter(groups={342561735}), napcore.Policy(max_events=1000))
    report = hub.publish(event)
    assert (report.matched, report.queued, report.dropped) == (1, 1, 0)
    assert list(report.ready) == [alice]
    assert alice.take() == [event]


# What can be published.


def test_bytes_travel_unchanged(hub: Hub) -> None:
    client = hub.add("alice", form="json")
    data = b' { "post_type" : "notice" , "x":1.0 , "\\u0061":[ ] }\n'
    hub.publish(data)
    assert client.take() == [data]


def test_a_dict_is_encoded_once(hub: Hub) -> None:
    clients = [hub.add(name, form="json") for name in ("alice", "bob")]
    hub.publish({"post_type": "notice", "n": "通知"})
    (first,), (second,) = (client.take() for client in clients)
    assert first == '{"post_type":"notice","n":"通知"}'.encode()
    assert first is second


def test_an_event_is_handed_over_itself(hub: Hub) -> None:
    clients = [hub.add(name) for name in ("alice", "bob")]
    event = peek(raw())
    hub.publish(event)
    assert [client.take()[0] is event for client in clients] == [True, True]


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (b'{"post_type":', "unexpected end of data"),
        (b'{"status":"ok"}', "not an event"),
        (b"[]", "not an object"),
        ({"status": "ok"}, "not an event"),
        ({}, "not an event"),
    ],
)
def test_publish_refuses_what_is_no_event(hub: Hub, event: Any, reason: str) -> None:
    client = hub.add("alice")
    with pytest.raises(BadEvent) as raised:
        hub.publish(event)
    assert raised.value.reason == reason
    assert client.take() == []
    assert hub.router.sequence == 0


def endless() -> dict[str, Any]:
    event: dict[str, Any] = {"post_type": "notice"}
    event["self"] = event
    return event


NO_JSON = [{"post_type": "notice", "x": object()}, {"post_type": "notice", "x": 1 << 70}, {1: 2}, endless(), 5, None]


@pytest.mark.parametrize("event", NO_JSON, ids=["object", "int", "key", "endless", "number", "none"])
def test_publish_refuses_what_json_cannot_carry(hub: Hub, event: Any) -> None:
    with pytest.raises(TypeError):
        hub.publish(event)
    assert hub.router.sequence == 0


def test_publish_many_counts_what_is_no_event(hub: Hub) -> None:
    client = hub.add("alice")
    bad = [b"", b"nonsense", b'{"status":"ok"}', {}, "\ud800", *NO_JSON]
    report = hub.publish_many(item for pair in zip([raw(n) for n in range(11)], bad, strict=True) for item in pair)
    assert (report.matched, report.queued, report.dropped, report.invalid) == (11, 11, 0, 11)
    assert report.ready == [client]
    assert hub.router.sequence == 11
    assert len(client.take()) == 11


def test_publish_many_takes_every_form_in_order(hub: Hub) -> None:
    client = hub.add("alice")
    report = hub.publish_many([raw(1), peek(raw(2)), orjson.loads(raw(3))])
    assert report.invalid == 0
    assert numbers(client) == [1, 2, 3]


def test_publish_many_of_nothing(hub: Hub) -> None:
    hub.add("alice")
    report = hub.publish_many([])
    assert (report.matched, report.queued, report.dropped, report.invalid, report.ready) == (0, 0, 0, 0, [])


def test_a_publisher_that_fails_is_heard(hub: Hub) -> None:
    def broken() -> Any:
        yield raw()
        raise RuntimeError("the publisher's own")

    client = hub.add("alice")
    with pytest.raises(RuntimeError, match="the publisher's own"):
        hub.publish_many(broken())
    assert client.take() == []


def test_route_gives_the_account_of_the_link(hub: Hub) -> None:
    client = hub.add("alice", Filter(self_ids={20002}))
    report = hub.route([peek(b'{"post_type":"notice"}')], account=20002, invalid=3)
    assert (report.matched, report.invalid) == (1, 3)
    assert len(client.take()) == 1


def test_route_without_an_account(hub: Hub) -> None:
    hub.add("alice", Filter(self_ids={0, 1}))
    report = hub.route([peek(b'{"post_type":"notice"}')])
    assert (report.matched, report.invalid) == (0, 0)


# Forms.


def test_forms(hub: Hub) -> None:
    clients = {form: hub.add(form, form=form) for form in ("event", "json", "frame", "masked")}  # type: ignore[arg-type]
    data = b'{"post_type":"notice"}'
    hub.publish(data)
    taken = {form: client.take()[0] for form, client in clients.items()}
    assert taken["event"] == peek(data)
    assert taken["json"] == data
    assert taken["frame"] == b"\x81\x16" + data
    head, key, masked = taken["masked"][:2], taken["masked"][2:6], taken["masked"][6:]
    assert head == b"\x81\x96"
    assert bytes(byte ^ key[n % 4] for n, byte in enumerate(masked)) == data


def test_a_masked_frame_is_made_once_per_event_and_shared(hub: Hub) -> None:
    alice, bob = (hub.add(name, form="masked") for name in ("alice", "bob"))
    hub.publish_many([raw(), raw(), raw(), raw()])
    first, second = alice.take(), bob.take()
    assert all(one is other for one, other in zip(first, second, strict=True))
    assert len(set(first)) > 1, "four events with one masking key"


def test_an_unknown_form_is_refused(hub: Hub) -> None:
    with pytest.raises(ValueError, match="^form must be one of event, json, frame, masked, sse, not 'xml'$"):
        hub.add("alice", form="xml")  # type: ignore[arg-type]
    assert dict(hub.clients) == {}
    assert hub.add("alice").take() == []


# Reports.


def test_a_client_is_ready_once_per_batch(hub: Hub) -> None:
    alice = hub.add("alice")
    hub.add("carol", Filter(groups=()))
    bob = hub.add("bob", Filter(groups={OTHER}))
    report = hub.publish_many([raw(1), raw(2, OTHER), raw(3), raw(4, OTHER)])
    assert (report.matched, report.queued) == (6, 6)
    assert report.ready == [alice, bob]


def test_ready_lists_whom_the_event_touched_only(hub: Hub) -> None:
    hub.add("alice", Filter(groups={OTHER}))
    bob = hub.add("bob", Filter(groups={GROUP}))
    assert len(hub.publish(raw(1, OTHER)).ready) == 1
    assert hub.publish(raw(2)).ready == [bob]
    assert hub.publish(raw(3, 1)).ready == []


def test_an_owner_stands_for_its_client(hub: Hub) -> None:
    owner = object()
    hub.add("alice", owner=owner)
    assert hub.publish(raw()).ready == [owner]


# Taking.


def test_take_is_oldest_first_and_limited(hub: Hub) -> None:
    client = hub.add("alice")
    hub.publish_many([raw(n) for n in range(1, 6)])
    assert [event.message_id for event in client.take(2)] == [1, 2]
    assert numbers(client) == [3, 4, 5]
    assert client.take() == []
    with pytest.raises(ValueError, match="limit must be 0 or more"):
        client.take(-1)


# Changes at run time.


def test_a_new_filter_holds_from_the_next_event_on(hub: Hub) -> None:
    alice = hub.add("alice", Filter(groups={GROUP}))
    hub.publish_many([raw(1), raw(2, OTHER)])
    wanted = Filter(groups={OTHER})
    alice.filter = wanted
    assert alice.filter is wanted
    hub.publish_many([raw(3), raw(4, OTHER)])
    assert numbers(alice) == [1, 4]


def test_a_new_filter_changes_nobody_else(hub: Hub) -> None:
    alice, bob = hub.add("alice", Filter(groups={GROUP})), hub.add("bob", Filter(groups={GROUP}))
    alice.filter = Filter(kinds=())
    assert hub.publish(raw()).ready == [bob]


def test_no_filter_lets_everything_through(hub: Hub) -> None:
    assert hub.add("alice").filter == Filter()


def test_what_is_no_filter_changes_nothing(hub: Hub) -> None:
    alice = hub.add("alice", Filter(groups={GROUP}))
    with pytest.raises(AttributeError):
        alice.filter = {OTHER}  # type: ignore[assignment]
    assert alice.filter == Filter(groups={GROUP})
    assert hub.publish_many([raw(), raw(2, OTHER)]).matched == 1


def test_removal_while_events_wait(hub: Hub) -> None:
    alice, bob = hub.add("alice"), hub.add("bob")
    hub.publish(raw(1))
    assert hub.remove("alice") is alice
    report = hub.publish(raw(2))
    assert (report.matched, report.ready) == (1, [bob])
    assert alice.statistics().state == "absent"
    assert alice.statistics().queued == 1
    assert numbers(alice) == [1]
    assert numbers(bob) == [1, 2]


def test_a_removed_client_stays_away(hub: Hub) -> None:
    alice = hub.remove(hub.add("alice").name)
    alice.filter = Filter(groups={GROUP})
    alice.detach()
    assert alice.filter == Filter(groups={GROUP})
    assert hub.publish(raw()).matched == 0
    assert len(hub.router) == 0


def test_a_removed_clients_name_and_row_are_free(hub: Hub) -> None:
    old = hub.add("alice", Filter(groups={GROUP}))
    hub.publish(raw(1))
    hub.remove("alice")
    new = hub.add("alice", Filter(groups={OTHER}))
    old.filter = Filter()
    assert hub.publish_many([raw(2), raw(3, OTHER)]).ready == [new]
    assert numbers(old) == [1]
    assert numbers(new) == [3]


def test_a_client_knows_what_it_was_added_with(hub: Hub) -> None:
    policy = Policy(max_events=5)
    client = hub.add("alice", Filter(groups={GROUP}), policy, form="json")
    assert (client.name, client.filter, client.policy, client.form) == ("alice", Filter(groups={GROUP}), policy, "json")
    plain = hub.add("bob")
    assert (plain.filter, plain.policy, plain.form) == (Filter(), Policy(), "event")


def test_names_are_unique(hub: Hub) -> None:
    alice = hub.add("alice")
    with pytest.raises(ConfigError) as raised:
        hub.add("alice")
    assert str(raised.value) == "name: a client named 'alice' exists already"
    assert hub.clients["alice"] is alice
    assert hub.publish(raw()).matched == 1
    with pytest.raises(KeyError):
        hub.remove("bob")


def test_clients_is_a_live_read_only_view(hub: Hub) -> None:
    view = hub.clients
    assert type(view) is MappingProxyType
    alice = hub.add("alice")
    assert dict(view) == {"alice": alice}
    hub.remove("alice")
    assert dict(view) == {}


def test_many_clients_come_and_go(hub: Hub) -> None:
    clients = [hub.add(f"client-{n}", Filter(groups={n})) for n in range(200)]
    for n in range(0, 200, 3):
        hub.remove(f"client-{n}")
    report = hub.publish_many([raw(n, n) for n in range(1, 200)])
    left = [client for n, client in enumerate(clients) if n % 3]
    assert sorted(client.name for client in report.ready) == sorted(client.name for client in left)
    assert [numbers(client) for client in left] == [[n] for n in range(200) if n % 3]


# Time.


def test_the_clock_is_monotonic_time() -> None:
    assert Hub().clock is time.monotonic


@pytest.mark.parametrize(
    ("post_type", "lifetime"),
    [
        ("message", 60.0),
        ("message_sent", 60.0),
        ("notice", 600.0),
        ("meta_event", 600.0),
        ("request", 86400.0),
        ("guild", 600.0),
    ],
)
def test_lifetimes(hub: Hub, clock: Clock, post_type: str, lifetime: float) -> None:
    young, old = (hub.add(name, Filter(self_messages=True)) for name in ("young", "old"))
    hub.publish({"post_type": post_type})
    clock.now += lifetime - 0.5
    assert len(young.take()) == 1
    clock.now += 0.5
    assert old.take() == []
    assert old.statistics().dropped == {"ttl": 1}
    assert young.statistics().dropped == {}


def test_age_counts_from_publishing_whatever_the_event_says(hub: Hub, clock: Clock) -> None:
    client = hub.add("alice")
    hub.publish_many([raw(1, time=1), raw(2, time=4102444800)])
    clock.now += 59.0
    assert numbers(client) == [1, 2]


def test_a_lifetime_of_the_policy(hub: Hub, clock: Clock) -> None:
    short, off = hub.add("short", policy=Policy(message_ttl=0.5)), hub.add("off", policy=Policy(message_ttl="off"))
    hub.publish(raw())
    clock.now += 1e9
    assert short.take() == []
    assert numbers(off) == [1]


def test_only_what_is_too_old_is_dropped(hub: Hub, clock: Clock) -> None:
    client = hub.add("alice")
    hub.publish(raw(1))
    clock.now += 40.0
    hub.publish(raw(2))
    clock.now += 40.0
    assert numbers(client) == [2]


# Bounds.


def test_drop_oldest(hub: Hub) -> None:
    client = hub.add("alice", policy=Policy(max_events=2))
    report = hub.publish_many([raw(1), raw(2), raw(3)])
    assert (report.matched, report.queued, report.dropped, report.ready) == (3, 3, 1, [client])
    assert client.statistics().dropped == {"oldest": 1}
    assert numbers(client) == [2, 3]


def test_drop_newest(hub: Hub) -> None:
    client = hub.add("alice", policy=Policy(max_events=2, overflow="drop_newest"))
    report = hub.publish_many([raw(1), raw(2), raw(3)])
    assert (report.matched, report.queued, report.dropped, report.ready) == (3, 2, 1, [client])
    assert client.statistics().dropped == {"newest": 1}
    assert numbers(client) == [1, 2]


def test_disconnect(hub: Hub) -> None:
    client = hub.add("alice", policy=Policy(max_events=2, overflow="disconnect"))
    report = hub.publish_many([raw(1), raw(2), raw(3)])
    assert (report.matched, report.queued, report.dropped, report.ready) == (3, 2, 3, [client])
    assert client.outbox.close_code == 1013
    assert client.statistics().dropped == {"disconnect": 3}
    assert client.take() == []


def test_a_full_client_costs_nobody_else(hub: Hub) -> None:
    hub.add("full", policy=Policy(max_events=1))
    client = hub.add("alice")
    hub.publish_many([raw(n) for n in range(100)])
    assert len(client.take()) == 100


def test_max_bytes(hub: Hub) -> None:
    size = len(raw(1))
    client = hub.add("alice", policy=Policy(max_bytes=2 * size))
    hub.publish_many([raw(1), raw(2), raw(3)])
    assert client.statistics().queued_bytes == 2 * size
    assert numbers(client) == [2, 3]


def test_max_frame(hub: Hub) -> None:
    client = hub.add("alice", policy=Policy(max_frame=len(raw(1))))
    report = hub.publish_many([raw(1), raw(10)])
    assert (report.matched, report.queued, report.dropped) == (2, 1, 1)
    assert client.statistics().dropped == {"oversize": 1}


# Statistics.


def test_statistics(hub: Hub, clock: Clock) -> None:
    client = hub.add("alice", policy=Policy(max_events=3))
    hub.publish_many([raw(n) for n in range(1, 6)])
    client.take(1)
    before = client.statistics()
    assert before == ClientStatistics(
        name="alice",
        self_id=None,
        state="connected",
        received=5,
        confirmed=1,
        unconfirmed=0,
        queued=2,
        queued_bytes=2 * len(raw(1)),
        max_queued=3,
        dropped={"oldest": 2},
        late=0,
        connects=1,
        caught_up=0,
    )
    clock.now += 60.0
    client.take()
    after = client.statistics()
    assert before.dropped == {"oldest": 2}, "a snapshot does not change"
    assert after.dropped == {"oldest": 2, "ttl": 2}
    assert after.received == after.confirmed + after.unconfirmed + after.queued + sum(after.dropped.values())


def test_what_a_filter_stops_is_not_received(hub: Hub) -> None:
    client = hub.add("alice", Filter(groups={OTHER}))
    hub.publish(raw())
    assert client.statistics().received == 0


# Threads.


def in_thread(work: Callable[[], Any]) -> BaseException | None:
    """What ``work`` raises in another thread."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


def change_filter(hub: Hub) -> None:
    hub.clients["alice"].filter = Filter()


@pytest.mark.parametrize(
    "work",
    [
        lambda hub: hub.publish(raw()),
        lambda hub: hub.publish_many([]),
        lambda hub: hub.route([]),
        lambda hub: hub.clients["alice"].take(),
        lambda hub: hub.add("bob"),
        lambda hub: hub.remove("alice"),
        change_filter,
    ],
    ids=["publish", "publish_many", "route", "take", "add", "remove", "filter"],
)
@pytest.mark.parametrize("first", ["publish", "take"])
def test_another_thread_is_refused(hub: Hub, work: Callable[[Hub], Any], first: str) -> None:
    client = hub.add("alice", Filter(groups={GROUP}))
    hub.publish(raw(1)) if first == "publish" else client.take()
    before = client.statistics()
    error = in_thread(lambda: work(hub))
    assert type(error) is RuntimeError
    assert str(error) == "this hub belongs to another thread; publish from the thread that used it first"
    assert client.statistics() == before
    assert client.filter == Filter(groups={GROUP})
    assert dict(hub.clients) == {"alice": client}


def test_set_up_may_happen_in_another_thread(hub: Hub) -> None:
    def set_up() -> None:
        hub.add("gone")
        hub.remove("gone")
        hub.add("alice").filter = Filter(groups={GROUP})

    assert in_thread(set_up) is None
    assert hub.publish_many([raw(1), raw(2, OTHER)]).matched == 1
    assert numbers(hub.clients["alice"]) == [1]


def test_the_first_to_publish_owns_the_hub(hub: Hub) -> None:
    hub.add("alice")
    assert in_thread(lambda: hub.publish(raw())) is None
    with pytest.raises(RuntimeError, match="belongs to another thread"):
        hub.publish(raw())


def test_check_thread_binds(hub: Hub) -> None:
    assert in_thread(hub.check_thread) is None
    with pytest.raises(RuntimeError, match="belongs to another thread"):
        hub.add("alice")


def test_hubs_do_not_share_anything(clock: Clock) -> None:
    one, two = Hub(clock=clock), Hub(clock=clock)
    alice, other = one.add("alice"), two.add("alice")
    one.publish(raw())
    assert (len(alice.take()), len(other.take())) == (1, 0)


def test_events_compare_by_their_bytes(hub: Hub) -> None:
    client = hub.add("alice")
    hub.publish(raw())
    taken = client.take()
    assert taken == [peek(raw())]
    assert isinstance(taken[0], Event)


@pytest.mark.parametrize("form", ["event", "json"])
def test_a_client_gets_its_message_format(hub: Hub, form: Any) -> None:
    made = {
        message_format: hub.add(str(message_format), form=form, message_format=message_format)
        for message_format in (None, "array", "string")
    }
    assert [client.message_format for client in made.values()] == [None, "array", "string"]
    hub.publish(raw(message=[{"type": "at", "data": {"qq": "1"}}]))
    hub.publish(raw(message="[CQ:at,qq=1]"))
    taken = {
        message_format: [orjson.loads(item if form == "json" else item.raw)["message"] for item in client.take()]
        for message_format, client in made.items()
    }
    array, string = [{"type": "at", "data": {"qq": "1"}}], "[CQ:at,qq=1]"
    assert taken == {None: [array, string], "array": [array, array], "string": [string, string]}


def test_an_unknown_message_format_is_refused(hub: Hub) -> None:
    with pytest.raises(ConfigError, match="message_format: must be one of array, string, not 'cq'") as raised:
        hub.add("a", message_format="cq")  # type: ignore[arg-type]
    assert raised.value.errors[0].key == "message_format"
    assert hub.clients == {}
