"""A bot of aiocqhttp, alone or attached to a relay in a thread of its own, in a process of its own.

``python -m bench.aiocqhttp_bot stock|napcore URL PORT TIMEOUT GROUPS TTL`` serves ``PORT`` until it is ended. ``stock``
is dialled there; ``napcore`` dials ``URL``, or is dialled at the next port. It wants the first ``GROUPS`` groups, and
messages that are younger than ``TTL`` seconds. One there that begins with ``!`` is answered with its id; ``block N``
holds the whole loop for N seconds; ``ask`` calls for something and says how that went, ``late N`` blocks meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from typing import Any

from aiocqhttp import CQHttp, Error

FIRST_GROUP = 700_000_000


def main(mode: str, url: str, port: int, timeout: float, groups: int, ttl: float) -> None:
    """Serve."""
    bot = CQHttp(api_timeout_sec=timeout)
    wanted = set(range(FIRST_GROUP, FIRST_GROUP + groups))
    counted = 0

    async def ask(group_id: int) -> None:
        start = time.monotonic()
        try:
            await bot.get_group_info(group_id=group_id)
            outcome = "answered"
        except Error as error:
            outcome = type(error).__name__
        tell("asked", outcome, time.monotonic() - start)

    async def answer(event: Any) -> None:
        nonlocal counted
        counted += 1
        if event.group_id not in wanted:
            return
        text = event.raw_message
        if text.startswith("!"):
            with contextlib.suppress(Error):
                await bot.send_group_msg(group_id=event.group_id, message=str(event.message_id))
        elif text.startswith("block "):
            # What a plugin does that calls requests.get() in an async handler.
            time.sleep(float(text[6:]))  # noqa: ASYNC251
        elif text == "ask":
            await ask(event.group_id)
        elif text.startswith("late "):
            asking = asyncio.create_task(ask(event.group_id))
            await asyncio.sleep(0.1)
            time.sleep(float(text[5:]))  # noqa: ASYNC251
            await asking
        elif text == "count":
            tell("counted", counted)

    bot.on_message(answer)
    if mode == "napcore":
        import napcore
        import napcore.aiocqhttp

        config = napcore.Config.from_dict({"upstream": [{"url": url}]} if url else {"listen": {"port": port + 1}})
        filter, policy = napcore.Filter(groups=wanted), napcore.Policy(message_ttl=ttl)
        napcore.aiocqhttp.attach(bot, napcore.start_thread(config, watchdog=False), filter=filter, policy=policy)
    bot.on_startup(started)
    bot.run(host="127.0.0.1", port=port)


async def started() -> None:
    """The server listens in a moment."""
    tell("started")


def tell(*what: Any) -> None:
    """One line for whoever measures."""
    sys.stdout.write(" ".join(map(str, what)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    mode, url, port, timeout, groups, ttl = sys.argv[1:]
    main(mode, url, int(port), float(timeout), int(groups), float(ttl))
