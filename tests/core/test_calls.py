"""Calls in flight: echoes there and back, one answer each, bounds, deadlines, and the lane they wait in."""

from __future__ import annotations

import tracemalloc
from typing import Any

import orjson
import pytest

from napcore import COMPILED, Request, Response, peek_frame, peek_request
from napcore.core.calls import Answer, Call, Calls
from napcore.core.request_lane import REQUEST_LIMIT, RequestLane
from napcore.core.splice import replace_echo, restore_echo, split_suffix
from napcore.core.stats import CallStatistics
from napcore.dispatch import CONTROL_LIMIT, frame
from napcore.types import Outcome

UPSTREAM, OTHER_UPSTREAM = object(), object()


class Client:
    """Somebody who asks, a client of its own."""

    @property
    def client(self) -> object:
        return self

    def answer(self, answer: Answer, /) -> None:
        raise AssertionError("the table hands answers back, it does not deliver them")


def request(echo: bytes | None = b'"1"', action: str = "send_group_msg") -> Request:
    tail = b"" if echo is None else b',"echo":' + echo
    return peek_request(b'{"action":"' + action.encode() + b'","params":{}' + tail + b"}")


def response(data: bytes) -> Response:
    found = peek_frame(data)
    assert isinstance(found, Response)
    return found


def reply(call: Call, **fields: Any) -> Response:
    """What an upstream answers to ``call``, with the echo that it was sent."""
    echo = orjson.loads(call.key)
    return response(orjson.dumps({"status": "ok", "retcode": 0, "data": None, **fields, "echo": echo}))


def part(call: Call, kind: Any, **fields: Any) -> Response:
    return reply(call, **{"data": {"type": kind}, "stream": "stream-action", **fields})


@pytest.fixture
def calls() -> Calls:
    return Calls("ep")


@pytest.fixture
def client() -> Client:
    return Client()


def forward(
    calls: Calls, origin: Client, now: float = 0.0, echo: bytes | None = b'"1"', upstream: object = UPSTREAM
) -> Call:
    call = calls.forward(request(echo), origin, upstream, now)
    assert isinstance(call, Call)
    return call


def failure(answer: Answer | Call) -> tuple[Client, int, Any]:
    """Who gets a failure of our own, its retcode and its echo (KeyError if it has none)."""
    assert isinstance(answer, Answer)
    decoded = orjson.loads(answer.frame)
    assert (decoded["status"], decoded["data"], answer.final) == ("failed", None, True)
    assert decoded["retcode"] == answer.retcode
    assert isinstance(answer.origin, Client)
    return answer.origin, decoded["retcode"], decoded["echo"]


# There and back.


def test_a_call_and_its_answer(calls: Calls, client: Client) -> None:
    call = calls.forward(request(b'"1"'), client, UPSTREAM, 5.0)
    assert isinstance(call, Call)
    assert call.request == b'{"action":"send_group_msg","params":{},"echo":"ep.1"}'
    assert (call.action, call.echo, call.origin, call.upstream) == ("send_group_msg", b'"1"', client, UPSTREAM)
    assert (call.deadline, call.written, call.over) == (125.0, False, False)
    assert calls.statistics() == CallStatistics(pending=1, forwarded=1, answered=0, failed=0, late=0, unknown=0)

    answer = calls.answer(response(b'{"status":"ok","retcode":0,"data":{"message_id":7},"echo":"ep.1"}'), UPSTREAM, 6.0)
    assert answer == Answer(
        client, b'{"status":"ok","retcode":0,"data":{"message_id":7},"echo":"1"}', final=True, retcode=None
    )
    assert call.over is True
    assert calls.statistics() == CallStatistics(pending=0, forwarded=1, answered=1, failed=0, late=0, unknown=0)
    assert calls.next_deadline() is None


@pytest.mark.parametrize("echo", [b'"1"', b"1", b"1.50", b"-0", b"null", b"true", b'{"seq":1}', b"[ 1 ]", b'"\\u0031"'])
def test_any_json_value_comes_back_byte_for_byte(calls: Calls, client: Client, echo: bytes) -> None:
    call = forward(calls, client, echo=echo)
    assert call.request == b'{"action":"send_group_msg","params":{},"echo":"ep.1"}'
    answer = calls.answer(response(b'{"echo":"ep.1","status":"ok"}'), UPSTREAM, 0.0)
    assert answer is not None
    assert answer.frame == b'{"echo":' + echo + b',"status":"ok"}'


def test_without_an_echo_the_answer_has_none(calls: Calls, client: Client) -> None:
    call = forward(calls, client, echo=None)
    assert call.request == b'{"echo":"ep.1","action":"send_group_msg","params":{}}'
    answer = calls.answer(response(b'{"status":"ok","echo":"ep.1"}'), UPSTREAM, 0.0)
    assert answer is not None
    assert answer.frame == b'{"status":"ok"}'


