from __future__ import annotations

import json
import math
import random
import threading
import time
from contextlib import AsyncExitStack, suppress
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from napcore import BadEvent, CallError, Config, ConfigError, Event, Filter, Policy, Relay
from napcore.dispatch import Outbox
from napcore.testing import RecordingClient, Simulator


async def test_publish_takes_events_bytes_and_dicts(message: Any) -> None:
    async with Relay() as relay, relay.subscribe() as subscription:
        raw = json.dumps(message(2), indent=1).encode()
        assert relay.publish(Event.from_dict(message(1))).queued == 1
        assert relay.publish(raw).matched == 1
        report = relay.publish(message(3))
        assert (report.matched, report.queued, report.dropped) == (1, 1, 0)
        assert [(await anext(subscription)).message_id for _ in range(1)] == [1]
        assert (await anext(subscription)).raw == raw
        assert (await anext(subscription)).data == message(3)
        assert relay.statistics().received == 3
        assert relay.statistics().accounts == ((10001, True, "online"),)


async def test_publish_refuses_what_is_no_event() -> None:
    async with Relay() as relay:
        with pytest.raises(BadEvent, match="not an event"):
            relay.publish(b'{"status":"ok"}')
        with pytest.raises(BadEvent, match="unexpected end of data at byte 5"):
            relay.publish(b'{"a":')
        with pytest.raises(TypeError):
            relay.publish({"post_type": "message", "x": {1}})
        assert relay.statistics().received == 0
        assert relay.failed is None


async def test_another_thread_is_turned_away(message: Any) -> None:
    async with Relay() as relay:
        with pytest.raises(RuntimeError, match="another thread"):
            await anyio.to_thread.run_sync(relay.publish, message(1))
        async with relay.subscribe() as subscription:
            relay.publish(message(2))
            assert (await anext(subscription)).message_id == 2
        with pytest.raises(RuntimeError, match="another thread"):
            await anyio.to_thread.run_sync(relay.add_client, "bot")


async def test_it_may_be_made_in_one_thread_and_run_in_another(message: Any, anyio_backend: Any) -> None:
    relay = Relay()
    relay.add_client("bot")
    seen: list[int] = []

    async def main() -> None:
        async with relay:
            seen.append(relay.publish(message(1)).matched)

    name, options = anyio_backend
    thread = threading.Thread(target=lambda: anyio.run(main, backend=name, backend_options=options))
    thread.start()
    await anyio.to_thread.run_sync(thread.join)
    assert seen == [0]


async def test_outside_async_with_it_says_so(message: Any) -> None:
    relay = Relay()
    for method in (lambda: relay.publish(message(1)), relay.subscribe):
        with pytest.raises(RuntimeError, match="async with"):
            method()
    with pytest.raises(RuntimeError, match="async with"):
        await relay.listen("127.0.0.1", 0)
    with pytest.raises(RuntimeError, match="async with"):
        await relay.call("get_status")
    assert relay.statistics().uptime == 0.0
    async with relay:
        assert relay.statistics().uptime >= 0.0
    with pytest.raises(RuntimeError, match="async with"):
        relay.publish(message(1))


async def test_serve_runs_until_it_is_closed() -> None:
    async with Simulator(10001) as sim:
        relay = Relay()
        upstream = relay.add_upstream(await sim.listen())
        async with anyio.create_task_group() as tasks:
            await tasks.start(relay.serve)
            await upstream.ready()
            await relay.aclose()
        (link,) = sim.links or (None,)
        assert link is None or not link.open


async def test_serve_is_ready_when_the_port_is_open() -> None:
    config = Config.from_dict({"listen": {"port": 0, "host": "127.0.0.1"}})
    relay = Relay.from_config(config)
    async with anyio.create_task_group() as tasks:
        await tasks.start(relay.serve)
        assert len(relay.listeners) == 1
        tasks.cancel_scope.cancel()


