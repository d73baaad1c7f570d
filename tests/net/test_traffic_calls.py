from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.frames import Opcode

import napcore.core.calls
import napcore.core.request_lane
from napcore import Relay

ECHOES = [
    b'"1"',
    b'""',
    b"1",
    b"-0.0",
    b"1e400",
    b"123456789012345678901234567890",
    b"true",
    b"false",
    b"null",
    b'{"seq":1}',
    b'{ "b" : [1, 2.50], "a":{} }',
    b"[]",
    b'[null,{"x":"\\u4e2d"}]',
    '"中文🎉"'.encode(),
    b'"\\ud800\\n\\"}"',
]


@pytest.fixture
def upstream(dial: Any) -> Any:
    """``async with upstream(relay) as (listener, napcat)``: a listener, and a scripted upstream on it."""

    @asynccontextmanager
    async def upstream(relay: Relay, self_id: int = 10001) -> AsyncIterator[tuple[Any, Any]]:
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, headers={"X-Self-ID": str(self_id)}) as napcat:
            await napcat.send((Opcode.PING, b""))
            await napcat.frame()
            yield listener, napcat

    return upstream


def echo_in(answer: bytes) -> bytes | None:
    """The raw echo of an answer that ends with it."""
    _, found, rest = answer.rpartition(b',"echo":')
    return rest[:-1] if found else None


def reply(echo: str, data: Any = None) -> bytes:
    return json.dumps({"status": "ok", "retcode": 0, "data": data, "echo": echo}).encode()


@pytest.mark.parametrize("place", ["first", "last"])
async def test_every_echo_comes_back_byte_for_byte(upstream: Any, dial: Any, place: str) -> None:
    async with Relay() as relay, upstream(relay) as (listener, napcat), dial(listener, "/api") as client:
        for echo in ECHOES:
            params = b'"params":{"group_id":5,"message":"\\ud800 \xe4\xb8\xad"}'
            if place == "last":
                await client.send(b'{"action":"send_group_msg",' + params + b', "echo" : ' + echo + b" }")
            else:
                await client.send(b'{"echo":' + echo + b',"action":"send_group_msg",' + params + b"}")
            sent = await napcat.text()
            request = json.loads(sent)
            assert params in sent
            assert isinstance(request["echo"], str)
            assert request["action"] == "send_group_msg"
            await napcat.send(
                b'{"status":"ok","retcode":0,"data":{"x":1e400},"echo":"' + request["echo"].encode() + b'"}'
            )
            assert await client.text() == b'{"status":"ok","retcode":0,"data":{"x":1e400},"echo":' + echo + b"}"
        assert relay.statistics().calls[:4] == (0, len(ECHOES), len(ECHOES), 0)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'{"status":"ok","echo":%b}', b'{"status":"ok"}'),
        (b'{"echo":%b,"status":"ok"}', b'{"status":"ok"}'),
        (b'{"echo":%b}', b"{}"),
        (b'{"a":1 , "echo" : %b , "b":2}', b'{"a":1 ,  "b":2}'),
    ],
)
async def test_a_call_without_echo_gets_an_answer_without_echo(
    upstream: Any, dial: Any, answer: bytes, expected: bytes
) -> None:
    async with Relay() as relay, upstream(relay) as (listener, napcat), dial(listener, "/api") as client:
        await client.send(b'{"action":"get_status"}')
        echo = (await napcat.json())["echo"]
        await napcat.send(answer % json.dumps(echo).encode())
        assert await client.text() == expected


async def test_echoes_of_two_clients_collide_without_harm(upstream: Any, dial: Any) -> None:
    async with Relay() as relay, upstream(relay) as (listener, napcat):
        async with dial(listener, "/api") as one, dial(listener, "/api") as two:
            for client, name in ((one, "one"), (two, "two")):
                await client.send(b'{"action":"%b","echo":"1"}' % name.encode())
            requests = [await napcat.json(), await napcat.json()]
            assert len({request["echo"] for request in requests}) == 2
            for request in reversed(requests):
                await napcat.send(reply(request["echo"], request["action"]))
            for client, name in ((one, "one"), (two, "two")):
                answer = await client.json()
                assert (answer["data"], answer["echo"]) == (name, "1")