@pytest.mark.parametrize(
    ("echo", "action"), [(b'"' + b"e" * (16 << 10) + b'"', "get_status"), (b'"1"', "get_" + "x" * 1024)]
)
def test_what_is_kept_of_a_call_is_bounded(calls: Calls, client: Client, echo: bytes, action: str) -> None:
    answer = calls.forward(request(echo, action), client, UPSTREAM, 0.0)
    assert isinstance(answer, Answer)
    assert (answer.retcode, peek_frame(answer.frame).echo) == (1400, echo)
    assert calls.statistics().pending == 0
    assert isinstance(
        calls.forward(request(echo[-(16 << 10) + 1 :].replace(b"e", b'"', 1), "x" * 1024), client, UPSTREAM, 0.0), Call
    )


def test_colliding_echoes_go_back_to_their_askers(calls: Calls) -> None:
    first, second = Client(), Client()
    one, two, three = forward(calls, first), forward(calls, second), forward(calls, first)
    answers = [calls.answer(reply(call), UPSTREAM, 0.0) for call in (three, two, one)]
    assert [answer and answer.origin for answer in answers] == [first, second, first]
    assert {answer.frame for answer in answers if answer} == {b'{"status":"ok","retcode":0,"data":null,"echo":"1"}'}
    assert calls.statistics().answered == 3


def test_a_failed_answer_of_the_upstream_is_an_answer(calls: Calls, client: Client) -> None:
    answer = calls.answer(reply(forward(calls, client), status="failed", retcode=1200), UPSTREAM, 0.0)
    assert answer is not None
    assert (answer.final, answer.retcode) == (True, None)
    assert calls.statistics()._replace(forwarded=0) == CallStatistics(0, 0, answered=1, failed=0, late=0, unknown=0)


def test_an_answer_is_final_unless_said_otherwise(client: Client) -> None:
    assert Answer(client, b"{}") == Answer(client, b"{}", final=True, retcode=None)


def test_echoes_are_never_used_twice(calls: Calls, client: Client) -> None:
    keys = set()
    for _ in range(50):
        call = forward(calls, client)
        keys.add(call.key)
        calls.answer(reply(call), UPSTREAM, 0.0)
    assert len(keys) == 50


# Stream answers.


def test_a_stream_answer_passes_until_its_last_frame(calls: Calls, client: Client) -> None:
    call = forward(calls, client)
    finals = []
    for kind in ("stream", "reset", "stream", "response"):
        answer = calls.answer(part(call, kind), UPSTREAM, 0.0)
        assert answer is not None
        assert orjson.loads(answer.frame)["echo"] == "1"
        finals.append((answer.origin, answer.final, answer.retcode))
    assert finals == [(client, False, None)] * 3 + [(client, True, None)]
    assert calls.statistics() == CallStatistics(pending=0, forwarded=1, answered=4, failed=0, late=0, unknown=0)


@pytest.mark.parametrize(
    "fields",
    [
        {"data": {"type": "response"}},
        {"data": {"type": "error"}},
        {"data": {"type": "error"}, "status": "failed"},
        {"data": {"type": "stream"}, "status": "failed"},
        {"data": {"type": "stream"}, "stream": "normal-action"},
        {"data": {"type": "stream"}, "stream": None},
        {"data": {"type": ["stream"]}},
        {"data": {}},
        {"data": ["stream"]},
        {"data": None},
    ],
)
def test_what_ends_a_call(calls: Calls, client: Client, fields: dict[str, Any]) -> None:
    call = forward(calls, client)
    answer = calls.answer(reply(call, **{"stream": "stream-action", **fields}), UPSTREAM, 0.0)
    assert answer is not None
    assert answer.final
    assert call.over
    assert calls.statistics().pending == 0


def test_each_frame_of_a_stream_puts_the_deadline_off(calls: Calls, client: Client) -> None:
    stream, plain = forward(calls, client, 0.0), forward(calls, client, 10.0, echo=b'"2"')
    stream.written = plain.written = True
    calls.answer(part(stream, "stream"), UPSTREAM, 100.0)
    assert stream.deadline == 220.0
    assert calls.next_deadline() == 130.0
    assert [failure(answer) for answer in calls.expire(219.9)] == [(client, 1504, "2")]
    assert calls.next_deadline() == 220.0
    assert [failure(answer) for answer in calls.expire(220.0)] == [(client, 1504, "1")]


def test_a_stream_nobody_waits_for_any_more(calls: Calls, client: Client) -> None:
    call = forward(calls, client)
    calls.answer(part(call, "stream"), UPSTREAM, 0.0)
    calls.forget(client)
    assert calls.answer(part(call, "stream"), UPSTREAM, 0.0) is None
    assert calls.statistics().pending == 1
    assert calls.answer(part(call, "response"), UPSTREAM, 0.0) is None
    assert calls.statistics() == CallStatistics(pending=0, forwarded=1, answered=1, failed=0, late=2, unknown=0)