async def test_closing_tells_everybody_why(dial: Any) -> None:
    closes: list[Any] = []

    async def read(peer: Any) -> None:
        closes.append(await peer.closed())
        assert await peer.frame() is None

    relay = Relay()
    async with (
        Simulator(10001) as forward,
        Simulator(10002) as reverse,
        RecordingClient() as bot,
        AsyncExitStack() as stack,
    ):
        async with anyio.create_task_group() as tasks:
            await tasks.start(relay.serve)
            listener = await relay.listen("127.0.0.1", 0)
            relay.add_client("bot", await bot.listen(), filter=Filter(self_ids={10001}))
            await relay.add_upstream(await forward.listen()).ready()
            reverse.connect(listener.url, reconnect=100)
            await reverse.wait_connected()
            await bot.wait_for(lambda: len(bot.meta) == 1)
            peers = [await stack.enter_async_context(dial(listener, path)) for path in ("/", "/c/named", "/api")]
            for peer in peers:
                await peer.call(b'{"action":"get_status","params":{"self_id":10001},"echo":1}')
            links = [*forward.links, *reverse.links, *bot.links]
            start = time.monotonic()
            await relay.aclose()
            for peer in peers:
                tasks.start_soon(read, peer)
        assert time.monotonic() - start < 1.5
        assert closes == [(1012, "the relay is restarting")] * 3
        for link in links:
            await link.closed.wait()
    assert [(link.close_code, link.close_reason) for link in links] == [
        (1001, "the relay is going away"),
        (1001, "the relay is going away"),
        (1012, "the relay is restarting"),
    ]


@pytest.mark.usefixtures("quick_close")
async def test_closing_is_bounded_and_what_waits_is_counted(
    dial: Any, message: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncExitStack() as stack:
        async with Relay() as relay:
            relay.add_client("asleep")
            relay.publish(message(0))
            listener = await relay.listen("127.0.0.1", 0)
            asleep = await stack.enter_async_context(dial(listener, "/c/asleep", slow=True))
            await asleep.json()
            for number in range(1, 101):
                relay.publish(message(number, raw_message="x" * 20_000))
            await until(lambda: relay.statistics().clients[0].unconfirmed > 0)
            (session,) = relay.traffic.clients.sessions()
            start = time.monotonic()
        assert time.monotonic() - start < 1.5
        box = session.outbox
        assert box.received == 100 == box.confirmed + box.unconfirmed + box.queued + sum(box.dropped.values())
        assert box.queued == 0
        assert box.dropped["shutdown"] > 50
    assert f"client asleep@10001 lost {box.dropped['shutdown']} events: the relay was closed" in caplog.text


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("", {}, "name: a name is 1 to 64 letters"),
        ("a b", {}, "name: a name is 1 to 64 letters"),
        ("x" * 65, {}, "name: a name is 1 to 64 letters"),
        ("taken", {}, "name: a client named 'taken' exists already"),
        ("bot", {"url": "http://127.0.0.1"}, "url: must be a ws:// or wss:// URL, not 'http://127.0.0.1'"),
        ("bot", {"heartbeat": 0}, "heartbeat: must be greater than 0, not 0"),
        ("bot", {"heartbeat": math.nan}, "heartbeat: must be greater than 0, not nan"),
    ],
)
async def test_a_client_that_cannot_be_added(name: str, options: dict[str, Any], problem: str) -> None:
    relay = Relay()
    relay.add_client("taken")
    with pytest.raises(ConfigError) as error:
        relay.add_client(name, **options)
    assert str(error.value).startswith(problem)
    # Nothing is left of it.
    relay.add_client("bot")


def test_an_upstream_that_cannot_be_added() -> None:
    with pytest.raises(ConfigError, match="must be a ws:// or wss:// URL, not 'http://host/'"):
        Relay().add_upstream("http://host/")


async def test_what_is_added_before_it_runs_starts_with_it() -> None:
    async with Simulator(10001) as sim, RecordingClient() as bot:
        relay = Relay()
        upstream = relay.add_upstream(await sim.listen())
        client = relay.add_client("bot", await bot.listen())
        assert (upstream.state, client.sessions) == ("connecting", {})
        async with relay:
            await bot.wait_for(lambda: len(bot.meta) == 1)
            assert repr(client) == "<RemoteClient 'bot' sessions=1>"


async def test_from_config() -> None:
    async with Simulator(10001) as sim, RecordingClient(token="bots-token") as bot, RecordingClient() as waiting:
        config = Config.from_dict(
            {
                "listen": {"port": 0, "host": "127.0.0.1"},
                "upstream": [{"url": await sim.listen()}],
                "client": [
                    {"name": "bot", "url": await bot.listen(), "token": "bots-token", "groups": [5]},
                    {"name": "waiting", "groups": [6], "queue": {"max_events": 10}},
                ],
            }
        )
        async with Relay.from_config(config) as relay:
            (listener,) = relay.listeners
            await waiting.connect(listener.url + "/c/waiting")
            await bot.wait_for(lambda: len(bot.meta) == 1)
            await waiting.wait_for(lambda: len(waiting.meta) == 1)
            for group_id in (5, 6, 5):
                await sim.emit(sim.events.group_message(group_id))
            assert [event["group_id"] for event in await bot.received(2)] == [5, 5]
            assert [event["group_id"] for event in await waiting.received(1)] == [6]


