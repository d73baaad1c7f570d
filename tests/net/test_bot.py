"""The short form: connect, iterate, answer; and what happens when there is nobody to connect to."""

from __future__ import annotations

import logging
import math
import socket
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from napcore import ActionFailed, Bot, ConfigError, ConnectFailed, Event, Filter, Policy, Relay, connect
from napcore.testing import Simulator, check_ledger


def nobody() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"ws://127.0.0.1:{taken.getsockname()[1]}"


async def test_three_lines() -> None:
    async with Simulator(10001, groups=[5], token="secret") as sim:
        async with connect(await sim.listen(), token="secret") as bot, anyio.create_task_group() as tasks:
            assert (bot.self_id, bot.state) == (10001, "connected")
            tasks.start_soon(sim.emit, sim.events.group_message(5))
            async for event in bot:
                message_id = await bot.send(event, "hi")
                break
            (call,) = sim.calls
        assert (call["action"], call["params"]) == ("send_group_msg", {"group_id": 5, "message": "hi"})
        assert isinstance(message_id, int)
        assert bot.statistics().calls.answered == 1
        check_ledger(bot.relay, ended=True)
        assert repr(bot).startswith("<Bot ws://127.0.0.1:")


async def test_events_wait_from_the_beginning_on_and_iteration_may_be_taken_up_again(until: Any) -> None:
    async with Simulator(10001, groups=[5]) as sim, connect(await sim.listen()) as bot:
        for number in range(3):
            await sim.emit(sim.events.group_message(5, message=str(number)))
        await until(lambda: bot.statistics().received >= 4)
        texts = []
        async for event in bot:
            texts.append(event.text)
            if len(texts) == 2:
                break
        async for event in bot:
            texts.append(event.text)
            break
        assert texts == ["0", "1", "2"]
        assert bot.missed == 0


async def test_a_filter_and_a_policy_are_those_of_the_iteration(until: Any) -> None:
    only = Filter(groups={5}, private=False)
    async with (
        Simulator(10001, groups=[5, 6]) as sim,
        connect(await sim.listen(), filter=only, policy=Policy(max_events=1)) as bot,
    ):
        for group in (5, 6, 5):
            await sim.emit(sim.events.group_message(group))
        await until(lambda: bot.missed == 1)
        async for event in bot:
            assert event.group_id == 5
            break


async def test_actions_and_accounts() -> None:
    async with Simulator(10001, groups=[5]) as sim, connect(await sim.listen()) as bot:
        assert (await bot.get_login_info())["user_id"] == 10001
        assert isinstance((await bot.send_group_msg(group_id=5, message="hi"))["message_id"], int)
        assert (await bot.account(10001).get_group_info(group_id=5))["group_id"] == 5
        assert (await bot.call("get_status", timeout=5.0))["online"] is True
        assert (await bot.account(10001).call("get_status", timeout=5.0))["online"] is True
        with pytest.raises(ActionFailed):
            await bot.no_such_action(x=1)


async def test_functions_may_be_registered_before_it_is_entered(until: Any) -> None:
    async with Simulator(10001, groups=[5]) as sim:
        bot = connect(await sim.listen())
        seen: list[Any] = []

        @bot.on("message.group", fullmatch="ping")
        async def ping(event: Event, who: Bot) -> None:
            seen.append((who, await who.send(event, "pong")))

        async with bot:
            assert [client.name for client in bot.statistics().clients] == [f"{__name__}:{ping.__qualname__}"]
            await sim.emit(sim.events.group_message(5, message="ping"))
            await until(lambda: seen)
            assert seen[0][0] is bot
            assert sim.calls[0]["params"] == {"group_id": 5, "message": "pong"}
            bot.off(ping)
            with pytest.raises(ValueError, match="no handler here"):
                bot.off(ping)
            # Iteration begins when it is asked for.
            await sim.emit(sim.events.group_message(5, message="lost"))
            await until(lambda: bot.statistics().received >= 3)
            iterator = aiter(bot)
            await sim.emit(sim.events.group_message(5, message="taken"))
            assert (await anext(iterator)).text == "taken"
        check_ledger(bot.relay, ended=True)


async def test_who_registers_functions_inside_queues_nothing(until: Any) -> None:
    async with Simulator(10001, groups=[5]) as sim, connect(await sim.listen()) as bot:
        seen: list[str] = []

        @bot.on("message")
        async def handler(event: Event) -> None:
            seen.append(event.text)

        await sim.emit(sim.events.group_message(5, message="x"))
        await until(lambda: seen)
        assert [client.name for client in bot.statistics().clients] == [f"{__name__}:{handler.__qualname__}"]


async def test_who_iterates_goes_on_iterating(until: Any) -> None:
    async with Simulator(10001, groups=[5]) as sim, connect(await sim.listen()) as bot:
        iterator = aiter(bot)
        bot.on("message")(lambda event: None)
        await sim.emit(sim.events.group_message(5, message="x"))
        assert (await anext(iterator)).text == "x"


