from __future__ import annotations

import json
import logging
import math
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from websockets.frames import Frame, Opcode

from napcore import ConnectionClosed, Filter, Relay
from napcore.testing import RecordingClient, Simulator

DEEP = b'{"post_type":"message","self_id":10001,"x":' + b"[" * 5000 + b"]" * 5000 + b"}"
TOO_DEEP = b'{"post_type":"message","self_id":10001,"x":' + b"[" * 512 + b"]" * 512 + b"}"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_upstream_lifecycle_and_heartbeats_are_consumed(until: Any) -> None:
    async with Simulator(10001, heartbeat=0.01) as sim, RecordingClient() as bot, Relay() as relay:
        relay.add_client("bot", await bot.listen())
        relay.add_upstream(await sim.listen())
        await bot.wait_for(lambda: len(bot.meta) == 1)
        await until(lambda: relay.statistics().consumed >= 3)
        await sim.emit(sim.events.group_message(5, message="end"))
        await bot.received(1)
        assert [event["meta_event_type"] for event in bot.meta] == ["lifecycle"]
        statistics = relay.statistics()
        assert statistics.received == statistics.consumed + 1


async def test_they_pass_to_subscriptions_that_name_meta_events(until: Any) -> None:
    async with Simulator(10001, heartbeat=0.01) as sim, Relay() as relay:
        named = Filter(kinds={"meta_event.heartbeat", "message"})
        async with relay.subscribe(named) as some, relay.subscribe(Filter(kinds={"meta_event"})) as every:
            async with relay.subscribe() as none:
                relay.add_upstream(await sim.listen())
                assert (await anext(every)).kind == "meta_event.lifecycle"
                assert (await anext(every)).kind == "meta_event.heartbeat"
                assert (await anext(some)).kind == "meta_event.heartbeat"
                await sim.emit(sim.events.group_message(5, message="end"))
                assert (await anext(none)).kind == "message.group"
                while (event := await anext(some)).kind != "message.group":
                    assert event.kind == "meta_event.heartbeat"


async def test_other_meta_events_are_nobodys_own(dial: Any, message: Any) -> None:
    async with Simulator(10001, heartbeat=math.inf) as sim, Relay() as relay:
        await relay.add_upstream(await sim.listen()).ready()
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener) as peer:
            await peer.json()
            await sim.emit({"self_id": 10001, "post_type": "meta_event", "meta_event_type": "custom"})
            assert (await peer.json())["meta_event_type"] == "custom"
        assert relay.statistics().consumed == 1


@pytest.mark.parametrize("role", ["forward", "reverse"])
async def test_malformed_frames_are_dropped_and_counted_and_reach_nobody(
    role: str, caplog: pytest.LogCaptureFixture, serve: Any, accept: Any, dial: Any, until: Any
) -> None:
    malformed = [
        b"",
        b"not json",
        b'{"post_type":"message"',
        b'[{"post_type":"message"}]',
        b'"canary"',
        b"null",
        DEEP,
        TOO_DEEP,
        b'\xef\xbb\xbf{"post_type":"message"}',
        b'{"post_type":"message","x":NaN}',
        b'{"post_type":"message"} {}',
        b'{"post_type":"message","x":"canary\n"}',
    ]
    good = b'{"post_type":"message","message_type":"group","group_id":5,"self_id":10001,"message_id":%d}'

    async def misbehave(peer: Any) -> None:
        for number, frame in enumerate(malformed):
            await peer.send(frame, good % number)
        await peer.send((Opcode.BINARY, good % 98), good % 99)
        await anyio.sleep_forever()

    async def handler(stream: Any) -> None:
        await misbehave(await accept(stream))

    async with RecordingClient() as bot, Relay() as relay, anyio.create_task_group() as tasks:
        listener = await relay.listen("127.0.0.1", 0)
        relay.publish({"post_type": "message", "self_id": 10001})
        await bot.connect(listener.url)
        await bot.wait_for(lambda: len(bot.meta) == 1)
        if role == "reverse":
            async with dial(listener, headers={"X-Self-ID": "10001"}) as peer:
                tasks.start_soon(misbehave, peer)
                await bot.received(len(malformed) + 1)
                assert relay.statistics().upstreams[0].connects == 1
        else:
            async with serve(handler) as server:
                relay.add_upstream(server.url)
                await bot.received(len(malformed) + 1)
                assert relay.statistics().upstreams[0].connects == 1
        assert [event["message_id"] for event in bot.events] == [*range(len(malformed)), 99]
        assert len(bot.links) == 1
        # The binary one is no OneBot frame either.
        assert relay.statistics().invalid == len(malformed) + 1
        tasks.cancel_scope.cancel()
        await until(lambda: relay.statistics().upstreams[0].state != "connected")
        assert relay.statistics().invalid == len(malformed) + 1
        assert relay.failed is None
    assert len([text for text in warnings(caplog) if "not valid" in text]) == 1
    assert "canary" not in caplog.text


