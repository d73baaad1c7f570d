"""Frameworks with their own transport and with napcore's, in the same troubles, over sockets.

A *trouble* is one function: it gets a bot that runs and says what became of links, events and answers. A *contender* is
a framework in one of two modes; another one is a line in :data:`CONTENDERS` and a branch in ``bench.trouble_bot``.

The stand-in NapCat talks in 190 groups at 13 messages a second; each tenth is ``/ping``, which asks for an answer.
"""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import anyio

from bench.framework_bot import message
from bench.frameworks import bot_process, cpu_seconds, free_port, peak_mib
from bench.report import Table, plain_table
from napcore.testing import Simulator

GROUPS: Final = tuple(range(700_000_000, 700_000_190))
WANTED: Final = GROUPS[:20]
RATE: Final = 13.0
PATIENCE: Final = 60.0

Mode = Literal["stock", "napcore"]


class Contender(NamedTuple):
    """A framework, and where NapCat dials it."""

    framework: str
    path: str


CONTENDERS: Final = (Contender("nonebot2", "/onebot/v11/ws"), Contender("aiocqhttp", "/ws/"))


@dataclass(frozen=True)
class Scale:
    """How long troubles last, in seconds, and how long a message is worth an answer."""

    sleep: float
    frozen: float
    lifetime: float
    burst: int
    options: dict[str, Any] = field(default_factory=dict)
    """For the framework's own server: what is shortened with the trouble."""


FULL: Final = Scale(60.0, 45.0, 30.0, 5_000)
QUICK: Final = Scale(3.0, 3.0, 2.0, 1_000, {"ws_ping_interval": 0.5, "ws_ping_timeout": 0.5})


@dataclass
class Bot:
    """A contender's process."""

    contender: Contender
    mode: Mode
    port: int
    process: subprocess.Popen[str]
    scale: Scale

    @property
    def url(self) -> str:
        """Where NapCat dials it."""
        return f"ws://127.0.0.1:{self.port}{self.contender.path}"


@dataclass
class Outcome:
    """What became of one contender in one trouble; what was not measured stays None."""

    trouble: str
    framework: str
    mode: str
    lost: int | None = None
    """Links that ended."""
    away: float | None = None
    """Seconds without a link that carries calls, once the trouble was over."""
    asked: int | None = None
    answered: int | None = None
    stale: int | None = None
    """Answers to messages older than their lifetime."""
    worst: float | None = None
    """The longest an answer took, in seconds."""
    rate: float | None = None
    """Events per second."""
    cpu: float | None = None
    """CPU microseconds per event."""
    peak: str | None = None
    """The most memory the process has had, in MiB."""


Trouble = Callable[[Bot], Awaitable[Outcome]]