async def test_serve_runs_until_it_is_told_to_end() -> None:
    async with Simulator(10001) as sim, anyio.create_task_group() as tasks:
        bot = connect(await sim.listen())
        assert await tasks.start(bot.serve) is bot
        assert bot.state == "connected"
        await bot.aclose()


async def test_a_lost_link_is_dialled_again_and_the_block_goes_on(quick_redial: None, until: Any) -> None:
    async with Simulator(10001, groups=[5]) as sim, connect(await sim.listen()) as bot:
        sim.links[0].abort()
        await until(lambda: bot.state == "connecting")
        await sim.wait_connected()
        await sim.emit(sim.events.group_message(5, message="again"))
        async for event in bot:
            assert event.text == "again"
            break


async def test_outside_the_block_there_is_nothing() -> None:
    bot = connect("ws://127.0.0.1:1")
    assert (bot.self_id, bot.state, bot.missed) == (None, "connecting", 0)
    with pytest.raises(RuntimeError, match="enter it with 'async with' first"):
        aiter(bot)
    with pytest.raises(RuntimeError, match="not running"):
        await bot.call("get_status")


# Nobody there.


def test_a_wrong_url_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match="ws://"):
        connect("http://127.0.0.1:3001")


async def test_a_wrong_token_ends_it_at_once() -> None:
    async with Simulator(10001, token="right") as sim:
        url = await sim.listen()
        for token in ("wrong-token", None):
            with anyio.fail_after(10), pytest.raises(ConnectFailed) as failed:
                async with connect(url, token=token, timeout="off"):
                    raise AssertionError("it was let in")
            assert failed.value.refused
            assert failed.value.url == url
            assert failed.value.cause.startswith("it refused the token (1403) (probably the token is not the one")
            assert "wrong-token" not in str(failed.value)


@pytest.mark.parametrize("status", [401, 403])
async def test_so_does_a_refusal_in_http(status: int, serve: Any) -> None:
    async def handler(stream: ByteStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)

    async with serve(handler) as server:
        with anyio.fail_after(10), pytest.raises(ConnectFailed, match=f"the peer answered HTTP {status}") as failed:
            async with connect(server.url, token="x", timeout=math.inf):
                raise AssertionError("it was let in")
        assert failed.value.refused


async def test_nobody_there_is_told_when_the_time_is_up() -> None:
    url = nobody()
    with pytest.raises(ConnectFailed) as failed:
        async with connect(url, timeout=0.2):
            raise AssertionError("there is nobody")
    assert not failed.value.refused
    assert str(failed.value) == f"{url}: no link within 0.2 s: connection refused: nothing listens there"
    assert isinstance(failed.value, ConnectionError)


async def test_somebody_who_comes_later_is_waited_for(quick_redial: None) -> None:
    url = nobody()
    async with Simulator(10001) as sim, anyio.create_task_group() as tasks:

        async def later() -> None:
            await anyio.sleep(0.05)
            await sim.listen(int(url.rpartition(":")[2]))

        tasks.start_soon(later)
        async with connect(url) as bot:
            assert bot.self_id == 10001


async def test_a_path_without_a_websocket(serve: Any) -> None:
    async def handler(stream: ByteStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")

    async with serve(handler) as server:
        with pytest.raises(ConnectFailed, match="HTTP 404: nothing is at that path"):
            async with connect(server.url, timeout=0.2):
                raise AssertionError("there is nobody")


async def test_a_server_that_says_nothing(serve: Any, accept: Any) -> None:
    async def handler(stream: ByteStream) -> None:
        peer = await accept(stream)
        await peer.rest()

    async with serve(handler) as server:
        with pytest.raises(ConnectFailed, match=r"connected, but within 0.1 s .* is it a OneBot server\?"):
            async with connect(server.url, timeout=0.1):
                raise AssertionError("there is no account")


async def test_nobody_answers_at_all(serve: Any) -> None:
    async def handler(stream: ByteStream) -> None:
        await stream.receive()
        await anyio.sleep_forever()

    async with serve(handler) as server:
        with pytest.raises(ConnectFailed, match=r"no link within 0.1 s: nobody answers"):
            async with connect(server.url, timeout=0.1):
                raise AssertionError("there is nobody")


async def test_cancelling_while_it_connects() -> None:
    with anyio.move_on_after(0.05) as scope:
        async with connect(nobody(), timeout="off"):
            raise AssertionError("there is nobody")
    assert scope.cancelled_caught


async def test_ready_says_why_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    async with Relay() as relay:
        upstream = relay.add_upstream(nobody())
        with pytest.raises(TimeoutError, match="no link within 0.1 s: connection refused"):
            await upstream.ready(0.1)
        assert upstream.trouble == "connection refused: nothing listens there"
        assert not upstream.refused
