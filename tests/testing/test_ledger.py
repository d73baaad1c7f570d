from __future__ import annotations

from typing import Any

import pytest

from napcore import Hub, Policy, Relay
from napcore.core.stats import ClientStatistics, add_up
from napcore.testing import RecordingClient, Simulator, check_ledger


def message(number: int) -> dict[str, Any]:
    return {"post_type": "message", "message_type": "group", "self_id": 10001, "group_id": 5, "message_id": number}


def ledger(**counts: Any) -> ClientStatistics:
    return add_up()._replace(name="bot", self_id=10001, **counts)


async def test_it_sees_sessions_subscriptions_and_those_that_are_gone() -> None:
    async with Simulator(10001) as sim, RecordingClient() as bot, RecordingClient() as passer_by:
        async with Relay() as relay:
            listener = await relay.listen("127.0.0.1", 0)
            relay.add_client("bot", await bot.listen())
            await relay.add_upstream(await sim.listen()).ready()
            await bot.wait_connected()
            await passer_by.connect(listener.url)
            await passer_by.wait_for(lambda: len(passer_by.meta) == 1)
            async with relay.subscribe(name="slow", policy=Policy(max_events=1)) as subscription:
                for number in range(3):
                    await sim.emit(message(number))
                await bot.received(3)
                await passer_by.received(3)
                assert (await anext(subscription)).message_id == 2
                names = [one.name for one in check_ledger(relay)]
                assert names == ["bot", "ws-1", "slow", ""]
            (link,) = passer_by.links
            link.close(1000)
            await passer_by.wait_for(lambda: not passer_by.links)
        bot_, gone = check_ledger(relay, ended=True)
    assert (bot_.received, bot_.confirmed) == (3, 3)
    assert (gone.received, gone.connects) == (6, 2)
    assert gone.dropped["oldest"] == 2


def test_of_a_hub() -> None:
    hub = Hub()
    box = hub.add("alice", policy=Policy(max_events=1))
    for number in range(3):
        hub.publish(message(number))
    (alice,) = check_ledger(hub)
    assert (alice.received, alice.queued, alice.dropped) == (3, 1, {"oldest": 2})
    assert len(box.take()) == 1
    check_ledger(hub)


@pytest.mark.parametrize(
    ("counts", "ended", "problem"),
    [
        (
            {"received": 10, "confirmed": 4, "unconfirmed": 1, "queued": 2, "dropped": {"ttl": 2}},
            False,
            "bot@10001: received 10, but 9 are accounted for: "
            r"4 confirmed \+ 1 unconfirmed \+ 2 queued \+ 2 dropped {'ttl': 2}",
        ),
        ({"received": 1, "confirmed": 2}, False, "received 1, but 2 are accounted for"),
        ({"received": 0, "confirmed": 1, "unconfirmed": -1}, False, "a count is below zero: {'unconfirmed': -1}"),
        ({"received": 1, "queued": 1}, True, "1 queued and 0 unconfirmed after the end"),
        ({"received": 1, "unconfirmed": 1}, True, "0 queued and 1 unconfirmed after the end"),
    ],
)
def test_what_does_not_add_up_is_told(
    counts: dict[str, Any], ended: bool, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    statistics = Relay().statistics()._replace(clients=(ledger(received=1, confirmed=1), ledger(**counts)))
    with pytest.raises(AssertionError, match=problem):
        check_ledger(statistics, ended=ended)
    with pytest.raises(AssertionError, match="those that are gone: received 1"):
        check_ledger(statistics._replace(clients=(), gone=add_up()._replace(received=1)))
