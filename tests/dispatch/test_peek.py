"""What is read from the heads of events, responses and requests."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from napcore.errors import BadEvent


@pytest.mark.parametrize(
    ("text", "post_type", "kind"),
    [
        ('{"post_type":"message","message_type":"group"}', "message", "message.group"),
        ('{"message_type":"group","post_type":"message"}', "message", "message.group"),
        ('{"post_type":"message_sent","message_type":"private"}', "message_sent", "message_sent.private"),
        (
            '{"post_type":"message_sent","message_sent_type":"self","message_type":"group"}',
            "message_sent",
            "message_sent.group",
        ),
        ('{"post_type":"notice","notice_type":"notify"}', "notice", "notice.notify"),
        ('{"request_type":"friend","post_type":"request"}', "request", "request.friend"),
        ('{"meta_event_type":"heartbeat","post_type":"meta_event"}', "meta_event", "meta_event.heartbeat"),
        ('{"post_type":"notice","message_type":"group"}', "notice", "notice"),
        ('{"post_type":"notice","notice_type":1}', "notice", "notice"),
        ('{"post_type":"notice","notice_type":null}', "notice", "notice"),
        ('{"post_type":"notice","notice_type":"a","notice_type":{}}', "notice", "notice"),
        ('{"post_type":"notice","notice_type":""}', "notice", "notice."),
        ('{"post_type":"guild","guild_type":"x"}', "guild", "guild.x"),
        ('{"guild_type":"x","post_type":"guild"}', "guild", "guild.x"),
        ('{"guild_type":"x","post_type":"guild","guild_type":"y"}', "guild", "guild.y"),
        ('{"guild_type":"x","post_type":"guild","guild_type":[]}', "guild", "guild"),
        ('{"post_type":"guild","a":{"guild_type":"x"}}', "guild", "guild"),
        ('{"post_type":"频道","频道_type":"消息"}', "频道", "频道.消息"),
        ('{"post_type":"\\u9891道","频\\u9053_type":"\\u6d88"}', "频道", "频道.消"),
        ('{"post_type":"\\ud83c\\udfb2","🎲_type":"x"}', "🎲", "🎲.x"),
        ('{"post_type":"\\ud83c","\\uD83C_type":"x"}', "\ud83c", "\ud83c.x"),
        ('{"post_type":"\\ud83c","\\ud83d_type":"x"}', "\ud83c", "\ud83c"),
        ('{"post_type":"a\\"b","a\\"b_type":"x"}', 'a"b', 'a"b.x'),
        ('{"post_type":"a\\u0000","a\\u0000_type":"x"}', "a\0", "a\0.x"),
        ('{"post_type":"","_type":"x"}', "", ".x"),
        ('{"post_type":""}', "", ""),
        ('{"post_type":"m\\u0065ssage","messa\\u0067e_type":"g\\u0072oup"}', "message", "message.group"),
        ('{"post_type":"message","post_type":"notice","notice_type":"x","message_type":"y"}', "notice", "notice.x"),
        ('{"post_type":null}', None, None),
        ('{"post_type":1,"message_type":"group"}', None, None),
        ('{"post_type":"message","post_type":[],"message_type":"group"}', None, None),
        ('{"post_type":["message"],"post_type":"message"}', "message", "message"),
        ('{"post_type":"message","message_type":"' + "long" * 500 + '"}', "message", "message." + "long" * 500),
    ],
)
def test_kind(core: Any, text: str, post_type: str | None, kind: str | None) -> None:
    event = core.peek(text)
    assert (event.post_type, event.kind) == (post_type, kind)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("342561735", 342561735),
        ('"342561735"', 342561735),
        ("-7", -7),
        ('"-7"', -7),
        ("0", None),
        ("-0", None),
        ('"0"', None),
        ('"-0"', None),
        ('"000"', None),
        ('"007"', 7),
        ('"-007"', -7),
        ("9223372036854775807", 9223372036854775807),
        ("-9223372036854775808", -9223372036854775808),
        ('"9223372036854775807"', 9223372036854775807),
        ('"-9223372036854775808"', -9223372036854775808),
        ("9223372036854775808", None),
        ("-9223372036854775809", None),
        ("18446744073709551616", None),
        ("18446744073709551617", None),
        ("99999999999999999999", None),
        ('"9223372036854775808"', None),
        ('"' + "0" * 5000 + '12"', 12),
        ('"' + "1" * 5000 + '"', None),
        ("1" * 5000, None),
        ('"\\u0031\\u0032"', 12),
        ('"1\\u0032"', 12),
        ('"\\u002d5"', -5),
        ('"１２"', None),
        ('"\\uff11"', None),
        ('"\\ud800"', None),
        ('"12 "', None),
        ('" 12"', None),
        ('"+12"', None),
        ('"--12"', None),
        ('"-"', None),
        ('""', None),
        ('"1_000"', None),
        ('"12\\n"', None),
        ('"1.0"', None),
        ("1.0", None),
        ("12e0", None),
        ("1E2", None),
        ("true", None),
        ("false", None),
        ("null", None),
        ("[1]", None),
        ('{"a":1}', None),
    ],
)
def test_ids(core: Any, value: str, expected: int | None) -> None:
    names = ("self_id", "group_id", "user_id", "message_id", "time")
    for name in names:
        event = core.peek(f'{{"{name}" : {value} ,"post_type":"x"}}')
        assert {other: getattr(event, other) for other in names} == dict.fromkeys(names) | {name: expected}
    for name in names[:3]:
        request = core.peek_request(f'{{"action":"x","params":{{"{name}":{value}}}}}')
        assert getattr(request, name) == expected


def test_head_is_read_at_the_top_level_only(core: Any) -> None:
    event = core.peek(
        b'{"sender":{"user_id":1,"group_id":2},"message":[{"self_id":3,"time":4}],"post_type":"message",'
        b'"raw_message":"\\"group_id\\":5,\\\\","x":{"post_type":"notice","sub_type":"y"},"user_id":6}'
    )
    assert (event.post_type, event.kind, event.sub_type) == ("message", "message", None)
    assert (event.user_id, event.group_id, event.self_id, event.time, event.message_id) == (6, None, None, None, None)


def test_last_duplicate_wins_even_when_it_is_none(core: Any) -> None:
    event = core.peek(
        b'{"group_id":1,"post_type":"message","group_id":2,"user_id":3,"user_id":null,'
        b'"sub_type":"a","sub_type":7,"\\u0074ime":5,"time":1.5,"self_id":{},"self_id":9}'
    )
    assert (event.group_id, event.user_id, event.sub_type, event.time, event.self_id) == (2, None, None, None, 9)


def test_escaped_keys_match(core: Any) -> None:
    event = core.peek(
        b'{"\\u0067roup_id":1,"group\\u005Fid\\u0000":2,"user_i\\u0064":3,"\\u0070ost_type":"x",'
        b'"t\\u0069me":4,"\\u0053elf_id":5,"sub_type\\u00e4":"no","su\\u0062_type":"yes"}'
    )
    assert (event.group_id, event.user_id, event.time, event.self_id, event.sub_type) == (1, 3, 4, None, "yes")


def test_near_keys_do_not_match(core: Any) -> None:
    names = ("Group_id", "group_id ", "group_i", "group_ids", "roup_id", "group-id", "grouqqid")
    for name in names:
        event = core.peek(json.dumps({"post_type": "x", name: 5}))
        assert event.group_id is None


def test_sub_type_is_decoded(core: Any) -> None:
    assert core.peek('{"post_type":"x","sub_type":"戳\\u4e00\\n\\ud800"}').sub_type == "戳一\n\ud800"


def test_response(core: Any) -> None:
    raw = b'{"status":"ok","retcode":0,"data":{"echo":1},"echo" : {"seq": 7} ,"stream":"normal-action"}'
    response = core.peek_frame(raw)
    assert type(response) is core.Response
    assert (response.status, response.retcode, response.stream) == ("ok", 0, "normal-action")
    assert response.echo == b'{"seq": 7}'
    assert response.echo_span == (54, 64)
    assert response.echo_member == (45, 64)
    assert raw[slice(*response.echo_member)] == b'"echo" : {"seq": 7}'
    assert response.data == response.json() == json.loads(raw)
    assert response.raw is raw


@pytest.mark.parametrize("value", ["null", "true", '"19"', "19", "-1.5e3", '"\\u0031"', "[1, [2]]", "{}", '""'])
def test_echo_is_kept_byte_for_byte(core: Any, value: str) -> None:
    raw = f'{{"echo":{value},"status":"ok","action":"x"}}'.encode()
    for found in (core.peek_frame(raw), core.peek_request(raw)):
        assert found.echo == value.encode()
        assert found.echo_span == (8, 8 + len(value))


def test_response_without_anything(core: Any) -> None:
    response = core.peek_frame(b"{}")
    assert (response.status, response.retcode, response.stream) == (None, None, None)
    assert (response.echo, response.echo_span, response.echo_member) == (None, None, None)
    assert response.data == {}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        ("-0", 0),
        ("1400", 1400),
        ("-1", -1),
        ("9223372036854775807", 9223372036854775807),
        ("9223372036854775808", None),
        ('"0"', None),
        ("0.0", None),
        ("1e2", None),
        ("null", None),
        ("true", None),
    ],
)
def test_retcode(core: Any, value: str, expected: int | None) -> None:
    assert core.peek_frame(f'{{"retcode":{value}}}').retcode == expected


def test_last_duplicate_wins_in_responses(core: Any) -> None:
    response = core.peek_frame(b'{"echo":1,"status":"ok","\\u0065cho":[2],"status":null,"retcode":1,"retcode":"x"}')
    assert (response.echo, response.echo_span, response.echo_member) == (b"[2]", (36, 39), (24, 39))
    assert (response.status, response.retcode) == (None, None)


def test_request(core: Any) -> None:
    raw = (
        b'{"action":"send_msg","params":{"group_id":"5","user_id":6,"self_id":7,"message_type":"group",'
        b'"x":{"group_id":9}},"echo":"e","group_id":8,"user_id":9,"self_id":10,"message_type":"private"}'
    )
    request = core.peek_request(raw)
    assert (request.action, request.message_type) == ("send_msg", "group")
    assert (request.group_id, request.user_id, request.self_id) == (5, 6, 7)
    assert request.echo == b'"e"'
    assert raw[slice(*request.params_span)].startswith(b'{"group_id":"5"')
    assert raw[slice(*request.params_span)].endswith(b'{"group_id":9}}')
    assert request.data == request.json() == json.loads(raw)
    assert request.raw is raw


def test_request_alone(core: Any) -> None:
    request = core.peek_request(b'{"action":""}')
    assert (request.action, request.echo, request.echo_span, request.params_span) == ("", None, None, None)
    assert (request.group_id, request.user_id, request.self_id, request.message_type) == (None, None, None, None)


def test_not_a_request(core: Any) -> None:
    for data in (b"{}", b'{"action":1}', b'{"action":"x","action":null}', b'{"params":{"action":"x"}}'):
        with pytest.raises(BadEvent) as caught:
            core.peek_request(data)
        assert (caught.value.offset, caught.value.reason) == (0, "not a request")
    with pytest.raises(BadEvent) as caught:
        core.peek_request(b'{"action":1]')
    assert (caught.value.offset, caught.value.reason) == (11, "unexpected byte")


def test_last_params_count_alone(core: Any) -> None:
    def head(params: bytes) -> tuple[Any, ...]:
        found = core.peek_request(b'{"action":"a",' + params + b"}")
        return found.group_id, found.user_id, found.self_id, found.message_type

    assert head(b'"params":{"group_id":1,"user_id":2},"params":{"user_id":3}') == (None, 3, None, None)
    assert head(b'"params":{"group_id":1,"message_type":"x"},"params":[]') == (None, None, None, None)
    assert head(b'"params":{"group_id":1},"\\u0070arams":null') == (None, None, None, None)
    assert head(b'"params":7,"params":{"self_id":4}') == (None, None, 4, None)
    assert head(b'"params":[{"group_id":1}]') == (None, None, None, None)
    assert head(b'"params":{"user_id":1,"user_id":[],"message_type":"a","message_type":"b"}') == (None, None, None, "b")


def test_a_batch_is_taken_apart_in_order(core: Any) -> None:
    def text(**fields: Any) -> bytes:
        return orjson.dumps({"self_id": 1, "post_type": "message", "message_type": "group", **fields})

    seen: list[Any] = []
    known = {1, 2}

    def other(item: Any) -> bool:
        seen.append(item)
        if getattr(item, "self_id", None) == 3:
            known.clear()
        return isinstance(item, core.Event) and item.kind != "meta_event.heartbeat"

    messages = [
        text(message_id=1),
        text(self_id=2, message_id=2),
        b"nonsense",
        b'{"status":"ok","echo":7}',
        text(post_type="meta_event", meta_event_type="heartbeat"),
        text(post_type="notice", notice_type="bot_offline", message_id=3),
        text(self_id=None, message_id=4),
        text(message_id=5),
        text(self_id=3, message_id=6),
        text(message_id=7),
    ]
    telling = {"meta_event.heartbeat", "notice.bot_offline"}
    events = core.peek_batch(known, telling, (), other, messages)
    assert [event.message_id for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert [event.raw for event in events] == [messages[at] for at in (0, 1, 5, 6, 7, 8, 9)]
    assert isinstance(seen[0], BadEvent)
    assert (seen[0].offset, seen[0].reason) == (0, "not an object")
    assert isinstance(seen[1], core.Response)
    assert [item.kind for item in seen[2:4]] == ["meta_event.heartbeat", "notice.bot_offline"]
    assert [item.message_id for item in seen[4:]] == [4, 6, 7]
    assert core.peek_batch(known, set(), (), other, []) == []


def test_in_doubt_no_event_of_a_batch_is_like_any_other(core: Any) -> None:
    def text(number: int) -> bytes:
        return orjson.dumps({"self_id": 1, "post_type": "message", "message_type": "group", "message_id": number})

    seen: list[int] = []
    doubts: tuple[dict[int, int], set[int]] = ({}, set())

    def other(item: Any) -> bool:
        seen.append(item.message_id)
        if item.message_id == 3:
            doubts[1].clear()
        return True

    assert len(core.peek_batch({1}, set(), doubts, other, [text(1), text(2)])) == 2
    assert seen == []
    doubts[1].add(7)
    found = core.peek_batch({1}, set(), doubts, other, [text(number) for number in range(1, 6)])
    assert ([event.message_id for event in found], seen) == ([1, 2, 3, 4, 5], [1, 2, 3])
    doubts[0][8] = 8
    core.peek_batch({1}, set(), doubts, other, [text(6)])
    assert seen == [1, 2, 3, 6]


def test_a_batch_stops_where_the_other_raises(core: Any) -> None:
    def other(item: Any) -> bool:
        raise RuntimeError(repr(item))

    with pytest.raises(RuntimeError, match="Response"):
        core.peek_batch({1}, set(), (), other, [b"{}"])
    with pytest.raises(TypeError):
        core.peek_batch({1}, set(), (), other, [7])
