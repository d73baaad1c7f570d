"""An upstream in a process of its own, which can be stopped: what was due meanwhile comes in one burst afterwards.

Event n is due n/rate seconds after the start and has that as its ``time``, as messages have that QQ's
server kept; its ``message_id`` is n. ``--clock`` sets this process's idea of the time apart, in seconds.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from typing import Any

import anyio
import anyio.to_thread

from napcore.testing import Simulator

BATCH = 256


def say(kind: str, **values: Any) -> None:
    """One line for the process that started it."""
    sys.stdout.write(json.dumps({"line": kind, **values}) + "\n")
    sys.stdout.flush()


class Napcat:
    """A simulator whose events can be late."""

    def __init__(self, simulator: Simulator, arguments: argparse.Namespace) -> None:
        self.simulator = simulator
        self.rate: float = arguments.rate
        self.clock: float = arguments.clock
        self.sent = 0
        self.sends: list[tuple[float, int | None]] = []
        """When it was asked to send a message, and to which group."""
        self._text = arguments.text
        self._ask = arguments.ask
        simulator.on_call = self._answer
        self._started = math.inf

    async def emit(self) -> None:
        """Send what is due, for ever."""
        maker = self.simulator.events
        started, number, rate = time.monotonic(), 0, self.rate
        while True:
            if rate != self.rate:
                started, number, rate = time.monotonic(), 0, self.rate
            if not rate:
                await anyio.sleep(0.01)
                continue
            wait = started + number / rate - time.monotonic()
            if wait > 0:
                await anyio.sleep(min(wait, 0.05))
                continue
            due = min(int((time.monotonic() - started) * rate) + 1, number + BATCH)
            for at in range(number, due):
                asks = self._ask and self.sent % self._ask == 0
                event = maker.group_message(message="!" + self._text if asks else self._text)
                event["message_id"] = self.sent
                event["time"] = int(time.time() + self.clock - (time.monotonic() - (started + at / rate)))
                self.sent += 1
                await self.simulator.emit(event)
            number = due

    async def obey(self) -> None:
        """Orders by line: ``{"rate": r}``, ``{"clock": s}``, ``{"report": n}``, ``{"sends": true}``."""
        while True:
            line = await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
            if not line:
                return
            order = json.loads(line)
            self.rate = order.get("rate", self.rate)
            self.clock = order.get("clock", self.clock)
            say("state", sent=self.sent, rate=self.rate, at=time.monotonic(), report=order.get("report"))
            if order.get("sends"):
                say("sends", sends=self.sends)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["action"].startswith("send_"):
            self.sends.append((time.monotonic(), request["params"].get("group_id")))
        return self.simulator.answer(request)


async def main(arguments: argparse.Namespace) -> None:
    """Be an upstream until it is killed."""
    simulator = Simulator(
        arguments.self_id, groups=arguments.groups, seed=arguments.seed, heartbeat=arguments.heartbeat
    )
    async with simulator, anyio.create_task_group() as tasks:
        napcat = Napcat(simulator, arguments)
        if arguments.connect:
            simulator.connect(arguments.connect)
            say("ready")
        else:
            say("ready", url=await simulator.listen(arguments.listen))
        tasks.start_soon(napcat.emit)
        await napcat.obey()
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", type=int, default=0)
    parser.add_argument("--connect")
    parser.add_argument("--self-id", type=int, default=1444683668)
    parser.add_argument("--groups", type=int, default=190)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--clock", type=float, default=0.0)
    parser.add_argument("--heartbeat", type=float, default=30.0)
    parser.add_argument("--ask", type=int, default=0, help="every so many events are a question, with a ! in front")
    parser.add_argument("--text", default="今天食堂吃什么？")
    anyio.run(main, parser.parse_args())