async def test_events_come_through_though_the_upstream_sends_fragments(dial: Any, message: Any) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        raw = json.dumps(message(1)).encode()
        async with dial(listener, headers={"X-Self-ID": "10001"}) as upstream, relay.subscribe() as subscription:
            await upstream.send(Frame(Opcode.TEXT, raw[:10], False), Frame(Opcode.CONT, raw[10:]))
            assert (await anext(subscription)).raw == raw


async def test_events_before_the_lifecycle_are_routed(serve: Any, accept: Any, message: Any) -> None:
    async def handler(stream: Any) -> None:
        peer = await accept(stream)
        await peer.send(json.dumps(message(1)).encode(), json.dumps(message(2)).encode())
        await peer.frame()

    async with serve(handler) as server, RecordingClient() as bot, Relay() as relay:
        relay.add_client("bot", await bot.listen())
        async with relay.subscribe() as subscription:
            upstream = relay.add_upstream(server.url)
            assert [(await anext(subscription)).message_id for _ in range(2)] == [1, 2]
            await upstream.ready()
            assert upstream.self_ids == {10001}


async def test_an_event_without_self_id_takes_the_links_account(
    serve: Any, accept: Any, message: Any, dial: Any
) -> None:
    raw = json.dumps(message(1, self_id=None)).encode()
    gate = anyio.Event()

    async def handler(stream: Any) -> None:
        peer = await accept(stream)
        await peer.send(json.dumps(message(0, self_id=10001)).encode())
        await gate.wait()
        await peer.send(raw)
        await peer.frame()

    async with serve(handler) as server, Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        await relay.add_upstream(server.url).ready()
        async with dial(listener, "/?self_id=10001") as first, dial(listener, "/?self_id=10002") as second:
            await first.json()
            async with dial(listener, headers={"X-Self-ID": "10002"}) as reverse:
                assert (await second.json())["self_id"] == 10002
                gate.set()
                assert await first.text() == raw
                other = json.dumps(message(2, self_id=None)).encode()
                await reverse.send(other)
                assert await second.text() == other


async def test_the_announced_account_stands_in_and_the_events_own_value_routes(
    dial: Any, message: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, headers={"X-Self-ID": "10001"}) as upstream:
            async with (
                relay.subscribe(Filter(self_ids={10001})) as first,
                relay.subscribe(Filter(self_ids={10002})) as second,
            ):
                await upstream.send(json.dumps(message(1, self_id=None)).encode())
                await upstream.send(json.dumps(message(2, self_id=10002)).encode())
                await upstream.send(json.dumps(message(3, self_id=10002)).encode())
                await upstream.send(json.dumps(message(4, self_id=10001)).encode())
                assert [(await anext(first)).message_id for _ in range(2)] == [1, 4]
                assert [(await anext(second)).message_id for _ in range(2)] == [2, 3]
    assert [text for text in warnings(caplog) if "10002" in text and "10001" in text] == [
        "upstream reverse 10001 was announced as account 10001 and sends events of 10002; they are routed as 10002"
    ]


async def test_self_id_given_for_an_upstream_is_its_account_at_once(serve: Any, accept: Any, message: Any) -> None:
    async def handler(stream: Any) -> None:
        peer = await accept(stream)
        await peer.send(json.dumps(message(1, self_id=None)).encode())
        await peer.frame()

    async with serve(handler) as server, Relay() as relay:
        async with relay.subscribe(Filter(self_ids={10009})) as subscription:
            upstream = relay.add_upstream(server.url, self_id=10009)
            await upstream.ready()
            assert upstream.self_ids == {10009}
            assert (await anext(subscription)).message_id == 1


async def test_a_silent_upstream_is_asked_who_it_is(serve: Any, accept: Any, patience: Any, message: Any) -> None:
    asked: list[dict[str, Any]] = []

    async def handler(stream: Any) -> None:
        peer = await accept(stream)
        asked.append(await peer.json())
        answer = {"status": "ok", "retcode": 0, "data": {"user_id": 10007, "nickname": "x"}, "echo": asked[0]["echo"]}
        await peer.send(json.dumps(answer).encode())
        await peer.send(json.dumps(message(1, self_id=None)).encode())
        await peer.frame()

    with patience(0.02):
        async with serve(handler) as server, Relay() as relay, relay.subscribe() as subscription:
            upstream = relay.add_upstream(server.url)
            await upstream.ready()
            assert upstream.self_ids == {10007}
            assert (await anext(subscription)).message_id == 1
    assert [(request["action"], request["params"]) for request in asked] == [("get_login_info", {})]


async def test_one_that_speaks_in_time_is_not_asked(patience: Any, until: Any) -> None:
    with patience(0.05):
        async with Simulator(10001) as sim, Relay() as relay:
            await relay.add_upstream(await sim.listen()).ready()
            await anyio.sleep(0.1)
            assert sim.calls == []


