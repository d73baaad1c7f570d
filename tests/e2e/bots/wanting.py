"""A NoneBot2 plugin of one command, without a hook that has to see every event."""

from __future__ import annotations

import nonebot
import records
from nonebot import on_command
from nonebot.adapters.onebot.v11 import Bot, MessageEvent
from nonebot.log import logger

hello = on_command("hello")
logger.add(lambda line: records.write("log", text=line.record["message"]), level="WARNING", format="{message}")


@hello.handle()
async def answer(bot: Bot, event: MessageEvent) -> None:
    adapter = nonebot.get_adapter("OneBot V11")
    records.write("begun", message_id=event.message_id, withheld=adapter.withheld)  # type: ignore[attr-defined]
