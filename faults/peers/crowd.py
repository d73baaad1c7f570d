"""Many clients in one process: good, slow, stalled and flapping ones, each with a name of its own.

Orders by line: ``{"report": n}`` and ``{"calm": true}``, which ends all misbehaviour. Ports are dialled in turn.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread

from napcore.testing import RecordingClient

KINDS = ("good", "good", "slow", "stalled", "flapping")


def say(kind: str, **values: Any) -> None:
    """One line for the process that started it."""
    sys.stdout.write(json.dumps({"line": kind, **values}) + "\n")
    sys.stdout.flush()


class Member:
    """One client for as long as the process lives."""

    def __init__(self, number: int, port: int, dice: random.Random) -> None:
        self.kind = KINDS[number % len(KINDS)]
        self.name = f"{self.kind}-{number}"
        self.calm = False
        self.got = self.doubled = self.disordered = self.links = self.answers = 0
        self.errors: dict[str, int] = {}
        self._last = -1
        self._url = f"ws://127.0.0.1:{port}/c/{self.name}"
        self._dice = dice

    async def live(self) -> None:
        """Dial, misbehave as its kind does, and dial again."""
        while True:
            slow = self.kind == "slow" and not self.calm
            async with RecordingClient(record=False, delay=0.1 if slow else 0.0) as bot:
                bot.on_event = self._note
                try:
                    link = await bot.connect(self._url)
                except ConnectionError as error:
                    self.errors[str(error)] = self.errors.get(str(error), 0) + 1
                    await anyio.sleep(0.2 + self._dice.random())
                    continue
                self.links += 1
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._misbehave, bot, link)
                    await link.closed.wait()
                    tasks.cancel_scope.cancel()
            await anyio.sleep(0.1 + 0.4 * self._dice.random())

    async def _misbehave(self, bot: RecordingClient, link: Any) -> None:
        dice = self._dice
        while not self.calm:
            await anyio.sleep(0.5 + 2 * dice.random())
            if self.kind == "stalled":
                bot.pause()
                await self._unless_calm(2 + 18 * dice.random())
                bot.resume()
            elif self.kind == "flapping":
                if dice.random() < 0.5:
                    link.abort()
                else:
                    link.close(1000)
                return
            elif dice.random() < 0.3 and link.open:
                bot.send({"action": "get_status", "echo": self.name}, link=link)
        bot.resume()
        bot.delay = 0.0

    async def _unless_calm(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.1)):
            if self.calm:
                return
            await anyio.sleep(0.1)

    def _note(self, event: dict[str, Any]) -> None:
        number = event.get("message_id", -1)
        self.got += 1
        self.doubled += number == self._last
        self.disordered += number < self._last
        self._last = number

    def report(self) -> dict[str, Any]:
        """What it has seen."""
        return {
            "got": self.got,
            "doubled": self.doubled,
            "disordered": self.disordered,
            "links": self.links,
            "errors": self.errors,
        }


async def main(arguments: argparse.Namespace) -> None:
    """Until it is killed."""
    dice = random.Random(arguments.seed)
    ports = [int(port) for port in arguments.ports.split(",")]
    members = [
        Member(number, ports[number // len(KINDS) % len(ports)], random.Random(dice.random()))
        for number in range(arguments.count)
    ]

    def report() -> None:
        say("report", members={member.name: member.report() for member in members})

    def calm() -> None:
        for member in members:
            member.calm = True

    orders: dict[str, Callable[[], None]] = {"report": report, "calm": calm}
    async with anyio.create_task_group() as tasks:
        for member in members:
            tasks.start_soon(member.live)
        say("ready", names=[member.name for member in members])
        while line := await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            for order in json.loads(line):
                orders[order]()
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--ports", required=True)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    anyio.run(main, parser.parse_args())
