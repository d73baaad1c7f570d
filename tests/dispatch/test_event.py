"""The Event object: what it holds, decodes, shows, and refuses."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import math
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest

from napcore.errors import BadEvent

RAW = (
    b'{"self_id":10001,"post_type":"message","message_type":"group","sub_type":"normal","group_id":342561735,'
    b'"user_id":7,"message_id":-5,"time":1750000000,"raw_message":"secret words"}'
)


def test_head(core: Any) -> None:
    event = core.peek(RAW)
    assert type(event) is core.Event
    assert (event.post_type, event.kind, event.sub_type) == ("message", "message.group", "normal")
    assert (event.self_id, event.group_id, event.user_id) == (10001, 342561735, 7)
    assert (event.message_id, event.time, event.event_class) == (-5, 1750000000, 0)


@pytest.mark.parametrize(
    ("post_type", "event_class"),
    [
        ("message", 0),
        ("message_sent", 0),
        ("notice", 1),
        ("request", 2),
        ("meta_event", 3),
        ("guild", 3),
        ("messages", 3),
        ("", 3),
        (None, 3),
        (7, 3),
    ],
)
def test_event_class(event: Callable[..., Any], post_type: Any, event_class: int) -> None:
    found = event(post_type=post_type)
    assert found.event_class == event_class
    assert type(found.event_class) is int


def test_data_is_decoded_once_and_shared(core: Any) -> None:
    event = core.peek(RAW)
    assert event.data == json.loads(RAW)
    assert event.data is event.data
    assert event.json() == event.data
    assert event.json() is not event.data


def test_json_is_fresh_each_time(core: Any) -> None:
    event = core.peek(RAW)
    changed = event.json()
    changed["message"] = 1
    assert "message" not in event.json()
    assert "message" not in event.data


def test_what_orjson_refuses_is_decoded_all_the_same(core: Any) -> None:
    event = core.peek(b'{"post_type":"x","a":"\\ud800\\udc00\\ud800","b":1e999,"c":-1e999,"d":12}')
    assert event.data == {"post_type": "x", "a": "\U00010000\ud800", "b": math.inf, "c": -math.inf, "d": 12}


def test_integers_of_any_length(core: Any) -> None:
    # The lone surrogate makes orjson refuse, so that every integer comes from the second decoder.
    limit = core.peek(b'{"post_type":"x","s":"\\ud800","a":' + b"9" * 4300 + b',"b":-' + b"9" * 4300 + b"}").data
    assert limit["a"] == 10**4300 - 1
    assert limit["b"] == 1 - 10**4300
    beyond = core.peek(b'{"post_type":"x","a":' + b"9" * 4301 + b',"b":-' + b"9" * 4301 + b"}").data
    assert (beyond["a"], beyond["b"]) == (math.inf, -math.inf)


def test_lower_limit_of_digits(core: Any) -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        event = core.peek(b'{"post_type":"x","s":"\\ud800","a":' + b"9" * 641 + b',"user_id":"' + b"0" * 641 + b'8"}')
        assert event.user_id == 8
        assert event.data["a"] == math.inf
    finally:
        sys.set_int_max_str_digits(before)


def test_deepest_nesting_is_decoded(core: Any) -> None:
    event = core.peek(b'{"post_type":"x","a":' + b"[" * 511 + b"]" * 511 + b"}")
    depth, inner = 0, event.data["a"]
    while inner:
        depth, inner = depth + 1, inner[0]
    assert depth == 510


def test_equality_is_of_bytes(core: Any) -> None:
    first, second, other = core.peek(RAW), core.peek(bytearray(RAW)), core.peek(RAW + b" ")
    assert first == second
    assert not first != second
    assert hash(first) == hash(second)
    assert first != other
    assert not first == other
    assert first != RAW
    assert {first, second, other} == {first, other}
    with pytest.raises(TypeError):
        first < other  # noqa: B015


@pytest.mark.parametrize("name", ["raw", "data", "kind", "group_id", "event_class", "anything"])
def test_immutable(core: Any, name: str) -> None:
    event = core.peek(RAW)
    with pytest.raises(AttributeError):
        setattr(event, name, None)
    with pytest.raises(AttributeError):
        delattr(event, name)
    assert event.raw is RAW
    assert event.group_id == 342561735


def test_repr_shows_ids_and_size_only(core: Any) -> None:
    shown = repr(core.peek(RAW))
    assert shown == "<Event message.group self_id=10001 group_id=342561735 user_id=7 message_id=-5 size=178>"
    assert repr(core.peek(b'{"post_type":null}')) == (
        "<Event None self_id=None group_id=None user_id=None message_id=None size=18>"
    )


def test_repr_of_the_others(core: Any) -> None:
    response = core.peek_frame(b'{"status":"failed","retcode":1400,"message":"secret"}')
    assert repr(response) == "<Response failed retcode=1400 size=53>"
    request = core.peek_request(b'{"action":"send_msg","params":{"message":"secret"}}')
    assert repr(request) == "<Request send_msg size=51>"


def test_pickle_and_copy(core: Any) -> None:
    event = core.peek(RAW)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(event, protocol))
        assert type(again) is core.Event
        assert again == event
        assert again.kind == "message.group"
    assert copy.copy(event) == event
    assert copy.deepcopy(event) == event


@pytest.mark.parametrize("name", ["Event", "Response", "Request"])
def test_not_made_by_users(core: Any, name: str) -> None:
    kind = getattr(core, name)
    with pytest.raises(TypeError):
        kind()
    with pytest.raises(TypeError):
        kind(RAW)
    with pytest.raises(TypeError):
        kind.__new__(kind)
    with pytest.raises((TypeError, AttributeError)):
        object.__new__(kind).raw  # noqa: B018


def test_from_dict(core: Any) -> None:
    event = core.Event.from_dict({"post_type": "message", "message_type": "group", "group_id": 5, "x": "你"})
    assert (event.kind, event.group_id) == ("message.group", 5)
    assert event.raw == '{"post_type":"message","message_type":"group","group_id":5,"x":"你"}'.encode()


def test_from_dict_refuses(core: Any) -> None:
    with pytest.raises(BadEvent, match="^not an event at byte 0$"):
        core.Event.from_dict({"status": "ok"})
    for unencodable in ({"post_type": "x", "a": 1 << 64}, {"post_type": "x", "a": object()}, {1: 2}):
        with pytest.raises(TypeError):
            core.Event.from_dict(unencodable)


def test_many_events_do_not_share_state(core: Any) -> None:
    events = [core.peek(b'{"post_type":"notice","user_id":%d}' % number) for number in range(1, 400)]
    del events[::2]
    more = [core.peek(b'{"post_type":"notice","group_id":%d}' % number) for number in range(1, 400)]
    assert [event.user_id for event in events] == list(range(2, 400, 2))
    assert {event.user_id for event in more} == {None}
    assert [event.data["group_id"] for event in more] == list(range(1, 400))


def test_signature(core: Any) -> None:
    event = core.peek(b'{"post_type":"notice"}')
    expected = "sha1=" + hmac.new(b"secret", b'{"post_type":"notice"}', hashlib.sha1).hexdigest()
    assert event.signature(b"secret") == expected
    assert event.signature(b"secret") is event.signature(b"secret"), "computed once per secret"
    assert event.signature(b"other") != expected
    assert event.signature(b"secret") == expected


def test_a_secret_is_bytes(core: Any) -> None:
    with pytest.raises(TypeError, match="expected bytes, not str"):
        core.peek(b'{"post_type":"notice"}').signature("secret")
