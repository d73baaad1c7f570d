"""A bot of aiocqhttp that is dialled, as HoshinoBot is; nothing in it knows of napcore."""

from __future__ import annotations

import os

from aiocqhttp import CQHttp, Event

bot = CQHttp(__name__)


@bot.on_message
async def answer(event: Event) -> dict[str, str] | None:
    """``/who``."""
    return {"reply": "aiocqhttp"} if event.raw_message == "/who" else None


if __name__ == "__main__":
    bot.run(host="127.0.0.1", port=int(os.environ.get("PORT", "8090")))
