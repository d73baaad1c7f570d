"""aiocqhttp alone against aiocqhttp attached to napcore: troubles as they come, and a burst of groups it does not want.

The bot is a process of its own, the stand-in NapCat is here. Each row is played with one after the other.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import anyio
import anyio.to_thread

from bench.aiocqhttp_bot import FIRST_GROUP
from bench.frameworks import bot_process, cpu_seconds, free_port, peak_mib
from bench.report import Table, plain_table
from napcore.testing import Simulator
from napcore.testing.answers import encode
from napcore.testing.percentiles import percentile

ACCOUNT = 10001
GROUPS, WANTED = 190, 20
RATE = 12.7
"""Messages a second: 190 groups, each one every 15 s."""

PATIENCE = 30.0
MODES = ("stock", "napcore")

Figures = dict[str, Any]


@dataclass
class Stage:
    """One bot and its NapCat."""

    sim: Simulator
    bot: subprocess.Popen[str]
    mode: str
    port: int
    scale: float
    """How long troubles last: 1 is as in the title of the row."""
    lines: SimpleQueue[str] = field(default_factory=SimpleQueue)

    @property
    def quiet(self) -> float:
        """Seconds of silence after which nothing more is expected."""
        return max(0.5, 2 * self.scale)

    async def say(self, text: str, number: int = 0) -> int:
        """A message in one of the groups; its id."""
        event = self.sim.events.group_message(FIRST_GROUP + number % GROUPS, message=text)
        await self.sim.emit(event)
        return int(event["message_id"])

    def listen(self) -> None:
        """Take the bot's lines in, in a thread of its own."""
        assert self.bot.stdout is not None
        for line in self.bot.stdout:
            self.lines.put(line)

    async def read(self, seconds: float = PATIENCE) -> list[str] | None:
        """The bot's next line; None if none comes."""
        try:
            return (await anyio.to_thread.run_sync(self.lines.get, True, seconds)).split()
        except Empty:
            return None

    def answers(self) -> list[int]:
        """The ids of messages that it has answered."""
        calls = self.sim.calls
        return [int(call["params"]["message"]) for call in calls if call["action"] == "send_group_msg"]

    async def chat(self, seconds: float) -> list[int]:
        """Everybody talks, and one in ten wants an answer; the ids of those messages."""
        start, asked = time.monotonic(), []
        for number in range(int(seconds * RATE)):
            await anyio.sleep(max(0.0, start + number / RATE - time.monotonic()))
            if number % 10:
                await self.say("说点什么吧", number)
            else:
                asked.append(await self.say("!", number % WANTED))
        return asked

    async def settle(self) -> None:
        """Until nothing has been called for a while."""
        while True:
            before = self.sim.called
            await anyio.sleep(self.quiet)
            if self.sim.called == before:
                return


async def blocked_plugin(stage: Stage) -> Figures:
    """A plugin holds the bot's loop for 60 s; the groups go on talking."""
    links, ages = stage.sim.links, [0.0]

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if request["action"] == "send_group_msg":
            left = stage.sim.sent_at(int(request["params"]["message"]))
            ages.append(time.monotonic() - (left or 0.0))
        return stage.sim.answer(request)

    stage.sim.on_call = answer
    await stage.say(f"block {60 * stage.scale}")
    start = time.monotonic()
    asked = set(await stage.chat(60 * stage.scale))
    await stage.settle()
    over = time.monotonic() - start - 60 * stage.scale - stage.quiet
    fresh = await stage.chat(1 + 2 * stage.scale)
    await stage.settle()
    answered = set(stage.answers())
    return {
        "link": "kept" if stage.sim.links == links else "lost",
        "answered of those asked meanwhile": f"{len(asked & answered)}/{len(asked)}",
        "oldest answer s": f"{max(ages):.1f}",
        "caught up after s": f"{max(0.0, over):.1f}",
        "answered afterwards": f"{len(set(fresh) & answered)}/{len(fresh)}",
    }


