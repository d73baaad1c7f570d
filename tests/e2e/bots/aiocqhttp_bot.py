"""aiocqhttp, HoshinoBot's base, as a server: it is dialled at /ws/.

It writes every event down, and answers group messages that start with an exclamation mark.
"""

from __future__ import annotations

import os
import time

import records
from aiocqhttp import ActionFailed, CQHttp, Event, Message

bot = CQHttp(access_token=os.environ.get("BOT_TOKEN"), api_timeout_sec=float(os.environ["API_TIMEOUT"]))


# Handlers of more specific events come first and may wait; hooks run in the order of arrival.
@bot.before("message", "notice", "request", "meta_event")
async def write_down(event: Event) -> None:
    records.write_event(event, Message(event.get("message") if event.type == "message" else ""))


@bot.on_message("group")
async def answer(event: Event) -> None:
    if not event.raw_message.startswith("!"):
        return
    asked = {"message_id": event.message_id, "group_id": event.group_id}
    start = time.monotonic()
    try:
        data = await bot.send_group_msg(group_id=event.group_id, message=f"{records.NAME} {event.message_id}")
    except ActionFailed as error:
        seconds = time.monotonic() - start
        records.write("failed", **asked, retcode=error.retcode, echo=error.result["echo"], seconds=seconds)
    else:
        records.write("answered", **asked, answer=data["message_id"])


@bot.on_startup
async def ready() -> None:
    records.write("ready")


bot.run(host="127.0.0.1", port=int(os.environ["PORT"]))
