"""NoneBot2 with napcore's adapter in place of the stock one: the same to plugins, and where it is better."""

from __future__ import annotations

import json
import math
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import anyio
import pytest

from napcore.testing import Simulator

SELF_ID, OTHER = 1444683668, 10002
CORPUS = Path(__file__).parents[1] / "corpus" / "events.jsonl"
OLD = any(found.version.startswith("2.3.") for found in metadata.distributions(name="nonebot2"))
WAITER = any(metadata.distributions(name="nonebot-plugin-waiter"))

adapters = pytest.mark.parametrize(
    "adapter",
    ["stock", "napcore", pytest.param("napcore-trio", marks=pytest.mark.skipif(OLD, reason="2.3 is asyncio's alone"))],
)
ours = pytest.mark.parametrize(
    "adapter", ["napcore", pytest.param("napcore-trio", marks=pytest.mark.skipif(OLD, reason="2.3 is asyncio's alone"))]
)


def say(text: str, number: int, group: int = 5, self_id: int = SELF_ID, user: int = 7) -> dict[str, Any]:
    return {
        "time": int(time.time()),
        "self_id": self_id,
        "post_type": "message",
        "message_type": "group",
        "sub_type": "normal",
        "user_id": user,
        "group_id": group,
        "message_id": number,
        "message": [{"type": "text", "data": {"text": text}}],
        "raw_message": text,
        "font": 14,
        "sender": {"user_id": user, "nickname": "n", "card": "", "role": "member"},
    }


def call(api: str, number: int = 1, **data: Any) -> dict[str, Any]:
    return say(f"call {json.dumps({'api': api, 'data': data})}", number)


def corpus() -> list[dict[str, Any]]:
    """Every recorded event, as one account's; meta events of its own would come anyway."""
    events = [json.loads(line) for line in CORPUS.read_text("utf-8").split("\n") if line]
    found = []
    for number, event in enumerate(events):
        if isinstance(event, dict) and event.get("post_type") and type(event.get("self_id")) is int:
            # Which event is seen is told by its time.
            found.append({**event, "self_id": SELF_ID, "time": 1_000_000 + number})
    return found


# As the stock adapter does it.


async def test_every_kind_of_event_reaches_plugins_as_the_stock_adapter_has_it(bots: Any) -> None:
    events = corpus()
    numbers = {event["time"] for event in events}
    seen: dict[str, dict[int, Any]] = {}
    answers: dict[str, dict[str, Any]] = {}
    async with bots:
        for adapter in ("stock", "napcore", *(() if OLD else ("napcore-trio",))):
            bot = await bots.start(adapter, adapter=adapter)
            sim = await bots.napcat(bot, heartbeat=math.inf)
            # Quoted messages are made up anew each time: all get the first one's.
            sim.on_call = lambda request, sim=sim: {
                **answers.setdefault(request["action"], sim.answer(request)),
                "echo": request["echo"],
            }
            await bots.wait_for(lambda bot=bot: bot.of("connected"))
            for event in events:
                # As bytes: some ids in them are none.
                await sim.emit(json.dumps(event).encode())
            for number in (1, 2):
                # Twice: some events have the adapter ask for a quoted message first.
                await sim.emit(say("call " + json.dumps({"api": "get_status", "data": {}}), number))
                await bots.wait_for(lambda bot=bot, number=number: len(bot.of("result")) == number)
            found = {line["event"]["time"]: line for line in bot.of("seen")}
            seen[adapter] = {time: line for time, line in found.items() if time in numbers}
        assert len(seen["stock"]) > 40
        for adapter, lines in seen.items():
            assert sorted(lines) == sorted(seen["stock"]), adapter
            for time, line in lines.items():
                assert line == seen["stock"][time], adapter