async def test_exactly_one_answer_to_the_asker_alone(upstream: Any, dial: Any, until: Any) -> None:
    async with Relay() as relay, upstream(relay) as (listener, napcat):
        async with dial(listener) as asker, dial(listener) as other:
            await asker.json()
            await other.json()
            await asker.send(b'{"action":"get_status","echo":1}')
            echo = (await napcat.json())["echo"]
            await napcat.send(
                reply(echo, "first"),
                reply(echo, "duplicate"),
                reply("never heard of"),
                b'{"status":"ok","retcode":0,"data":null}',
                b'{"status":"ok","echo":{"seq":1}}',
                b'{"post_type":"message","self_id":10001,"raw_message":"end"}',
            )
            assert (await asker.json())["data"] == "first"
            assert (await asker.json())["raw_message"] == "end"
            assert (await other.json())["raw_message"] == "end"
            calls = relay.statistics().calls
            assert (calls.answered, calls.late, calls.unknown) == (1, 1, 3)


async def test_an_answer_for_one_who_has_gone_is_late(upstream: Any, dial: Any, until: Any) -> None:
    async with Relay() as relay, upstream(relay) as (listener, napcat):
        async with dial(listener, "/c/bot") as client:
            await client.json()
            await client.send(b'{"action":"get_status","echo":1}')
            echo = (await napcat.json())["echo"]
        await until(lambda: relay.statistics().clients[0].state == "absent")
        async with dial(listener, "/c/bot") as again:
            await again.json()
            await napcat.send(reply(echo), b'{"post_type":"message","self_id":10001,"raw_message":"end"}')
            assert (await again.json())["raw_message"] == "end"
        calls = relay.statistics().calls
        assert (calls.pending, calls.answered, calls.late) == (0, 0, 1)


async def test_stream_answers_pass_until_the_last(upstream: Any, dial: Any) -> None:
    async with Relay() as relay, upstream(relay) as (listener, napcat), dial(listener, "/api") as client:
        await client.send(b'{"action":"download_file_stream","echo":{"seq":1}}')
        echo = (await napcat.json())["echo"]
        part = {"status": "ok", "retcode": 0, "echo": echo, "stream": "stream-action"}
        kinds = ["stream", "stream", "reset", "stream", "response"]
        for number, kind in enumerate(kinds):
            await napcat.send(json.dumps(part | {"data": {"type": kind, "number": number}}).encode())
        await napcat.send(json.dumps(part | {"data": {"type": "stream", "number": 99}}).encode())
        for number, kind in enumerate(kinds):
            answer = await client.json()
            assert (answer["data"], answer["echo"]) == ({"type": kind, "number": number}, {"seq": 1})
        await client.send(b'{"action":"x","echo":2}')
        await napcat.send(reply((await napcat.json())["echo"]))
        assert (await client.json())["echo"] == 2
        assert relay.statistics().calls.late == 1


async def test_a_stream_that_fails_is_over(upstream: Any, dial: Any) -> None:
    async with Relay() as relay, upstream(relay) as (listener, napcat), dial(listener, "/api") as client:
        await client.send(b'{"action":"download_file_stream","echo":1}')
        echo = (await napcat.json())["echo"]
        failed = {"status": "failed", "retcode": 1200, "data": None, "echo": echo, "stream": "stream-action"}
        await napcat.send(json.dumps(failed).encode())
        assert (await client.json())["retcode"] == 1200
        assert relay.statistics().calls.pending == 0


@pytest.mark.parametrize(
    ("message", "echo"),
    [
        (b"", b"null"),
        (b"not json", b"null"),
        (b"[1,2]", b"null"),
        (b"null", b"null"),
        (b'{"action":"x","echo":1', b"null"),
        (b'{"action":"x","echo":' + b"[" * 600 + b"]" * 600 + b"}", b"null"),
        (b'{"echo":{"seq":7}}', b'{"seq":7}'),
        (b'{"action":5,"echo":[ 1 ]}', b"[ 1 ]"),
        (b'{"params":{}}', None),
        (b"{}", None),
    ],
)
async def test_rubbish_is_answered_with_1400(upstream: Any, dial: Any, message: bytes, echo: bytes | None) -> None:
    async with Relay() as relay, upstream(relay) as (listener, napcat), dial(listener) as client:
        await client.json()
        await client.send(message, b'{"action":"get_status","echo":"good"}')
        answer = await client.text()
        decoded = json.loads(answer)
        assert (decoded["status"], decoded["retcode"], decoded["data"]) == ("failed", 1400, None)
        assert decoded["message"].startswith("bad request: ")
        assert decoded["wording"] == "请求无效"
        assert echo_in(answer) == echo
        # The link is kept and the upstream has seen nothing of it.
        await napcat.send(reply((await napcat.json())["echo"], "fine"))
        assert (await client.json())["data"] == "fine"


