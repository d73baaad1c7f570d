"""A NoneBot2 plugin that does what it is told to by a message, and writes down everything that reaches it."""

from __future__ import annotations

import json
import time
from typing import Any

import anyio
import nonebot
import records
from nonebot import on, on_fullmatch, on_message
from nonebot.adapters import Event as BaseEvent
from nonebot.adapters.onebot.v11 import ActionFailed, ApiNotAvailable, Bot, Event, MessageEvent, NetworkError
from nonebot.compat import model_dump
from nonebot.matcher import Matcher
from nonebot.params import ArgPlainText

driver = nonebot.get_driver()


@driver.on_bot_connect
async def connected(bot: Bot) -> None:
    adapter = nonebot.get_adapter("OneBot V11")
    records.write("connected", account=bot.self_id, type=bot.type, same=bot.adapter is adapter)


@driver.on_bot_disconnect
async def disconnected(bot: Bot) -> None:
    records.write("disconnected", account=bot.self_id, bots=sorted(nonebot.get_bots()))


@Bot.on_calling_api
async def calling(bot: Bot, api: str, data: dict[str, Any]) -> None:
    records.write("calling", api=api)


@Bot.on_called_api
async def called(bot: Bot, exception: Exception | None, api: str, data: dict[str, Any], result: Any) -> None:
    records.write("called", api=api, error=type(exception).__name__ if exception else None)


everything = on(type="", priority=1, block=False)


@everything.handle()
async def see(event: BaseEvent) -> None:
    assert isinstance(event, Event)
    what = json.loads(json.dumps(model_dump(event), default=str))
    records.write("seen", name=type(event).__name__, full=event.get_event_name(), to_me=event.is_tome(), event=what)


told = on_message(priority=5, block=False)


@told.handle()
async def do(bot: Bot, event: MessageEvent) -> None:
    what, _, argument = event.get_plaintext().partition(" ")
    records.write("begun", message_id=event.message_id)
    for waiting in another:
        waiting.set()
    if what == "call":
        await call(bot, **json.loads(argument))
    elif what == "block":
        time.sleep(float(argument))  # noqa: ASYNC251
        records.write("blocked")
    elif what == "late":
        # The answer comes while this loop stands still, and is found after the call has timed out.
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, bot, "get_status", {"_timeout": 0.1})
            await anyio.sleep(0.05)
            time.sleep(0.6)  # noqa: ASYNC251
    elif what == "say":
        await bot.send(event, argument)


async def call(bot: Bot, api: str, data: dict[str, Any]) -> None:
    try:
        value = await bot.call_api(api, **data)
    except ActionFailed as error:
        records.write("raised", error="ActionFailed", info=error.info)
    except NetworkError as error:
        records.write("raised", error="NetworkError", info=error.msg)
    except ApiNotAvailable:
        records.write("raised", error="ApiNotAvailable", info=None)
    else:
        records.write("result", value=value)


another: list[anyio.Event] = []


async def waits_for_the_next_to_begin(event: MessageEvent) -> bool:
    if event.get_plaintext() != "next":
        return False
    another.append(anyio.Event())
    await another[-1].wait()
    return True


stuck = on_message(waits_for_the_next_to_begin, priority=4, block=False)


@stuck.handle()
async def unstuck(event: MessageEvent) -> None:
    records.write("unstuck", message_id=event.message_id)


ask = on_fullmatch("ask", priority=2, block=True)


@ask.got("name", prompt="who?")
async def got(name: str = ArgPlainText()) -> None:
    records.write("got", name=name)


try:
    from nonebot_plugin_waiter import prompt
except (ImportError, RuntimeError):
    pass
else:
    wait = on_fullmatch("wait", priority=2, block=True)

    @wait.handle()
    async def waiting(matcher: Matcher) -> None:
        records.write("waiting")
        answer = await prompt("and?", timeout=20)
        records.write("waited", answer=str(answer))