@adapters
async def test_from_connecting_to_disconnecting(bots: Any, adapter: str) -> None:
    async with bots:
        bot = await bots.start("bot", adapter=adapter)
        async with Simulator(SELF_ID, heartbeat=0.1) as sim:
            sim.connect(bot.url, reconnect=0.1)
            await bots.wait_for(lambda: any(line["name"] == "HeartbeatMetaEvent" for line in bot.of("seen")))
            assert bot.of("connected") == [{"account": str(SELF_ID), "type": "OneBot V11", "same": True}]
            assert bot.of("seen")[0]["name"] == "LifecycleMetaEvent"
            await sim.emit(call("get_login_info"))
            await bots.wait_for(lambda: bot.of("result"))
            assert bot.of("result")[0]["value"]["user_id"] == SELF_ID
            assert bot.of("calling") == [{"api": "get_login_info"}]
            assert bot.of("called") == [{"api": "get_login_info", "error": None}]
            await sim.emit(say("say hello", 2))
            requests = await sim.wait_called(2)
            assert requests[1]["action"] == "send_msg"
            assert requests[1]["params"] == {
                "user_id": 7,
                "group_id": 5,
                "message_type": "group",
                "message": [{"type": "text", "data": {"text": "hello"}}],
            }
        await bots.wait_for(lambda: bot.of("disconnected"))
        assert bot.of("disconnected") == [{"account": str(SELF_ID), "bots": []}]
        sim = await bots.napcat(bot)
        await bots.wait_for(lambda: len(bot.of("connected")) == 2)


@adapters
async def test_calls_fail_as_plugins_expect(bots: Any, adapter: str) -> None:
    async with bots:
        bot = await bots.start("bot", adapter=adapter, api_timeout=0.3)
        sim = await bots.napcat(bot)
        await bots.wait_for(lambda: bot.of("connected"))
        sim.on_call = lambda request: {"status": "failed", "retcode": 100, "data": None, "wording": "不行"}
        await sim.emit(call("set_group_ban"))
        await bots.wait_for(lambda: bot.of("raised"))
        error = bot.of("raised")[0]
        assert error["error"] == "ActionFailed"
        assert {key: error["info"][key] for key in ("status", "retcode", "wording")} == {
            "status": "failed",
            "retcode": 100,
            "wording": "不行",
        }
        assert error["info"]["echo"].isdecimal()
        sim.on_call = lambda request: None
        for number, extra in ((2, {}), (3, {"_timeout": 0.1})):
            await sim.emit(call("get_status", number, **extra))
            await bots.wait_for(lambda number=number: len(bot.of("raised")) == number)
            timeout = bot.of("raised")[number - 1]
            assert timeout == {"error": "NetworkError", "info": "WebSocket call api get_status timeout"}
        sim.on_call = lambda request: {"status": "ok", "retcode": 0, "data": {"echo": request["params"]}}
        values = {"text": "半个 \ud83d", "big": 1 << 70, "none": None, "list": [1, "2", {"3": 4.5}]}
        await sim.emit(call("custom_action", 4, **values))
        await bots.wait_for(lambda: bot.of("result"))
        assert bot.of("result") == [{"value": {"echo": values}}]
        assert bot.of("disconnected") == []


@adapters
async def test_the_token(bots: Any, adapter: str) -> None:
    async with bots:
        bot = await bots.start("bot", adapter=adapter, onebot_access_token="a-token-of-some-length")
        for token in ("", "wrong"):
            async with Simulator(SELF_ID, token=token) as sim:
                sim.connect(bot.url, reconnect=0.05)
                await sim.wait_for(lambda sim=sim: "40" in str(sim.last_refusal))
                assert sim.links == []
        sim = await bots.napcat(bot, token="a-token-of-some-length")
        await bots.wait_for(lambda: bot.of("connected"))


@adapters
async def test_two_accounts_are_two_bots(bots: Any, adapter: str) -> None:
    async with bots:
        bot = await bots.start("bot", adapter=adapter)
        first, second = await bots.napcat(bot), await bots.napcat(bot, OTHER)
        await bots.wait_for(lambda: len(bot.of("connected")) == 2)
        await first.emit(say("say one", 1))
        await second.emit(say("say two", 2, self_id=OTHER))
        for sim, text in ((first, "one"), (second, "two")):
            [request] = await sim.wait_called(1)
            assert request["params"]["message"] == [{"type": "text", "data": {"text": text}}]
        assert (first.called, second.called) == (1, 1)


@adapters
async def test_sessions_go_on_with_the_next_message(bots: Any, adapter: str) -> None:
    async with bots:
        bot = await bots.start("bot", adapter=adapter)
        sim = await bots.napcat(bot)
        await sim.emit(say("ask", 1))
        await bots.wait_for(lambda: bot.of("called"))
        await sim.emit(say("someone else", 2, user=8))
        await bots.wait_for(lambda: bot.of("begun"))
        await sim.emit(say("me", 3))
        await bots.wait_for(lambda: bot.of("got"))
        assert bot.of("got") == [{"name": "me"}]


