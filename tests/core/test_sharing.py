"""Identical get_* calls that one answer serves."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from napcore import Request, peek_request
from napcore.core.calls import Answer
from napcore.core.sharing import FOLLOWERS_LIMIT, KEPT_LIMIT, SharedGets

LINK, OTHER = object(), object()


class Client:
    def __init__(self) -> None:
        self.client = self
        self.answers: list[Any] = []

    def answer(self, answer: Answer) -> None:
        assert answer.origin is self
        self.answers.append((orjson.loads(answer.frame), answer.final))


def get(echo: bytes | None = b"1", params: bytes = b'{"group_id":5}', action: bytes = b"get_group_info") -> Request:
    tail = b"" if echo is None else b',"echo":' + echo
    return peek_request(b'{"action":"' + action + b'","params":' + params + tail + b"}")


def ok(leader: Any, data: Any = 7, status: str = "ok") -> Answer:
    return Answer(leader, orjson.dumps({"status": status, "retcode": 0, "data": data, "echo": None}))


def data(client: Client) -> list[Any]:
    return [(answer["data"], answer.get("echo", "none")) for answer, _ in client.answers]


def test_calls_under_way_share_an_answer_each_with_its_echo() -> None:
    shared, one, two, three = SharedGets(0.0), Client(), Client(), Client()
    leader: Any = shared.join(get(b'{"seq":1}'), one, LINK, 0.0)
    assert leader is not one
    assert leader.client is one
    assert shared.join(get(b'"x"'), two, LINK, 0.0) is None
    assert shared.join(get(None), three, LINK, 0.0) is None
    leader.answer(ok(leader))
    assert (data(one), data(two), data(three)) == ([(7, {"seq": 1})], [(7, "x")], [(7, "none")])
    assert shared.count == 2
    assert isinstance(shared.join(get(), one, LINK, 0.0), type(leader)), "with 0 nothing is kept"


@pytest.mark.parametrize(
    "other",
    [get(params=b'{"group_id":6}'), get(params=b'{"group_id": 5}'), get(action=b"get_group_member_list")],
)
def test_other_calls_ask_for_themselves(other: Request) -> None:
    shared, one, two = SharedGets(0.0), Client(), Client()
    first: Any = shared.join(get(), one, LINK, 0.0)
    second: Any = shared.join(other, two, LINK, 0.0)
    third: Any = shared.join(get(), two, OTHER, 0.0)
    assert len({id(first), id(second), id(third)}) == 3
    assert shared.count == 0


def test_writes_are_never_shared() -> None:
    shared, one = SharedGets(5.0), Client()
    request = get(action=b"send_group_msg")
    assert shared.join(request, one, LINK, 0.0) is one
    assert shared.join(request, one, LINK, 0.0) is one


def test_a_good_answer_is_kept_for_a_while() -> None:
    shared, one, two = SharedGets(5.0), Client(), Client()
    leader: Any = shared.join(get(), one, LINK, 0.0)
    leader.answer(ok(leader))
    kept = shared.join(get(b'"2"'), two, LINK, 4.9)
    assert isinstance(kept, Answer)
    assert (kept.origin, orjson.loads(kept.frame)["echo"]) == (two, "2")
    assert not isinstance(shared.join(get(), two, LINK, 5.0), Answer)


def test_a_failure_is_for_those_who_waited() -> None:
    shared, one, two = SharedGets(5.0), Client(), Client()
    leader: Any = shared.join(get(), one, LINK, 0.0)
    shared.join(get(b'"2"'), two, LINK, 0.0)
    leader.answer(ok(leader, None, "failed"))
    assert (len(one.answers), len(two.answers)) == (1, 1)
    assert not isinstance(shared.join(get(), one, LINK, 0.0), Answer)


def test_a_failure_of_our_own_is_not_kept() -> None:
    shared, one = SharedGets(5.0), Client()
    leader: Any = shared.join(get(), one, LINK, 0.0)
    leader.answer(ok(leader)._replace(retcode=1501))
    assert not isinstance(shared.join(get(), one, LINK, 0.0), Answer)


def test_one_who_has_gone_is_not_told() -> None:
    shared, one, two = SharedGets(0.0), Client(), Client()
    leader: Any = shared.join(get(), one, LINK, 0.0)
    shared.join(get(), two, LINK, 0.0)
    shared.forget(one)
    leader.answer(ok(leader))
    assert (one.answers, len(two.answers)) == ([], 1)


def test_a_lost_link_makes_its_answers_void() -> None:
    shared, one = SharedGets(5.0), Client()
    leader: Any = shared.join(get(), one, LINK, 0.0)
    leader.answer(ok(leader))
    shared.lose(LINK)
    assert not isinstance(shared.join(get(), one, LINK, 0.0), Answer)


def test_parts_of_a_stream_go_to_all() -> None:
    shared, one, two = SharedGets(5.0), Client(), Client()
    leader: Any = shared.join(get(), one, LINK, 0.0)
    shared.join(get(), two, LINK, 0.0)
    leader.answer(ok(leader, "part")._replace(final=False))
    leader.answer(ok(leader, "last"))
    for client in (one, two):
        assert [(answer["data"], final) for answer, final in client.answers] == [("part", False), ("last", True)]


def test_followers_are_bounded() -> None:
    shared, one = SharedGets(0.0), Client()
    shared.join(get(), one, LINK, 0.0)
    for _ in range(FOLLOWERS_LIMIT - 1):
        assert shared.join(get(), one, LINK, 0.0) is None
    assert shared.join(get(), one, LINK, 0.0) is one


def test_kept_bytes_are_bounded() -> None:
    shared, one = SharedGets(1e9), Client()
    for number in range(40):
        leader: Any = shared.join(get(params=b'{"group_id":%d}' % number), one, LINK, 0.0)
        leader.answer(ok(leader, "x" * (KEPT_LIMIT // 10)))
    assert shared._size <= KEPT_LIMIT
    assert 0 < len(shared._kept) <= 10
    assert isinstance(shared.join(get(params=b'{"group_id":39}'), one, LINK, 0.0), Answer)
    leader = shared.join(get(params=b'{"group_id":99}'), one, LINK, 0.0)
    leader.answer(ok(leader, "x" * KEPT_LIMIT))
    assert not isinstance(shared.join(get(params=b'{"group_id":99}'), one, LINK, 0.0), Answer)
