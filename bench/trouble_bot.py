"""A bot for ``bench.troubles``: ``python -m bench.trouble_bot FRAMEWORK stock|napcore OPTIONS``.

It answers ``/ping`` with ``pong`` and the message's number, stands still at ``/block SECONDS``, and at ``/late`` makes
a call whose answer it finds too late. OPTIONS is JSON: ``port``, and a ``spare`` one; ``lifetime`` of messages in
seconds; ``wanted`` groups or null for all; ``options`` for the framework's own server.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def nonebot2(mode: str, told: dict[str, Any]) -> None:
    """NoneBot2 with the stock adapter behind FastAPI, or with napcore's."""
    import anyio
    import nonebot
    from nonebot import on_message
    from nonebot.adapters.onebot.v11 import Adapter, Bot, GroupMessageEvent, NetworkError
    from nonebot.exception import IgnoredException
    from nonebot.log import logger
    from nonebot.message import event_preprocessor

    logger.remove()
    settings: dict[str, Any] = {"log_level": "ERROR", "command_start": {"/"}}
    if mode == "napcore":
        import napcore.nonebot

        settings |= {"driver": "~none", "napcore_listen": told["port"], "napcore_message_ttl": told["lifetime"]}
        settings |= {"napcore_groups": told["wanted"]} if told["wanted"] else {}
        nonebot.init(**settings)
        nonebot.get_driver().register_adapter(napcore.nonebot.Adapter)
    else:
        nonebot.init(driver="~fastapi", host="127.0.0.1", port=told["port"], **settings)
        nonebot.get_driver().register_adapter(Adapter)
        if told["wanted"]:
            wanted = frozenset(told["wanted"])

            @event_preprocessor
            async def only_these(event: GroupMessageEvent) -> None:
                if event.group_id not in wanted:
                    raise IgnoredException("not this group")

    async def is_asked(event: GroupMessageEvent) -> bool:
        return event.get_plaintext().startswith("/")

    asked = on_message(is_asked)

    @asked.handle()
    async def answer(bot: Bot, event: GroupMessageEvent) -> None:
        what, _, argument = event.get_plaintext().partition(" ")
        if what == "/ping":
            await bot.send_group_msg(group_id=event.group_id, message=f"pong {event.message_id}")
        elif what == "/block":
            time.sleep(float(argument))  # noqa: ASYNC251
        elif what == "/late":
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, bot)
                await anyio.sleep(0.05)
                time.sleep(0.6)  # noqa: ASYNC251

    async def call(bot: Bot) -> None:
        try:
            await bot.call_api("get_status", _timeout=0.1)
        except NetworkError:
            pass

    nonebot.run(**(told["options"] | {"log_level": "error"} if mode == "stock" else {}))


def aiocqhttp(mode: str, told: dict[str, Any]) -> None:
    """aiocqhttp behind its own WebSocket, or attached to a relay in a thread of its own."""
    import asyncio
    import logging

    from aiocqhttp import CQHttp, Error

    logging.disable(logging.WARNING)
    bot = CQHttp(api_timeout_sec=10.0)
    wanted = told["wanted"] and frozenset(told["wanted"])

    async def answer(event: Any) -> None:
        if wanted and event.group_id not in wanted:
            return
        what, _, argument = event.raw_message.partition(" ")
        if what == "/ping":
            await bot.send_group_msg(group_id=event.group_id, message=f"pong {event.message_id}")
        elif what == "/block":
            time.sleep(float(argument))  # noqa: ASYNC251
        elif what == "/late":
            bot._api._wsr_api._timeout_sec = bot._api._wsr_api._timeout = 0.1
            asking = asyncio.create_task(call())
            await asyncio.sleep(0.05)
            time.sleep(0.6)  # noqa: ASYNC251
            await asking
            bot._api._wsr_api._timeout_sec = bot._api._wsr_api._timeout = 10.0

    async def call() -> None:
        try:
            await bot.get_status()
        except Error:
            pass

    bot.on_message(answer)
    if mode == "napcore":
        import napcore
        import napcore.aiocqhttp

        relay = napcore.start_thread(
            napcore.Config.from_dict({"listen": {"host": "127.0.0.1", "port": told["port"]}}), watchdog=False
        )
        policy = napcore.Policy(message_ttl=told["lifetime"])
        filter = napcore.Filter(groups=wanted) if wanted else None
        napcore.aiocqhttp.attach(bot, relay, filter=filter, policy=policy)
        asyncio.run(bot.run_task(port=told["spare"]))
    else:
        asyncio.run(bot.run_task(port=told["port"]))


if __name__ == "__main__":
    framework, mode, told = sys.argv[1:]
    {"nonebot2": nonebot2, "aiocqhttp": aiocqhttp}[framework](mode, json.loads(told))
