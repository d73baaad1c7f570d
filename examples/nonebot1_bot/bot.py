"""A bot of nonebot 1, started as nonebot 1's documentation has it, with napcore's links: the line with ``attach``.

HoshinoBot's run.py takes the same line after ``hoshino.init()``.
"""

from __future__ import annotations

from pathlib import Path

import config
import nonebot

import napcore
import napcore.aiocqhttp

HERE = Path(__file__).parent

if __name__ == "__main__":
    nonebot.init(config)
    napcore.aiocqhttp.attach(nonebot.get_bot(), napcore.start_thread(napcore.load_config(HERE / "napcore.toml")))
    nonebot.load_plugins(str(HERE / "plugins"), "plugins")
    nonebot.run()
