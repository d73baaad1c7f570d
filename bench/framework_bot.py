"""A NoneBot2 bot of so many matchers, in a process of its own: measured in place, or serving a socket.

``python -m bench.framework_bot place KIND COUNT SECONDS`` prints one JSON line with times per event, NoneBot2 alone and
with napcore in turn. ``python -m bench.framework_bot serve KIND COUNT stock|napcore PORT`` serves until it is ended.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import anyio
import nonebot
from nonebot.adapters.onebot.v11 import Adapter, Bot
from nonebot.log import logger
from nonebot.matcher import Matcher, matchers
from nonebot.rule import command, endswith, fullmatch, keyword, regex, startswith

import napcore.nonebot

KINDS = ("command", "keyword", "regex", "alconna", "mixed")
UNWANTED = "说点什么吧，今天天气不错 hello there"


class Silent(Adapter):
    """The adapter without a network: calls are answered at once."""

    def _setup(self) -> None:
        pass

    async def _call_api(self, bot: Any, api: str, **data: Any) -> Any:
        return {"message_id": 1}


def wanted(kind: str, number: int) -> str:
    """What to say to matcher ``number`` of a kind."""
    return {"keyword": f"那个词{number}号", "regex": f"查询{number}号"}.get(of(kind, number), f"/cmd{number}x 参数")


def of(kind: str, number: int) -> str:
    """A mixed bot has all kinds in turn, and a rule nobody can look up in every fiftieth matcher."""
    return kind if kind != "mixed" else ("command", "keyword", "regex", "alconna")[number % 4]


def populate(kind: str, count: int) -> None:
    """``count`` matchers that answer."""
    for number in range(count):
        make(of(kind, number), number)


def make(kind: str, number: int) -> None:
    """One matcher that answers ``ok``."""
    if kind == "alconna":
        import arclet.alconna as arclet
        from nonebot_plugin_alconna import on_alconna

        arclet.config.command_max_count = 100_000
        matcher: Any = on_alconna(arclet.Alconna(f"/cmd{number}x", arclet.Args["word?", str]), priority=5, block=True)
    else:
        rules: dict[str, Callable[[], Any]] = {
            "command": lambda: command(f"cmd{number}x"),
            "keyword": lambda: keyword(f"词{number}号"),
            "regex": lambda: regex(rf"^查询{number}号$"),
            "startswith": lambda: startswith(f"开头{number}"),
            "endswith": lambda: endswith(f"结尾{number}"),
            "fullmatch": lambda: fullmatch(f"全文{number}"),
        }
        matcher = Matcher.new("message", rules[kind](), priority=5, block=True)

    async def answer(matcher: Matcher) -> None:
        await matcher.finish("ok")

    matcher.handle()(answer)


def message(text: str, number: int) -> dict[str, Any]:
    """A group message."""
    return {
        "time": 1_700_000_000,
        "self_id": 10001,
        "post_type": "message",
        "message_type": "group",
        "sub_type": "normal",
        "user_id": 10_000_000 + number,
        "group_id": 700_000_000 + number,
        "message_id": number,
        "message": [{"type": "text", "data": {"text": text}}],
        "raw_message": text,
        "font": 14,
        "sender": {"user_id": 10_000_000 + number, "nickname": "某人", "card": "", "role": "member"},
    }


def measure(kind: str, count: int, seconds: float) -> dict[str, Any]:
    """Times per event in microseconds of CPU, all threads of the process together, medians of rounds: validating an
    event, and handling one that nothing or one matcher wants.
    """
    nonebot.init(driver="~none", command_start={"/"}, log_level="ERROR")
    driver = nonebot.get_driver()
    driver.register_adapter(Silent)
    load_alconna(kind)
    populate(kind, count)
    bot = Bot(driver._adapters[Adapter.get_name()], "10001")
    numbers = iter(range(1, sys.maxsize))
    texts = {"none": [UNWANTED], "one": [wanted(kind, number) for number in range(count)]}

    async def play(what: str, events: int) -> tuple[float, float]:
        said = [message(texts[what][n % len(texts[what])], next(numbers)) for n in range(events)]
        gc.collect()
        start = time.process_time()
        parsed = [Adapter.json_to_event(event) for event in said]
        between = time.process_time()
        for event in parsed:
            assert event is not None
            await bot.handle_event(event)
        return (between - start) / events * 1e6, (time.process_time() - between) / events * 1e6

    async def round_of(mode: str, times: dict[str, list[float]]) -> None:
        installed = napcore.nonebot.install() if mode == "napcore" else None
        if installed is not None:
            await play("none", 3)  # the first event reads every matcher
        for what in texts:
            _, first = await play(what, 1)
            parsing, handling = await play(what, max(1, min(500, int(seconds * 1e6 / 8 / first))))
            times[f"{mode} {what}"].append(handling)
            times[f"{mode} parse"].append(parsing)
        if installed is not None:
            assert not installed.statistics().stepped_aside, "napcore stepped aside"
            installed.uninstall()

    measured = (*texts, "parse")
    times: dict[str, list[float]] = {f"{mode} {what}": [] for mode in ("stock", "napcore") for what in measured}
    end = time.monotonic() + 4 * seconds
    while not times["napcore one"] or (time.monotonic() < end and len(times["napcore one"]) < 15):
        for mode in ("stock", "napcore"):
            anyio.run(round_of, mode, times)
    return {name: statistics.median(values) for name, values in times.items()}


def load_alconna(kind: str) -> None:
    """Load the plugin where its commands are needed; its import warns of what this bot has no use for."""
    if kind in {"alconna", "mixed"}:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nonebot.require("nonebot_plugin_alconna")


def serve(kind: str, count: int, mode: str, port: int) -> None:
    """Serve OneBot's reverse WebSocket; a line on stdout for the first event of the kind ``count me`` asks for."""
    nonebot.init(driver="~fastapi", host="127.0.0.1", port=port, command_start={"/"}, log_level="ERROR")
    nonebot.get_driver().register_adapter(Adapter)
    load_alconna(kind)
    populate(kind, count)
    assert matchers
    if mode == "napcore":
        assert napcore.nonebot.install().active
    nonebot.message.event_postprocessor(Tally().count)
    nonebot.run(log_level="error")


class Tally:
    """Tells on stdout how many messages have been dealt with."""

    def __init__(self) -> None:
        self._messages = 0

    async def count(self, event: nonebot.adapters.Event) -> None:
        """Called after each event."""
        if event.get_type() == "message":
            self._messages += 1
            sys.stdout.write(f"{self._messages}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    logger.remove()
    what, kind, count, *rest = sys.argv[1:]
    if what == "place":
        sys.stdout.write(json.dumps(measure(kind, int(count), float(rest[0]))) + "\n")
    else:
        serve(kind, int(count), rest[0], int(rest[1]))
