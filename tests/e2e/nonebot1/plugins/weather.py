"""Commands that ask back in both ways nonebot 1 has, and one that waits by itself."""

from __future__ import annotations

import asyncio
from typing import Any

from nonebot import CommandSession, on_command
from nonebot.message import message_preprocessor

answers: dict[int, asyncio.Future[str]] = {}


@on_command("weather", aliases=("天气",), only_to_me=False)
async def weather(session: CommandSession) -> None:
    city = session.get("city", prompt="哪个城市？")
    await session.send(f"{city}：晴")


@weather.args_parser
async def read(session: CommandSession) -> None:
    text = session.current_arg_text.strip()
    if text:
        session.state["city"] = text


@on_command("guess", only_to_me=False)
async def guess(session: CommandSession) -> None:
    answer = await session.aget("answer", prompt="猜一个数")
    await session.send(f"你猜了 {answer}")


@on_command("ask", only_to_me=False)
async def ask(session: CommandSession) -> None:
    """Its handler does not return until another message of the group has come."""
    answers[session.event.group_id] = asyncio.get_running_loop().create_future()
    await session.send("请回答")
    answer = await asyncio.wait_for(answers[session.event.group_id], 15)
    await session.send(f"答案是 {answer}")


@message_preprocessor
async def take_answer(bot: Any, event: Any, plugins: Any) -> None:
    waiting = answers.get(event.group_id)
    if waiting is not None and not waiting.done() and event.raw_message.startswith("="):
        waiting.set_result(event.raw_message[1:])


@on_command("fail", only_to_me=False)
async def fail(session: CommandSession) -> None:
    raise LookupError("broken plugin")
