"""A bot of HoshinoBot's kind, started as HoshinoBot is, with one line more."""

from __future__ import annotations

import asyncio

import conversation
import hoshino_style as hoshino

import napcore.aiocqhttp

bot = hoshino.init()
conversation.watch(napcore.aiocqhttp.attach(bot, conversation.relay()))
app = bot.asgi

if __name__ == "__main__":
    bot.on_startup(conversation.started)
    bot.run(use_reloader=False, loop=asyncio.new_event_loop())