# Late and unknown.


@pytest.mark.parametrize(
    "echo",
    [
        b'"ep.3"',
        b'"ep.0"',
        b'"ep.-1"',
        b'"ep.1.0"',
        b'"ep."',
        b'"ep"',
        b'"eq.1"',
        b'"ep.\xc2\xb2"',
        b'"ep.' + b"1" * 5000 + b'"',
        b"1",
        b"null",
        b'""',
        b"{}",
    ],
)
def test_an_answer_to_nothing_we_asked_is_unknown(calls: Calls, client: Client, echo: bytes) -> None:
    forward(calls, client), forward(calls, client)
    assert calls.answer(response(b'{"status":"ok","echo":' + echo + b"}"), UPSTREAM, 0.0) is None
    assert calls.statistics() == CallStatistics(pending=2, forwarded=2, answered=0, failed=0, late=0, unknown=1)


def test_an_answer_without_an_echo_is_unknown(calls: Calls, client: Client) -> None:
    forward(calls, client)
    assert calls.answer(response(b'{"status":"ok"}'), UPSTREAM, 0.0) is None
    assert calls.statistics().unknown == 1


def test_another_upstream_cannot_answer(calls: Calls, client: Client) -> None:
    call = forward(calls, client)
    assert calls.answer(reply(call), OTHER_UPSTREAM, 0.0) is None
    assert calls.statistics().pending == 1
    assert calls.answer(reply(call), UPSTREAM, 0.0) is not None


def test_a_second_answer_is_late(calls: Calls, client: Client) -> None:
    call = forward(calls, client)
    assert calls.answer(reply(call), UPSTREAM, 0.0) is not None
    assert calls.answer(reply(call), UPSTREAM, 0.0) is None
    assert calls.statistics() == CallStatistics(pending=0, forwarded=1, answered=1, failed=0, late=1, unknown=0)


def test_an_answer_after_the_deadline_is_late(calls: Calls, client: Client) -> None:
    call = forward(calls, client)
    call.written = True
    assert [failure(answer) for answer in calls.expire(120.0)] == [(client, 1504, "1")]
    assert calls.answer(reply(call), UPSTREAM, 121.0) is None
    assert calls.statistics() == CallStatistics(pending=0, forwarded=1, answered=0, failed=1, late=1, unknown=0)


def test_answers_of_another_relay_are_unknown(client: Client) -> None:
    old, new = Calls("aaaa"), Calls("bbbb")
    call = forward(old, client)
    forward(new, client)
    assert new.answer(reply(call), UPSTREAM, 0.0) is None
    assert (new.statistics().late, new.statistics().unknown) == (0, 1)


# Askers that go away.


def test_forget(calls: Calls) -> None:
    gone, here = Client(), Client()
    one, two, three = forward(calls, gone), forward(calls, here), forward(calls, gone)
    calls.forget(gone)
    assert (one.origin, two.origin, three.origin) == (None, here, None)
    assert calls.answer(reply(one), UPSTREAM, 0.0) is None
    assert calls.answer(reply(two), UPSTREAM, 0.0) is not None
    assert calls.answer(reply(three), UPSTREAM, 0.0) is None
    assert calls.statistics() == CallStatistics(pending=0, forwarded=3, answered=1, failed=0, late=2, unknown=0)


def test_forgetting_a_stranger_changes_nothing(calls: Calls, client: Client) -> None:
    call = forward(calls, client)
    calls.forget(Client())
    assert calls.answer(reply(call), UPSTREAM, 0.0) is not None
    calls.forget(client)
    assert calls.statistics().late == 0


def test_cancel(calls: Calls, client: Client) -> None:
    one, two = forward(calls, client), forward(calls, client)
    calls.cancel(one)
    calls.cancel(one)
    assert one.over is False, "it is written all the same: the upstream may have half of it"
    assert calls.answer(reply(one), UPSTREAM, 0.0) is None
    assert calls.answer(reply(two), UPSTREAM, 0.0) is not None
    assert calls.statistics() == CallStatistics(pending=0, forwarded=2, answered=1, failed=0, late=1, unknown=0)


def test_cancelling_what_is_over_changes_nothing(calls: Calls, client: Client) -> None:
    call = forward(calls, client)
    calls.answer(reply(call), UPSTREAM, 0.0)
    calls.cancel(call)
    assert calls.statistics().late == 0


def test_nobody_is_told_of_what_nobody_waits_for(calls: Calls, client: Client) -> None:
    expired, lost = forward(calls, client, 0.0), forward(calls, client, 1.0, upstream=OTHER_UPSTREAM)
    expired.written = lost.written = True
    calls.forget(client)
    assert calls.expire(120.0) == []
    assert calls.lose(OTHER_UPSTREAM) == []
    assert calls.statistics() == CallStatistics(pending=0, forwarded=2, answered=0, failed=0, late=0, unknown=0)


# Deadlines.


