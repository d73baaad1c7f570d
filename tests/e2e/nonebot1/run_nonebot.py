"""nonebot 1 as its documentation starts it, with one line more."""

from __future__ import annotations

from pathlib import Path

import config
import conversation
import nonebot

import napcore.aiocqhttp

nonebot.init(config)
conversation.watch(napcore.aiocqhttp.attach(nonebot.get_bot(), conversation.relay()))
nonebot.load_plugins(str(Path(__file__).parent / "plugins"), "plugins")
nonebot.on_startup(conversation.started)
nonebot.run()
