"""Bounds: what a policy takes, what it refuses, and the outbox that comes of it."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from napcore import ConfigError, Filter, Hub, Outcome, Policy


def test_defaults() -> None:
    assert {field.name: getattr(Policy(), field.name) for field in fields(Policy)} == {
        "max_events": 4096,
        "max_bytes": 4194304,
        "max_frame": 52428800,
        "overflow": "drop_oldest",
        "message_ttl": 60.0,
        "notice_ttl": 600.0,
        "request_ttl": 86400.0,
        "hold": 600.0,
        "keep": None,
        "delivery": "at_most_once",
        "max_in_flight": None,
        "catch_up_rate": None,
        "write_timeout": None,
    }


def test_policies_are_values() -> None:
    assert Policy(max_events="off") == Policy(max_events=math.inf)
    assert hash(Policy(max_events=5)) == hash(Policy(max_events=5))
    with pytest.raises(FrozenInstanceError):
        Policy().max_events = 1  # type: ignore[misc]


UNLIMITED = (
    "max_events",
    "max_bytes",
    "message_ttl",
    "notice_ttl",
    "request_ttl",
    "max_in_flight",
    "catch_up_rate",
    "write_timeout",
)


@pytest.mark.parametrize("key", UNLIMITED)
@pytest.mark.parametrize("value", ["off", math.inf])
def test_off_and_infinity_are_unlimited(key: str, value: Any) -> None:
    assert getattr(Policy(**{key: value}), key) == math.inf


@pytest.mark.parametrize("key", ["max_in_flight", "catch_up_rate", "write_timeout"])
def test_none_is_the_automatic_rule(key: str) -> None:
    assert getattr(Policy(**{key: None}), key) is None


def test_hold_may_be_0() -> None:
    assert Policy(hold=0).hold == 0


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"max_events": 0}, "max_events: must be greater than 0, not 0"),
        ({"max_events": -1}, "max_events: must be greater than 0, not -1"),
        ({"max_events": None}, "max_events: must be a number, not None"),
        ({"max_events": True}, "max_events: must be a number, not True"),
        ({"max_events": "many"}, "max_events: must be a number, not 'many'"),
        ({"max_bytes": math.nan}, "max_bytes: must be a number, not nan"),
        ({"max_bytes": -math.inf}, "max_bytes: must be greater than 0, not -inf"),
        ({"max_bytes": "4MiB"}, "max_bytes: must be a number, not '4MiB'"),
        ({"max_frame": "off"}, "max_frame: must be a number, not 'off'"),
        ({"max_frame": math.inf}, "max_frame: must be finite"),
        ({"max_frame": 1.5}, "max_frame: must be an integer, not 1.5"),
        ({"max_frame": 0}, "max_frame: must be greater than 0, not 0"),
        ({"message_ttl": 0}, "message_ttl: must be greater than 0, not 0"),
        ({"notice_ttl": 0.0}, "notice_ttl: must be greater than 0, not 0.0"),
        ({"request_ttl": "OFF"}, "request_ttl: must be a number, not 'OFF'"),
        ({"hold": "off"}, "hold: must be a number, not 'off'"),
        ({"hold": math.inf}, "hold: must be finite"),
        ({"hold": -1}, "hold: must be 0 or more, not -1"),
        ({"hold": None}, "hold: must be a number, not None"),
        ({"keep": {1}}, "keep: must be a Filter, not {1}"),
        ({"overflow": "drop"}, "overflow: must be one of drop_oldest, drop_newest, disconnect, not 'drop'"),
        ({"overflow": "off"}, "overflow: must be one of drop_oldest, drop_newest, disconnect, not 'off'"),
        ({"overflow": []}, "overflow: must be one of drop_oldest, drop_newest, disconnect, not []"),
        ({"delivery": "exactly_once"}, "delivery: must be one of at_most_once, at_least_once, not 'exactly_once'"),
        ({"max_in_flight": 0}, "max_in_flight: must be greater than 0, not 0"),
        ({"catch_up_rate": -5}, "catch_up_rate: must be greater than 0, not -5"),
        ({"write_timeout": 0}, "write_timeout: must be greater than 0, not 0"),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Policy(**values)
    assert str(raised.value) == text


def test_all_wrong_values_are_listed() -> None:
    with pytest.raises(ConfigError) as raised:
        Policy(max_events=0, overflow="x", hold="off", keep=1, delivery=None)  # type: ignore[arg-type]
    assert [(problem.file, problem.line, problem.key) for problem in raised.value.errors] == [
        (None, None, "max_events"),
        (None, None, "overflow"),
        (None, None, "hold"),
        (None, None, "keep"),
        (None, None, "delivery"),
    ]


@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        Policy(hold=0),
        Policy(hold=600),
        Policy(max_events="off", max_bytes="off", message_ttl="off", notice_ttl="off", request_ttl="off"),
        Policy(write_timeout="off"),
        Policy(max_frame=1, overflow="disconnect"),
        Policy(keep=Filter(users={1}), delivery="at_least_once"),
        Policy(hold=30, catch_up_rate="off"),
    ],
)
def test_every_policy_makes_an_outbox(policy: Policy) -> None:
    owner = object()
    assert policy.outbox(owner).owner is owner


# The outbox.


def test_the_outbox_has_the_bounds() -> None:
    by_count = Policy(max_events=2).outbox()
    assert [by_count.offer(b"x", 0, n, 0.0) for n in (1, 2, 3)] == [0, 0, Outcome.DROPPED_OLDEST]
    by_bytes = Policy(max_bytes=2, overflow="drop_newest").outbox()
    assert [by_bytes.offer(b"x", 0, n, 0.0) for n in (1, 2, 3)] == [0, 0, Outcome.DROPPED_NEWEST]
    by_frame = Policy(max_frame=2).outbox()
    assert [by_frame.offer(b"x" * n, 0, n, 0.0) for n in (1, 2, 3)] == [0, 0, Outcome.OVERSIZE]
    cut = Policy(max_events=1, overflow="disconnect").outbox()
    assert [cut.offer(b"x", 0, n, 0.0) for n in (1, 2)] == [0, Outcome.DISCONNECT]
    assert cut.close_code == 1013


@pytest.mark.parametrize(("event_class", "key"), [(0, "message_ttl"), (1, "notice_ttl"), (2, "request_ttl")])
def test_the_outbox_has_the_lifetimes(event_class: int, key: str) -> None:
    box = Policy(**{key: 5}).outbox()  # type: ignore[arg-type]
    box.offer(b"x", event_class, 1, 100.0)
    box.offer(b"y", event_class, 2, 100.5)
    assert box.take(105.0) == [b"y"]
    assert box.dropped == {"ttl": 1}


def test_the_outbox_without_bounds() -> None:
    box = Policy(max_events="off", max_bytes="off", message_ttl="off").outbox()
    for number in range(5000):
        assert box.offer(b"x" * 1000, 0, number, 0.0) == Outcome.QUEUED
    assert len(box.take(1e12)) == 5000


@pytest.mark.parametrize(
    ("write_timeout", "loopback", "limit"),
    [
        (None, True, 600.0),
        (None, False, 10.0),
        (3, True, 3.0),
        (3, False, 3.0),
        ("off", True, math.inf),
        ("off", False, math.inf),
    ],
)
def test_stall_limit(write_timeout: Any, loopback: bool, limit: float) -> None:
    assert Policy(write_timeout=write_timeout).stall_limit(loopback) == limit


def test_the_outbox_delivers_and_catches_up_as_told() -> None:
    assert Policy(delivery="at_least_once").outbox().at_least_once
    for rate, count in ((None, 10), (5, 1), ("off", 100)):
        box = Policy(catch_up_rate=rate, message_ttl="off").outbox()  # type: ignore[arg-type]
        for number in range(100):
            box.offer(b"x", 0, number, 0.0)
        assert len(box.gather(100.0)) == count


def test_a_hub_keeps_what_the_policy_says() -> None:
    hub = Hub()
    client = hub.add("alice", policy=Policy(max_events=2, keep=Filter(users={1}) | Filter(keywords={"help"})))
    for number, (user, text) in enumerate(((1, "a"), (2, "help me"), (3, "c"), (3, "d")), 1):
        hub.publish(
            {
                "post_type": "message",
                "message_type": "private",
                "user_id": user,
                "message_id": number,
                "message": text,
            }
        )
    assert [event.message_id for event in client.take()] == [2, 4]