def test_what_is_overdue_fails_by_what_is_known_of_it(calls: Calls, client: Client) -> None:
    queued, written, young = (forward(calls, client, now, echo) for now, echo in ((0, b"1"), (1, b"2"), (2, b"3")))
    written.written = young.written = True
    assert calls.next_deadline() == 120.0
    assert calls.expire(119.9) == []
    assert [failure(answer) for answer in calls.expire(121.0)] == [(client, 1504, 2), (client, 1501, 1)]
    assert (queued.over, written.over, young.over) == (True, True, False)
    assert calls.next_deadline() == 122.0
    assert calls.expire(121.0) == []
    assert calls.statistics() == CallStatistics(pending=1, forwarded=3, answered=0, failed=2, late=0, unknown=0)


def test_overdue_calls_fail_oldest_first(calls: Calls, client: Client) -> None:
    for number in range(5):
        forward(calls, client, number, b"%d" % number).written = True
    assert [failure(answer)[2] for answer in calls.expire(123.0)] == [0, 1, 2, 3]


def test_the_timeout_can_be_set(client: Client) -> None:
    calls = Calls("ep", timeout=2.5)
    assert forward(calls, client, 10.0).deadline == 12.5
    assert calls.next_deadline() == 12.5


# A lost upstream.


def test_a_lost_upstream_fails_its_calls_by_what_is_known_of_them(calls: Calls) -> None:
    first, second = Client(), Client()
    written = forward(calls, first, echo=b'"w"')
    elsewhere = forward(calls, first, upstream=OTHER_UPSTREAM)
    queued = forward(calls, second, echo=None)
    written.written = elsewhere.written = True
    answers = calls.lose(UPSTREAM)
    assert [(answer.origin, answer.retcode) for answer in answers] == [(first, 1502), (second, 1501)]
    assert orjson.loads(answers[0].frame)["echo"] == "w"
    assert "echo" not in orjson.loads(answers[1].frame)
    assert (written.over, queued.over, elsewhere.over) == (True, True, False)
    assert calls.lose(UPSTREAM) == []
    assert calls.answer(reply(written), UPSTREAM, 0.0) is None
    assert calls.statistics() == CallStatistics(pending=1, forwarded=3, answered=0, failed=2, late=1, unknown=0)


# Bounds.


def test_one_asker_may_have_256_calls_in_flight(calls: Calls, client: Client) -> None:
    made = [forward(calls, client) for _ in range(256)]
    assert failure(calls.forward(request(b"[9]"), client, UPSTREAM, 0.0)) == (client, 1503, [9])
    assert calls.statistics() == CallStatistics(pending=256, forwarded=256, answered=0, failed=1, late=0, unknown=0)
    forward(calls, Client())
    calls.answer(reply(made[0]), UPSTREAM, 0.0)
    forward(calls, client)
    assert failure(calls.forward(request(), client, UPSTREAM, 0.0)) == (client, 1503, "1")


def test_all_askers_may_have_2048_calls_in_flight(calls: Calls) -> None:
    clients = [Client() for _ in range(9)]
    for number in range(2048):
        forward(calls, clients[number % 8])
    assert failure(calls.forward(request(), clients[8], UPSTREAM, 0.0)) == (clients[8], 1503, "1")
    calls.forget(clients[0])
    assert failure(calls.forward(request(), clients[8], UPSTREAM, 0.0)) == (clients[8], 1503, "1")
    calls.lose(UPSTREAM)
    forward(calls, clients[8])
    assert calls.statistics().pending == 1


@pytest.mark.parametrize("how", ["answer", "cancel", "expire", "lose", "undo", "forget"])
def test_every_end_of_a_call_makes_room_for_its_asker(client: Client, how: str) -> None:
    calls = Calls("ep", per_client=1)
    call = forward(calls, client)
    assert isinstance(calls.forward(request(), client, UPSTREAM, 0.0), Answer)
    {
        "answer": lambda: calls.answer(reply(call), UPSTREAM, 0.0),
        "cancel": lambda: calls.cancel(call),
        "expire": lambda: calls.expire(120.0),
        "lose": lambda: calls.lose(UPSTREAM),
        "undo": lambda: calls.undo(call, client, 1503),
        "forget": lambda: calls.forget(client),
    }[how]()
    assert isinstance(calls.forward(request(), client, UPSTREAM, 0.0), Call)


def test_a_call_that_is_too_large_after_splicing(monkeypatch: pytest.MonkeyPatch, calls: Calls, client: Client) -> None:
    size = len(b"".join(replace_echo(request(b"1"), b'"ep.1"')))
    monkeypatch.setattr("napcore.core.calls.MAX_FRAME", size)
    assert isinstance(calls.forward(request(b"1"), client, UPSTREAM, 0.0), Call)
    monkeypatch.setattr("napcore.core.calls.MAX_FRAME", size - 1)
    assert failure(calls.forward(request(b"1"), client, UPSTREAM, 0.0)) == (client, 1505, 1)
    assert calls.statistics() == CallStatistics(pending=1, forwarded=1, answered=0, failed=1, late=0, unknown=0)


