"""OneBot 11 as bytes: what we say of our own, and what we read of headers."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import orjson
import pytest

from napcore import Response, peek, peek_frame, peek_request
from napcore.core.onebot import (
    FAILURES,
    MAX_FRAME,
    NAME,
    OWN_META,
    check_signature,
    encode_call,
    failure,
    heartbeat,
    lifecycle,
    parse_self_id,
    sign,
)


def test_constants() -> None:
    assert MAX_FRAME == 52428800
    assert OWN_META == {"meta_event.lifecycle", "meta_event.heartbeat"}
    assert sorted(FAILURES) == [1400, 1501, 1502, 1503, 1504, 1505]


def test_a_failure_byte_for_byte() -> None:
    assert failure(1503, b'{"seq": 1}') == (
        b'{"status":"failed","retcode":1503,"data":null,'
        b'"message":"too many calls; the call was not sent",'
        b'"wording":"' + "请求过多，请求未发送".encode() + b'",'
        b'"echo":{"seq": 1}}'
    )


@pytest.mark.parametrize("retcode", [1400, 1501, 1502, 1503, 1504, 1505])
def test_failures_are_answers_in_two_languages(retcode: int) -> None:
    data = failure(retcode, b'"1"')
    decoded = orjson.loads(data)
    assert list(decoded) == ["status", "retcode", "data", "message", "wording", "echo"]
    assert (decoded["status"], decoded["retcode"], decoded["data"], decoded["echo"]) == ("failed", retcode, None, "1")
    assert (decoded["message"], decoded["wording"]) == FAILURES[retcode]
    assert decoded["message"].isascii()
    assert decoded["message"]
    assert not decoded["wording"].isascii()
    answer = peek_frame(data)
    assert isinstance(answer, Response)
    assert (answer.status, answer.retcode, answer.echo) == ("failed", retcode, b'"1"')


@pytest.mark.parametrize(("retcode", "sent"), [(1501, "not sent"), (1503, "not sent"), (1505, "not sent")])
def test_a_failure_says_what_became_of_the_call(retcode: int, sent: str) -> None:
    assert sent in FAILURES[retcode][0]
    assert "未发送" in FAILURES[retcode][1]


@pytest.mark.parametrize("retcode", [1502, 1504])
def test_a_failure_says_when_nothing_is_known(retcode: int) -> None:
    assert "outcome is unknown" in FAILURES[retcode][0]
    assert "结果未知" in FAILURES[retcode][1]


def test_a_failure_without_an_echo_has_none() -> None:
    assert "echo" not in orjson.loads(failure(1501, None))
    assert orjson.loads(failure(1501, b"null"))["echo"] is None


def test_a_failure_keeps_the_echo_byte_for_byte() -> None:
    echo = '{ "a" : 1.50, "b":"\\u0031我" }'.encode()
    assert failure(1501, echo).endswith(b',"echo":' + echo + b"}")


def test_the_detail_of_a_failure_is_escaped() -> None:
    decoded = orjson.loads(failure(1400, b"null", 'unexpected byte "}" \\ 字'))
    assert decoded["message"] == 'bad request: unexpected byte "}" \\ 字'
    assert decoded["wording"] == "请求无效"


def test_an_unknown_failure_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        failure(1200, None)


def test_lifecycle_byte_for_byte() -> None:
    data = lifecycle(10001, 1700000000)
    assert data == (
        b'{"time":1700000000,"self_id":10001,"post_type":"meta_event",'
        b'"meta_event_type":"lifecycle","sub_type":"connect"}'
    )
    event = peek(data)
    assert (event.kind, event.sub_type) == ("meta_event.lifecycle", "connect")
    assert event.kind in OWN_META
    assert (event.self_id, event.time) == (10001, 1700000000)


@pytest.mark.parametrize(("online", "word"), [(True, b"true"), (False, b"false")])
def test_heartbeat_byte_for_byte(online: bool, word: bytes) -> None:
    data = heartbeat(10001, 1700000000, 15.0, online)
    assert data == (
        b'{"time":1700000000,"self_id":10001,"post_type":"meta_event","meta_event_type":"heartbeat",'
        b'"status":{"online":' + word + b',"good":' + word + b'},"interval":15000}'
    )
    assert peek(data).kind in OWN_META


@pytest.mark.parametrize(("seconds", "interval"), [(15.0, 15000), (15, 15000), (0.5, 500), (0.0004, 0), (1.2345, 1234)])
def test_the_interval_is_whole_milliseconds(seconds: float, interval: int) -> None:
    decoded = orjson.loads(heartbeat(1, 2, seconds, True))
    assert decoded["interval"] == interval
    assert type(decoded["interval"]) is int


def test_encode_call() -> None:
    assert encode_call("get_login_info", None) == b'{"action":"get_login_info","params":{}}'
    assert encode_call("get_login_info", {}) == b'{"action":"get_login_info","params":{}}'
    data = encode_call("send_group_msg", MappingProxyType({"group_id": 342561735, "message": "你好"}))
    assert data == '{"action":"send_group_msg","params":{"group_id":342561735,"message":"你好"}}'.encode()
    call = peek_request(data)
    assert (call.action, call.group_id, call.echo) == ("send_group_msg", 342561735, None)


@pytest.mark.parametrize("params", [{"message": "half a \ud83d"}, {"flag": 1 << 70}, {"message": {1: [2]}}])
def test_params_that_only_the_standard_library_encodes(params: dict[str, Any]) -> None:
    data = encode_call("send_msg", params)
    assert peek_request(data).action == "send_msg"
    assert json.loads(data)["params"] == json.loads(json.dumps(params))


def test_params_that_json_cannot_carry() -> None:
    with pytest.raises(TypeError):
        encode_call("send_group_msg", {"message": object()})


@pytest.mark.parametrize(
    ("text", "self_id"),
    [
        ("10001", 10001),
        (" 10001 ", 10001),
        ("1", 1),
        ("9223372036854775807", (1 << 63) - 1),
        ("9223372036854775808", None),
        ("9999999999999999999", None),
        ("1" * 5000, None),
        (None, None),
        ("", None),
        ("0", None),
        ("010001", None),
        ("-10001", None),
        ("+10001", None),
        ("10001.0", None),
        ("1e4", None),
        ("10_001", None),
        ("0x2711", None),
        ("10001, 10001", None),
        ("１０００１", None),
        ("abc", None),
    ],
)
def test_parse_self_id(text: str | None, self_id: int | None) -> None:
    assert parse_self_id(text) == self_id


@pytest.mark.parametrize("name", ["a", "nonebot", "ws-3", "A.b_c-9", "x" * 64, "..", "-"])
def test_names(name: str) -> None:
    assert NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a/b", "机器人", "a\n", "a%20b", "ａ"])
def test_no_names(name: str) -> None:
    assert not NAME.fullmatch(name)


def test_a_signature_is_the_hmac_of_the_exact_bytes() -> None:
    # RFC 2202, 3: test case 2.
    assert sign("Jefe", b"what do ya want for nothing?") == "sha1=effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"


def test_a_signature_is_checked() -> None:
    body = '{"post_type":"message","raw_message":"你好"}'.encode()
    made = sign("secret", body)
    assert check_signature("secret", body, made)
    assert check_signature("secret", body, f" {made} ")
    assert not check_signature("secret", body + b" ", made)
    assert not check_signature("other", body, made)


@pytest.mark.parametrize("shown", [None, "", "sha1=", "sha1=00", "sha256=00", "\udce4\udcbd", "ж" * 45])
def test_what_is_no_signature_is_refused(shown: str | None) -> None:
    assert not check_signature("secret", b"{}", shown)