async def frozen_upstream(stage: Stage) -> Figures:
    """NapCat reads, writes and answers nothing for 45 s, while the bot calls."""
    links = stage.sim.links
    held: list[dict[str, Any]] = []
    for _ in range(3):
        await stage.say("ask")
    for link in links:
        link.pause()
    stage.sim.on_call = lambda request: held.append(request)
    await anyio.sleep(45 * stage.scale)
    kept = stage.sim.links == links
    stage.sim.on_call = None
    for link in links:
        link.resume()
    outcomes = [await stage.read() for _ in range(3)]
    asked = await stage.chat(1 + 2 * stage.scale)
    await stage.settle()
    return {
        "link": "kept" if kept and stage.sim.links == links else "lost",
        "calls meanwhile": told(outcomes),
        "answered afterwards": f"{len(set(asked) & set(stage.answers()))}/{len(asked)}",
    }


async def late_answer(stage: Stage) -> Figures:
    """The bot's loop is held up for 3 s and its calls may take 2; their answers are there after half a second."""
    links = stage.sim.links

    async def answer_soon(request: dict[str, Any]) -> None:
        await anyio.sleep(0.5)
        stage.sim.links[-1].send(encode({**stage.sim.answer(request), "echo": request["echo"]}))

    outcomes = []
    async with anyio.create_task_group() as tasks:

        def answer(request: dict[str, Any]) -> None:
            tasks.start_soon(answer_soon, request)

        stage.sim.on_call = answer
        for _ in range(max(2, int(5 * stage.scale))):
            await stage.say("late 3")
            outcomes.append(await stage.read())
    stage.sim.on_call = lambda request: (stage.sim.answer(request), stage.sim.answer(request))
    await stage.say("ask")
    doubled = await stage.read()
    stage.sim.on_call = None
    asked = await stage.chat(1 + 2 * stage.scale)
    await stage.settle()
    return {
        "link": "kept" if stage.sim.links == links else "lost",
        "calls answered in time": told(outcomes),
        "a call answered twice": told([doubled]),
        "answered afterwards": f"{len(set(asked) & set(stage.answers()))}/{len(asked)}",
    }


async def overlapping_reconnect(stage: Stage) -> Figures:
    """NapCat dials anew before its old connection is gone, which then ends."""
    old = stage.sim.links[0]
    stage.sim.connect(url_of(stage), reconnect=math.inf)
    await stage.sim.wait_connected(2)
    old.abort()
    await stage.sim.wait_for(lambda: old not in stage.sim.links)
    await anyio.sleep(stage.quiet)
    outcomes = []
    for _ in range(3):
        await stage.say("ask")
        outcomes.append(await stage.read())
    asked = await stage.chat(1 + 2 * stage.scale)
    await stage.settle()
    return {
        "calls": told(outcomes),
        "answered afterwards": f"{len(set(asked) & set(stage.answers()))}/{len(asked)}",
    }


async def unwanted_groups(stage: Stage) -> Figures:
    """A burst from 190 groups of which the bot wants 20, then everyday talk."""
    burst = max(5_000, int(20_000 * stage.scale))
    events = [stage.sim.events.group_message(FIRST_GROUP + n % GROUPS, message="说点什么吧") for n in range(burst)]
    for event in events[:50]:
        await stage.sim.emit(event)
    await stage.say("count")
    await stage.read()
    spent, start = cpu_seconds(stage.bot.pid), time.monotonic()
    for event in events:
        await stage.sim.emit(event)
    await stage.say("count")
    await stage.read(120)
    took, spent = time.monotonic() - start, cpu_seconds(stage.bot.pid) - spent
    latencies = stage.sim.replies.latencies
    latencies.clear()
    asked = await stage.chat(2 + 18 * stage.scale)
    await stage.settle()
    return {
        "events/s": f"{burst / took:,.0f}",
        "CPU us/event": f"{spent / burst * 1e6:.0f}",
        "answered": f"{len(set(asked) & set(stage.answers()))}/{len(asked)}",
        "answer p50 ms": f"{(percentile(list(latencies), 50) or 0) * 1000:.1f}",
        "p99 ms": f"{(percentile(list(latencies), 99) or 0) * 1000:.1f}",
    }