@pytest.mark.skipif(not WAITER, reason="nonebot-plugin-waiter is not installed: pip install --group nonebot")
@pytest.mark.parametrize("adapter", ["stock", "napcore"])
async def test_a_handler_that_waits_for_the_next_message_of_its_group(bots: Any, adapter: str) -> None:
    async with bots:
        bot = await bots.start("bot", adapter=adapter)
        sim = await bots.napcat(bot)
        for number in range(1, 11):
            await sim.emit(say("wait", number, user=number))
        await bots.wait_for(lambda: len(bot.of("waiting")) == 10)
        await sim.wait_called(10)
        for number in range(1, 11):
            await sim.emit(say(f"answer {number}", 100 + number, user=number))
        await bots.wait_for(lambda: len(bot.of("waited")) == 10)
        assert sorted(line["answer"] for line in bot.of("waited")) == sorted(f"answer {n}" for n in range(1, 11))


async def test_forward_to_napcat(bots: Any) -> None:
    token = "secret-of-napcat"
    async with bots, Simulator(SELF_ID, token=token) as sim, Simulator(OTHER, token=token) as two:
        urls = [await sim.listen(), await two.listen()]
        bot = await bots.start("bot", onebot_ws_urls=urls, onebot_access_token=token, napcore_listen="off")
        await bots.wait_for(lambda: len(bot.of("connected")) == 2)
        await sim.emit(call("get_login_info"))
        await bots.wait_for(lambda: bot.of("result"))
        assert bot.of("result")[0]["value"]["user_id"] == SELF_ID


# Where it is better.


async def answer_late(sim: Simulator) -> None:
    """Answer a call while the bot's loop stands still, after the call's time and before it can be told so."""
    sim.on_call = lambda request: None
    await sim.emit(say("late", 1))
    [request] = await sim.wait_called(1)
    await anyio.sleep(0.3)
    await sim.emit(json.dumps(sim.answer(request) | {"echo": request["echo"]}).encode())


async def test_a_late_answer_costs_the_stock_adapter_its_link(bots: Any) -> None:
    async with bots:
        bot = await bots.start("bot", adapter="stock")
        sim = await bots.napcat(bot)
        await answer_late(sim)
        await bots.wait_for(lambda: bot.of("disconnected"))


@ours
async def test_late_unknown_and_duplicate_answers_cost_nothing(bots: Any, adapter: str) -> None:
    async with bots:
        bot = await bots.start("bot", adapter=adapter)
        sim = await bots.napcat(bot)
        await answer_late(sim)
        # Whether the answer or the timeout is looked at first is chance: what counts is the link.
        await bots.wait_for(lambda: bot.of("raised") or bot.of("result"))
        unknown = b'{"status":"ok","retcode":0,"data":null,"echo":"12345"}'
        sim.on_call = lambda request: (sim.answer(request), sim.answer(request), unknown, b'{"status":"ok"}')
        await sim.emit(call("get_login_info", 2))
        await bots.wait_for(lambda: any(line["api"] == "get_login_info" for line in bot.of("called")))
        sim.on_call = None
        await sim.emit(call("get_version_info", 3))
        await bots.wait_for(lambda: any(line["api"] == "get_version_info" for line in bot.of("called")))
        assert bot.of("disconnected") == []
        assert len(sim.links) == 1


@ours
async def test_an_overlapping_reconnect_is_no_news_to_plugins(bots: Any, adapter: str) -> None:
    async with bots, Simulator(SELF_ID) as new:
        bot = await bots.start("bot", adapter=adapter)
        async with Simulator(SELF_ID) as old:
            old.connect(bot.url)
            await bots.wait_for(lambda: bot.of("connected"))
            new.connect(bot.url)
            await new.wait_connected()
            await new.emit(say("say both open", 1))
            await new.wait_called(1)
        await new.emit(say("say the old one has gone", 2))
        await new.wait_called(2)
        assert bot.of("disconnected") == []
        assert len(bot.of("connected")) == 1
        assert new.refusals == 0


async def test_the_stock_adapter_refuses_an_overlapping_reconnect(bots: Any) -> None:
    async with bots:
        bot = await bots.start("bot", adapter="stock")
        await bots.napcat(bot)
        new = await bots.enter(Simulator(SELF_ID))
        new.connect(bot.url, reconnect=0.05)
        await new.wait_for(lambda: new.refusals > 3)
        assert new.links == []


