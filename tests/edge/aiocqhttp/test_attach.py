"""A bot that is fed in process sees what it sees behind its own WebSocket, and is left as it was."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiocqhttp import CQHttp, Event, Message
from napcore_aiocqhttp_stage import ACCOUNT, OTHER, Seen, napcat, relay_of, until

import napcore.aiocqhttp
from napcore import Filter, Policy

CORPUS = [
    line
    for line in (Path(__file__).parents[2] / "corpus" / "events.jsonl").read_bytes().splitlines()
    if b'"post_type"' in line
]


def written_by(bot: CQHttp, seen: Seen) -> None:
    @bot.on("message", "notice", "request", "meta_event", "message_sent")
    async def write_down(event: Event) -> None:
        seen.add(event)


def served(relay: Any) -> Any:
    return relay.accounts if isinstance(relay, napcore.RelayThread) else relay.traffic.accounts.served


def has_all(found: list[Event], right: list[Event]) -> bool:
    return sum(event in right for event in found) >= len(right)


def state(bot: CQHttp) -> Any:
    """All that attaching touches."""
    api = bot._api._wsr_api
    subscribers = {name: set(found) for name, found in bot._bus._subscribers.items() if found}
    return (
        api,
        bot._loop,
        dict(bot._wsr_api_clients),
        list(bot.server_app.while_serving_gens),
        subscribers,
        logging.getLogger("napcore").handlers[:],
    )


async def test_every_event_is_what_aiocqhttp_makes_of_it(kind: str, seen: Seen) -> None:
    plain, converting = CQHttp(), CQHttp(message_class=Message)
    stock, converted = Seen(), Seen()
    written_by(plain, seen)
    written_by(converting, converted)
    expected, made = CQHttp(), CQHttp(message_class=Message)
    written_by(expected, stock)
    also_stock = Seen()
    written_by(made, also_stock)
    assert len(CORPUS) > 40
    for line in CORPUS:
        await expected._handle_event_with_response(json.loads(line))
        await made._handle_event_with_response(json.loads(line))
    for bot, found, right in ((plain, seen, stock), (converting, converted, also_stock)):
        async with relay_of(kind) as relay:
            async with napcore.aiocqhttp.attach(bot, relay, filter=Filter(self_messages=True)):
                for line in CORPUS:
                    relay.publish(line)
                await found.wait_for(partial(has_all, found, right))
    introduced = {event.self_id for event in seen if event.name == "meta_event.lifecycle.connect"}
    assert introduced >= {json.loads(line).get("self_id") for line in CORPUS if b'"message"' in line} - {None}
    for found, right in ((seen, stock), (converted, also_stock)):
        own = [event for event in found if event not in right]
        assert all(event.name == "meta_event.lifecycle.connect" for event in own)
        # A conversation is in order; different ones are not in order of each other.
        for event in right:
            assert event in found
            assert type(event.message) is type(next(each for each in found if each == event).message)


async def test_connecting(kind: str, seen: Seen) -> None:
    bot = CQHttp()

    @bot.on_websocket_connection
    async def connected(event: Event) -> None:
        seen.add((event.self_id, await bot.get_login_info(), sorted(bot._wsr_api_clients)))

    async with napcat(token="secret") as sim, AsyncExitStack() as exits:
        config = napcore.Config.from_dict({"upstream": [{"url": sim.url, "token": "secret"}]})
        if kind == "thread":
            thread = napcore.start_thread(config, watchdog=False)
            exits.push_async_callback(anyio.to_thread.run_sync, thread.stop)
            relay: Any = thread
        else:
            relay = napcore.Relay.from_config(config)
        async with napcore.aiocqhttp.attach(bot, relay):
            [(self_id, info, accounts)] = await seen.wait(1)
            assert (self_id, info["user_id"], accounts) == (ACCOUNT, ACCOUNT, [str(ACCOUNT)])
            # NapCat goes and comes again, as behind a WebSocket.
            for link in sim.links:
                link.abort()
            await seen.wait(2)
        assert len(seen) == 2


async def test_an_account_that_was_there_before_is_introduced(kind: str, seen: Seen) -> None:
    if kind == "unentered":
        pytest.skip("it runs no longer than the bot")
    async with napcat() as sim, relay_of(kind, sim.url) as relay:
        await sim.wait_connected()
        await until(lambda: served(relay))
        for _ in range(2):
            bot = CQHttp()
            written_by(bot, seen)
            async with napcore.aiocqhttp.attach(bot, relay):
                await seen.wait(1)
                assert seen.pop().name == "meta_event.lifecycle.connect"


async def test_no_more_accounts_are_introduced_than_the_relay_remembers(seen: Seen) -> None:
    bot = CQHttp()
    written_by(bot, seen)
    async with napcore.Relay() as relay, napcore.aiocqhttp.attach(bot, relay):
        for number in range(1, 1101):
            relay.publish({"post_type": "notice", "notice_type": "x", "self_id": number, "group_id": 5})
        await seen.wait_for(lambda: any(event.type == "notice" and event.self_id == 1100 for event in seen))
    assert sum(event.type == "meta_event" for event in seen) == 1024


async def test_heartbeats_reach_the_bot_through_any_filter(kind: str, seen: Seen) -> None:
    bot = CQHttp()
    written_by(bot, seen)
    filter = Filter(groups={5}, kinds={"message.group"})
    async with napcat(heartbeat=0.05) as sim, relay_of(kind, sim.url) as relay:
        async with napcore.aiocqhttp.attach(bot, relay, filter=filter):
            await sim.wait_connected()
            await seen.wait_for(lambda: any(event.name == "meta_event.heartbeat" for event in seen))
            for group in (5, 6):
                await sim.emit(sim.events.group_message(group))
            await sim.emit(sim.events.private_message())
            await sim.emit(sim.events.group_message(5, message="last"))
            await seen.wait_for(lambda: seen[-1].raw_message == "last" or seen[-2].raw_message == "last")
    assert {event.group_id for event in seen if event.type == "message"} == {5}


@pytest.mark.parametrize("filter", [Filter(self_ids={OTHER}), Filter(self_ids={OTHER}) & Filter(groups={5})])
async def test_an_account_that_the_filter_stops_does_not_exist_for_the_bot(
    kind: str, seen: Seen, filter: Filter
) -> None:
    bot = CQHttp()
    written_by(bot, seen)
    async with napcat() as one, napcat(OTHER) as two, relay_of(kind, one.url, two.url) as relay:
        async with napcore.aiocqhttp.attach(bot, relay, filter=filter):
            await one.wait_connected()
            await two.wait_connected()
            await one.emit(one.events.group_message(5))
            await two.emit(two.events.group_message(5))
            await seen.wait_for(lambda: any(event.type == "message" for event in seen))
            await seen.wait_for(lambda: list(bot._wsr_api_clients) == [str(OTHER)])
    assert {event.self_id for event in seen} == {OTHER}


async def test_quick_operations(kind: str, seen: Seen) -> None:
    bot = CQHttp()

    @bot.on_message
    async def reply(event: Event) -> dict[str, Any]:
        return {"reply": "好", "at_sender": False}

    @bot.on_request("group")
    async def approve(event: Event) -> dict[str, Any]:
        return {"approve": True}

    async with napcat() as sim, relay_of(kind, sim.url) as relay, napcore.aiocqhttp.attach(bot, relay):
        await sim.wait_connected()
        await sim.emit(sim.events.group_message(5, message="hi"))
        await sim.wait_called(1)
        await sim.emit(
            {"post_type": "request", "request_type": "group", "sub_type": "add", "self_id": ACCOUNT, "group_id": 5,
             "user_id": 7, "comment": "let me in", "flag": "f", "time": int(time.time())}
        )  # fmt: skip
        first, second = (await sim.wait_called(2))[:2]
    assert first["action"] == second["action"] == ".handle_quick_operation"
    assert first["params"]["operation"] == {"reply": "好", "at_sender": False}
    assert not {"message", "raw_message", "sender"} & first["params"]["context"].keys()
    assert first["params"]["context"]["group_id"] == 5
    assert second["params"]["operation"] == {"approve": True}
    assert second["params"]["context"]["flag"] == "f"


async def test_handlers_of_every_shape(kind: str, seen: Seen) -> None:
    """Async and not, hooks before, an app of Quart around them."""
    from quart import current_app

    bot = CQHttp(__name__)
    loop = asyncio.get_running_loop()

    @bot.before_message
    async def hook(event: Event) -> None:
        event["hooked"] = True

    @bot.on_message("group")
    async def first(event: Event) -> None:
        seen.add(("async", event.hooked, current_app.name))

    @bot.on_message
    def second(event: Event) -> None:
        found = ("thread", event.hooked, bot.sync.get_login_info()["user_id"])
        loop.call_soon_threadsafe(seen.add, found)

    async with napcat() as sim, relay_of(kind, sim.url) as relay, napcore.aiocqhttp.attach(bot, relay):
        await sim.wait_connected()
        await sim.emit(sim.events.group_message(5))
        assert await seen.wait(2) == [("async", True, __name__), ("thread", True, ACCOUNT)]


async def test_a_handler_that_fails_is_told_of_with_its_line(
    kind: str, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    bot = CQHttp()

    @bot.on_message
    async def fail(event: Event) -> None:
        seen.add(event.raw_message)
        raise LookupError("no such card")

    async with napcat() as sim, relay_of(kind, sim.url) as relay, napcore.aiocqhttp.attach(bot, relay) as attached:
        await sim.wait_connected()
        for text in ("one", "two"):
            await sim.emit(sim.events.group_message(5, message=text))
        await seen.wait(2)
        await anyio.wait_all_tasks_blocked()
        assert attached.statistics().failed == 2
    assert caplog.text.count("a handler of message.group failed") == 2
    assert "in fail" in caplog.text
    assert "LookupError: no such card" in caplog.text


async def test_a_slow_plugin_is_named_with_its_line(
    kind: str, seen: Seen, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(napcore.edge.aiocqhttp.handover.Handover.__init__.__kwdefaults__, "slow", 0.1)
    bot = CQHttp()
    go_on = asyncio.Event()

    @bot.on_message("group")
    async def quick(event: Event) -> None:
        seen.add("quick")

    @bot.on_message("group")
    async def slow(event: Event) -> None:
        await go_on.wait()

    async with napcat() as sim, relay_of(kind, sim.url) as relay, napcore.aiocqhttp.attach(bot, relay):
        await sim.wait_connected()
        await sim.emit(sim.events.group_message(5))
        await until(lambda: "a handler of message.group has run for" in caplog.text)
        go_on.set()
    line = slow.__code__.co_firstlineno + 2
    assert f", at {__file__}:{line} in slow; others go on without it" in caplog.text
    assert seen == ["quick"]


async def test_detaching_puts_everything_back(kind: str, seen: Seen) -> None:
    bot = CQHttp()
    written_by(bot, seen)
    before = state(bot)
    async with napcat() as sim, relay_of(kind, sim.url) as relay:
        attached = napcore.aiocqhttp.attach(bot, relay)
        with pytest.raises(RuntimeError, match="attached already"):
            napcore.aiocqhttp.attach(bot, relay)
        async with attached:
            await seen.wait(1)
            attached.detach()
            attached.detach()
            assert state(bot)[0] is before[0]
            await sim.emit(sim.events.group_message(5))
        assert state(bot) == before
        if kind == "unentered":
            # It has ended with the bot that ran it.
            return
        async with napcore.aiocqhttp.attach(bot, relay):
            await sim.emit(sim.events.group_message(5, message="again"))
            await seen.wait_for(lambda: any(event.raw_message == "again" for event in seen))
        assert state(bot) == before


async def test_a_handler_under_way_goes_on_when_its_bot_is_detached(kind: str, seen: Seen) -> None:
    bot = CQHttp()
    go_on = asyncio.Event()

    @bot.on_message
    async def wait(event: Event) -> None:
        seen.add("begun")
        await go_on.wait()
        seen.add("ended")

    async with napcat() as sim, relay_of(kind, sim.url) as relay:
        async with napcore.aiocqhttp.attach(bot, relay):
            await sim.wait_connected()
            await sim.emit(sim.events.group_message(5))
            await seen.wait(1)
        go_on.set()
        await seen.wait(2)


async def test_with_the_bots_server(kind: str, seen: Seen) -> None:
    """It begins after every start-up function of the bot, ends with its server, and does so again."""
    bot = CQHttp()
    written_by(bot, seen)
    async with napcat() as sim, relay_of(kind, sim.url) as relay:
        napcore.aiocqhttp.attach(bot, relay)

        @bot.on_startup
        async def connect_database() -> None:
            await asyncio.sleep(0)
            assert seen == []
            seen.add(Event(post_type="", _type="", self_id=0))

        for _ in range(1 if kind == "unentered" else 2):
            async with bot.server_app.test_app() as app:
                await seen.wait(2)
                assert [event.self_id for event in seen] == [0, ACCOUNT]
                posted = await app.test_client().post("/", json={"post_type": "x"}, headers={"X-Self-ID": "1"})
                assert posted.status_code == 204
                await sim.emit(sim.events.group_message(5, message="hi"))
                await seen.wait_for(lambda: seen[-1].raw_message == "hi")
            assert bot._wsr_api_clients == {}
            seen.clear()
        assert sim.links == [] or kind != "unentered"


async def test_attaching_after_the_server_has_started(kind: str, seen: Seen) -> None:
    bot = CQHttp()
    written_by(bot, seen)
    before = state(bot)[2:]
    async with napcat() as sim, relay_of(kind, sim.url) as relay:
        async with bot.server_app.test_app():
            attached = napcore.aiocqhttp.attach(bot, relay)
            await seen.wait(1)
            attached.detach()
            assert state(bot)[2:] == before
            napcore.aiocqhttp.attach(bot, relay).detach()
            await anyio.wait_all_tasks_blocked()
            assert state(bot)[2:] == before
            if kind != "unentered":
                napcore.aiocqhttp.attach(bot, relay)
                await seen.wait(2)


async def test_an_account_that_dials_the_bot_itself_too(
    kind: str, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    """Another account may go on dialling it; one that does both is told of."""
    bot = CQHttp()
    written_by(bot, seen)
    async with napcat() as sim, relay_of(kind, sim.url) as relay:
        napcore.aiocqhttp.attach(bot, relay)
        async with bot.server_app.test_app() as app:
            await seen.wait(1)

            async def dial(self_id: int) -> Any:
                headers = {"X-Self-ID": str(self_id), "X-Client-Role": "Universal"}
                return app.test_client().websocket("/ws/", headers=headers)

            async with await dial(OTHER) as direct:
                await direct.send(json.dumps({"post_type": "meta_event", "meta_event_type": "x", "self_id": OTHER}))
                await seen.wait(2)
                asked = asyncio.ensure_future(bot.get_login_info(self_id=OTHER))
                request = json.loads(await direct.receive())
                await direct.send(json.dumps({"status": "ok", "data": {"user_id": OTHER}, "echo": request["echo"]}))
                assert await asked == {"user_id": OTHER}
                assert (await bot.get_login_info(self_id=ACCOUNT))["user_id"] == ACCOUNT
            assert "handled twice" not in caplog.text
            async with await dial(ACCOUNT):
                await until(lambda: "handled twice" in caplog.text)
                assert (await bot.get_login_info(self_id=ACCOUNT))["user_id"] == ACCOUNT


async def test_when_the_relay_ends(kind: str, seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    if kind == "unentered":
        pytest.skip("it ends with the bot")
    bot = CQHttp()
    written_by(bot, seen)
    async with napcat() as sim, AsyncExitStack() as exits:
        relay = await exits.enter_async_context(relay_of(kind, sim.url))
        async with napcore.aiocqhttp.attach(bot, relay):
            await seen.wait(1)
            await exits.aclose()
            await until(lambda: not bot._wsr_api_clients)
            assert "this bot gets no more events" in caplog.text
    with pytest.raises(RuntimeError):
        async with napcore.aiocqhttp.attach(bot, relay):
            pass
    assert not isinstance(bot._api._wsr_api, napcore.edge.aiocqhttp.calls.Calls)


async def test_a_fault_of_napcores_own_is_told_of(
    kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(event: object) -> None:
        raise ArithmeticError("planted")

    monkeypatch.setattr(napcore.edge.aiocqhttp.feed, "conversation", broken)
    async with napcat() as sim, relay_of(kind, sim.url) as relay, napcore.aiocqhttp.attach(CQHttp(), relay):
        await sim.wait_connected()
        await sim.emit(sim.events.group_message(5))
        await until(lambda: "this bot gets no more events" in caplog.text)
    assert "feeding the bot failed inside napcore" in caplog.text
    assert "planted" in caplog.text


async def test_a_busy_bot_loses_the_oldest_and_is_told_how_many(kind: str, seen: Seen) -> None:
    bot = CQHttp()
    go_on = asyncio.Event()

    @bot.on_message
    async def wait(event: Event) -> None:
        await go_on.wait()
        seen.add(event.message_id)

    def publish(relay: Any, *numbers: int) -> None:
        for number in numbers:
            relay.publish(
                {"post_type": "message", "message_type": "group", "self_id": ACCOUNT, "group_id": number,
                 "user_id": 7, "message_id": number, "message": "x", "raw_message": "x"}
            )  # fmt: skip

    async with relay_of(kind) as relay:
        async with napcore.aiocqhttp.attach(bot, relay, policy=Policy(max_events=300)) as attached:
            publish(relay, *range(1, 301))
            await until(lambda: attached.statistics().running >= 256)
            publish(relay, *range(301, 1301))
            await until(lambda: attached.statistics().missed >= 600)
            go_on.set()
            await seen.wait_for(lambda: 1300 in seen)
            await until(lambda: attached.statistics().running == 0)
            found = attached.statistics()
    assert found.missed + len(seen) == 1300
    assert len(seen) < 256 + 64 + 300
    assert found.waiting == 0


def test_what_is_no_bot_or_no_relay() -> None:
    with pytest.raises(TypeError, match="a bot of aiocqhttp"):
        napcore.aiocqhttp.attach(object(), napcore.Relay())
    with pytest.raises(TypeError, match="start_thread"):
        napcore.aiocqhttp.attach(CQHttp(), "ws://127.0.0.1:3001")  # type: ignore[arg-type]
    bot = CQHttp()
    del bot._api._wsr_api._timeout_sec
    with pytest.raises(RuntimeError, match="not known"):
        napcore.aiocqhttp.attach(bot, napcore.Relay())


def test_warnings_are_shown_where_the_bot_shows_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger().handlers[:]
    logging.getLogger().handlers[:] = []
    shown: list[str] = []

    class Show(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append(record.getMessage())

    bot = CQHttp("a_bot_of_its_own")
    logging.getLogger("a_bot_of_its_own").addHandler(Show())
    attached = napcore.aiocqhttp.attach(bot, napcore.Relay())
    try:
        logging.getLogger("napcore.net").warning("one")
        logging.getLogger("napcore.net").info("two")
        logging.getLogger().handlers[:] = [logging.NullHandler()]
        logging.getLogger("napcore.net").warning("three")
        logging.getLogger().handlers[:] = []
        attached.detach()
        logging.getLogger("napcore.net").warning("four")
    finally:
        logging.getLogger().handlers[:] = before
    assert shown == ["one"]
