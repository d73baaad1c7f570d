"""A NoneBot2 plugin whose rule takes as long as the message says."""

from __future__ import annotations

import anyio
import records
from nonebot import on_message
from nonebot.adapters.onebot.v11 import MessageEvent


async def takes_its_time(event: MessageEvent) -> bool:
    what, _, seconds = event.get_plaintext().partition(" ")
    await anyio.sleep(float(seconds))
    return what == "after"


slow = on_message(takes_its_time)


@slow.handle()
async def after(event: MessageEvent) -> None:
    records.write("after", message_id=event.message_id)
