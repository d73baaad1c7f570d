"""A NoneBot2 plugin: writes every event down, and answers group messages that start with an exclamation mark."""

from __future__ import annotations

import time

import records
from nonebot import on_startswith
from nonebot.adapters.onebot.v11 import ActionFailed, Bot, Event, GroupMessageEvent
from nonebot.message import event_preprocessor

question = on_startswith("!")


@event_preprocessor
async def write_down(event: Event) -> None:
    records.write_event(event, getattr(event, "original_message", ()))


@question.handle()
async def answer(bot: Bot, event: GroupMessageEvent) -> None:
    asked = {"message_id": event.message_id, "group_id": event.group_id}
    start = time.monotonic()
    try:
        data = await bot.send_group_msg(group_id=event.group_id, message=f"{records.NAME} {event.message_id}")
    except ActionFailed as error:
        seconds = time.monotonic() - start
        records.write("failed", **asked, retcode=error.info["retcode"], echo=error.info["echo"], seconds=seconds)
    else:
        records.write("answered", **asked, answer=data["message_id"])
