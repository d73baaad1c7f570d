from __future__ import annotations

import math
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import ByteStream
from websockets.frames import Frame, Opcode

import napcore.net.clients
from napcore import Filter, Policy, Relay
from napcore.testing import RecordingClient, Simulator

BIG = "x" * 20_000


async def test_lifecycle_is_the_first_frame_of_every_kind_of_link(dial: Any, message: Any, until: Any) -> None:
    async with RecordingClient() as bot, Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener) as waiting:
            await until(lambda: [client.state for client in relay.statistics().clients] == ["waiting"])
            relay.add_client("bot", await bot.listen())
            # The very event that makes the account known comes behind the lifecycle.
            relay.publish(message(1))
            first = [await waiting.json(), await waiting.json()]
            assert [event.get("sub_type") for event in first] == ["connect", None]
            assert first[0] == {
                "time": first[0]["time"],
                "self_id": 10001,
                "post_type": "meta_event",
                "meta_event_type": "lifecycle",
                "sub_type": "connect",
            }
            async with dial(listener, "/event") as later:
                assert (await later.json())["meta_event_type"] == "lifecycle"
                await bot.wait_for(lambda: len(bot.meta) == 1)
                relay.publish(message(2))
                assert (await later.json())["message_id"] == 2
                assert (await waiting.json())["message_id"] == 2
                # What made its account known has waited for its link.
                assert [event["message_id"] for event in await bot.received(2)] == [1, 2]
            assert bot.meta[0]["sub_type"] == "connect"