@ours
async def test_a_plugin_that_blocks_costs_no_link_and_no_fresh_message(bots: Any, adapter: str) -> None:
    """One that sleeps for a minute, in short: what is past its lifetime when the loop comes back is dropped."""
    async with bots:
        bot = await bots.start("bot", adapter=adapter, napcore_message_ttl=2.0)
        sim = await bots.napcat(bot, heartbeat=0.2)
        await sim.emit(say("block 3", 1, 1))
        await bots.wait_for(lambda: bot.of("begun"))
        await sim.emit(say("stale", 2, 2))
        await anyio.sleep(2.5)
        for number in range(3, 9):
            await sim.emit(say("fresh", number, number % 3))
        await bots.wait_for(lambda: len(bot.of("begun")) == 7)
        begun = [line["message_id"] for line in bot.of("begun")]
        assert sorted(begun) == [1, 3, 4, 5, 6, 7, 8]
        for group in range(3):
            assert [number for number in begun if number % 3 == group] == sorted(
                number for number in begun if number % 3 == group
            )
        assert bot.of("disconnected") == []
        assert len(sim.links) == 1
        assert "lost 1 events" in bot.log()


@ours
async def test_more_than_the_queue_holds_is_dropped_oldest_first(bots: Any, adapter: str) -> None:
    async with bots:
        bot = await bots.start("bot", adapter=adapter, napcore_max_events=10)
        sim = await bots.napcat(bot)
        await sim.emit(say("block 1", 1))
        await bots.wait_for(lambda: bot.of("begun"))
        for number in range(2, 502):
            await sim.emit(say("hi", number))
        await bots.wait_for(lambda: bot.of("begun")[-1]["message_id"] == 501)
        begun = [line["message_id"] for line in bot.of("begun")]
        # Some had crossed over already when the loop was blocked; the last ten are those that waited.
        assert begun[-10:] == list(range(492, 502))
        assert len(begun) <= 1 + 64 + 10


@ours
async def test_handlers_of_a_group_begin_in_order(bots: Any, adapter: str) -> None:
    async with bots:
        bot = await bots.start("bot", adapter=adapter, plugin="slow_rule")
        sim = await bots.napcat(bot)
        # Without order those that take the longest to match would begin last.
        for number in range(1, 21):
            await sim.emit(say(f"after {0.4 if number % 4 == 1 else 0.0}", number, group=5 + number % 2))
        await bots.wait_for(lambda: len(bot.of("after")) == 20)
        begun = [line["message_id"] for line in bot.of("after")]
        assert [number for number in begun if number % 2] == list(range(1, 21, 2))
        assert [number for number in begun if not number % 2] == list(range(2, 21, 2))
        assert begun[:10] == list(range(2, 21, 2))


@ours
async def test_a_rule_that_waits_for_the_next_message_holds_its_group_up_for_a_moment(bots: Any, adapter: str) -> None:
    async with bots:
        bot = await bots.start("bot", adapter=adapter, napcore_matching_patience=0.3)
        sim = await bots.napcat(bot)
        await sim.emit(say("next", 1))
        await bots.wait_for(lambda: len(bot.of("seen")) >= 2)
        await sim.emit(say("hi", 2))
        await bots.wait_for(lambda: bot.of("unstuck"))


@ours
async def test_only_the_groups_that_are_wanted(bots: Any, adapter: str) -> None:
    async with bots:
        bot = await bots.start("bot", adapter=adapter, napcore_groups=[5, 6])
        sim = await bots.napcat(bot, heartbeat=0.1)
        for number in range(1, 101):
            await sim.emit(say("hi", number, group=number % 10))
        await bots.wait_for(lambda: len(bot.of("begun")) == 20)
        await bots.wait_for(lambda: any(line["name"] == "HeartbeatMetaEvent" for line in bot.of("seen")))
        assert {line["message_id"] % 10 for line in bot.of("begun")} == {5, 6}


