"""What becomes of written events when a link ends, of frames that are too large for a client, and of memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from napcore import Filter, Policy, Relay
from napcore.core.stats import ClientStatistics
from napcore.testing import RecordingClient

BIG = "x" * 20_000


def closes(client: ClientStatistics) -> bool:
    return client.received == client.confirmed + client.unconfirmed + client.queued + sum(client.dropped.values())


async def test_a_client_that_is_too_small_for_an_event_is_spared_it_from_then_on(
    message: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with Relay() as relay, RecordingClient(max_size=10_000) as bot:
        relay.add_client("bot")
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0)
        link = await bot.connect(listener.url + "/c/bot")
        await until(lambda: bot.meta)
        relay.publish(message(1))
        relay.publish(message(2, raw_message=BIG))
        await until(lambda: relay.statistics().clients[0].state == "absent")
        assert link.close_code == 1009
        await bot.connect(listener.url + "/c/bot")
        await until(lambda: relay.statistics().clients[0].state == "connected")
        relay.publish(message(3, raw_message=BIG))
        relay.publish(message(4))
        await until(lambda: bot.count and bot.events[-1]["message_id"] == 4)
        assert [event["message_id"] for event in bot.events if event["message_id"]] == [1, 4]
        (client,) = relay.statistics().clients
        assert closes(client)
        assert client.dropped["oversize"] == 2
        assert client.connects == 2
    size = len(json.dumps(message(2, raw_message=BIG), separators=(",", ":"))) + 4
    assert f"client bot@10001 closed its connection over an event of {size} bytes" in caplog.text
    assert BIG[:100] not in caplog.text


async def test_memory_is_shared_and_bounded(message: Any) -> None:
    async with Relay(memory_limit=100_000) as relay:
        async with relay.subscribe() as all_, relay.subscribe(Filter(users={1})) as some:
            for number in range(1, 21):
                relay.publish(message(number, user_id=number % 2, raw_message="x" * 10_000))
            assert 90_000 < relay.statistics().memory <= 100_000
            assert (await anext(all_)).message_id == 12
            assert (await anext(some)).message_id == 13
            assert all_.statistics().dropped == {"budget": 11}
            assert some.statistics().dropped == {"budget": 6}


async def test_a_memory_limit_of_0_is_refused() -> None:
    with pytest.raises(ValueError, match="memory_limit"):
        Relay(memory_limit=0)


async def test_kept_messages_stay_longest(message: Any) -> None:
    async with Relay() as relay, relay.subscribe(policy=Policy(max_events=2, keep=Filter(users={1}))) as kept:
        for number, user in enumerate((1, 2, 3, 4), 1):
            relay.publish(message(number, user_id=user))
        assert [(await anext(kept)).message_id for _ in range(2)] == [1, 4]
