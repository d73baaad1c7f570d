"""Three plugin packages from PyPI, unchanged, and a scripted conversation; prints what the bot did, line by line.

``plugins.py stock`` or ``plugins.py napcore``.
"""

from __future__ import annotations

import json
import random
import re
import sys
import warnings
from typing import Any

import anyio

warnings.simplefilter("ignore")
import nonebot  # noqa: E402
from nonebot.adapters.onebot.v11 import Adapter, Bot  # noqa: E402
from nonebot.log import logger  # noqa: E402

logger.remove()

PLUGINS = ("nonebot_plugin_admin", "nonebot_plugin_cocdicer", "nonebot_plugin_minesweeper")

CONVERSATION = (
    "大家好", ".help", ".r", ".rd1", ".rh", ".coc", ".st", ".en 50", ".ti", ".li", ".sc 1/1d6 60", ".set",
    ".show", ".sa 力量", "今天天气真不错", "/群管菜单", "/广播帮助", "/开关", "/开关状态", "/开关状态 多余",
    "/头衔 大佬", "/禁 @8 60", "/踢", "/查看词条", "/发言", "/发言 @8", "/排行", "/分管", "/撤回", "/加管理 @8",
    "/减管理 @8", "/解 @8", "/改 @8 新名", "/删头衔", "/群列表", "/词云", "扫雷初级", "/扫雷初级",
    "@me/扫雷初级", "/查看游戏", "查看游戏", "/标记 H8", '/"标记" H8', "/bj A2 A3", "/挖开 A1", "/结束扫雷",
    "/挖开 A1", "@me /minesweeper --row 8 --col 8 --num 1", "@me/minesweeper --help", "/结束", "最后一句",
)  # fmt: skip
"""``@me`` and ``@8`` become segments. Nothing here is kept by a plugin from one run to the next."""

ANSWERS: dict[str, Any] = {
    "get_group_list": [{"group_id": 5, "group_name": "五"}],
    "get_group_member_list": [{"user_id": user, "role": "member", "card": "", "nickname": "n"} for user in (7, 8)],
    "get_group_member_info": {"user_id": 7, "role": "owner", "card": "", "nickname": "n", "title": ""},
    "get_msg": {},
}


def shown(value: Any) -> Any:
    """A value without its pictures: the minefields in them are chance."""
    return re.sub(r"base64://[A-Za-z0-9+/=]+", "a picture", repr(value))


def write(*what: Any) -> None:
    sys.stdout.write(json.dumps(what, ensure_ascii=False) + "\n")
    sys.stdout.flush()


class Silent(Adapter):
    """The adapter without a network."""

    def _setup(self) -> None:
        pass

    async def _call_api(self, bot: Any, api: str, **data: Any) -> Any:
        write(api, shown(sorted(data.items())))
        return ANSWERS.get(api, {"message_id": 1})


async def converse(bot: Bot) -> None:
    async with nonebot.get_driver()._lifespan:
        await talk(bot)


async def talk(bot: Bot) -> None:
    for number, text in enumerate(CONVERSATION):
        for user in (7, 8):  # a superuser and a member
            random.seed(number)
            write(user, text)
            segments: list[dict[str, Any]] = []
            for part in re.split("(@8|@me)", text):
                at = {"@8": "8", "@me": "10001"}.get(part)
                if at is not None:
                    segments.append({"type": "at", "data": {"qq": at}})
                elif part:
                    segments.append({"type": "text", "data": {"text": part}})
            event = Adapter.json_to_event(
                {
                    "time": 1_700_000_000 + number,
                    "self_id": 10001,
                    "post_type": "message",
                    "message_type": "group",
                    "sub_type": "normal",
                    "user_id": user,
                    "group_id": 5,
                    "message_id": 2 * number + user,
                    "message": segments,
                    "raw_message": text,
                    "font": 0,
                    "sender": {"user_id": user, "nickname": "n", "role": "owner" if user == 7 else "member"},
                }
            )
            assert event is not None
            await bot.handle_event(event)


def main() -> None:
    nonebot.init(
        driver="~none",
        superusers={"7"},
        command_start={"/"},
        log_level="CRITICAL",
        localstore_use_cwd=True,
        nickname={"小南"},
    )
    driver = nonebot.get_driver()
    driver.register_adapter(Silent)
    installed = None
    if sys.argv[1] == "napcore":
        import napcore.nonebot

        installed = napcore.nonebot.install()
    for plugin in PLUGINS:
        assert nonebot.load_plugin(plugin) is not None, plugin
    bot = Bot(driver._adapters["OneBot V11"], "10001")
    anyio.run(converse, bot)
    if installed is not None:
        statistics = installed.statistics()
        sys.stderr.write(json.dumps({"skipped": statistics.skipped, "aside": statistics.stepped_aside}) + "\n")


main()