def test_links_of_one_client_count_together(calls: Calls) -> None:
    class Link(Client):
        client = "nonebot"

    links = [Link() for _ in range(4)]
    for number in range(256):
        forward(calls, links[number % 4])
    assert failure(calls.forward(request(), links[0], UPSTREAM, 0.0))[1] == 1503
    forward(calls, Client())
    calls.forget(links[0])
    for _ in range(64):
        forward(calls, links[1])
    assert failure(calls.forward(request(), links[2], UPSTREAM, 0.0))[1] == 1503


@pytest.mark.parametrize("how", ["written", "answer", "lose", "undo", "expire"])
def test_bytes_that_wait_are_bounded(client: Client, how: str) -> None:
    calls, lane = Calls("ep", max_waiting=100), RequestLane(masked=False)
    long = request(b'"' + b"x" * 60 + b'"', "get_" + "a" * 100)
    call = calls.forward(long, client, UPSTREAM, 0.0)
    assert isinstance(call, Call), "one call is taken whatever its size"
    refused = calls.forward(request(), client, UPSTREAM, 0.0)
    assert failure(refused)[1] == 1503
    if how == "written":
        lane.offer(call)
        lane.gather(0.0)
    else:
        {
            "answer": lambda: calls.answer(reply(call), UPSTREAM, 0.0),
            "lose": lambda: calls.lose(UPSTREAM),
            "undo": lambda: calls.undo(call, client, 1503),
            "expire": lambda: calls.expire(120.0),
        }[how]()
    assert call.request == b""
    forward(calls, client)


def test_the_bytes_of_a_request_are_not_copied(calls: Calls, client: Client) -> None:
    asked = request(b'"1"', "a" * 1000)
    call = calls.forward(asked, client, UPSTREAM, 0.0)
    assert isinstance(call, Call)
    views = [part for part in call.parts if isinstance(part, memoryview)]
    assert sum(map(len, views)) > 1000
    assert all(view.obj is asked.raw for view in views)


