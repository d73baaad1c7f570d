"""A superuser's command that answers with the statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .install import Installed, Statistics
    from .timing import PluginTime

SHOWN = 10
"""Plugins in an answer."""


def add_command(installed: Installed, name: str = "napcore") -> Any:
    """Let superusers ask a bot for its statistics; returns the matcher.

    Call it after ``nonebot.init()``: the command is read with the ``COMMAND_START`` of the configuration.
    """
    from nonebot import on_command
    from nonebot.permission import SUPERUSER

    async def answer(matcher: Any) -> None:
        await matcher.finish(report(installed.statistics()))

    from nonebot.matcher import Matcher

    answer.__annotations__["matcher"] = Matcher
    matcher = on_command(name, permission=SUPERUSER, priority=1, block=True)
    matcher.append_handler(answer)
    return matcher


def report(statistics: Statistics) -> str:
    """The statistics as a message; Chinese, as the bot's users are."""
    s = statistics
    lines = [
        f"napcore：{s.matchers} 个响应器，{s.events} 个事件，跳过 {s.skipped} 次检查",
        f"校验 {s.verified} 个事件，{s.mismatches} 处不一致；交还 NoneBot2 {s.stepped_aside} 个",
    ]
    lines += [_line(plugin) for plugin in s.plugins[:SHOWN]]
    return "\n".join(lines)


def _line(plugin: PluginTime) -> str:
    place = plugin.line.replace("\\", "/").rpartition("/")[2]
    return (
        f"{plugin.plugin}：{plugin.runs} 次，平均 {plugin.mean * 1000:.0f} ms，p99 {plugin.p99 * 1000:.0f} ms，"
        f"最长占用 {plugin.longest * 1000:.0f} ms（{place}）"
    )
