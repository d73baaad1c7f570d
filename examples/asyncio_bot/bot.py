"""A bot on plain asyncio, without a framework.

NAPCAT_URL=ws://127.0.0.1:3001 NAPCAT_TOKEN=secret python bot.py
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random

import napcore

bot = napcore.connect(os.environ.get("NAPCAT_URL", "ws://127.0.0.1:3001"), token=os.environ.get("NAPCAT_TOKEN"))


@bot.on(commands={"ping"})
async def ping(event: napcore.Event) -> None:
    """``/ping``, in a group or in private."""
    await bot.send(event, "pong", quote=True)


@bot.on("message.group", commands={"guess"})
async def guess(event: napcore.Event) -> None:
    """``/guess``: a game with whoever asked for it, which waits for that person's next messages."""
    # It takes long, and others in the group may play meanwhile.
    napcore.release_turn()
    secret = random.randint(1, 9)
    same_person = napcore.Filter(kinds={"message.group"}, groups={event.group_id or 0}, users={event.user_id or 0})
    async with bot.relay.subscribe(same_person) as replies:
        await bot.send(event, "1-9?")
        while True:
            try:
                reply = await asyncio.wait_for(anext(replies), 30)
            except asyncio.TimeoutError:
                await bot.send(event, f"it was {secret}")
                return
            if reply.text.strip() == str(secret):
                await bot.send(reply, "yes", at_sender=True)
                return
            await bot.send(reply, "no")


@bot.on(commands={"hash"})
def digest(event: napcore.Event) -> None:
    """``/hash text``: a function that is not async runs in a thread, so it may take its time."""
    text = event.text.partition(" ")[2]
    key = hashlib.pbkdf2_hmac("sha256", text.encode(), b"salt", 100_000)
    bot.send_sync(event, key.hex())


@bot.on("notice.group_increase")
async def welcome(event: napcore.Event) -> None:
    """Somebody has joined a group."""
    await bot.send(event, "welcome!", at_sender=True)


@bot.on("request.friend")
async def befriend(event: napcore.Event) -> None:
    """Somebody wants to be a friend."""
    await bot.set_friend_add_request(flag=event.data["flag"])


async def main() -> None:
    """Connect, and stay until the program is stopped."""
    async with bot:
        print(f"account {bot.self_id} is here", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    # asyncio.run(main()) does too; this ends in good order on SIGTERM and Ctrl-C, with calls under way answered.
    napcore.run(main)
