from __future__ import annotations

import json
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from websockets.frames import Opcode

from napcore import Policy, Relay
from napcore.core.stats import ClientStatistics

BIG = "x" * 20_000


def lost(client: ClientStatistics) -> dict[str, int]:
    """What a client lost, by reason; the ledger closes or this fails."""
    assert client.received == client.confirmed + client.unconfirmed + client.queued + sum(client.dropped.values())
    return client.dropped


async def test_a_client_that_does_not_read_loses_its_oldest_and_disturbs_nobody(
    dial: Any, message: Any, until: Any
) -> None:
    async with Relay() as relay:
        relay.add_client("asleep", policy=Policy(max_events=10))
        relay.add_client("awake")
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/asleep", slow=True) as asleep, dial(listener, "/c/awake") as awake:
            await asleep.json()
            await awake.json()
            for number in range(1, 201):
                relay.publish(message(number, raw_message=BIG))
                assert (await awake.json())["message_id"] == number
            names = {client.name: client for client in relay.statistics().clients}
            slow = names["asleep"]
            assert (lost(names["awake"]), names["awake"].received) == ({}, 200)
            assert set(lost(slow)) == {"oldest"}
            assert slow.queued <= 10
            assert slow.max_queued <= 10 + 4
            assert slow.queued_bytes <= (10 + 4) * 21_000
            # On waking it gets what was handed to the socket, then the newest ten, in order, without a gap inside.
            handed = slow.confirmed + slow.unconfirmed
            seen = [event["message_id"] for event in await asleep.events(handed + slow.queued)]
            gap = seen.index(next(number for place, number in enumerate(seen, 1) if number != place))
            assert seen == [*range(1, gap + 1), *range(201 - len(seen) + gap, 201)]
            assert 5 <= len(seen) - gap <= 10
            await until(lambda: {c.name: c for c in relay.statistics().clients}["asleep"].queued == 0)


async def test_bytes_bound_the_queue_too(dial: Any, message: Any) -> None:
    async with Relay() as relay:
        relay.add_client("asleep", policy=Policy(max_bytes=100_000))
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/asleep", slow=True) as asleep:
            await asleep.json()
            for number in range(1, 100):
                relay.publish(message(number, raw_message=BIG))
                await anyio.lowlevel.checkpoint()
            (client,) = relay.statistics().clients
            assert client.queued_bytes <= 100_000
            assert lost(client)["oldest"] > 50


async def test_drop_newest_keeps_what_came_first(dial: Any, message: Any) -> None:
    async with Relay() as relay:
        relay.add_client("asleep", policy=Policy(max_events=5, overflow="drop_newest", max_in_flight=1))
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/asleep", slow=True) as asleep:
            await asleep.json()
            reports = [relay.publish(message(number, raw_message=BIG)) for number in range(1, 101)]
            # One is in the socket, five wait.
            assert [report.queued for report in reports] == [1] * 6 + [0] * 94
            assert sum(report.dropped for report in reports) == 94
            assert [event["message_id"] for event in await asleep.events(6)] == [1, 2, 3, 4, 5, 6]
            (client,) = relay.statistics().clients
            assert lost(client) == {"newest": 94}


async def test_too_large_an_event_is_left_out(dial: Any, message: Any) -> None:
    async with Relay() as relay:
        relay.add_client("bot", policy=Policy(max_frame=1000))
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot") as peer:
            await peer.json()
            relay.publish(message(1, raw_message=BIG))
            relay.publish(message(2))
            assert [event["message_id"] for event in await peer.events(1)] == [2]
            assert lost(relay.statistics().clients[0]) == {"oversize": 1}


