"""Silent, frozen, stuck and doubled upstreams, through a relay."""

from __future__ import annotations

import json
import logging
import math
import socket
import time
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute
from websockets.frames import Opcode

import napcore.core.liveness
import napcore.net.api
import napcore.net.link
import napcore.net.upstream
from napcore import CallTimeout, Relay
from napcore.testing import RecordingClient, Simulator


@pytest.fixture
def quick_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upstream that promised a heartbeat every 20 ms is asked after 50, and has 50 to answer."""
    monkeypatch.setattr(napcore.net.upstream, "LOOK", 0.005)
    monkeypatch.setattr(napcore.core.liveness, "ANSWER", 0.05)
    monkeypatch.setattr(napcore.core.liveness, "PROBE_ANSWER", 0.05)
    monkeypatch.setattr(napcore.core.liveness, "PROBE_EVERY", 0.1)


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take peers for ones on another machine."""
    monkeypatch.setattr(napcore.net.link, "is_loopback", lambda stream: False)


def beat(interval: int = 20, **status: bool) -> bytes:
    event = {"post_type": "meta_event", "meta_event_type": "heartbeat", "self_id": 10001, "interval": interval}
    return json.dumps({**event, "status": {"online": True, "good": True, **status}}).encode()


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def state(relay: Relay) -> str:
    return relay.statistics().upstreams[0].state


async def test_a_silent_remote_upstream_is_cut_and_dialled_again(
    serve: Any,
    accept: Any,
    quick_look: None,
    remote: None,
    quick_redial: None,
    until: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pinged: list[int] = []

    async def handler(stream: Any) -> None:
        peer = await accept(stream)
        peer.polite = False
        await peer.send(beat())
        await peer.rest()
        pinged.append(len(peer.pings))

    async with serve(handler) as server, Relay() as relay:
        relay.add_upstream(server.url)
        await until(lambda: len(pinged) >= 2)
        assert min(pinged) >= 1
        assert server.most == 1, "the old connection is gone before the next is dialled"
    assert any("has been silent for" in text and "does not answer" in text for text in errors(caplog))


async def test_one_that_answers_pings_is_kept(
    serve: Any, accept: Any, quick_look: None, remote: None, until: Any
) -> None:
    pings: list[Any] = []

    async def handler(stream: Any) -> None:
        peer = await accept(stream)
        pings.append(peer.pings)
        await peer.send(beat())
        await peer.rest()

    async with serve(handler) as server, Relay() as relay:
        relay.add_upstream(server.url)
        await until(lambda: pings and len(pings[0]) >= 5)
        assert (server.dials, state(relay)) == (1, "connected")


@pytest.mark.parametrize("role", ["forward", "reverse"])
async def test_a_frozen_process_on_this_machine_is_kept_and_told_of(
    role: str,
    dial: Any,
    serve: Any,
    accept: Any,
    quick_look: None,
    until: Any,
    caplog: pytest.LogCaptureFixture,
    message: Any,
) -> None:
    thaw = anyio.Event()

    async def freeze(peer: Any) -> None:
        await peer.send(beat())
        await thaw.wait()
        await peer.send(json.dumps(message(7)).encode())
        await peer.rest()

    async def handler(stream: Any) -> None:
        await freeze(await accept(stream))

    async with Relay() as relay, RecordingClient() as bot:
        listener = await relay.listen("127.0.0.1", 0)
        relay.add_client("bot", await bot.listen(), heartbeat=0.01)
        async with (
            serve(handler) as server,
            dial(listener, headers={"X-Self-ID": "10001"}) as peer,
            anyio.create_task_group() as tasks,
        ):
            if role == "forward":
                await anyio.aclose_forcefully(peer.stream)
                await until(lambda: state(relay) == "absent")
                relay.upstreams._reverse.clear()
                relay.add_upstream(server.url)
            else:
                tasks.start_soon(freeze, peer)
            await until(lambda: relay.statistics().upstreams and state(relay) == "stalled")
            assert relay.statistics().accounts[0] == (10001, False, "stalled")
            await until(lambda: bot.meta and bot.meta[-1].get("status") == {"online": False, "good": False})
            assert len(bot.links) == 1, "links to clients stay"
            assert relay.traffic.api.pacing.paces(10001, time.monotonic())
            thaw.set()
            await bot.received(1)
            await until(lambda: state(relay) == "connected")
            assert relay.statistics().accounts[0] == (10001, True, "online")
            await until(lambda: bot.meta[-1].get("status") == {"online": True, "good": True})
            connects = relay.statistics().upstreams[0].connects
            assert connects == 1
            tasks.cancel_scope.cancel()
    told = errors(caplog)
    assert len([text for text in told if "probably frozen" in text]) == 1
    assert len([text for text in told if "is heard again" in text]) == 1


async def test_a_silence_without_a_heartbeat_that_was_promised_starts_pacing(
    dial: Any, until: Any, message: Any
) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, headers={"X-Self-ID": "10001"}) as peer:
            await peer.send(beat(20))
            await until(lambda: relay.statistics().consumed == 1)
            assert not relay.traffic.api.pacing.paces(10001, time.monotonic())
            await anyio.sleep(0.05)
            await peer.send(json.dumps(message(1)).encode())
            await until(lambda: relay.statistics().received == 2)
            assert relay.traffic.api.pacing.paces(10001, time.monotonic())


