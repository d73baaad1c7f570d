"""Tests that users write with nonebug: they pass with napcore installed, whether or not nonebug replaces Matcher's
checks.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

import anyio
import pytest
from nonebot import on_command, on_keyword, on_message
from nonebot.adapters.onebot.v11 import Bot, Message
from nonebot.matcher import Matcher, matchers
from nonebot.message import handle_event
from nonebot.params import ArgPlainText, CommandArg
from nonebot.permission import SUPERUSER

import napcore.nonebot

if find_spec("nonebug") is None:
    pytest.skip("nonebug not installed: pip install --group nonebot", allow_module_level=True)

from nonebug import App
from nonebug.provider import NoneBugProvider

bench: Any = sys.modules["napcore_nonebot_bench"]
program: Any = sys.modules["napcore_nonebot_program"]


@pytest.fixture(autouse=True)
def emptied(no_matchers: None) -> None:
    matchers.set_provider(NoneBugProvider)


def message(text: str, user: int = 7) -> Any:
    return bench.Run(program.Program((), (), ())).event(program.Event("message", (text,), user=user))


def weather() -> type[Matcher]:
    matcher = on_command("天气", priority=5, block=True)

    @matcher.handle()
    async def start(matcher: Matcher, argument: Message = CommandArg()) -> None:
        if argument:
            matcher.set_arg("city", argument)

    @matcher.got("city", prompt="哪里？")
    async def answer(city: str = ArgPlainText()) -> None:
        if city == "?":
            await matcher.reject("再说一遍")
        await matcher.finish(f"{city}：晴")

    return matcher


@pytest.mark.parametrize("installed", [False, True])
def test_a_conversation_as_nonebug_tests_it(installed: bool) -> None:
    if installed:
        napcore.nonebot.install()
    matcher = weather()
    other = on_keyword({"天"}, priority=1, block=False)
    admin = on_message(permission=SUPERUSER, priority=2, block=False)

    async def main() -> None:
        async with App().test_matcher({1: [other], 2: [admin], 5: [matcher]}) as ctx:
            bot = ctx.create_bot(base=Bot, adapter=bench.adapter())
            first = message("/天气", 8)
            ctx.receive_event(bot, first)
            ctx.should_pass_rule(other)
            ctx.should_not_pass_permission(admin)
            ctx.should_pass_rule(matcher)
            ctx.should_call_send(first, "哪里？", None)
            ctx.should_rejected(matcher)
            second = message("?", 8)
            ctx.receive_event(bot, second)
            ctx.should_call_send(second, "再说一遍", None)
            ctx.should_rejected()
            third = message("北京", 8)
            ctx.receive_event(bot, third)
            ctx.should_call_send(third, "北京：晴", None)
            ctx.should_finished()
            fourth = message("hi", 8)
            ctx.receive_event(bot, fourth)
            ctx.should_not_pass_rule(matcher)

    anyio.run(main)


@pytest.mark.parametrize("installed", [False, True])
def test_calls_alone_as_nonebug_tests_them(installed: bool) -> None:
    """Without :meth:`test_matcher` nonebug leaves Matcher's checks in place: the index works."""
    index = napcore.nonebot.install() if installed else None
    weather()
    for number in range(20):
        on_command(f"cmd{number}")

    async def main() -> None:
        async with App().test_api() as ctx:
            bot = ctx.create_bot(base=Bot, adapter=bench.adapter(), self_id="10001")
            first = message("/天气 上海")
            ctx.should_call_send(first, "上海：晴", None)
            await handle_event(bot, first)
            await handle_event(bot, message("没人要的话"))
            second = message("/天气")
            ctx.should_call_send(second, "哪里？", None)
            await handle_event(bot, second)
            await handle_event(bot, message("别人的话", 8))
            third = message("广州")
            ctx.should_call_send(third, "广州：晴", None)
            await handle_event(bot, third)

    anyio.run(main)
    if index is not None:
        statistics = index.statistics()
        assert statistics.stepped_aside == 0
        assert statistics.skipped == 20 * 4 + 2 + 1, "the twenty until the session blocks, 天气 twice, the session once"
