"""API calls of an attached bot: whose they are, and how they fail."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from aiocqhttp import ActionFailed, ApiNotAvailable, CQHttp, Message, MessageSegment, NetworkError
from napcore_aiocqhttp_stage import ACCOUNT, OTHER, PATIENCE, Seen, napcat, relay_of, until

import napcore.aiocqhttp


@asynccontextmanager
async def attached(bot: Any, kind: str, *sims: Any, **options: Any) -> Any:
    async with relay_of(kind, *(sim.url for sim in sims), **options) as relay:
        async with napcore.aiocqhttp.attach(bot, relay) as attached:
            await until(lambda: len(attached._feed.served()) == len(sims))
            yield relay


async def test_every_way_to_call(kind: str) -> None:
    bot = CQHttp()
    async with napcat() as sim, attached(bot, kind, sim):
        assert (await bot.get_login_info())["user_id"] == ACCOUNT
        assert (await bot.call_action("get_login_info", self_id=ACCOUNT))["user_id"] == ACCOUNT
        assert (await bot.api.get_login_info(self_id=str(ACCOUNT)))["user_id"] == ACCOUNT
        message = MessageSegment.at(7) + " 你好 &[]"
        assert isinstance(message, Message)
        assert "message_id" in await bot.send_group_msg(group_id=5, message=message)
        assert sim.calls[-1]["params"] == {"group_id": 5, "message": json.loads(json.dumps(message))}
        event: Any = {"post_type": "message", "message_type": "group", "group_id": 6, "user_id": 7, "self_id": ACCOUNT}
        await bot.send(event, "[CQ:face,id=1]", at_sender=True, auto_escape=False)
        assert sim.calls[-1]["action"] == "send_msg"
        assert [segment["type"] for segment in sim.calls[-1]["params"]["message"]] == ["at", "text", "face"]
        assert (await asyncio.to_thread(lambda: bot.sync.get_login_info()))["user_id"] == ACCOUNT


async def test_what_only_json_encodes_is_sent_and_what_it_does_not_is_refused(kind: str) -> None:
    bot = CQHttp()
    async with napcat() as sim, attached(bot, kind, sim):
        await bot.send_group_msg(group_id=5, message="half a \ud83d")
        assert sim.calls[-1]["params"]["message"] == "half a \ud83d"
        with pytest.raises(TypeError):
            await bot.send_group_msg(group_id=5, message=object())


async def test_a_failed_action_has_its_answer(kind: str) -> None:
    bot = CQHttp()
    answer = {"status": "failed", "retcode": 1200, "data": None, "message": "Timeout", "wording": "发送超时"}
    async with napcat() as sim, attached(bot, kind, sim):
        sim.on_call = lambda request: answer
        with pytest.raises(ActionFailed) as caught:
            await bot.send_group_msg(group_id=5, message="hi")
    assert caught.value.retcode == 1200
    assert caught.value.result == answer


async def test_no_answer_in_time(kind: str) -> None:
    bot = CQHttp(api_timeout_sec=0.2)
    async with napcat() as sim, attached(bot, kind, sim):
        sim.on_call = lambda request: None
        with anyio.fail_after(PATIENCE), pytest.raises(NetworkError, match="no answer within 0.2 s"):
            await bot.send_group_msg(group_id=5, message="hi")
        sim.on_call = None
        assert (await bot.get_login_info())["user_id"] == ACCOUNT


async def test_an_answer_that_cannot_come_any_more_is_not_waited_for(kind: str) -> None:
    """The bot's own timeout is a minute; the upstream's link is lost after the call has been written."""
    bot = CQHttp()
    async with napcat() as sim, attached(bot, kind, sim):
        for link in sim.links:
            sim.on_call = lambda request, link=link: link.abort()
        with anyio.fail_after(PATIENCE), pytest.raises(NetworkError, match="outcome is unknown"):
            await bot.send_group_msg(group_id=5, message="hi")


async def test_without_a_link_nothing_is_sent(kind: str) -> None:
    bot = CQHttp()
    async with relay_of(kind) as relay, napcore.aiocqhttp.attach(bot, relay):
        for params in ({}, {"self_id": ACCOUNT}, {"self_id": "*"}):
            with anyio.fail_after(PATIENCE), pytest.raises(ApiNotAvailable):
                await bot.get_login_info(**params)
    with pytest.raises(ApiNotAvailable):
        await bot.get_login_info()


async def test_what_pacing_refuses_does_not_look_like_a_missing_link(kind: str) -> None:
    bot = CQHttp()
    async with napcat() as sim, attached(bot, kind, sim, send_rate=[0.2, 0.2]):
        calls = [asyncio.ensure_future(bot.send_group_msg(group_id=5, message="hi")) for _ in range(10)]
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_EXCEPTION, timeout=PATIENCE)
        errors = [call.exception() for call in done if call.exception() is not None]
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
    assert {type(error) for error in errors} == {NetworkError}
    assert "not sent" in str(errors[0])


async def test_two_accounts(kind: str, seen: Seen) -> None:
    bot = CQHttp()

    @bot.on_message
    async def answer(event: Any) -> None:
        await asyncio.sleep(0)
        mine = (await bot.get_login_info())["user_id"]
        other = (await bot.get_login_info(self_id=OTHER if mine == ACCOUNT else ACCOUNT))["user_id"]
        seen.add((event.self_id, mine, other))

    async with napcat() as one, napcat(OTHER) as two, attached(bot, kind, one, two):
        with pytest.raises(ApiNotAvailable):
            await bot.get_login_info()
        await one.emit(one.events.group_message(5))
        await seen.wait(1)
        await two.emit(two.events.group_message(5))
        assert await seen.wait(2) == [(ACCOUNT, ACCOUNT, OTHER), (OTHER, OTHER, ACCOUNT)]
        await seen.wait_for(lambda: sorted(bot._wsr_api_clients) == [str(ACCOUNT), str(OTHER)])


async def test_the_http_api_stays_where_a_bot_has_one(kind: str) -> None:
    """aiocqhttp takes it when no link can be had, which is told before anything is sent."""
    bot = CQHttp(api_root="http://127.0.0.1:9/")
    async with relay_of(kind) as relay, napcore.aiocqhttp.attach(bot, relay):
        with pytest.raises(NetworkError, match="HTTP request failed"):
            await bot.get_login_info()
