"""A bot of NoneBot2 that is dialled, as from NapCat itself; nothing in it knows of napcore."""

from __future__ import annotations

import os

import nonebot
from nonebot import on_command
from nonebot.adapters.onebot.v11 import Adapter

nonebot.init(driver="~fastapi", host="127.0.0.1", port=int(os.environ.get("PORT", "8080")), log_level="WARNING")
nonebot.get_driver().register_adapter(Adapter)

who = on_command("who")


@who.handle()
async def answer() -> None:
    """``/who``."""
    await who.finish("NoneBot2")


if __name__ == "__main__":
    nonebot.run()