@pytest.mark.parametrize("masked", [False, True])
def test_a_large_request_is_copied_once(calls: Calls, client: Client, masked: bool) -> None:
    size = 8 << 20
    asked = peek_request(b'{"action":"a","params":{"file":"' + b"x" * size + b'"},"echo":1}')
    lane = RequestLane(masked=masked)
    tracemalloc.start()
    try:
        call = calls.forward(asked, client, UPSTREAM, 0.0)
        assert isinstance(call, Call)
        lane.offer(call)
        (data,) = lane.gather(0.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(data) > size
    if COMPILED:
        assert peak < 1.01 * size, "the frame itself, and nothing else"


# Held back, and acknowledged.


def test_a_held_call_has_its_whole_time_afterwards(calls: Calls, client: Client) -> None:
    held, plain = forward(calls, client, 0.0), forward(calls, client, 0.0, echo=b'"2"')
    calls.hold(held)
    assert calls.statistics() == CallStatistics(2, 2, 0, 0, 0, 0, held=1)
    assert [failure(answer)[2] for answer in calls.expire(500.0)] == ["2"]
    assert plain.over
    assert calls.let_go(held, 500.0) is True
    assert calls.let_go(held, 500.0) is False
    assert (held.deadline, calls.statistics().held) == (620.0, 0)
    assert calls.answer(reply(held), UPSTREAM, 501.0) is not None


@pytest.mark.parametrize("how", ["cancel", "forget", "lose", "undo"])
def test_a_held_call_nobody_waits_for_is_not_sent(calls: Calls, client: Client, how: str) -> None:
    held = forward(calls, client)
    calls.hold(held)
    ends: dict[str, Any] = {
        "cancel": lambda: calls.cancel(held),
        "forget": lambda: calls.forget(client),
        "lose": lambda: calls.lose(UPSTREAM),
        "undo": lambda: calls.undo(held, client, 1503),
    }
    ended = ends[how]()
    if how == "lose":
        assert [failure(answer)[:2] for answer in ended] == [(client, 1501)]
    assert calls.let_go(held, 1.0) is False
    assert held.over
    assert calls.statistics().pending == 0
    assert calls._clients == {}


def test_an_answer_to_a_held_call_is_none(calls: Calls, client: Client) -> None:
    held = forward(calls, client)
    calls.hold(held)
    assert calls.answer(reply(held), UPSTREAM, 0.0) is None, "it has not been asked"
    assert calls.let_go(held, 1.0) is True


def test_an_acknowledged_call_is_answered_at_once(calls: Calls) -> None:
    client, stand_in = Client(), Client()
    call = forward(calls, client, echo=b'{"seq": 1}')
    answer = calls.acknowledge(call, stand_in)
    assert answer == Answer(client, b'{"status":"async","retcode":1,"data":null,"echo":{"seq": 1}}', True, 1)
    calls.forget(client)
    later = calls.answer(reply(call), UPSTREAM, 0.0)
    assert later is not None
    assert later.origin is stand_in
    assert calls._clients == {}


def test_upstreams_that_owe_an_answer(calls: Calls, client: Client) -> None:
    one, two, _ = (
        forward(calls, client, 1.0),
        forward(calls, client, 2.0, upstream=OTHER_UPSTREAM),
        forward(calls, client),
    )
    one.written = two.written = True
    assert calls.unanswered(0.9) == set()
    assert calls.unanswered(1.0) == {UPSTREAM}
    assert calls.unanswered(2.0) == {UPSTREAM, OTHER_UPSTREAM}
    calls.answer(part(one, "stream"), UPSTREAM, 3.0)
    assert calls.unanswered(2.0) == {OTHER_UPSTREAM}


# Refused and taken back.


def test_refuse(calls: Calls, client: Client) -> None:
    answer = calls.refuse(1400, b"null", client, "unexpected byte at byte 3")
    assert failure(answer) == (client, 1400, None)
    assert orjson.loads(answer.frame)["message"] == "bad request: unexpected byte at byte 3"
    with pytest.raises(KeyError):
        failure(calls.refuse(1501, None, client))
    assert calls.statistics() == CallStatistics(pending=0, forwarded=0, answered=0, failed=2, late=0, unknown=0)


def test_undo(calls: Calls, client: Client) -> None:
    call = forward(calls, client, echo=b'{"seq":1}')
    assert failure(calls.undo(call, client, 1503)) == (client, 1503, {"seq": 1})
    assert call.over is True
    assert calls.next_deadline() is None
    assert calls.lose(UPSTREAM) == []
    assert calls.statistics() == CallStatistics(pending=0, forwarded=0, answered=0, failed=1, late=0, unknown=0)


# The lane towards an upstream.


def unmask(data: bytes) -> tuple[bytes, bytes]:
    """The key and the payload of one masked text frame of less than 64 KiB."""
    assert data[0] == 0x81
    assert data[1] & 0x80
    at = 4 if data[1] & 0x7F == 126 else 2
    key = data[at : at + 4]
    return key, bytes(byte ^ key[n % 4] for n, byte in enumerate(data[at + 4 :]))


def queued(lane: RequestLane, *bodies: bytes) -> list[Call]:
    made = [Call(b"", (body,), "send_group_msg", None, Client(), UPSTREAM) for body in bodies]
    assert [lane.offer(call) for call in made] == [True] * len(made)
    return made


def test_control_frames_go_first_and_both_in_order() -> None:
    lane = RequestLane(masked=False)
    queued(lane, b"{1}", b"{2}")
    assert [lane.offer_control(data) for data in (b"ping", b"pong")] == [Outcome.QUEUED] * 2
    assert (len(lane), lane.control_queued) == (4, 2)
    assert lane.gather(0.0) == [b"ping", b"pong", b"\x81\x03{1}", b"\x81\x03{2}"]
    assert (len(lane), lane.control_queued) == (0, 0)


def test_a_call_is_written_from_gathering_on() -> None:
    lane = RequestLane(masked=False)
    one, two = queued(lane, b"x" * 70_000, b"{2}")
    lane.gather(0.0)
    assert (one.written, two.written) == (True, False)
    assert one.request == b"", "what is in the socket needs no memory here"
    lane.wrote()
    lane.gather(0.0)
    assert two.written is True


def test_what_is_over_is_not_written() -> None:
    lane = RequestLane(masked=False)
    one, two, three = queued(lane, b"{1}", b"{2}", b"{3}")
    one.over = three.over = True
    assert lane.gather(0.0) == [b"\x81\x03{2}"]
    assert [call.written for call in (one, two, three)] == [False, True, False]
    assert len(lane) == 0
    lane.wrote()
    queued(lane, b"{4}")[0].over = True
    assert lane.gather(0.0) == []
    assert lane.gather(0.0) == [], "nothing was staged"


def test_gather_respects_max_bytes_but_gives_one_frame() -> None:
    lane = RequestLane(masked=False)
    queued(lane, *[b"x" * 30] * 5)
    lengths = []
    while lane:
        lengths.append([len(data) for data in lane.gather(0.0, 65)])
        lane.wrote()
    assert lengths == [[32, 32], [32, 32], [32]]
    queued(lane, b"y" * 1000, b"{}")
    assert [len(data) for data in lane.gather(0.0, 65)] == [1004]


@pytest.mark.parametrize(("max_bytes", "written"), [(99, 1), (100, 2), (101, 2)])
def test_max_bytes_is_the_last_size_that_fits(max_bytes: int, written: int) -> None:
    control, calls = RequestLane(masked=False), RequestLane(masked=False)
    for _ in range(3):
        control.offer_control(b"x" * 50)
    queued(calls, *[b"x" * 49] * 3)
    assert len(control.gather(0.0, max_bytes)) == written
    # What is written already counts with its head of 2 bytes.
    assert len(calls.gather(0.0, max_bytes)) == written


def test_one_write_is_64_kib_unless_said_otherwise() -> None:
    lane = RequestLane(masked=False)
    for data in (b"x" * 65535, b"x", b"x"):
        lane.offer_control(data)
    assert [len(data) for data in lane.gather(0.0)] == [65535, 1]


def test_calls_never_overtake_control_frames() -> None:
    lane = RequestLane(masked=False)
    queued(lane, b"{}")
    lane.offer_control(b"a" * 10)
    lane.offer_control(b"b" * 100)
    assert lane.gather(0.0, 50) == [b"a" * 10]
    lane.wrote()
    assert lane.gather(0.0, 50) == [b"b" * 100]
    lane.wrote()
    assert lane.gather(0.0, 50) == [b"\x81\x02{}"]


def test_one_write_at_a_time() -> None:
    lane = RequestLane(masked=False)
    queued(lane, b"{1}")
    lane.gather(0.0)
    queued(lane, b"{2}")
    with pytest.raises(RuntimeError, match="^the frames gathered last are still being written$"):
        lane.gather(0.0)
    assert lane.wrote() == 0
    assert lane.gather(0.0) == [b"\x81\x03{2}"]


def test_an_empty_lane() -> None:
    lane = RequestLane(masked=True)
    assert lane.gather(0.0) == []
    assert lane.gather(0.0) == []
    assert (len(lane), lane.close_code, lane.late) == (0, 0, 0)


def test_towards_a_server_each_frame_has_a_key_of_its_own() -> None:
    lane = RequestLane(masked=True)
    queued(lane, b'{"action":"a"}', b'{"action":"b"}', b"{" + b" " * 200 + b"}")
    frames = [unmask(data) for data in lane.gather(0.0)]
    assert [body for _, body in frames] == [b'{"action":"a"}', b'{"action":"b"}', b"{" + b" " * 200 + b"}"]
    lane.wrote()
    queued(lane, *[b"{}"] * 20)
    keys = {key for key, _ in frames} | {unmask(data)[0] for data in lane.gather(0.0)}
    assert len(keys) > 20, "of 23 random keys of 32 bits hardly two are equal"


def test_towards_a_client_nothing_is_masked() -> None:
    lane = RequestLane(masked=False)
    queued(lane, b'{"action":"a"}')
    assert lane.gather(0.0) == [frame(b'{"action":"a"}')]


def test_control_frames_are_bounded() -> None:
    assert CONTROL_LIMIT == 16 << 20
    lane = RequestLane(masked=False)
    assert lane.offer_control(bytes(CONTROL_LIMIT)) is Outcome.QUEUED
    assert lane.offer_control(b"x") is Outcome.QUEUED
    assert lane.close_code == 0
    assert lane.offer_control(b"x") is Outcome.DISCONNECT
    assert (lane.close_code, lane.control_queued) == (1013, 2)
    lane.gather(0.0)
    lane.wrote()
    assert lane.offer_control(b"x") is Outcome.QUEUED, "the bytes were given back"


def test_waiting_calls_are_bounded() -> None:
    assert REQUEST_LIMIT == 64 << 20
    lane = RequestLane(masked=False)
    half, extra = bytes(REQUEST_LIMIT // 2), Call(b"", (b"{}",), "a", None, Client(), UPSTREAM)
    first, second, third = queued(lane, half, half, b"{}")
    assert lane.offer(extra) is False
    first.over = second.over = True
    assert lane.gather(0.0) == [b"\x81\x02{}"]
    assert third.written
    assert lane.offer(extra) is True, "the bytes were given back"


def test_a_lost_link_takes_what_waited_with_it() -> None:
    lane = RequestLane(masked=False)
    queued(lane, b"x" * 70_000)
    lane.gather(0.0)
    (call,) = queued(lane, b"{2}")
    lane.offer_control(bytes(CONTROL_LIMIT + 1))
    lane.offer_control(b"x")
    assert lane.lose_link() == 0
    # the one that waited, and the one that was refused
    assert (len(lane), lane.control_queued, lane.late, lane.close_code) == (0, 0, 2, 0)
    assert call.written is False
    assert lane.gather(0.0) == []
    assert lane.offer_control(b"x") is Outcome.QUEUED
    queued(lane, b"{3}")
    assert lane.gather(0.0) == [b"x", b"\x81\x03{3}"]
    assert lane.lose_link() == 0
    assert lane.late == 2, "what was being written did not wait"


def test_a_lost_link_gives_its_bytes_back() -> None:
    lane = RequestLane(masked=False)
    queued(lane, bytes(REQUEST_LIMIT + 1))
    lane.offer_control(bytes(CONTROL_LIMIT))
    lane.lose_link()
    queued(lane, bytes(REQUEST_LIMIT), b"{}")
    assert lane.offer_control(bytes(CONTROL_LIMIT)) is Outcome.QUEUED
    assert lane.offer_control(b"x") is Outcome.QUEUED


def test_calls_and_lane_together() -> None:
    calls, lane, client = Calls("ep"), RequestLane(masked=False), Client()
    one, two = forward(calls, client, echo=b"1"), forward(calls, client, echo=b"2")
    lane.offer(one)
    lane.offer(two)
    lane.gather(0.0, 1)
    lane.lose_link()
    assert [failure(answer) for answer in calls.lose(UPSTREAM)] == [(client, 1502, 1), (client, 1501, 2)]


# Splicing.


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"action":"a","echo":"1"}', b'{"action":"a","echo":KEY}'),
        (b'{"echo":{"a":[1,{}]},"action":"a"}', b'{"echo":KEY,"action":"a"}'),
        (b' { "echo" : null , "action":"a" } ', b' { "echo" : KEY , "action":"a" } '),
        (b'{"\\u0065cho":7,"action":"a"}', b'{"\\u0065cho":KEY,"action":"a"}'),
        (b'{"echo":1,"action":"a","echo":2}', b'{"echo":1,"action":"a","echo":KEY}'),
        (b'{"action":"a"}', b'{"echo":KEY,"action":"a"}'),
        (b'\n{ "action":"a"}', b'\n{"echo":KEY, "action":"a"}'),
        (b'{"params":{"echo":1},"action":"a"}', b'{"echo":KEY,"params":{"echo":1},"action":"a"}'),
        (b'{"action":"{","Echo":1}', b'{"echo":KEY,"action":"{","Echo":1}'),
    ],
)
def test_replace_echo(before: bytes, after: bytes) -> None:
    assert b"".join(replace_echo(peek_request(before), b"KEY")) == after