class Watch:
    """A stand-in NapCat that counts what becomes of its link and of its questions."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.lost = 0
        self._asked: dict[int, float] = {}
        self._answered: dict[int, float] = {}
        simulator.on_call = self._take

    async def follow(self) -> None:
        """Count links that end; for ever."""
        while True:
            await self.simulator.wait_for(lambda: bool(self.simulator.links), timeout=math.inf)
            await self.simulator.wait_for(lambda: not self.simulator.links, timeout=math.inf)
            self.lost += 1

    async def say(self, text: str, number: int) -> None:
        """One message, in a group of its own turn."""
        group = GROUPS[number % len(GROUPS)]
        now = {"group_id": group, "time": int(time.time()), "self_id": self.simulator.self_id}
        await self.simulator.emit({**message(text, number), **now})
        if text == "/ping":
            self._asked[number] = time.monotonic()

    async def chat(self, seconds: float, first: int) -> int:
        """Talk at the usual rate; returns the number of the next message."""
        start = time.monotonic()
        count = round(seconds * RATE)
        for number in range(count):
            await anyio.sleep(max(0.0, start + number / RATE - time.monotonic()))
            await self.say("/ping" if number % 10 == 9 else "说点什么", first + number)
        return first + count

    async def settle(self, seconds: float) -> None:
        """Wait for answers until all are there, or none has come for so long."""
        last, since = -1, time.monotonic()
        while len(self._answered) < len(self._asked) and time.monotonic() - since < seconds:
            if len(self._answered) != last:
                last, since = len(self._answered), time.monotonic()
            await anyio.sleep(0.05)

    def told(self, outcome: Outcome, lifetime: float) -> Outcome:
        """The figures so far."""
        took = [at - self._asked[number] for number, at in self._answered.items() if number in self._asked]
        outcome.lost, outcome.asked, outcome.answered = self.lost, len(self._asked), len(took)
        outcome.stale, outcome.worst = sum(one > lifetime for one in took), max(took, default=None)
        return outcome

    def _take(self, request: dict[str, Any]) -> Any:
        if request["action"] == "get_status":
            return None
        text = json.dumps(request.get("params", {}).get("message", ""))
        if "pong" in text:
            self._answered.setdefault(int("".join(filter(str.isdigit, text))), time.monotonic())
        return self.simulator.answer(request)


@asynccontextmanager
async def watched(bot: Bot, **options: Any) -> AsyncIterator[Watch]:
    """A stand-in NapCat, linked to the bot."""
    async with Simulator(10001, groups=GROUPS, heartbeat=1.0, **options) as simulator:
        watch = Watch(simulator)
        simulator.connect(bot.url, reconnect=0.5)
        await simulator.wait_connected(timeout=PATIENCE)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch.follow)
            yield watch
            tasks.cancel_scope.cancel()


def _outcome(trouble: str, bot: Bot) -> Outcome:
    return Outcome(trouble, bot.contender.framework, bot.mode)


async def sleeps(bot: Bot) -> Outcome:
    """A plugin that calls ``time.sleep``; NapCat goes on talking."""
    async with watched(bot) as watch:
        number = await watch.chat(1.0, 1)
        await watch.say(f"/block {bot.scale.sleep}", number)
        number = await watch.chat(bot.scale.sleep, number + 1)
        await watch.chat(2.0, number)
        await watch.settle(3.0)
        outcome = watch.told(_outcome("a plugin sleeps", bot), bot.scale.lifetime)
    outcome.peak = peak_mib(bot.process.pid)
    return outcome


async def frozen(bot: Bot) -> Outcome:
    """NapCat's process stands still and comes back; its own process here, and SIGSTOP."""
    command = [sys.executable, "-m", "bench.troubles", bot.url]
    outcome = _outcome("NapCat is frozen", bot)
    with bot_process(command) as napcat:
        assert napcat.stdout is not None
        with anyio.fail_after(bot.scale.frozen + 2 * PATIENCE):
            await anyio.to_thread.run_sync(napcat.stdout.readline, abandon_on_cancel=True)
            # By now it looks for a second that is missing.
            await anyio.sleep(1.0)
            napcat.send_signal(signal.SIGSTOP)
            await anyio.sleep(bot.scale.frozen)
            napcat.send_signal(signal.SIGCONT)
            back = time.monotonic()
            # It asks at once, and tells when an answer has come.
            line = await anyio.to_thread.run_sync(napcat.stdout.readline, abandon_on_cancel=True)
            outcome.away = time.monotonic() - back
            told = json.loads(line)
            outcome.lost, outcome.asked, outcome.answered = told["lost"], 1, told["answered"]
    return outcome


async def late(bot: Bot) -> Outcome:
    """An answer that is found after its call has timed out."""
    async with watched(bot) as watch:
        simulator = watch.simulator
        await watch.say("/late", 1)
        await simulator.wait_for(lambda: any(call["action"] == "get_status" for call in simulator.calls))
        [call] = [call for call in simulator.calls if call["action"] == "get_status"]
        await anyio.sleep(0.3)
        await simulator.emit(json.dumps({**simulator.answer(call), "echo": call["echo"]}).encode())
        await anyio.sleep(2.0)
        await watch.chat(2.0, 2)
        await watch.settle(3.0)
        return watch.told(_outcome("a late API answer", bot), bot.scale.lifetime)


async def overlapping(bot: Bot) -> Outcome:
    """NapCat dials anew while its old connection is still open; then the old one goes."""
    async with Simulator(10001, heartbeat=1.0) as new:
        async with watched(bot) as old:
            await old.chat(1.0, 1)
            began = time.monotonic()
            new.connect(bot.url, reconnect=0.2)
            await anyio.sleep(2.0)
        watch = Watch(new)
        await new.wait_connected(timeout=PATIENCE)
        number = 1000
        # aiocqhttp alone never answers again.
        enough = time.monotonic() + bot.scale.sleep + 5.0
        while not watch.told(_outcome("", bot), 0.0).answered and time.monotonic() < enough:
            await watch.say("/ping", number)
            number += 1
            await anyio.sleep(0.2)
        outcome = watch.told(_outcome("an overlapping reconnect", bot), bot.scale.lifetime)
        outcome.away = time.monotonic() - began
        outcome.lost = new.refusals
        return outcome


