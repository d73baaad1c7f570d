"""A bot of NoneBot2 on napcore's links: the stock adapter's import and registration are replaced by napcore's."""

from __future__ import annotations

import nonebot

import napcore.nonebot

nonebot.init()
nonebot.get_driver().register_adapter(napcore.nonebot.Adapter)
nonebot.load_plugins("plugins")

if __name__ == "__main__":
    nonebot.run()