@pytest.mark.parametrize(
    ("before", "after", "suffix"),
    [
        (b'{"action":"send_msg_async","echo":1}', b'{"action":"send_msg","echo":1}', "_async"),
        (b'{"action":"send_msg_rate_limited"}', b'{"action":"send_msg"}', "_rate_limited"),
        (b'{"action":"send_msg"}', b'{"action":"send_msg"}', ""),
        (b'{"action":"_async"}', b'{"action":"_async"}', ""),
        (b'{"action":"a_async_async"}', b'{"action":"a_async"}', "_async"),
        (
            b'{"params":{"message":"\\"a_async\\"","x":"a_async"},"echo":"a_async","action":"a_async"}',
            b'{"params":{"message":"\\"a_async\\"","x":"a_async"},"echo":"a_async","action":"a"}',
            "_async",
        ),
        # Written with an escape: it goes on as it is, and NapCat knows it by that name too.
        (b'{"action":"send_msg\\u005fasync"}', b'{"action":"send_msg\\u005fasync"}', "_async"),
    ],
)
def test_split_suffix(before: bytes, after: bytes, suffix: str) -> None:
    request, found = split_suffix(peek_request(before))
    assert (request.raw, found) == (after, suffix)


def test_a_name_put_everywhere_costs_little() -> None:
    raw = b'{"x":[' + b'"a_async",' * 1000 + b'1],"action":"a_async"}'
    request, suffix = split_suffix(peek_request(raw))
    assert (request.raw, suffix) == (raw, "_async")