async def few_groups(bot: Bot) -> Outcome:
    """190 groups at once, of which the bot wants 20."""
    async with watched(bot) as watch:
        await watch.say("/ping", len(GROUPS) * 10)
        await watch.settle(5.0)
        cpu, start = cpu_seconds(bot.process.pid), time.monotonic()
        for number in range(1, bot.scale.burst + 1):
            await watch.say("说点什么", number)
        # Of a wanted group, behind all others.
        await watch.say("/ping", len(GROUPS) * 1000)
        await watch.settle(PATIENCE)
        took, used = time.monotonic() - start, cpu_seconds(bot.process.pid) - cpu
        outcome = watch.told(_outcome("190 groups, 20 wanted", bot), bot.scale.lifetime)
    outcome.rate, outcome.cpu = bot.scale.burst / took, used / bot.scale.burst * 1e6
    outcome.peak = peak_mib(bot.process.pid)
    return outcome


TROUBLES: Final[tuple[Trouble, ...]] = (sleeps, frozen, late, overlapping, few_groups)


async def through(contender: Contender, mode: Mode, trouble: Trouble, scale: Scale) -> Outcome:
    """One contender in one trouble, in a fresh process."""
    port = free_port()
    told = {
        "port": port,
        "spare": free_port(),
        "lifetime": scale.lifetime,
        "wanted": list(WANTED) if trouble is few_groups else None,
        "options": scale.options,
    }
    command = [sys.executable, "-m", "bench.trouble_bot", contender.framework, mode, json.dumps(told)]
    with bot_process(command) as process:
        return await trouble(Bot(contender, mode, port, process, scale))


def run(quick: bool, say: Callable[[str], None], out: Path | None = None, only: str = "") -> list[str]:
    """Every contender in every trouble, stock and napcore in turn; tells the table, returns what failed.

    ``only`` is the framework of a single contender.
    """
    outcomes: list[Outcome] = []
    failures: list[str] = []
    modes: tuple[Mode, ...] = ("stock", "napcore")
    for trouble in TROUBLES:
        for contender in (each for each in CONTENDERS if only in ("", each.framework)):
            for mode in modes:
                try:
                    outcomes.append(anyio.run(through, contender, mode, trouble, QUICK if quick else FULL))
                except Exception as error:
                    failures.append(f"{trouble.__name__}, {contender.framework}, {mode}: {error!r}")
    if outcomes:
        say(table(outcomes))
    for failure in failures:
        say(f"FAILED {failure}")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        found = {"quick": quick, "outcomes": list(map(asdict, outcomes)), "failures": failures}
        (out / "troubles.json").write_text(json.dumps(found, indent=1))
    return failures


def table(outcomes: list[Outcome]) -> str:
    """All outcomes."""
    columns = ["trouble", "framework", "", "links lost", "away s", "answers", "stale", "worst s", "events/s", "CPU us"]
    lines = [
        [
            each.trouble,
            each.framework,
            each.mode,
            _cell(each.lost),
            _cell(each.away, 1),
            "-" if each.asked is None else f"{each.answered}/{each.asked}",
            _cell(each.stale),
            _cell(each.worst, 2),
            _cell(each.rate),
            _cell(each.cpu),
            each.peak or "-",
        ]
        for each in outcomes
    ]
    title = "in trouble: links that ended (refusals where two overlap), answers, those that came too late"
    return plain_table(Table(title, [*columns, "peak MiB"], lines))


def _cell(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


async def napcat(url: str) -> None:
    """The process that is frozen: says a line when it is linked, and one when a question was answered after that."""
    async with Simulator(10001, groups=GROUPS, heartbeat=1.0) as simulator:
        watch = Watch(simulator)
        simulator.connect(url, reconnect=0.5)
        await simulator.wait_connected(timeout=PATIENCE)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch.follow)
            sys.stdout.write("linked\n")
            sys.stdout.flush()
            seen = time.monotonic()
            while time.monotonic() - seen < 1.0:
                # A second that is missing is the freeze.
                seen = time.monotonic()
                await anyio.sleep(0.05)
            number, end = 1, time.monotonic() + PATIENCE
            while not watch.told(Outcome("", "", ""), 0.0).answered and time.monotonic() < end:
                await watch.say("/ping", number)
                number += 1
                await anyio.sleep(0.2)
            # Whoever gives the link up does so within these.
            await anyio.sleep(1.0)
            answered = watch.told(Outcome("", "", ""), 0.0).answered
            sys.stdout.write(json.dumps({"lost": watch.lost, "answered": min(answered or 0, 1)}) + "\n")
            sys.stdout.flush()
            tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(napcat, sys.argv[1])