@ours
async def test_what_no_matcher_wants_is_withheld(bots: Any, adapter: str) -> None:
    async with bots:
        bot = await bots.start("bot", adapter=adapter, plugin="wanting", napcore_skip_unwanted=True)
        sim = await bots.napcat(bot, heartbeat=math.inf)
        for number in range(1, 51):
            await sim.emit(say("/hello" if number % 10 == 0 else "hello", number))
        await bots.wait_for(lambda: len(bot.of("begun")) == 5)
        await sim.emit(say("/hello", 60))
        await bots.wait_for(lambda: len(bot.of("begun")) == 6)
        assert [line["message_id"] for line in bot.of("begun")] == [10, 20, 30, 40, 50, 60]
        # The lifecycle is one of them.
        assert bot.of("begun")[-1]["withheld"] == 46


@ours
async def test_a_recorder_gets_everything_and_is_named(bots: Any, adapter: str) -> None:
    async with bots:
        bot = await bots.start("bot", adapter=adapter, plugin="recording", napcore_skip_unwanted=True)
        sim = await bots.napcat(bot)
        for number in range(1, 11):
            await sim.emit(say("/hello" if number == 10 else "hello", number))
        await bots.wait_for(lambda: len(bot.of("begun")) == 1)
        assert bot.of("begun") == [{"message_id": 10, "withheld": 0}]
        [line] = [each["text"] for each in bot.of("log") if "SKIP_UNWANTED" in each["text"]]
        assert "recording.recorder of plugin recording" in line


async def test_nonebots_own_port_says_where_the_links_are(bots: Any) -> None:
    async with bots:
        bot = await bots.start("bot", driver="~fastapi", napcore_listen=0)
        async with Simulator(SELF_ID) as sim:
            sim.connect(bot.url, reconnect=0.05)
            # The first dials may find nobody there.
            await sim.wait_for(lambda: "40" in str(sim.last_refusal))
        assert "NapCat dials NoneBot's own port; napcore listens on ws://127.0.0.1:" in bot.log()


async def test_events_by_http_join_the_others(bots: Any) -> None:
    httpx = pytest.importorskip("httpx")
    async with bots:
        bot = await bots.start("bot", driver="~fastapi", napcore_listen=0, onebot_secret="s3cret")
        from napcore.core.onebot import sign

        body = json.dumps(say("hi", 1)).encode()
        url = f"http://127.0.0.1:{bot.port}/onebot/v11/"
        async with httpx.AsyncClient() as client:
            head = {"X-Self-ID": str(SELF_ID)}
            with anyio.fail_after(10):
                while True:
                    try:
                        assert (await client.post(url, content=body)).status_code == 400
                        break
                    except httpx.ConnectError:
                        await anyio.sleep(0.05)
            assert (await client.post(url, content=body, headers=head)).status_code == 401
            wrong = head | {"X-Signature": "sha1=00"}
            assert (await client.post(url, content=body, headers=wrong)).status_code == 403
            bad = head | {"X-Signature": sign("s3cret", b"{}")}
            assert (await client.post(url, content=b"{}", headers=bad)).status_code == 400
            right = head | {"X-Signature": sign("s3cret", body)}
            assert (await client.post(url, content=body, headers=right)).status_code == 204
        await bots.wait_for(lambda: bot.of("begun"))
        assert bot.of("connected") == [{"account": str(SELF_ID), "type": "OneBot V11", "same": True}]


# The stock adapter on napcore's WebSocket client.


@pytest.mark.parametrize(
    ("adapter", "driver"),
    [("stock", "~fastapi+napcore.nonebot"), ("stock", "napcore.nonebot"), ("stock", "~none+napcore.nonebot")],
)
async def test_the_stock_adapter_dials_with_our_driver(bots: Any, adapter: str, driver: str) -> None:
    async with bots, Simulator(SELF_ID, token="secret-of-napcat", heartbeat=0.2) as sim:
        urls = [await sim.listen()]
        bot = await bots.start(
            "bot", adapter=adapter, driver=driver, onebot_ws_urls=urls, onebot_access_token="secret-of-napcat"
        )
        await bots.wait_for(lambda: bot.of("connected"))
        await sim.emit(say("x" * (2 << 20), 1))
        await bots.wait_for(lambda: bot.of("begun"))
        await sim.emit(call("get_login_info", 2))
        await bots.wait_for(lambda: bot.of("result"))
        assert bot.of("disconnected") == []
        sim.links[0].close(1001, "restarting")
        await bots.wait_for(lambda: bot.of("disconnected"))
        await bots.wait_for(lambda: len(bot.of("connected")) == 2)
