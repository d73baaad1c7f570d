"""A bot on trio: its events one by one, beside tasks of its own.

pip install 'napcore[trio]'
NAPCAT_URL=ws://127.0.0.1:3001 NAPCAT_TOKEN=secret python bot.py
"""

from __future__ import annotations

import logging
import os
from collections import Counter

import trio

import napcore

URL = os.environ.get("NAPCAT_URL", "ws://127.0.0.1:3001")
TOKEN = os.environ.get("NAPCAT_TOKEN")


async def count(bot: napcore.Bot, said: Counter[int]) -> None:
    """Take every group message and count it; ``/top`` asks who has said most."""
    async for event in bot:
        if event.text.strip() == "/top":
            (most, times), *_ = said.most_common(1) or [(0, 0)]
            await bot.send(event, f"{most}: {times}")
        elif event.user_id is not None:
            said[event.user_id] += 1


async def report(bot: napcore.Bot, seconds: float) -> None:
    """Say now and then how the bot is."""
    while True:
        await trio.sleep(seconds)
        found = bot.statistics()
        print(f"{bot.state}: {found.received} events, {found.calls.answered} calls, {bot.missed} missed", flush=True)


async def main() -> None:
    """Connect, and run until the program is stopped."""
    only_groups = napcore.Filter(kinds={"message.group"})
    async with napcore.connect(URL, token=TOKEN, filter=only_groups) as bot:
        print(f"account {bot.self_id} is here", flush=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(report, bot, float(os.environ.get("REPORT_SECONDS", "60")))
            await count(bot, Counter())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    # trio.run(main) does too; this ends in good order on SIGTERM and Ctrl-C, with calls under way answered.
    napcore.run(main, backend="trio")
