"""What such a bot does: a game that goes on while others talk, a broadcast, a member's role."""

from __future__ import annotations

import asyncio
from typing import Any

from hoshino_style import Service, bot, self_ids


@bot.on_websocket_connection
async def connected(event: Any) -> None:
    await bot.get_login_info(self_id=event.self_id)


service = Service("game")
game: dict[int, asyncio.Event] = {}


@service.on_prefix("猜头像")
async def play(bot: Any, event: Any) -> None:
    """Waits for the right word of another message of its group, up to 15 s."""
    await bot.send(event, "开始")
    won = game[event.group_id] = asyncio.Event()
    await asyncio.wait_for(won.wait(), 15)
    await bot.finish(event, "结束", at_sender=True)


@service.on_message()
async def watch(bot: Any, event: Any) -> None:
    if event.group_id in game and event.raw_message == "佩可":
        game.pop(event.group_id).set()


@service.on_keyword("身份")
async def role(bot: Any, event: Any) -> None:
    """Names no account: it is the one of the event."""
    found = await bot.get_group_member_info(group_id=event.group_id, user_id=event.user_id)
    await bot.send(event, found["role"])


@service.on_keyword("广播")
async def broadcast(bot: Any, event: Any) -> None:
    for self_id in self_ids():
        groups = await bot.get_group_list(self_id=self_id)
        for group in groups:
            await bot.send_group_msg(self_id=self_id, group_id=group["group_id"], message="广播")


@bot.on_notice("group_recall")
async def recalled(event: Any) -> None:
    await bot.send(event, "撤回了")