async def test_a_link_on_api_gets_neither_events_nor_meta_events(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/api") as api, dial(listener) as events:
            await events.json()
            relay.publish(message(1))
            await events.json()
            await api.send(b'{"action":"get_status","echo":5}')
            assert (await api.json())["echo"] == 5
            assert [client.name for client in relay.statistics().clients] == ["ws-2"]


async def test_heartbeats_of_our_own_tell_whether_the_upstream_is_there(until: Any, quick_redial: None) -> None:
    async with Simulator(10001, heartbeat=math.inf) as sim, RecordingClient() as bot, Relay() as relay:
        url = await sim.listen()
        relay.add_client("bot", await bot.listen(), heartbeat=0.02)
        upstream = relay.add_upstream(url)
        await bot.wait_for(lambda: len(bot.meta) >= 3)
        beat = bot.meta[1]
        assert beat == {
            "time": beat["time"],
            "self_id": 10001,
            "post_type": "meta_event",
            "meta_event_type": "heartbeat",
            "status": {"online": True, "good": True},
            "interval": 20,
        }
        (link,) = bot.links
        await upstream.aclose()
        await bot.wait_for(lambda: bot.meta[-1]["status"] == {"online": False, "good": False})
        assert bot.links == [link]
        assert relay.statistics().accounts == ((10001, False, "absent"),)
        relay.add_upstream(url)
        await bot.wait_for(lambda: bot.meta[-1]["status"] == {"online": True, "good": True})
        assert bot.links == [link]
        assert [event["meta_event_type"] for event in bot.meta].count("lifecycle") == 1


async def test_heartbeats_follow_what_the_upstream_says_of_the_account(dial: Any) -> None:
    async with Simulator(10001, heartbeat=math.inf) as sim, RecordingClient() as bot, Relay() as relay:
        relay.add_client("bot", await bot.listen(), heartbeat=0.02)
        await relay.add_upstream(await sim.listen()).ready()
        await sim.emit(sim.events.heartbeat(30.0, online=False))
        await bot.wait_for(lambda: bot.meta and bot.meta[-1].get("status") == {"online": False, "good": False})
        await sim.emit(sim.events.heartbeat(30.0, online=True))
        await bot.wait_for(lambda: bot.meta[-1].get("status") == {"online": True, "good": True})


async def test_dial_in_clients_have_heartbeats_too(dial: Any, message: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(napcore.net.clients, "HEARTBEAT", 0.02)
    async with Relay() as relay:
        relay.add_client("declared", heartbeat=0.03)
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener) as anonymous, dial(listener, "/c/declared") as declared:
            for peer, interval in ((anonymous, 20), (declared, 30)):
                assert (await peer.json())["meta_event_type"] == "lifecycle"
                assert (await peer.json())["interval"] == interval
                assert (await peer.json())["interval"] == interval


async def test_no_heartbeat_piles_up_behind_one_that_waits(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        relay.add_client("bot", heartbeat=0.001, policy=Policy(max_in_flight="off"))
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot", slow=True) as peer:
            await peer.json()
            for number in range(60):
                relay.publish(message(number, raw_message=BIG))
            await until(lambda: relay.statistics().clients[0].unconfirmed > 0)
            (session,) = relay.traffic.clients.sessions()
            await until(lambda: session.outbox.control_queued == 1)
            await anyio.sleep(0.02)
            assert session.outbox.control_queued == 1


async def test_events_arrive_byte_for_byte_in_both_roles(dial: Any, message: Any) -> None:
    raw = b' { "post_type":"message","self_id":10001 ,"x":"\\ud800 \xe4\xb8\xad","n":1e400, "group_id" : "5" } '
    async with RecordingClient() as bot, Relay() as relay:
        relay.publish(message(0))
        relay.add_client("bot", await bot.listen())
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener) as peer:
            await peer.json()
            await bot.wait_for(lambda: len(bot.meta) == 1)
            assert relay.publish(raw).queued == 2
            assert await peer.text() == raw
            await bot.received(1)
    assert bot.raw == [raw]


async def test_filters_hold_per_client_and_change_at_run_time(dial: Any, message: Any) -> None:
    async with Relay() as relay:
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        five = relay.add_client("five", filter=Filter(groups={5}))
        relay.add_client("six", filter=Filter(groups={6}, private=False))
        async with dial(listener, "/c/five") as first, dial(listener, "/c/six") as second:
            assert (await first.json())["sub_type"] == (await second.json())["sub_type"] == "connect"
            for number, group_id in enumerate([5, 6, 7, None, 5, 6], 1):
                relay.publish(message(number, group_id=group_id))
            assert [event["message_id"] for event in await first.events(3)] == [1, 4, 5]
            assert [event["message_id"] for event in await second.events(2)] == [2, 6]
            five.filter = Filter(groups={7})
            assert five.filter == Filter(groups={7})
            for number, group_id in enumerate([5, 7], 7):
                relay.publish(message(number, group_id=group_id))
            assert [event["message_id"] for event in await first.events(1)] == [8]
            five.filter = Filter(self_ids={10002})
            relay.publish(message(9))
            five.filter = Filter()
            relay.publish(message(10))
            assert [event["message_id"] for event in await first.events(1)] == [10]


async def test_upstream_meta_events_reach_no_client_whatever_its_filter_says(dial: Any, until: Any) -> None:
    async with Simulator(10001, heartbeat=0.01) as sim, Relay() as relay:
        relay.add_client("bot", filter=Filter(kinds={"meta_event", "message"}))
        await relay.add_upstream(await sim.listen()).ready()
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot") as peer:
            assert (await peer.json())["meta_event_type"] == "lifecycle"
            await until(lambda: relay.statistics().consumed >= 4)
            await sim.emit(sim.events.group_message(5, message="end"))
            assert (await peer.json())["raw_message"] == "end"


@pytest.mark.parametrize("echo", [b'{"x":1}', b"null", b"7"])
async def test_fragmented_requests_are_put_together(dial: Any, message: Any, echo: bytes) -> None:
    async with Relay() as relay:
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/api") as peer:
            request = b'{"action":"get_status","echo":' + echo + b"}"
            parts = [
                Frame(Opcode.TEXT if i == 0 else Opcode.CONT, request[i : i + 1], False) for i in range(len(request))
            ]
            await peer.send(*parts[:10])
            await peer.send((Opcode.PING, b"in between"))
            assert (await peer.frame()).opcode is Opcode.PONG
            await peer.send(*parts[10:], Frame(Opcode.CONT, b""))
            assert b'"echo":' + echo in await peer.text()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\xff" + ((50 << 20) + 1).to_bytes(8, "big") + b"1234", 1009),
        (b"\x01\x80\0\0\0\0" + b"\0\x80\0\0\0\0" * 5000, 1009),
        (b"\x81\x00", 1002),
    ],
    ids=["50 MiB and one byte", "5,000 fragments", "unmasked"],
)
async def test_close_codes_are_explicit(dial: Any, message: Any, data: bytes, code: int) -> None:
    async with Relay() as relay:
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener) as peer:
            await peer.json()
            await peer.stream.send(data)
            assert (await peer.closed())[0] == code
            assert await peer.frame() is None
        assert relay.failed is None


async def test_a_dialled_client_that_sends_an_oversized_frame_sees_1009(
    serve: Any, accept: Any, message: Any, quick_redial: None
) -> None:
    codes: list[int] = []
    done = anyio.Event()

    async def handler(stream: ByteStream) -> None:
        peer = await accept(stream)
        await peer.json()
        await stream.send(b"\x81\x7f" + ((50 << 20) + 1).to_bytes(8, "big"))
        codes.append((await peer.closed())[0])
        done.set()

    async with serve(handler) as server, Relay() as relay:
        relay.add_client("bot", server.url)
        relay.publish(message(0))
        await done.wait()
    assert codes[0] == 1009
