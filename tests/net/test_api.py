"""Paced, acknowledged and shared calls, through a relay."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import napcore.net.api
from napcore import ConfigError, NotSent, Relay


@pytest.fixture
def upstream(dial: Any, until: Any) -> Any:
    """``async with upstream(relay) as (listener, napcat)``: a listener, and a scripted upstream on it."""

    @asynccontextmanager
    async def upstream(relay: Relay) -> AsyncIterator[tuple[Any, Any]]:
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, headers={"X-Self-ID": "10001"}) as napcat:
            await until(lambda: 10001 in relay.traffic.accounts)
            yield listener, napcat

    return upstream


def reply(request: dict[str, Any], data: Any = None) -> bytes:
    return json.dumps({"status": "ok", "retcode": 0, "data": data, "echo": request["echo"]}).encode()


def say(number: int, action: str = "send_group_msg", group: int = 5) -> bytes:
    return json.dumps({"action": action, "params": {"group_id": group, "message": "hi"}, "echo": number}).encode()


async def test_async_calls_are_acknowledged_and_carried_out(upstream: Any, dial: Any, until: Any) -> None:
    async with Relay() as relay, upstream(relay) as (listener, napcat), dial(listener, "/api") as client:
        await client.send(say(1, "send_group_msg_async"))
        assert await client.json() == {"status": "async", "retcode": 1, "data": None, "echo": 1}
        request = await napcat.json()
        assert request["action"] == "send_group_msg", "the suffix is for us: not every implementation knows it"
        await napcat.send(reply(request))
        await until(lambda: relay.statistics().calls.pending == 0)
        await client.send(say(2))
        await napcat.send(reply(await napcat.json()))
        assert (await client.json())["echo"] == 2, "the answer to the first went nowhere"


async def test_an_async_call_that_cannot_be_sent_says_so(upstream: Any, dial: Any, until: Any) -> None:
    async with Relay() as relay:
        async with upstream(relay) as (listener, _):
            pass
        await until(lambda: relay.statistics().upstreams[0].state == "absent")
        async with dial(listener, "/api") as client:
            assert (await client.call(say(1, "send_group_msg_async")))["retcode"] == 1501


async def test_rate_limited_calls_wait_their_turn(upstream: Any, dial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Relay() as relay, upstream(relay) as (listener, napcat), dial(listener, "/api") as client:
        relay.traffic.api._limited.interval = 0.05
        await client.send(*(say(number, "send_group_msg_rate_limited") for number in range(4)))
        assert [(await client.json())["status"] for _ in range(4)] == ["async"] * 4
        began = time.monotonic()
        for _ in range(4):
            request = await napcat.json()
            assert request["action"] == "send_group_msg"
            await napcat.send(reply(request))
        assert time.monotonic() - began > 0.1, "one every 50 ms"


async def test_messages_are_held_back_after_a_gap(upstream: Any, dial: Any, until: Any) -> None:
    async with Relay() as relay, upstream(relay) as (listener, napcat), dial(listener, "/api") as client:
        await client.send(*(say(number) for number in range(30)))
        assert [(await napcat.json())["action"] for _ in range(30)] == ["send_group_msg"] * 30, "normal running"
        relay.traffic.api.pacing.disturb(10001, time.monotonic())
        await client.send(*(say(number) for number in range(100, 140)))
        await client.send(b'{"action":"get_status","echo":"asked"}')
        sent = []
        while (request := await napcat.json())["action"] != "get_status":
            sent.append(request)
        assert len(sent) == 5, "the burst of a group; other calls are not held"
        assert relay.statistics().calls.held == 20
        refused = [await client.json() for _ in range(15)]
        assert [(answer["retcode"], answer["echo"]) for answer in refused] == [(1503, n) for n in range(125, 140)]
        assert "send_rate" in refused[0]["message"]
        assert "send_rate" in refused[0]["wording"]
        assert (await napcat.json())["action"] == "send_group_msg", "the next, a second later"


async def test_a_lost_upstream_answers_what_is_held_as_not_sent(upstream: Any, dial: Any) -> None:
    async with Relay(send_rate="safe") as relay:
        async with upstream(relay) as (listener, napcat), dial(listener, "/api") as client:
            await client.send(*(say(number) for number in range(7)))
            for _ in range(5):
                await napcat.json()
            await anyio.aclose_forcefully(napcat.stream)
            answers = [await client.json() for _ in range(7)]
            assert sorted((answer["echo"], answer["retcode"]) for answer in answers) == [
                *((number, 1502) for number in range(5)),
                (5, 1501),
                (6, 1501),
            ]


async def test_what_waits_too_long_is_refused(upstream: Any, dial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napcore.core.pacing.PATIENCE", 0.3)

    async def answer_all(napcat: Any) -> None:
        while True:
            await napcat.send(reply(await napcat.json()))

    async with Relay(send_rate=(100.0, 5.0)) as relay, upstream(relay) as (listener, napcat):
        async with dial(listener, "/api") as client, anyio.create_task_group() as tasks:
            tasks.start_soon(answer_all, napcat)
            await client.send(*(say(number) for number in range(27)))
            answers = [await client.json() for _ in range(27)]
            # Two wait for a token that comes every 200 ms: for the second it is too late.
            codes = [answer["retcode"] for answer in sorted(answers, key=lambda answer: answer["echo"])]
            assert codes[:25] == [0] * 25
            assert codes[26] == 1503
            tasks.cancel_scope.cancel()


async def test_a_call_cancelled_while_it_is_held_is_not_sent(upstream: Any, until: Any) -> None:
    async with Relay(send_rate=(100.0, 1.0)) as relay, upstream(relay) as (_, napcat):
        params = {"group_id": 5, "message": "hi"}
        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(relay.call, "send_group_msg", params)
            for _ in range(5):
                await napcat.json()
            await until(lambda: relay.statistics().calls.held == 1)
            tasks.cancel_scope.cancel()
        await until(lambda: relay.statistics().calls.held == 0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(relay.call, "get_status")
            assert (await napcat.json())["action"] == "get_status"
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("share_gets", ["off", 0])
async def test_identical_gets(upstream: Any, dial: Any, share_gets: Any) -> None:
    async with Relay(share_gets=share_gets) as relay, upstream(relay) as (listener, napcat):
        async with dial(listener, "/api") as one, dial(listener, "/api") as two:
            await one.send(b'{"action":"get_group_list","echo":{"seq":1}}')
            request = await napcat.json()
            await two.send(b'{"action":"get_group_list","echo":"1"}', b'{"action":"get_status","echo":"2"}')
            if share_gets == "off":
                assert (await napcat.json())["action"] == "get_group_list"
            status = await napcat.json()
            assert status["action"] == "get_status"
            await napcat.send(reply(request, [1]))
            assert (await one.json())["echo"] == {"seq": 1}
            if share_gets == 0:
                answer = await two.json()
                assert (answer["echo"], answer["data"]) == ("1", [1])
                assert relay.statistics().calls.shared == 1


async def test_a_kept_answer_serves_this_process_too(upstream: Any) -> None:
    async with Relay(share_gets=30.0) as relay, upstream(relay) as (_, napcat):
        found = []

        async def ask() -> None:
            found.append(await relay.call("get_group_list"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
            await napcat.send(reply(await napcat.json(), [7]))
        await ask()
        assert found == [[7]] * 3
        assert relay.statistics().calls.forwarded == 1
        assert relay.statistics().calls.shared == 2


async def test_a_link_that_is_closing_takes_no_calls(upstream: Any) -> None:
    async with Relay() as relay, upstream(relay) as (_, napcat):
        napcat.polite = False
        (link,) = relay.upstreams.reverse(10001).links
        link.link.start_close(1000, "")
        with pytest.raises(NotSent):
            await relay.call("get_status")


async def test_one_process_may_have_256_calls_in_flight(upstream: Any, until: Any) -> None:
    async with Relay() as relay, upstream(relay):
        async with anyio.create_task_group() as tasks:
            for _ in range(256):
                tasks.start_soon(relay.call, "get_status")
            await until(lambda: relay.statistics().calls.pending == 256)
            with pytest.raises(NotSent, match="256 calls of this client"):
                await relay.call("get_status")
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"send_rate": "fast"}, "messages a second"),
        ({"share_gets": -1}, "seconds, 0 or more"),
        ({"share_gets": "on"}, "seconds, 0 or more"),
    ],
)
def test_arguments_that_are_refused(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Relay(**arguments)


def test_the_reasons_are_told_in_both_languages() -> None:
    for english, chinese in (napcore.net.api.PACED, napcore.net.api.FULL):
        assert english.isascii()
        assert not chinese.isascii()