async def test_an_event_sent_by_a_client_is_no_request(upstream: Any, dial: Any) -> None:
    async with Relay() as relay, upstream(relay) as (listener, napcat), dial(listener) as client:
        await client.json()
        answer = await client.call(b'{"post_type":"message","self_id":10001}')
        assert answer["retcode"] == 1400
        assert relay.statistics().received == 0


async def test_without_an_upstream_it_is_1501(dial: Any, message: Any) -> None:
    async with Relay() as relay:
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/api") as client:
            await client.send(b'{"action":"get_status","echo":{"seq":1}}')
            answer = await client.json()
        assert answer == {
            "status": "failed",
            "retcode": 1501,
            "data": None,
            "message": "no upstream is connected for this account; the call was not sent",
            "wording": "该账号没有可用的上游连接，请求未发送",
            "echo": {"seq": 1},
        }


async def test_an_upstream_that_dies_before_the_call_is_written_is_1501(upstream: Any, dial: Any, until: Any) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        async with (
            dial(listener, headers={"X-Self-ID": "10001"}, slow=True) as napcat,
            dial(listener, "/api") as client,
        ):
            await until(lambda: relay.statistics().upstreams[0].state == "connected")
            padding = b"x" * 1_000_000
            for number in range(20):
                await client.send(b'{"action":"get_status","params":"%b","echo":%d}' % (padding, number))
            await until(lambda: relay.statistics().calls.forwarded == 20)
            napcat.reset()
            await napcat.stream.aclose()
            answers = [await client.json() for _ in range(20)]
            retcodes = {answer["echo"]: answer["retcode"] for answer in answers}
            written = sum(retcode == 1502 for retcode in retcodes.values())
            assert 1 <= written < 20
            assert [retcodes[number] for number in range(20)] == [1502] * written + [1501] * (20 - written)
            assert relay.statistics().calls.pending == 0


async def test_an_upstream_that_dies_after_the_call_was_written_is_1502_and_it_is_never_written_again(
    upstream: Any, dial: Any, until: Any
) -> None:
    async with Relay() as relay:
        async with upstream(relay) as (listener, napcat), dial(listener, "/api") as client:
            await client.send(b'{"action":"send_group_msg","params":{},"echo":"1"}')
            await napcat.json()
            await napcat.stream.aclose()
            answer = await client.json()
            assert (answer["retcode"], answer["echo"]) == (1502, "1")
            assert "the outcome is unknown" in answer["message"]
            async with dial(listener, headers={"X-Self-ID": "10001"}) as again:
                await again.send((Opcode.PING, b""))
                assert (await again.frame()).opcode is Opcode.PONG
                await client.send(b'{"action":"get_status","echo":"2"}')
                request = await again.json()
                assert request["action"] == "get_status"
                await again.send(reply(request["echo"]))
                assert (await client.json())["echo"] == "2"
        calls = relay.statistics().calls
        assert (calls.forwarded, calls.answered, calls.failed) == (2, 1, 1)


async def test_too_many_calls_of_one_client_are_1503_and_others_are_served(upstream: Any, dial: Any) -> None:
    async with Relay() as relay, upstream(relay) as (listener, napcat):
        async with dial(listener, "/api") as greedy, dial(listener, "/api") as modest:
            for number in range(300):
                await greedy.send(b'{"action":"get_status","echo":%d}' % number)
            answers = [await greedy.json() for _ in range(44)]
            assert [(answer["retcode"], answer["echo"]) for answer in answers] == [(1503, n) for n in range(256, 300)]
            await modest.send(b'{"action":"get_version_info","echo":0}')
            requests = [await napcat.json() for _ in range(257)]
            assert requests[256]["action"] == "get_version_info"
            for request in requests:
                await napcat.send(reply(request["echo"]))
            assert (await modest.json())["echo"] == 0
            assert [(await greedy.json())["echo"] for _ in range(256)] == list(range(256))
            await greedy.send(b'{"action":"get_status","echo":"again"}')
            await napcat.send(reply((await napcat.json())["echo"]))
            assert (await greedy.json())["echo"] == "again"


async def test_too_many_calls_in_all_are_1503(upstream: Any, dial: Any) -> None:
    async with Relay() as relay, upstream(relay) as (listener, _), dial(listener, "/api") as client:
        relay.traffic.calls.total = 3
        for number in range(5):
            await client.send(b'{"action":"get_status","echo":%d}' % number)
        assert [(await client.json())["echo"] for _ in range(2)] == [3, 4]


