"""A relay in a loop that a framework has started itself: anyio and sniffio have not been told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any

import pytest

from napcore import Filter, Policy, Relay
from napcore.testing import RecordingClient, Simulator


def run_asyncio(main: Callable[[], Awaitable[Any]]) -> Any:
    async def within() -> Any:
        return await asyncio.wait_for(main(), 30)

    return asyncio.run(within())


def run_uvloop(main: Callable[[], Awaitable[Any]]) -> Any:
    import uvloop

    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(asyncio.wait_for(main(), 30))
    finally:
        loop.close()


def run_trio(main: Callable[[], Awaitable[Any]]) -> Any:
    import trio

    async def within() -> Any:
        with trio.fail_after(30):
            return await main()

    return trio.run(within)


LOOPS = {"asyncio": run_asyncio, "uvloop": run_uvloop, "trio": run_trio}


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[Any]]], Any]:
    """Run a main function in a new loop, without anyio."""
    if request.param != "asyncio" and not find_spec(request.param):
        pytest.skip(f"{request.param} is not installed")
    return LOOPS[request.param]


def test_a_link_that_cannot_be_written_to_drains_later(run: Any, until: Any) -> None:
    async def main() -> None:
        async with Simulator(10001, groups=[5]) as sim, RecordingClient(receive_buffer=4096) as bot, Relay() as relay:
            relay.add_client("bot", await bot.listen(), policy=Policy(max_in_flight="off"))
            await relay.add_upstream(await sim.listen()).ready()
            await bot.wait_connected()
            bot.pause()
            for _ in range(500):
                await sim.emit(sim.events.group_message(5, message="x" * 1000))
            await until(lambda: relay.statistics().received >= 500)
            bot.resume()
            await bot.received(500)
            assert relay.failed is None

    run(main)


def test_calls_are_paced_and_handlers_called(run: Any, until: Any) -> None:
    async def main() -> None:
        async with (
            Simulator(10001, groups=[5]) as sim,
            RecordingClient() as bot,
            Relay(send_rate=(100.0, 100.0)) as relay,
        ):
            seen: list[Any] = []

            @relay.on("message")
            async def handler(event: Any) -> None:
                seen.append(await relay.send(event, "hi"))

            listener = await relay.listen("127.0.0.1", 0)
            await relay.add_upstream(await sim.listen()).ready()
            await bot.connect(listener.url)
            await bot.wait_for(lambda: bool(bot.meta))
            for _ in range(30):
                bot.send({"action": "send_group_msg", "params": {"group_id": 5, "message": "x"}, "echo": 1})
                await sim.emit(sim.events.group_message(5))
            await bot.wait_for(lambda: len(bot.answers) == 30)
            await until(lambda: len(seen) == 30)
            assert relay.failed is None

    run(main)


def test_more_links_than_one_slice(run: Any, until: Any) -> None:
    async def main() -> None:
        async with Simulator(10001, groups=[5]) as sim, Relay() as relay:
            subscriptions = [relay.subscribe(Filter(kinds={"message"})) for _ in range(200)]
            opened = [await one.__aenter__() for one in subscriptions]
            await relay.add_upstream(await sim.listen()).ready()
            await sim.emit(sim.events.group_message(5))
            assert [(await anext(one)).group_id for one in opened] == [5] * 200
            for block in subscriptions:
                await block.__aexit__(None, None, None)
            assert relay.failed is None

    run(main)