async def test_an_upstream_that_does_not_say_who_it_is_is_told_of(
    serve: Any, accept: Any, patience: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(stream: Any) -> None:
        peer = await accept(stream)
        echo = (await peer.json())["echo"]
        await peer.send(json.dumps({"status": "failed", "retcode": 1404, "data": None, "echo": echo}).encode())
        await peer.frame()

    with patience(0.02):
        async with serve(handler) as server, Relay() as relay:
            upstream = relay.add_upstream(server.url)
            await until(lambda: warnings(caplog))
            assert upstream.self_ids == set()
            assert upstream.state == "connected"
            with pytest.raises(TimeoutError):
                await upstream.ready(0.01)
    assert warnings(caplog)[0] == f"upstream {server.url} does not say which account it is; give its self_id"


async def test_ready_ends_when_the_upstream_is_closed(until: Any) -> None:
    async with Relay() as relay, anyio.create_task_group() as tasks:
        upstream = relay.add_upstream("ws://127.0.0.1:1/")
        failures: list[BaseException] = []

        async def wait() -> None:
            with pytest.raises(ConnectionClosed) as failure:
                await upstream.ready()
            failures.append(failure.value)

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await upstream.aclose()
        await until(lambda: failures)
        with pytest.raises(ConnectionClosed):
            await upstream.ready()
    assert repr(upstream) == "<Upstream ws://127.0.0.1:1/ absent>"


async def test_the_newest_link_serves_calls_and_the_other_takes_over(until: Any) -> None:
    async with Simulator(10001, heartbeat=math.inf) as old, Simulator(10001, heartbeat=math.inf) as new:
        async with Relay() as relay:
            listener = await relay.listen("127.0.0.1", 0)
            await relay.add_upstream(await old.listen()).ready()
            await relay.call("get_status")
            assert (old.called, new.called) == (1, 0)
            new.connect(listener.url)
            await until(lambda: len(relay.statistics().upstreams) == 2)
            await relay.call("get_status")
            assert (old.called, new.called) == (1, 1)
            for link in new.links:
                link.abort()
            await until(lambda: relay.statistics().upstreams[1].state == "absent")
            await relay.call("get_status")
            assert (old.called, new.called) == (2, 1)
            assert relay.statistics().accounts == ((10001, True, "online"),)


async def test_two_live_links_of_one_account_are_fine(dial: Any, message: Any) -> None:
    async with Relay() as relay, relay.subscribe() as subscription:
        listener = await relay.listen("127.0.0.1", 0)
        shown = {"X-Self-ID": "10001"}
        async with dial(listener, headers=shown) as one, dial(listener, headers=shown) as two:
            await one.send(json.dumps(message(1)).encode())
            assert (await anext(subscription)).message_id == 1
            await two.send(json.dumps(message(2)).encode())
            assert (await anext(subscription)).message_id == 2
            (upstream,) = relay.statistics().upstreams
            assert (upstream.connects, upstream.received) == (2, 2)


async def test_state_received_and_connects_are_counted(until: Any, quick_redial: None) -> None:
    async with Simulator(10001, heartbeat=math.inf) as sim, Relay() as relay:
        upstream = relay.add_upstream(await sim.listen())
        assert (upstream.state, upstream.connects) == ("connecting", 0)
        await upstream.ready()
        for _ in range(3):
            await sim.emit(sim.events.group_message(5))
        await until(lambda: upstream.received == 4)
        assert relay.statistics().upstreams == ((sim.url, "connected", (10001,), 4, 1),)
        sim.links[0].abort()
        await until(lambda: upstream.connects == 2)


async def test_a_url_with_a_token_is_never_shown(caplog: pytest.LogCaptureFixture, until: Any) -> None:
    caplog.set_level(logging.DEBUG, "napcore")
    async with Simulator(10001, token="canary") as sim, Relay() as relay:
        upstream = relay.add_upstream(f"{await sim.listen()}/?access_token=canary")
        await upstream.ready()
        assert relay.statistics().upstreams[0].name == f"{sim.url}/?access_token=***"
        assert "canary" not in repr(upstream)
        sim.links[0].abort()
        await until(lambda: "next try" in caplog.text)
    assert "canary" not in caplog.text


async def test_what_was_counted_stays_counted_when_an_upstream_goes(until: Any) -> None:
    async with Simulator(10001, heartbeat=math.inf) as sim, Relay() as relay:
        upstream = relay.add_upstream(await sim.listen())
        await upstream.ready()
        for number in range(3):
            await sim.emit(sim.events.group_message(5, message=str(number)))
        await until(lambda: relay.statistics().received == 4)
        found = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(upstream.aclose)
            while upstream.links:
                found.append(relay.statistics())
                await anyio.lowlevel.checkpoint()
        found.append(relay.statistics())
        assert [one.received for one in found] == [4] * len(found)
        assert found[-1].upstreams == ()
        assert upstream.received == 4
