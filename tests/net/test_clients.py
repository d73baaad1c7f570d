from __future__ import annotations

import logging
from functools import partial
from typing import Any

import anyio
import pytest

import napcore.net.clients
from napcore import Policy, Relay
from napcore.testing import RecordingClient, Simulator


def states(relay: Relay) -> dict[tuple[str, int | None], str]:
    return {(client.name, client.self_id): client.state for client in relay.statistics().clients}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_anonymous_links_have_names_of_their_own_and_are_forgotten(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        relay.add_client("ws-2")
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener) as one, dial(listener, "/event") as two:
            assert (await one.json())["sub_type"] == (await two.json())["sub_type"] == "connect"
            assert set(states(relay)) == {("ws-1", 10001), ("ws-3", 10001)}
            relay.publish(message(1))
            assert (await one.json())["message_id"] == (await two.json())["message_id"] == 1
        await until(lambda: states(relay) == {})


async def test_a_client_that_waits_gets_the_first_account_that_appears(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot") as peer:
            await until(lambda: states(relay) == {("bot", None): "waiting"})
            answer = await peer.call({"action": "get_status", "echo": 1})
            assert (answer["retcode"], "none yet" in answer["message"]) == (1400, True)
            relay.publish(message(1, self_id=10002))
            assert (await peer.json())["self_id"] == 10002
            assert states(relay) == {("bot", 10002): "connected"}
            relay.publish(message(2, self_id=10001))
            relay.publish(message(3, self_id=10002))
            assert [event["message_id"] for event in await peer.events(2)] == [1, 3]


async def test_self_id_in_the_url_chooses_the_account(dial: Any, message: Any) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        relay.publish(message(0, self_id=10001))
        relay.publish(message(0, self_id=10002))
        async with dial(listener, "/?self_id=10002") as second, dial(listener, "/c/bot?self_id=10001") as first:
            assert (await second.json())["self_id"] == 10002
            assert (await first.json())["self_id"] == 10001
            for number, self_id in enumerate([10001, 10002, 10001], 1):
                relay.publish(message(number, self_id=self_id))
            assert [event["message_id"] for event in await first.events(2)] == [1, 3]
            assert [event["message_id"] for event in await second.events(1)] == [2]


async def test_one_name_may_have_a_link_for_each_account(dial: Any, message: Any) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        relay.publish(message(0, self_id=10001))
        relay.publish(message(0, self_id=10002))
        async with dial(listener, "/c/bot?self_id=10001") as first, dial(listener, "/c/bot?self_id=10002") as second:
            assert (await first.json())["self_id"] == 10001
            assert (await second.json())["self_id"] == 10002
            assert states(relay) == {("bot", 10001): "connected", ("bot", 10002): "connected"}
            relay.publish(message(1, self_id=10001))
            assert [event["message_id"] for event in await first.events(1)] == [1]


async def test_an_account_nobody_has_seen_yet_is_waited_for(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        relay.publish(message(0, self_id=10001))
        async with dial(listener, "/?self_id=10002") as peer:
            await until(lambda: ("ws-1", 10002) in states(relay))
            answer = await peer.call({"action": "get_status", "echo": 1})
            assert answer["retcode"] == 1501
            relay.publish(message(1, self_id=10001))
            relay.publish(message(2, self_id=10002))
            assert [(await peer.json()).get(key) for key in ("sub_type", "message_id")] == ["connect", 2]


async def test_with_several_accounts_the_first_is_taken_with_one_warning(
    dial: Any, message: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        relay.publish(message(0, self_id=10002))
        async with dial(listener) as only:
            assert (await only.json())["self_id"] == 10002
        assert warnings(caplog) == []
        relay.publish(message(0, self_id=10001))
        async with dial(listener, "/c/bot") as first, dial(listener) as second:
            assert (await first.json())["self_id"] == 10002
            assert (await second.json())["self_id"] == 10002
        async with dial(listener, "/?self_id=10001") as third:
            assert (await third.json())["self_id"] == 10001
    assert warnings(caplog) == [
        "client bot did not say which account it wants and gets 10002; add ?self_id= to its URL"
    ]


async def test_a_waiting_link_never_becomes_a_second_link_of_a_session(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot?self_id=10001") as named, dial(listener, "/c/bot") as waiting:
            await until(lambda: len(states(relay)) == 2)
            relay.publish(message(1, self_id=10001))
            assert [(await named.json()).get(key) for key in ("sub_type", "message_id")] == ["connect", 1]
            assert states(relay) == {("bot", 10001): "connected", ("bot", None): "waiting"}
            relay.publish(message(2, self_id=10002))
            assert [(await waiting.json()).get(key) for key in ("sub_type", "message_id")] == ["connect", 2]
            assert states(relay) == {("bot", 10001): "connected", ("bot", 10002): "connected"}


@pytest.mark.usefixtures("quick_close", "quick_tick")
async def test_names_that_were_not_declared_are_limited(
    dial: Any, message: Any, until: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(napcore.net.clients, "AD_HOC_LIMIT", 2)
    monkeypatch.setattr(napcore.net.clients, "Policy", partial(Policy, hold=0.05))
    async with Relay() as relay:
        relay.add_client("declared")
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/a") as a:
            await a.json()
            async with dial(listener, "/c/b") as b:
                await b.json()
                async with dial(listener, "/c/c") as c:
                    assert await c.closed() == (1013, "too many client names")
                async with dial(listener, "/c/declared") as declared, dial(listener, "/c/a") as again:
                    await declared.json()
                    await again.json()
            await until(lambda: ("b", 10001) not in states(relay))
            async with dial(listener, "/c/c") as c:
                await c.json()
    assert warnings(caplog) == ["client name refused: 2 names that were not declared are in use"]


@pytest.mark.usefixtures("quick_tick")
async def test_an_undeclared_name_is_forgotten_after_the_hold_of_its_last_link(
    dial: Any, message: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(napcore.net.clients, "Policy", partial(Policy, hold=0.1))
    async with Relay() as relay:
        relay.publish(message(0, self_id=10001))
        relay.publish(message(0, self_id=10002))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot?self_id=10001") as one:
            await one.json()
            async with dial(listener, "/c/bot?self_id=10002") as two:
                await two.json()
            await until(lambda: states(relay).get(("bot", 10002)) == "absent")
            assert states(relay)["bot", 10001] == "connected"
        await until(lambda: states(relay).get(("bot", 10001)) == "absent")
        async with dial(listener, "/c/bot?self_id=10001") as one:
            await one.json()
            await anyio.sleep(0.15)
            assert states(relay)["bot", 10001] == "connected"
        await until(lambda: states(relay) == {})
        assert "bot" not in relay.traffic.clients


async def test_every_account_of_several_upstreams_has_its_session(message: Any) -> None:
    async with Simulator(10001) as one, Simulator(10002) as two, RecordingClient() as bot, Relay() as relay:
        relay.add_client("bot", await bot.listen())
        await relay.add_upstream(await one.listen()).ready()
        await relay.add_upstream(await two.listen()).ready()
        links = {link.self_id: link for link in await bot.wait_connected(2)}
        await bot.wait_for(lambda: len(bot.meta) == 2)
        await one.emit(one.events.group_message(5, message="one"))
        await two.emit(two.events.group_message(5, message="two"))
        events = await bot.received(2)
        assert {(event["self_id"], event["raw_message"]) for event in events} == {(10001, "one"), (10002, "two")}
        for self_id, link in links.items():
            assert (await bot.call("get_login_info", link=link))["data"]["user_id"] == self_id


async def test_a_subscriptions_name_does_not_stand_in_a_sessions_way(message: Any) -> None:
    async with RecordingClient() as bot, Relay() as relay:
        relay.add_client("bot", await bot.listen())
        async with relay.subscribe(name="bot-1"), relay.subscribe(name="bot-2"), relay.subscribe(name="bot-3"):
            relay.publish(message(0))
            await bot.wait_for(lambda: len(bot.meta) == 1)
        assert relay.failed is None
