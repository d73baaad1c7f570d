"""Notices, requests, natural language, and what a bot asks of its links."""

from __future__ import annotations

from typing import Any

import nonebot
from nonebot import NLPSession, NoticeSession, RequestSession, on_natural_language, on_notice, on_request

bot = nonebot.get_bot()


@on_notice("group_increase")
async def welcome(session: NoticeSession) -> None:
    await session.send(f"欢迎 {session.event.user_id}")


@on_request("group.add")
async def approve(session: RequestSession) -> None:
    await session.approve()


@on_natural_language(keywords={"早安"}, only_to_me=True)
async def morning(session: NLPSession) -> None:
    await session.send("早安")


@nonebot.on_websocket_connect
async def connected(event: Any) -> None:
    await bot.get_group_list(self_id=event.self_id)