async def test_what_waited_too_long_is_left_out(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        relay.add_client("asleep", policy=Policy(message_ttl=0.05, notice_ttl="off"))
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/asleep", slow=True) as asleep:
            await asleep.json()
            for number in range(1, 51):
                relay.publish(message(number, raw_message=BIG))
            relay.publish({"self_id": 10001, "post_type": "notice", "notice_type": "friend_add", "message_id": 51})
            await until(lambda: relay.statistics().clients[0].unconfirmed > 0)
            await anyio.sleep(0.06)
            seen = [(await asleep.json())["message_id"]]
            while seen[-1] != 51:
                seen.append((await asleep.json())["message_id"])
            (client,) = relay.statistics().clients
            assert seen == sorted(set(seen))
            assert 2 <= len(seen) < 51
            assert lost(client) == {"ttl": 51 - len(seen)}


async def test_policy_disconnect_closes_with_1013_and_the_next_link_starts_afresh(
    dial: Any, message: Any, until: Any
) -> None:
    async with Relay() as relay:
        relay.add_client("bot", policy=Policy(max_events=5, overflow="disconnect", max_in_flight=1))
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot") as peer:
            await peer.json()
            for number in range(1, 11):
                relay.publish(message(number))
            assert await peer.closed() == (1013, "too slow: the queue overflowed")
            assert await peer.frame() is None
        await until(lambda: relay.statistics().clients[0].state == "absent")
        assert lost(relay.statistics().clients[0]) == {"disconnect": 9}
        async with dial(listener, "/c/bot") as peer:
            await peer.json()
            relay.publish(message(11))
            assert (await peer.json())["message_id"] == 11


@pytest.mark.usefixtures("quick_tick")
@pytest.mark.parametrize("max_in_flight", [None, "off"], ids=["window closed", "socket full"])
async def test_write_timeout_gives_up_a_peer_that_takes_nothing(
    dial: Any, message: Any, until: Any, caplog: pytest.LogCaptureFixture, max_in_flight: Any
) -> None:
    caplog.set_level("INFO", "napcore")
    async with Relay() as relay:
        relay.add_client("asleep", policy=Policy(write_timeout=0.1, max_in_flight=max_in_flight, hold=0))
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/asleep", slow=True) as asleep:
            await asleep.json()
            for number in range(1, 201):
                relay.publish(message(number, raw_message=BIG))
            await until(lambda: relay.statistics().clients[0].state == "absent")
            # Behind the torn frame nothing came. An answer to a ping would be answered with a reset.
            asleep.polite = False
            whole = [json.loads(bytes(frame.data))["message_id"] for frame in await asleep.rest()]
            (client,) = relay.statistics().clients
            assert whole == list(range(1, len(whole) + 1))
            assert client.confirmed <= len(whole)
            assert set(lost(client)) == {"hold", "uncertain"}
            assert len(whole) + client.dropped["hold"] >= 196
    assert "client asleep@10001: it took nothing for 0.1 s while events were waiting" in caplog.text


async def test_a_reset_costs_what_was_in_flight_at_most(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        relay.add_client("bot", policy=Policy(max_in_flight=4))
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot", slow=True) as peer:
            await peer.json()
            for number in range(1, 101):
                relay.publish(message(number, raw_message=BIG))
            await until(lambda: relay.statistics().clients[0].unconfirmed > 0)
            peer.reset()
        await until(lambda: relay.statistics().clients[0].state == "absent")
        (client,) = relay.statistics().clients
        assert lost(client).get("uncertain", 0) <= 4
        assert relay.failed is None
        async with dial(listener, "/c/bot") as peer:
            assert (await peer.json())["sub_type"] == "connect"


async def test_without_a_hold_events_for_nobody_are_counted(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        relay.add_client("bot", policy=Policy(hold=0))
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot") as peer:
            await peer.json()
        await until(lambda: relay.statistics().clients[0].state == "absent")
        for number in range(1, 4):
            relay.publish(message(number))
        assert lost(relay.statistics().clients[0]) == {"hold": 3}
        async with dial(listener, "/c/bot") as peer:
            assert (await peer.json())["sub_type"] == "connect"
            relay.publish(message(4))
            assert (await peer.json())["message_id"] == 4
            (client,) = relay.statistics().clients
            assert (client.connects, client.state, client.received) == (2, "connected", 4)


async def test_the_pong_overtakes_queued_events(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        relay.add_client("asleep")
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/asleep", slow=True) as asleep:
            await asleep.json()
            for number in range(1, 101):
                relay.publish(message(number, raw_message=BIG))
            await until(lambda: relay.statistics().clients[0].unconfirmed > 0)
            await asleep.send((Opcode.PING, b"hello"), b'{"action":"get_status","echo":"me first"}')
            await until(lambda: relay.statistics().calls.failed == 1)
            before = []
            while (frame := await asleep.frame()).opcode is not Opcode.PONG:
                before.append(json.loads(bytes(frame.data))["message_id"])
            assert bytes(frame.data) == b"hello"
            answer = await asleep.json()
            assert (answer["echo"], answer["retcode"]) == ("me first", 1501)
            after = [event["message_id"] for event in await asleep.events(100 - len(before))]
            assert before + after == list(range(1, 101))
            assert len(after) > 50
