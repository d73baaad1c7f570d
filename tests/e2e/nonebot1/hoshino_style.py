"""A bot in the way of HoshinoBot: services whose triggers a message preprocessor of nonebot 1 looks through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import config
import nonebot
from nonebot import message_preprocessor
from nonebot.message import CanceledException

bot: Any = None
prefixes: dict[str, tuple[Service, Any]] = {}
keywords: dict[str, tuple[Service, Any]] = {}


def init() -> Any:
    """Make the bot, and load what belongs to it."""
    global bot
    nonebot.init(config)
    bot = nonebot.get_bot()
    bot.finish = finish
    import hoshino_modules  # noqa: F401

    return bot


async def finish(event: Any, message: str, **options: Any) -> None:
    """Answer, and have nothing else look at the message."""
    await bot.send(event, message, **options)
    raise CanceledException("finished")


def self_ids() -> Any:
    """The accounts that the bot has: to these it sends its broadcasts."""
    return bot._wsr_api_clients.keys()


class Service:
    """Triggers under one name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def on_prefix(self, *words: str) -> Callable[[Any], Any]:
        """Messages that begin with one of these."""

        def register(handler: Any) -> Any:
            prefixes.update(dict.fromkeys(words, (self, handler)))
            return handler

        return register

    def on_keyword(self, *words: str) -> Callable[[Any], Any]:
        """Messages that have one of these."""

        def register(handler: Any) -> Any:
            keywords.update(dict.fromkeys(words, (self, handler)))
            return handler

        return register

    def on_message(self) -> Callable[[Any], Any]:
        """Every message of a group, past the triggers."""

        def register(handler: Any) -> Any:
            @bot.on_message("group")
            async def wrapper(event: Any) -> None:
                await handler(bot, event)

            return handler

        return register


@message_preprocessor
async def look_through_triggers(bot: Any, event: Any, plugins: Any) -> None:
    if event.detail_type != "group":
        return
    text = event.message.extract_plain_text().strip()
    found = next((taker for word, taker in prefixes.items() if text.startswith(word)), None)
    found = found or next((taker for word, taker in keywords.items() if word in text), None)
    if found is not None:
        service, handler = found
        await handler(bot, event)
        raise CanceledException(f"handled by {service.name}")