Play = Callable[[Stage], Awaitable[Figures]]
ROWS: dict[str, tuple[Play, float]] = {
    "a plugin blocks for 60 s": (blocked_plugin, 60.0),
    "NapCat is frozen for 45 s": (frozen_upstream, 60.0),
    "an answer that is read late": (late_answer, 2.0),
    "an overlapping reconnect": (overlapping_reconnect, 60.0),
    "190 groups, 20 wanted": (unwanted_groups, 60.0),
}
"""What is played, and the bot's time limit for calls in seconds."""


def run(scale: float, out: Path | None, say: Callable[[str], None]) -> list[str]:
    """Play every row with both, telling each table as it is done; returns what failed.

    ``scale`` shortens the troubles.
    """
    failures: list[str] = []
    results: dict[str, dict[str, Figures]] = {}
    for name, (play, timeout) in ROWS.items():
        figures = results[name] = {}
        for mode in MODES:
            try:
                figures[mode] = anyio.run(play_row, play, mode, timeout, scale)
            except (OSError, RuntimeError, TimeoutError) as error:
                failures.append(f"{name}, {mode}: {error!r}")
        say(table(name, figures, scale))
    for failure in failures:
        say(f"FAILED {failure}")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        data = {"scale": scale, "rows": results, "failures": failures}
        (out / "frameworks_aiocqhttp.json").write_text(json.dumps(data, indent=1))
    return failures


async def play_row(play: Play, mode: str, timeout: float, scale: float) -> Figures:
    """One row with one of the two."""
    overlapping = play is overlapping_reconnect
    dialled, reconnect = mode == "stock" or overlapping, math.inf if overlapping else 0.5
    async with stage_of(mode, timeout, scale, dialled=dialled, reconnect=reconnect) as stage:
        figures = await play(stage)
        return {**figures, "CPU s": f"{cpu_seconds(stage.bot.pid):.1f}", "peak MiB": peak_mib(stage.bot.pid)}


@asynccontextmanager
async def stage_of(mode: str, timeout: float, scale: float, *, dialled: bool, reconnect: float) -> AsyncIterator[Stage]:
    """A bot that is linked and serves; ``dialled``: NapCat dials it, again ``reconnect`` seconds after an end."""
    port = free_port()
    groups = range(FIRST_GROUP, FIRST_GROUP + GROUPS)
    async with Simulator(ACCOUNT, groups=tuple(groups), heartbeat=3.0, seed=1) as sim:
        url = "" if dialled else await sim.listen()
        options = [mode, url, port, timeout, WANTED, 60 * scale]
        command = [sys.executable, "-m", "bench.aiocqhttp_bot", *map(str, options)]
        with bot_process(command) as bot:
            stage = Stage(sim, bot, mode, port, scale)
            Thread(target=stage.listen, daemon=True).start()
            while (line := await stage.read()) != ["started"]:
                if line is None:
                    raise RuntimeError("the bot has not started")
            if dialled:
                sim.connect(url_of(stage), reconnect=reconnect)
            await sim.wait_connected(timeout=PATIENCE)
            while True:
                # Until the first event has gone all the way.
                await stage.say("count")
                if await stage.read(1.0):
                    break
            yield stage


def url_of(stage: Stage) -> str:
    """Where NapCat dials."""
    return f"ws://127.0.0.1:{stage.port}/ws/" if stage.mode == "stock" else f"ws://127.0.0.1:{stage.port + 1}"


def told(lines: list[list[str] | None]) -> str:
    """How calls went: the outcomes, and the longest that one took."""
    outcomes = [line[1] if line else "nothing" for line in lines]
    longest = max((float(line[2]) for line in lines if line), default=0.0)
    counts = ", ".join(f"{outcomes.count(name)} {name}" for name in dict.fromkeys(outcomes))
    return f"{counts} ({longest:.1f} s)"


def table(name: str, figures: dict[str, Figures], scale: float) -> str:
    """One row's figures, side by side."""
    names = list(dict.fromkeys(key for found in figures.values() for key in found))
    lines = [[key, *(str(figures.get(mode, {}).get(key, "-")) for mode in MODES)] for key in names]
    title = name if scale == 1 else f"{name} (shortened to {scale:g} of that)"
    return plain_table(Table(f"aiocqhttp: {title}", ["", "aiocqhttp", "with napcore"], lines))
