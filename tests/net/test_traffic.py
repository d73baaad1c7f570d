from __future__ import annotations

import logging
import math
from typing import Any

import anyio
import pytest

from napcore import Policy, Relay
from napcore.testing import Simulator


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_lost_events_are_told_once_per_client_reason_and_minute(
    dial: Any, message: Any, until: Any, caplog: pytest.LogCaptureFixture, quick_tick: None
) -> None:
    async with Relay() as relay:
        relay.add_client("bot", policy=Policy(hold=0))
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot") as peer:
            await peer.json()
        await until(lambda: relay.statistics().clients[0].state == "absent")
        async with relay.subscribe(name="slow", policy=Policy(max_events=1)):
            for number in range(4):
                relay.publish(message(number))
            await until(lambda: len(warnings(caplog)) >= 2)
            for number in range(4):
                relay.publish(message(number))
            # Many ticks later nothing more has been said.
            await anyio.sleep(0.1)
            told = warnings(caplog)
        assert sorted(told) == [
            "client bot@10001 lost 4 events: it was not connected, and they are not held for it that long",
            "client slow lost 3 events: its queue was full and the oldest had to go; it reads too slowly",
        ]
    # At the end the rest is told.
    assert sorted(warnings(caplog)[2:]) == [
        "client bot@10001 lost 4 events: it was not connected, and they are not held for it that long",
        "client slow lost 4 events: its queue was full and the oldest had to go; it reads too slowly",
    ]


async def test_nothing_secret_and_no_message_is_ever_logged(
    dial: Any,
    exchange: Any,
    message: Any,
    until: Any,
    caplog: pytest.LogCaptureFixture,
    quick_redial: None,
    quick_tick: None,
    quick_close: None,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Simulator(10001, token="canary-upstream", heartbeat=0.01) as sim, Relay(call_timeout=0.05) as relay:
        relay.add_client("bot", token="canary-own", policy=Policy(max_events=1))
        relay.add_client("far", "ws://127.0.0.1:1/?access_token=canary-url", token="canary-far")
        listener = await relay.listen("127.0.0.1", 0, token="canary-listen-token", upstream_token="canary-reverse")
        url = await sim.listen()
        upstream = relay.add_upstream(f"{url}/?access_token=canary-upstream", token="canary-upstream")
        relay.add_upstream(url, token="canary-wrong")
        await upstream.ready()
        await sim.emit(b'{"post_type":"message","raw_message":"canary\n"}')
        await sim.emit(sim.events.group_message(5, message="canary-message"))
        shown = {"Authorization": "Bearer canary-own"}
        async with dial(listener, "/c/bot", shown) as peer:
            await peer.json()
            for number in range(20):
                relay.publish(message(number, raw_message="canary-message"))
            await peer.events(1)
            await peer.send(
                b'{"canary-request', b'{"action":"canary-action","params":{"message":"canary"},"echo":"canary"}'
            )
            await peer.json()
            sim.on_call = lambda request: None
            await peer.send(b'{"action":"canary-silent","echo":"canary"}')
            await until(lambda: relay.statistics().calls.failed >= 2)
            async with dial(listener, "/c/bot", shown) as second:
                await second.json()
                await peer.closed()
        for target in ("/?access_token=canary-bad", "/c/canary%20name", "/canary-path?x=canary"):
            await exchange(listener, f"GET {target} HTTP/1.1\r\nHost: canary\r\nUpgrade: websocket\r\n\r\n".encode())
        await exchange(listener, b"GET /?canary HTTP/1.1\r\nAuthorization: Bearer canary\r\nbad header canary\r\n\r\n")
        sim.links[0].abort()
        await until(lambda: upstream.connects == 2)
        shown = f"{relay!r} {upstream!r} {relay.statistics()!r} {[*relay.traffic.clients]!r} {listener!r}"
        assert "canary" not in shown
    assert len(caplog.records) > 10
    assert [record.getMessage() for record in caplog.records if "canary" in record.getMessage()] == []
    assert "canary" not in caplog.text


async def test_invalid_frames_are_told_once_a_minute(dial: Any, caplog: pytest.LogCaptureFixture, until: Any) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, headers={"X-Self-ID": "10001"}) as napcat:
            await napcat.send(*[b"rubbish"] * 50)
            await until(lambda: relay.statistics().invalid == 50)
    assert warnings(caplog)[0] == (
        "upstream reverse 10001 sent a frame that is not valid (not an object at byte 0); it was dropped, 1 so far"
    )
    assert sum("not valid" in text for text in warnings(caplog)) == 1


async def test_events_are_routed_while_the_only_client_does_not_read(dial: Any) -> None:
    async with Simulator(10001, heartbeat=math.inf) as sim, Relay() as relay:
        await relay.add_upstream(await sim.listen()).ready()
        listener = await relay.listen("127.0.0.1", 0)
        unbound = Policy(max_bytes="off")
        async with dial(listener, slow=True) as asleep, relay.subscribe(policy=unbound) as subscription:
            await asleep.json()
            for number in range(300):
                await sim.emit(sim.events.group_message(5, message=str(number) + "x" * 20_000))
            for number in range(300):
                assert (await anext(subscription)).data["raw_message"].startswith(f"{number}x")
            # The upstream's socket is drained, whatever its clients do.
            await sim.links[0].drained()
            assert sim.links[0].unsent == 0
