"""Time by plugin: whole runs, stretches in which the loop was held, and the line such a stretch ended at."""

from __future__ import annotations

import sys
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from nonebot.adapters.onebot.v11 import Bot
from nonebot.matcher import Matcher, MatcherSource

import napcore.nonebot
from napcore.edge.nonebot import timing
from napcore.edge.nonebot.command import report
from napcore.edge.nonebot.install import Statistics
from napcore.edge.nonebot.timing import PluginTime, Timing

bench: Any = sys.modules["napcore_nonebot_bench"]
program: Any = sys.modules["napcore_nonebot_program"]


class Clock:
    """Stands still unless told."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def matcher(plugin: str | None = "weather", module: str | None = __name__) -> Any:
    made = type("M", (), {})
    made.plugin_id, made.module_name = plugin, module  # type: ignore[attr-defined]
    made._source = MatcherSource(plugin_id=plugin, module_name=module, lineno=7)  # type: ignore[attr-defined]
    return made


async def test_a_run_and_its_stretches_are_counted() -> None:
    clock = Clock()
    times = Timing(clock)

    async def work() -> None:
        clock.time += 2.0
        await anyio.lowlevel.checkpoint()
        clock.time += 0.5

    async def wait(event: anyio.Event) -> None:
        await event.wait()
        clock.time += 0.25

    await times.run(matcher(), work())
    woken = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(times.run, matcher("other", None), wait(woken))
        await anyio.wait_all_tasks_blocked()
        clock.time += 10.0  # somebody else's
        woken.set()
    first, second = times.statistics()
    assert (first.plugin, first.runs, first.mean, first.busy, first.longest) == ("weather", 1, 2.5, 2.5, 2.0)
    assert first.line == f"{__file__}:{work.__code__.co_firstlineno + 2}"
    assert (second.plugin, second.mean, second.busy, second.longest, second.line) == ("other", 10.25, 0.25, 0.25, "?:7")


async def test_what_a_run_raises_goes_on_and_is_counted() -> None:
    times = Timing(Clock())

    async def fail() -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError("own fault")

    for _ in range(3):
        with pytest.raises(ValueError, match="own fault"):
            await times.run(matcher(), fail())
    [only] = times.statistics()
    assert only.runs == 3


async def test_cancellation_reaches_the_run() -> None:
    times = Timing(Clock())
    seen = []

    async def forever() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            seen.append("cancelled")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(times.run, matcher(), forever())
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert seen == ["cancelled"]
    assert times.statistics()[0].runs == 1


async def test_p99_is_of_the_last_runs() -> None:
    clock = Clock()
    times = Timing(clock)

    async def work(seconds: float) -> None:
        clock.time += seconds

    for seconds in [100.0] * 5 + [1.0] * timing.LAST:
        await times.run(matcher(), work(seconds))
    [only] = times.statistics()
    assert only.p99 == 1.0
    assert only.runs == timing.LAST + 5


@pytest.fixture
def emptied(no_matchers: None) -> None:
    pass


async def say(text: str, user: int) -> None:
    run = bench.Run(program.Program((), (), ()))
    await Bot(bench.adapter(), "10001").handle_event(run.event(program.Event("message", (text,), user=user)))


def test_superusers_are_told(emptied: None) -> None:
    installed = napcore.nonebot.install()
    napcore.nonebot.add_command(installed)
    said: list[str] = []
    bench.adapter().calls = lambda bot, api, data: said.append(str(data["message"]))

    async def handler() -> None:
        pass

    Matcher.new("message", handlers=[handler], source=MatcherSource(plugin_id="weather", module_name="w", lineno=3))
    try:
        anyio.run(say, "hi", 7)
        anyio.run(say, "/napcore", 8)
        assert not said
        anyio.run(say, "/napcore", 7)
    finally:
        bench.adapter().calls = None
    [answer] = said
    assert "3 个事件" in answer
    assert "weather：" in answer


def test_a_report_names_the_slowest_line_without_its_folder() -> None:
    plugin = PluginTime("weather", 3, 0.012, 0.02, 0.03, 1.25, "/home/me/bot/plugins/weather.py:42")
    text = report(Statistics(100, 10, 990, 1, 0, 0, (plugin,)))
    assert "跳过 990 次" in text
    assert "最长占用 1250 ms（weather.py:42）" in text
    assert "/home" not in text
