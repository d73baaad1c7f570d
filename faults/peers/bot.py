"""A bot in a process of its own, which can be stopped and killed: it says what it gets and when, on CLOCK_MONOTONIC."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import anyio

from napcore.testing import RecordingClient


def say(kind: str, **values: Any) -> None:
    """One line for the process that started it."""
    sys.stdout.write(json.dumps({"line": kind, **values}) + "\n")
    sys.stdout.flush()


class Bot(RecordingClient):
    """Says what comes instead of keeping it."""

    async def _on_message(self, message: bytes) -> None:
        before = len(self.meta)
        await super()._on_message(message)
        for meta in self.meta[before:]:
            say("meta", type=meta["meta_event_type"], at=time.monotonic())


def tell_event(event: dict[str, Any]) -> None:
    """What counts of one event."""
    say("event", id=event.get("message_id"), time=event.get("time"), at=time.monotonic())


async def main(arguments: argparse.Namespace) -> None:
    """Be dialled, or dial and dial again."""
    async with Bot(record=False, delay=arguments.delay) as bot:
        if not arguments.quiet:
            bot.on_event = tell_event
        if arguments.listen is not None:
            say("ready", url=await bot.listen(port=arguments.listen, manners="aiocqhttp"))
            await anyio.sleep_forever()
        while True:
            try:
                link = await bot.connect(arguments.dial)
            except ConnectionError:
                await anyio.sleep(0.1)
                continue
            say("linked", at=time.monotonic())
            await link.closed.wait()
            say("unlinked", at=time.monotonic(), code=link.close_code)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", type=int)
    parser.add_argument("--dial")
    parser.add_argument("--quiet", action="store_true", help="say nothing of events: nobody reads what it says")
    parser.add_argument("--delay", type=float, default=0.0)
    anyio.run(main, parser.parse_args())
