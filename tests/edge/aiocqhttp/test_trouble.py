"""Troubles, shortened. The bot runs in a thread of its own: NapCat's stand-in goes on while its loop is blocked."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
from aiocqhttp import CQHttp, Error, Event
from napcore_aiocqhttp_stage import ACCOUNT, PATIENCE, Seen, napcat, relay_of, until

import napcore.aiocqhttp
from napcore import Policy
from napcore.testing import Simulator
from napcore.testing.answers import encode


@asynccontextmanager
async def bot_of(bot: CQHttp, relay: Any, **options: Any) -> AsyncIterator[Any]:
    """``bot``, attached in a thread with a loop of its own until the block ends."""
    ready, attached, over = threading.Event(), napcore.aiocqhttp.attach(bot, relay, **options), asyncio.Event()

    async def serve() -> None:
        async with attached:
            ready.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        await anyio.to_thread.run_sync(ready.wait)
        yield attached
    finally:
        bot._loop.call_soon_threadsafe(over.set)
        await anyio.to_thread.run_sync(thread.join)


def calling(bot: CQHttp, seen: Seen, loop: asyncio.AbstractEventLoop) -> Callable[[Event], Any]:
    """A handler that does as it is told."""

    async def handler(event: Event) -> None:
        word, _, argument = event.raw_message.partition(" ")
        asking = None
        if word in ("ask", "late"):
            asking = asyncio.create_task(outcome(bot))
            await asyncio.sleep(0.05)
        if word in ("block", "late"):
            loop.call_soon_threadsafe(seen.add, "blocked")
            time.sleep(float(argument))  # noqa: ASYNC251
        result = await asking if asking is not None else event.raw_message
        loop.call_soon_threadsafe(seen.add, result)

    return handler


async def outcome(bot: CQHttp) -> str:
    try:
        return str((await bot.get_login_info())["user_id"])
    except Error as error:
        return type(error).__name__


async def say(sim: Simulator, *texts: str) -> None:
    for text in texts:
        await sim.emit(sim.events.group_message(5, message=text))


async def test_a_plugin_that_blocks_the_loop(seen: Seen) -> None:
    """The link stays, the queue ages, and what comes afterwards is answered."""
    bot = CQHttp()
    bot.on_message(calling(bot, seen, asyncio.get_running_loop()))
    async with napcat() as sim, relay_of("thread", sim.url) as relay:
        async with bot_of(bot, relay, policy=Policy(message_ttl=2.0)) as attached:
            links = await sim.wait_connected()
            await say(sim, "block 3.5")
            await seen.wait(1)
            await say(sim, *(f"old {number}" for number in range(200)))
            # Events tell their time in whole seconds, so their age may be off by one.
            await anyio.sleep(3.2)
            await say(sim, "fresh", "ask")
            assert await seen.wait(4) == ["blocked", "block 3.5", "fresh", str(ACCOUNT)]
            assert sim.links == links
            found = attached.statistics()
            assert found.missed + found.stale == 200


async def test_an_answer_that_came_while_the_loop_was_blocked_is_one(seen: Seen) -> None:
    bot = CQHttp(api_timeout_sec=0.4)
    bot.on_message(calling(bot, seen, asyncio.get_running_loop()))
    async with napcat() as sim, relay_of("thread", sim.url) as relay, bot_of(bot, relay):
        links = await sim.wait_connected()
        async with anyio.create_task_group() as tasks:

            async def answer(request: dict[str, Any]) -> None:
                await anyio.sleep(0.2)
                links[0].send(encode({**sim.answer(request), "echo": request["echo"]}))

            def answer_soon(request: dict[str, Any]) -> None:
                tasks.start_soon(answer, request)

            sim.on_call = answer_soon
            await say(sim, "late 1")
            assert await seen.wait(2) == ["blocked", str(ACCOUNT)]


async def test_answers_that_are_late_or_doubled_close_nothing(seen: Seen) -> None:
    bot = CQHttp(api_timeout_sec=0.1)
    bot.on_message(calling(bot, seen, asyncio.get_running_loop()))
    async with napcat() as sim, relay_of("thread", sim.url) as relay, bot_of(bot, relay):
        links = await sim.wait_connected()
        held: list[dict[str, Any]] = []
        sim.on_call = held.append
        await say(sim, "ask")
        assert await seen.wait(1) == ["NetworkError"]
        for request in held * 2:
            links[0].send(encode({**sim.answer(request), "echo": request["echo"]}))
        sim.on_call = lambda request: (sim.answer(request), sim.answer(request))
        await say(sim, "ask", "hello")
        assert await seen.wait(3) == ["NetworkError", str(ACCOUNT), "hello"]
        assert sim.links == links


async def test_a_frozen_upstream_answers_when_it_goes_on(seen: Seen) -> None:
    bot = CQHttp()
    bot.on_message(calling(bot, seen, asyncio.get_running_loop()))
    async with napcat(heartbeat=0.1) as sim, relay_of("thread", sim.url) as relay, bot_of(bot, relay):
        links = await sim.wait_connected()
        for link in links:
            link.pause()
        await say(sim, "ask")
        await anyio.sleep(1.0)
        assert seen == []
        for link in links:
            link.resume()
        assert await seen.wait(1) == [str(ACCOUNT)]
        assert sim.links == links


async def test_a_reconnect_that_overlaps_the_old_connection(seen: Seen) -> None:
    bot = CQHttp()
    bot.on_message(calling(bot, seen, asyncio.get_running_loop()))
    listen = {"listen": {"host": "127.0.0.1", "port": 0}}
    async with Simulator(ACCOUNT, groups=[5], heartbeat=1e6) as sim, relay_of("thread", **listen) as relay:
        async with bot_of(bot, relay):
            sim.connect(relay.urls[0], reconnect=1e6)
            (old,) = await sim.wait_connected()
            await until(lambda: relay.accounts)
            sim.connect(relay.urls[0], reconnect=1e6)
            await sim.wait_connected(2)
            old.abort()
            await sim.wait_for(lambda: old not in sim.links)
            for number in range(1, 4):
                await say(sim, "ask")
                with anyio.fail_after(PATIENCE):
                    assert (await seen.wait(number))[-1] == str(ACCOUNT)