async def test_an_upstream_that_was_away_starts_pacing(until: Any) -> None:
    async with Simulator(10001, heartbeat=math.inf) as sim, Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        sim.connect(listener.url, reconnect=0.01)
        await sim.wait_connected()
        await until(lambda: 10001 in relay.traffic.accounts)
        assert not relay.traffic.api.pacing.paces(10001, time.monotonic())
        sim.links[0].abort()
        await until(lambda: relay.statistics().upstreams[0].connects == 2)
        assert relay.traffic.api.pacing.paces(10001, time.monotonic())


async def test_an_upstream_that_answers_no_calls_is_stuck_and_kept(
    quick_look: None, quick_tick: None, until: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(napcore.net.api, "SLOW", 0.02)
    silent = True

    def answer(request: Any) -> Any:
        return None if silent else sim.answer(request)

    async with Simulator(10001, heartbeat=0.01) as sim, Relay(call_timeout=0.2) as relay:
        sim.on_call = answer
        await relay.add_upstream(await sim.listen()).ready()
        with pytest.raises(CallTimeout):
            await relay.call("get_group_list", timeout=0.1)
        await until(lambda: state(relay) == "stuck")
        assert [request["action"] for request in sim.calls][:2] == ["get_group_list", "get_status"]
        assert relay.statistics().upstreams[0].connects == 1
        probes = sim.called
        await until(lambda: sim.called >= probes + 2)
        silent = False
        await until(lambda: state(relay) == "connected")
        assert relay.statistics().upstreams[0].connects == 1
    told = errors(caplog)
    assert len([text for text in told if "is stuck: it answers pings, but no calls" in text]) == 1
    assert len([text for text in told if "answers calls again" in text]) == 1


async def test_without_calls_nobody_is_probed(quick_look: None, quick_tick: None, until: Any) -> None:
    async with Simulator(10001, heartbeat=0.01) as sim, Relay() as relay:
        await relay.add_upstream(await sim.listen()).ready()
        await relay.call("get_status")
        await until(lambda: relay.statistics().consumed > 20)
        assert sim.called == 1


@pytest.mark.parametrize("how", ["heartbeat", "notice"])
async def test_qq_offline_is_told(
    how: str, dial: Any, until: Any, message: Any, caplog: pytest.LogCaptureFixture
) -> None:
    gone = {"post_type": "notice", "notice_type": "bot_offline", "self_id": 10001, "message": "kicked"}
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, headers={"X-Self-ID": "10001"}) as peer:
            await peer.send(beat(online=False) if how == "heartbeat" else json.dumps(gone).encode())
            await until(lambda: relay.statistics().accounts == ((10001, False, "offline"),))
            await peer.send(beat() if how == "heartbeat" else json.dumps(message(1)).encode())
            await until(lambda: relay.statistics().accounts == ((10001, True, "online"),))
    assert [text for text in errors(caplog) if text.startswith("account 10001")] == [
        "account 10001: its upstream says that QQ has it offline; log in again there",
        "account 10001: online again",
    ]


async def test_a_half_dead_link_gives_way_to_a_new_one(
    dial: Any, quick_look: None, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        headers = {"X-Self-ID": "10001"}
        async with dial(listener, headers=headers) as old, dial(listener, headers=headers) as new:
            old.polite = False
            await until(lambda: relay.statistics().upstreams[0].connects == 2)
            # It does not read either, so that it answers nothing: napcore cuts it, and keeps the new one.
            await until(lambda: len(relay.upstreams.reverse(10001).links) == 1)
            await new.send((Opcode.PING, b"x"))
            assert (await new.frame()).opcode is Opcode.PONG


async def test_both_links_stay_where_both_answer(dial: Any, quick_look: None, until: Any, message: Any) -> None:
    async with Relay() as relay, relay.subscribe() as subscription:
        listener = await relay.listen("127.0.0.1", 0)
        headers = {"X-Self-ID": "10001"}
        async with (
            dial(listener, headers=headers) as old,
            dial(listener, headers=headers) as new,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(old.rest)
            tasks.start_soon(new.rest)
            await until(lambda: len(relay.upstreams.reverse(10001).links) == 2)
            await until(lambda: old.pings)
            for number in range(1, 21):
                event = json.dumps(message(number)).encode()
                await old.send(event)
                await new.send(event)
                await anyio.sleep(0.01)
            for number in range(1, 21):
                assert (await anext(subscription)).message_id == number
            assert len(relay.upstreams.reverse(10001).links) == 2
            assert relay.statistics().duplicates == 20
            tasks.cancel_scope.cancel()
    assert subscription.missed == 0


def test_options_of_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    from napcore.net.sockets import watch_peer

    class Stream:
        def __init__(self, raw: Any) -> None:
            self.raw = raw

        def extra(self, attribute: Any, default: Any) -> Any:
            assert attribute is SocketAttribute.raw_socket
            return self.raw

    def options(**arguments: Any) -> tuple[int, ...]:
        with socket.socket() as raw:
            stream: Any = Stream(raw)
            watch_peer(stream, **arguments)
            tcp = [raw.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
            return (raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *tcp)

    names = [name for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT") if hasattr(socket, name)]
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        names.append("TCP_USER_TIMEOUT")
        assert options(remote=True, patience=15.0)[-1] == 15000
        assert options(remote=True, patience=math.inf)[-1] == 0, "it may take its time"
        assert options(remote=False, patience=15.0)[-1] == 0, "a frozen process on this machine is kept"
    assert options(remote=True, patience=15.0)[0] != 0
    nothing: Any = Stream(None)
    watch_peer(nothing, remote=True, patience=1.0)
    for name in ("TCP_USER_TIMEOUT", "TCP_KEEPIDLE"):
        monkeypatch.delattr(socket, name, raising=False)
    names = []
    assert options(remote=True, patience=15.0)[0] != 0, "without them it does what it can"
