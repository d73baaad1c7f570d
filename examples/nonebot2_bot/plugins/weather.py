"""A plugin as anybody writes it: nothing in it knows of napcore."""

from __future__ import annotations

from nonebot import on_command
from nonebot.adapters.onebot.v11 import Message
from nonebot.matcher import Matcher
from nonebot.params import ArgPlainText, CommandArg

weather = on_command("天气")


@weather.handle()
async def given(matcher: Matcher, city: Message = CommandArg()) -> None:  # noqa: B008
    """What stands behind the command is the city."""
    if city.extract_plain_text():
        matcher.set_arg("city", city)


@weather.got("city", prompt="哪个城市？")
async def tell(city: str = ArgPlainText()) -> None:
    """The weather is always fine."""
    await weather.finish(f"{city}：晴")
