"""What waits for a client that is not there, and how it comes back to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest

import napcore.net.sockets
from napcore import Policy, Relay
from napcore.core.stats import ClientStatistics
from napcore.testing import RecordingClient, Simulator

REQUEST = {"self_id": 10001, "post_type": "request", "request_type": "friend", "user_id": 7}
NOTICE = {"self_id": 10001, "post_type": "notice", "notice_type": "friend_add", "user_id": 7}


def closes(client: ClientStatistics) -> bool:
    return client.received == client.confirmed + client.unconfirmed + client.queued + sum(client.dropped.values())


def ids(events: list[dict[str, Any]]) -> list[int]:
    return [event["message_id"] for event in events]


async def absent(relay: Relay, until: Any) -> None:
    await until(lambda: relay.statistics().clients[0].state == "absent")


# Hold


async def test_what_was_held_comes_behind_the_lifecycle_oldest_first(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        relay.add_client("bot")
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot") as peer:
            await peer.json()
        await absent(relay, until)
        for number in range(1, 6):
            assert relay.publish(message(number)).queued == 1
        (client,) = relay.statistics().clients
        assert (client.queued, client.dropped) == (5, {})
        async with dial(listener, "/c/bot") as peer:
            assert (await peer.json())["sub_type"] == "connect"
            relay.publish(message(6))
            assert ids([await peer.json() for _ in range(6)]) == [1, 2, 3, 4, 5, 6]
        await absent(relay, until)
        (client,) = relay.statistics().clients
        assert closes(client)
        assert (client.received, client.caught_up) == (6, 0)


async def test_a_client_that_we_dial_gets_what_came_before_it_was_there(message: Any, quick_redial: None) -> None:
    async with RecordingClient() as bot, Relay() as relay:
        relay.add_client("bot", await bot.listen())
        for number in (1, 2, 3):
            relay.publish(message(number))
        assert ids(await bot.received(3)) == [1, 2, 3]
        assert bot.meta[0]["sub_type"] == "connect"


@pytest.mark.usefixtures("quick_tick")
async def test_bounds_and_lifetimes_hold_without_a_link(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        relay.add_client("bot", policy=Policy(max_events=3, overflow="disconnect", message_ttl=0.2))
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot") as peer:
            await peer.json()
        await absent(relay, until)
        for number in range(1, 6):
            relay.publish(message(number))
        assert relay.statistics().clients[0].dropped == {"oldest": 2}
        relay.publish(REQUEST | {"message_id": 6})
        await until(lambda: relay.statistics().clients[0].dropped == {"oldest": 3, "ttl": 2})
        relay.publish(message(7))
        async with dial(listener, "/c/bot") as peer:
            await peer.json()
            assert ids(await peer.events(2)) == [6, 7]


@pytest.mark.usefixtures("quick_tick")
async def test_after_the_hold_only_requests_are_left(dial: Any, message: Any, until: Any, caplog: Any) -> None:
    async with Relay() as relay:
        relay.add_client("bot", policy=Policy(hold=0.1))
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot") as peer:
            await peer.json()
        await absent(relay, until)
        for number, event in enumerate((message(), REQUEST, NOTICE), 1):
            relay.publish({**event, "message_id": number})
        await until(lambda: relay.statistics().clients[0].dropped == {"hold": 2})
        for number, event in enumerate((message(), REQUEST, NOTICE), 4):
            relay.publish({**event, "message_id": number})
        (client,) = relay.statistics().clients
        assert (closes(client), client.queued, client.dropped) == (True, 2, {"hold": 4})
        async with dial(listener, "/c/bot") as peer:
            await peer.json()
            relay.publish(message(7))
            assert ids(await peer.events(3)) == [2, 5, 7]
        await absent(relay, until)
        # The clock of the hold begins anew.
        relay.publish(message(8))
        assert relay.statistics().clients[0].queued == 1
    assert "client bot@10001 lost 2 events: it was not connected" in caplog.text


async def test_nothing_is_held_for_an_anonymous_link(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener) as peer:
            await peer.json()
        await until(lambda: not relay.statistics().clients)
        assert len(relay.traffic.hub.clients) == 0


async def test_the_next_link_goes_on_where_the_old_one_was_cut(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        relay.add_client("bot", policy=Policy(max_in_flight=2))
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot") as peer:
            peer.polite = False
            await peer.json()
            for number in range(1, 6):
                relay.publish(message(number))
            assert ids(await peer.events(2)) == [1, 2]
            peer.reset()
        await absent(relay, until)
        assert relay.statistics().clients[0].dropped == {"uncertain": 2}
        async with dial(listener, "/c/bot") as peer:
            await peer.json()
            assert ids(await peer.events(3)) == [3, 4, 5]


async def test_at_least_once_goes_on_behind_the_last_acknowledgement(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        relay.add_client("bot", policy=Policy(max_in_flight=4, delivery="at_least_once"))
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot") as peer:
            await peer.json()
            relay.publish(message(1))
            assert ids(await peer.events(1)) == [1]
            await until(lambda: relay.statistics().clients[0].confirmed == 1)
            peer.polite = False
            for number in range(2, 10):
                relay.publish(message(number))
            assert ids(await peer.events(4)) == [2, 3, 4, 5]
            peer.reset()
        await absent(relay, until)
        (client,) = relay.statistics().clients
        assert (closes(client), client.queued, client.dropped) == (True, 8, {})
        async with dial(listener, "/c/bot") as peer:
            await peer.json()
            assert ids(await peer.events(8)) == list(range(2, 10))
        await absent(relay, until)
        assert closes(relay.statistics().clients[0])


async def test_a_second_link_of_a_name_goes_live_when_the_first_has_gone(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        relay.add_client("bot", policy=Policy(max_in_flight=1))
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot") as first:
            first.polite = False
            await first.json()
            for number in (1, 2, 3):
                relay.publish(message(number))
            assert ids(await first.events(1)) == [1]
            async with dial(listener, "/c/bot") as second:
                assert (await first.closed())[0] == 4001
                assert relay.statistics().clients[0].connects == 1
                await first.stream.aclose()
                assert (await second.json())["sub_type"] == "connect"
                assert ids(await second.events(2)) == [2, 3]
                (client,) = relay.statistics().clients
                assert (client.connects, client.dropped) == (2, {"uncertain": 1})


# Catching up


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch, certificates: Any) -> Callable[[str], tuple[Any, Any]]:
    def choose(way: str) -> tuple[Any, Any]:
        if way == "stream":
            monkeypatch.setattr(napcore.net.sockets, "CAN_WRITE", False)
        return (certificates.server, certificates.client) if way == "TLS" else (None, None)

    return choose


@pytest.mark.parametrize("way", ["socket", "stream", "TLS"])
async def test_a_burst_of_late_events_comes_at_a_pace(way: str, ways: Any, dial: Any, until: Any) -> None:
    server, client = ways(way)
    async with Simulator(10001, heartbeat=1000.0) as sim, Relay() as relay:
        relay.add_client("bot")
        await relay.add_upstream(await sim.listen()).ready()
        listener = await relay.listen("127.0.0.1", 0, ssl_context=server)
        async with (
            dial(listener, "/c/bot", ssl_context=client) as peer,
            dial(listener, "/c/other", ssl_context=client) as other,
        ):
            await peer.json()
            await other.json()
            now = time.time()
            await sim.emit(_at(sim, 0, now))
            assert ids(await peer.events(1)) == [0]
            await until(lambda: relay.statistics().clients[0].confirmed == 1)
            start = time.monotonic()
            for number in range(1, 61):
                await sim.emit(_at(sim, number, now - 20))
            await sim.emit(_at(sim, 61, now))
            await peer.send(b'{"action":"get_login_info","echo":1}')
            found = []
            while (answer := await peer.json()).get("echo") != 1:
                found.append(answer)
            # Answers do not wait.
            assert len(found) < 60
            assert ids(found + await peer.events(61 - len(found))) == list(range(1, 62))
            # 50 of 60 had to wait for their turn, at 50 a second.
            assert time.monotonic() - start > 0.9
            bot = {one.name: one for one in relay.statistics().clients}["bot"]
            # The last of them was a second behind when its turn came.
            assert (closes(bot), bot.caught_up, bot.dropped) == (True, 61, {})
            await until(lambda: {one.name: one for one in relay.statistics().clients}["bot"].queued == 0)


async def test_who_has_no_backlog_is_not_delayed(dial: Any, until: Any) -> None:
    async with Simulator(10001, heartbeat=1000.0) as sim, Relay() as relay:
        relay.add_client("bot")
        await relay.add_upstream(await sim.listen()).ready()
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot") as peer:
            await peer.json()
            now = time.time()
            await sim.emit(_at(sim, 0, now))
            for number in range(1, 301):
                await sim.emit(_at(sim, number, now - 20))
            await until(lambda: relay.statistics().received > 300)
            async with dial(listener, "/c/fresh") as fresh:
                assert (await fresh.json())["sub_type"] == "connect"
                await sim.emit(_at(sim, 301, now))
                assert ids(await fresh.events(1)) == [301]
                assert {one.name: one for one in relay.statistics().clients}["bot"].queued > 200


@pytest.mark.usefixtures("quick_tick")
async def test_replies_to_a_backlog_are_paced_too(dial: Any, until: Any) -> None:
    async with Simulator(10001, heartbeat=1000.0) as sim, Relay() as relay:
        relay.add_client("bot")
        await relay.add_upstream(await sim.listen()).ready()
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot") as peer:
            await peer.json()
            await sim.emit(_at(sim, 0, time.time()))
            assert not relay.traffic.api.pacing.paces(10001, time.monotonic())
            await sim.emit(_at(sim, 1, time.time() - 20))
            assert ids(await peer.events(2)) == [0, 1]
            await until(lambda: relay.traffic.api.pacing.paces(10001, time.monotonic()))


@pytest.mark.parametrize("ahead", [3600, -3600, 86400, -86400])
async def test_clocks_that_are_apart_or_stepped_lose_nothing(dial: Any, until: Any, ahead: int) -> None:
    async with Simulator(10001, heartbeat=1000.0) as sim, Relay() as relay:
        relay.add_client("bot")
        await relay.add_upstream(await sim.listen()).ready()
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot") as peer:
            await peer.json()
            for number in range(1, 21):
                await sim.emit(_at(sim, number, time.time() + (ahead if number > 10 else 0)))
            await sim.emit(_at(sim, 21, time.time() + ahead - 30))
            assert ids(await peer.events(21)) == list(range(1, 22))
            (client,) = relay.statistics().clients
            assert client.dropped == {}


async def test_what_is_too_old_on_arrival_is_counted(dial: Any, until: Any) -> None:
    async with Simulator(10001, heartbeat=1000.0) as sim, Relay() as relay:
        relay.add_client("bot")
        await relay.add_upstream(await sim.listen()).ready()
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot") as peer:
            await peer.json()
            now = time.time()
            for number, age in enumerate((0, 70, 0, 300), 1):
                await sim.emit(_at(sim, number, now - age))
            await sim.emit({**_at(sim, 5, now - 70), "post_type": "request", "request_type": "friend"})
            await sim.emit(_at(sim, 6, now))
            assert ids(await peer.events(4)) == [1, 3, 5, 6]
            (client,) = relay.statistics().clients
            assert (closes(client), client.dropped) == (True, {"ttl": 2})


def _at(sim: Simulator, number: int, when: float) -> dict[str, Any]:
    return {
        "time": int(when),
        "self_id": sim.self_id,
        "post_type": "message",
        "message_type": "group",
        "group_id": 5,
        "user_id": 7,
        "message_id": number,
        "raw_message": str(number),
    }


async def test_a_clients_stop_of_a_minute_lets_only_the_window_be_stale(dial: Any, message: Any, until: Any) -> None:
    """The clock is passed in: what is not in the socket expires although the client's link stands."""
    async with Relay() as relay:
        clock = [time.monotonic()]
        relay.traffic.hub.clock = lambda: clock[0]
        relay.add_client("asleep", policy=Policy(max_in_flight=64))
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/asleep", slow=True) as asleep:
            await asleep.json()
            for number in range(1, 65):
                relay.publish(message(number))
            # Then 13 a second for two minutes, ending now.
            clock[0] -= 120.0
            for number in range(65, 65 + 13 * 120):
                clock[0] += 1 / 13
                relay.publish(message(number))
                if number % 500 == 0:
                    await anyio.lowlevel.checkpoint()
            await until(lambda: relay.statistics().clients[0].unconfirmed == 64)
            found = ids(await asleep.events(64 + 20))
            assert found[:64] == list(range(1, 65))
            # At most the window was stale on waking.
            assert found[64:] == list(range(found[64], found[64] + 20))
            assert found[64] >= 65 + 13 * 60
            (client,) = relay.statistics().clients
            assert closes(client)
            assert client.dropped["ttl"] >= 13 * 60