@pytest.mark.parametrize(
    ("before", "restored", "without"),
    [
        (b'{"status":"ok","echo":"k"}', b'{"status":"ok","echo":NEW}', b'{"status":"ok"}'),
        (b'{"echo":"k","status":"ok"}', b'{"echo":NEW,"status":"ok"}', b'{"status":"ok"}'),
        (b'{"a":1,"echo":"k","b":2}', b'{"a":1,"echo":NEW,"b":2}', b'{"a":1,"b":2}'),
        (b'{"echo":"k"}', b'{"echo":NEW}', b"{}"),
        (b'{ "echo" : "k" }', b'{ "echo" : NEW }', b"{  }"),
        (b'{"a":1 , "echo":"k" }', b'{"a":1 , "echo":NEW }', b'{"a":1  }'),
        (b'{ "echo":"k" , "a":1}', b'{ "echo":NEW , "a":1}', b'{  "a":1}'),
        (b'{"a":"}","echo":"k"}\n', b'{"a":"}","echo":NEW}\n', b'{"a":"}"}\n'),
        (b'{"ech\\u006f":"k","b":","}', b'{"ech\\u006f":NEW,"b":","}', b'{"b":","}'),
        (b'{"data":{"echo":1}}', b'{"data":{"echo":1}}', b'{"data":{"echo":1}}'),
    ],
)
def test_restore_echo(before: bytes, restored: bytes, without: bytes) -> None:
    assert restore_echo(response(before), b"NEW") == restored
    assert restore_echo(response(before), None) == without