async def test_statistics_tell_of_everything(message: Any) -> None:
    async with Simulator(10001, heartbeat=math.inf) as sim, RecordingClient() as bot, Relay() as relay:
        relay.add_client("bot", await bot.listen())
        await relay.add_upstream(await sim.listen()).ready()
        await bot.wait_for(lambda: len(bot.meta) == 1)
        await sim.emit(sim.events.group_message(5))
        await sim.emit(b"rubbish")
        await bot.received(1)
        await bot.call("get_status")
        statistics = relay.statistics()
        assert statistics.uptime > 0
        assert (statistics.received, statistics.invalid, statistics.consumed) == (2, 1, 1)
        assert statistics.accounts == ((10001, True, "online"),)
        assert [(item.name, item.state, item.self_ids) for item in statistics.upstreams] == [
            (sim.url, "connected", (10001,))
        ]
        (client,) = statistics.clients
        assert client._replace(queued_bytes=0, max_queued=0) == (
            "bot", 10001, "connected", 1, 1, 0, 0, 0, 0, {}, 0, 1, 0,
        )  # fmt: skip
        assert statistics.calls == (0, 1, 1, 0, 0, 0, 0, 0)


@pytest.mark.usefixtures("quick_close", "quick_redial", "quick_tick")
async def test_whatever_comes_and_goes_the_ledgers_close() -> None:
    dice = random.Random(7)
    outboxes: set[Outbox] = set()

    async def flap(url: str) -> None:
        for _ in range(8):
            async with RecordingClient(receive_buffer=dice.choice([None, 4096])) as client:
                link = await client.connect(url)
                for _ in range(dice.randrange(4)):
                    if dice.random() < 0.3:
                        client.pause()
                    if client.links:
                        client.send({"action": "get_status", "echo": dice.choice([1, "1", None, {"seq": 1}])})
                    await anyio.sleep(0.02 * dice.random())
                    client.resume()
                if dice.random() < 0.5:
                    link.close(1000, "enough")
                    await anyio.lowlevel.checkpoint()

    async def cut(owner: Simulator | RecordingClient) -> None:
        while True:
            await anyio.sleep(0.1 * dice.random())
            for link in owner.links:
                if dice.random() < 0.4:
                    link.abort()
            outboxes.update(session.outbox for session in relay.traffic.clients.sessions())

    async def call() -> None:
        while True:
            with suppress(CallError):
                await relay.call("get_status", self_id=dice.choice([10001, 10002]), timeout=dice.choice([0.001, 1]))
            await anyio.lowlevel.checkpoint()

    async with Simulator(10001, heartbeat=0.01) as one, Simulator(10002) as two, RecordingClient() as bot:
        async with Relay() as relay:
            listener = await relay.listen("127.0.0.1", 0)
            relay.add_client("bot", await bot.listen(), heartbeat=0.01)
            relay.add_client("own", policy=Policy(max_events=5, write_timeout=0.05))
            relay.add_client("strict", policy=Policy(max_events=5, overflow="disconnect"))
            relay.add_upstream(await one.listen())
            for simulator in (one, two):
                simulator.connect(listener.url, reconnect=0.01)
                simulator.start(500)
            async with anyio.create_task_group() as tasks:
                for owner in (one, two, bot):
                    tasks.start_soon(cut, owner)
                tasks.start_soon(call)
                async with anyio.create_task_group() as flappers:
                    for path in ("/", "/api", "/c/own", "/c/own", "/c/strict?self_id=10002", "/c/ad-hoc", "/event"):
                        flappers.start_soon(flap, listener.url + path)
                tasks.cancel_scope.cancel()
            assert relay.failed is None
        assert relay.failed is None
        assert relay.traffic.clients.links == set()
    assert len(outboxes) > 3
    for box in outboxes:
        assert box.queued == 0
        assert box.received == box.confirmed + box.unconfirmed + sum(box.dropped.values())
    assert sum(box.confirmed for box in outboxes) > 50
