"""Plugins are nonebot 1's, unchanged: a command that asks back, a welcome, and a service of HoshinoBot's kind."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from nonebot import CommandSession, NoticeSession, on_command, on_notice
from nonebot.message import CanceledException, message_preprocessor

Handler = Callable[[Any, Any], Awaitable[None]]


@on_command("天气", only_to_me=False)
async def weather(session: CommandSession) -> None:
    """``天气``: asks for the city and waits for the next message of the same person."""
    city = session.get("city", prompt="哪个城市？")
    await session.send(f"{city}：晴")


@weather.args_parser
async def read_city(session: CommandSession) -> None:
    """``天气 北京`` needs no question."""
    if text := session.current_arg_text.strip():
        session.state["city"] = text


@on_notice("group_increase")
async def welcome(session: NoticeSession) -> None:
    """Somebody has joined a group."""
    await session.send("欢迎", at_sender=True)


class Service:
    """What HoshinoBot's ``Service`` does, in a few lines: words that a message begins with."""

    prefixes: dict[str, Handler] = {}

    def on_prefix(self, word: str) -> Callable[[Handler], Handler]:
        """Register a handler."""

        def register(handler: Handler) -> Handler:
            self.prefixes[word] = handler
            return handler

        return register


service = Service()


@message_preprocessor
async def look_through_services(bot: Any, event: Any, plugins: Any) -> None:
    """HoshinoBot's message handler: the first that fits, and nobody else."""
    text = event.message.extract_plain_text().strip()
    for word, handler in Service.prefixes.items():
        if text.startswith(word):
            await handler(bot, event)
            raise CanceledException("handled by a service")


@service.on_prefix("发呆")
async def doze(bot: Any, event: Any) -> None:
    """A plugin that blocks the whole bot, as many do. The link to NapCat does not notice."""
    seconds = float(event.message.extract_plain_text().removeprefix("发呆").strip() or 3)
    time.sleep(seconds)  # noqa: ASYNC251 (on purpose)
    await bot.send(event, "醒了")