async def test_too_many_bytes_waiting_for_an_upstream_are_1503(
    upstream: Any, dial: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(napcore.core.request_lane, "REQUEST_LIMIT", 2_000_000)
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, headers={"X-Self-ID": "10001"}, slow=True), dial(listener, "/api") as client:
            await until(lambda: relay.statistics().upstreams[0].state == "connected")
            request = b'{"action":"x","params":"%b","echo":1}' % (b"x" * 1_000_000)
            while relay.statistics().calls.failed == 0:
                await client.send(request)
                await client.send((Opcode.PING, b""))
                frame = await client.frame()
                if frame.opcode is Opcode.TEXT:
                    assert json.loads(bytes(frame.data))["retcode"] == 1503
                    break
            statistics = relay.statistics().calls
            assert 3 <= statistics.pending == statistics.forwarded < 10


async def test_a_call_too_large_with_our_echo_is_1505(
    upstream: Any, dial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(napcore.core.calls, "MAX_FRAME", 100)
    async with Relay() as relay, upstream(relay) as (listener, _), dial(listener, "/api") as client:
        answer = await client.call(b'{"action":"x","params":"%b","echo":1}' % (b"x" * 100))
        assert (answer["retcode"], answer["echo"]) == (1505, 1)


async def test_a_call_that_gets_no_answer_is_1504(upstream: Any, dial: Any, quick_tick: None) -> None:
    async with (
        Relay(call_timeout=0.05) as relay,
        upstream(relay) as (listener, napcat),
        dial(listener, "/api") as client,
    ):
        await client.send(b'{"action":"get_status","echo":[1]}')
        echo = (await napcat.json())["echo"]
        answer = await client.json()
        assert (answer["retcode"], answer["echo"]) == (1504, [1])
        assert "the outcome is unknown" in answer["message"]
        await napcat.send(reply(echo))
        await client.send(b'{"action":"get_status","echo":2}')
        await napcat.send(reply((await napcat.json())["echo"]))
        assert (await client.json())["echo"] == 2
        assert relay.statistics().calls.late == 1


async def test_with_several_accounts_a_call_must_say_which(upstream: Any, dial: Any, message: Any) -> None:
    async with Relay() as relay, upstream(relay) as (listener, napcat):
        relay.publish(message(0, self_id=10002))
        async with dial(listener, "/api") as client:
            answer = await client.call(b'{"action":"get_status","echo":1}')
            assert (answer["retcode"], answer["echo"]) == (1400, 1)
            assert answer["message"].endswith("which account is meant? give self_id (known: 10001, 10002)")
            await client.send(b'{"action":"get_status","params":{"self_id":10001},"echo":2}')
            request = await napcat.json()
            assert request["params"] == {"self_id": 10001}
            await napcat.send(reply(request["echo"]))
            assert (await client.json())["echo"] == 2
            answer = await client.call(b'{"action":"get_status","params":{"self_id":10002},"echo":3}')
            assert answer["retcode"] == 1501
        async with dial(listener, "/api?self_id=10001") as bound:
            await bound.send(b'{"action":"get_status","echo":4}')
            await napcat.send(reply((await napcat.json())["echo"]))
            assert (await bound.json())["echo"] == 4


async def test_calls_travel_in_the_order_they_came(upstream: Any, dial: Any) -> None:
    async with Relay() as relay, upstream(relay) as (listener, napcat), dial(listener, "/event") as client:
        await client.json()
        await client.send(*(b'{"action":"a%d","echo":%d}' % (number, number) for number in range(100)))
        assert [(await napcat.json())["action"] for _ in range(100)] == [f"a{number}" for number in range(100)]


async def test_an_answer_overtakes_queued_events(upstream: Any, dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay, upstream(relay) as (listener, napcat), dial(listener, slow=True) as client:
        await client.json()
        for number in range(1, 101):
            relay.publish(message(number, raw_message="x" * 20_000))
        await until(lambda: relay.statistics().clients[0].unconfirmed > 0)
        await client.send(b'{"action":"get_status","echo":"fast"}')
        await napcat.send(reply((await napcat.json())["echo"]))
        await until(lambda: relay.statistics().calls.answered == 1)
        before = 0
        while "echo" not in (await client.json()):
            before += 1
        assert before < 50
        assert [event["message_id"] for event in await client.events(100 - before)] == list(range(before + 1, 101))
