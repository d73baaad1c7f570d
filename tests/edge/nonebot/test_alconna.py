"""Commands of nonebot-plugin-alconna: with the index, the same ones run, with the same result, and send the same
help.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if find_spec("nonebot_plugin_alconna") is None:
    pytest.skip("nonebot-plugin-alconna not installed: pip install --group nonebot", allow_module_level=True)

import nonebot
from nonebot.adapters import Event as BaseEvent
from nonebot.adapters.onebot.v11 import Bot, Message
from nonebot.matcher import Matcher

import napcore.nonebot

bench: Any = sys.modules["napcore_nonebot_bench"]
bench.adapter()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    nonebot.require("nonebot_plugin_alconna")

import arclet.alconna as arclet  # noqa: E402  # by module: pytest looks at every name here, and Args answers to any attribute
from nonebot_plugin_alconna import AlconnaMatches, on_alconna  # noqa: E402
from nonebot_plugin_alconna.extension import Extension  # noqa: E402

HEADS = ("天气", "hi", "a b", "查 天气", "{what}好", "re:\\d+号", "x")
SHORTCUTS = ("早", "早上 好", "第(\\d+)", "a+", "图库")
WORDS = ("天气", "hi", "a b", "查", "你好", "3号", "早", "早上", "好", "第3", "图库", "aaa", "x", "--help", "q")
IDS = count(1)


class Loud(Extension):
    """An extension: it may do anything, so its rule always runs."""

    @property
    def priority(self) -> int:
        return 10

    @property
    def id(self) -> str:
        return "loud"

    async def receive_wrapper(self, bot: Any, event: Any, command: Any, receive: Any) -> Any:
        return receive


@dataclass(frozen=True)
class Command:
    """An alconna command."""

    head: str
    prefixes: tuple[str, ...] = ()
    separators: str = " "
    compact: bool = False
    fuzzy: bool = False
    shortcuts: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    start: bool = False
    extension: bool = False
    later: str | None = None
    """A shortcut added, or a new head given, after the first message."""
    skip: bool = True


commands = st.builds(
    Command,
    st.sampled_from(HEADS),
    st.lists(st.sampled_from(("/", ".", "#!")), max_size=2).map(tuple),
    st.sampled_from((" ", " ", ";")),
    st.booleans(),
    st.booleans(),
    st.lists(st.sampled_from(SHORTCUTS), max_size=2, unique=True).map(tuple),
    st.lists(st.sampled_from(("早安", "再见")), max_size=1).map(tuple),
    st.booleans(),
    st.integers(0, 5).map(lambda n: n == 0),
    st.sampled_from((None, None, None, "早", "+x")),
    st.booleans(),
)
parts = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(WORDS),
    st.sampled_from((" ", " ", "\n", ";", '"', "'", "\\", "/", ".", "face", "@me")),
)
messages = st.lists(parts, min_size=1, max_size=5).map(tuple)


async def converse(what: list[Command], said: list[tuple[str, ...]], rewriting: bool) -> list[Any]:
    trace: list[Any] = []
    bot = Bot(bench.adapter(), "10001")
    bench.adapter().calls = lambda bot, api, data: trace.append(("call", api, repr(sorted(data.items()))))
    made = []
    for number, spec in enumerate(what):
        command = arclet.Alconna(
            list(spec.prefixes),
            spec.head,
            arclet.Args["word?", str],
            arclet.Option("--flag"),
            meta=arclet.CommandMeta(compact=spec.compact, fuzzy_match=spec.fuzzy),
            separators=spec.separators,
            namespace=f"test{next(IDS)}",
        )
        for shortcut in spec.shortcuts:
            command.shortcut(shortcut, {"args": ["--flag"]})
        matcher = on_alconna(
            command,
            aliases=set(spec.aliases),
            use_cmd_start=spec.start,
            priority=2 if number % 2 else 6,
            extensions=[Loud] if spec.extension else [],
            skip_for_unmatch=spec.skip,
        )

        @matcher.handle()
        async def handler(result: Any = AlconnaMatches(), number: int = number) -> None:
            trace.append(("ran", number, repr(result.header_match), repr(result.all_matched_args)))

        made.append((matcher, command))
    if rewriting:

        async def rewrite(event: BaseEvent) -> None:
            event.message = Message("hi 天气")  # type: ignore[attr-defined]

        Matcher.new("message", priority=4, handlers=[rewrite])
    try:
        for position, words in enumerate(said):
            trace.append(words)
            event = bench.Run.event(
                type("Now", (), {"current": next(IDS), "_segment": staticmethod(bench.Run._segment)})(),
                bench_event(words),
            )
            await bot.handle_event(event)
            if position == 0:
                for (_, command), spec in zip(made, what, strict=True):
                    if spec.later == "+x":
                        with arclet.command_manager.update(command):
                            command.command = "x"
                    elif spec.later:
                        command.shortcut(spec.later, {"args": ["--flag"]})
    finally:
        bench.adapter().calls = None
        for _, command in made:
            arclet.command_manager.delete(command)
    # rules of one priority run side by side
    return sorted(map(repr, trace))


def bench_event(words: tuple[str, ...]) -> Any:
    program: Any = sys.modules["napcore_nonebot_program"]
    return program.Event("message", words)


@pytest.fixture(autouse=True)
def emptied(no_matchers: None) -> None:
    pass


def with_and_without(what: list[Command], said: list[tuple[str, ...]], rewriting: bool = False) -> tuple[Any, Any, Any]:
    bench.reset()
    stock = anyio.run(converse, what, said, rewriting)
    bench.reset()
    installed = napcore.nonebot.install()
    ours = anyio.run(converse, what, said, rewriting)
    statistics = installed.statistics()
    bench.reset()
    return stock, ours, statistics


def test_the_same_commands_run_with_and_without() -> None:
    skipped = 0

    @settings(max_examples=max(15, settings().max_examples // 4), suppress_health_check=list(HealthCheck))
    @given(
        st.lists(commands, min_size=1, max_size=3, unique_by=lambda each: (each.head, each.prefixes)),
        st.lists(messages, min_size=1, max_size=4),
        st.booleans(),
    )
    def same(what: list[Command], said: list[tuple[str, ...]], rewriting: bool) -> None:
        nonlocal skipped
        stock, ours, statistics = with_and_without(what, said, rewriting)
        assert ours == stock
        assert not statistics.stepped_aside
        skipped += statistics.skipped

    same()
    assert skipped > 0


@pytest.mark.parametrize(
    ("what", "said", "skipped"),
    [
        (Command("天气"), ("hi",), 1),
        (Command("天气"), ("天", '"', "气"), 0),
        (Command("天气"), ("face", "天气"), 0),
        (Command("天气", aliases=("早安",)), ("早安", "!"), 0),
        (Command("天气", aliases=("早安",)), ("hi",), 1),
        (Command("天气", shortcuts=("第(\\d+)",)), ("hi",), 0),
        (Command("天气", shortcuts=("图库",)), ("hi",), 1),
        (Command("天气", start=True), ("hi",), 1),
        (Command("{what}好"), ("hi",), 0),
        (Command("天气", extension=True), ("hi",), 0),
    ],
)
def test_which_rules_are_skipped(what: Command, said: tuple[str, ...], skipped: int) -> None:
    stock, ours, statistics = with_and_without([what], [said])
    assert ours == stock
    assert statistics.skipped == skipped


def test_commands_that_change_are_read_again() -> None:
    for later in ("早", "+x"):
        stock, ours, statistics = with_and_without([Command("天气", later=later)], [("q",), ("早",), ("x",)])
        assert ours == stock
        assert statistics.skipped == 2
        assert any("ran" in line for line in ours)


PLANTED: dict[str, tuple[Any, list[Command], list[tuple[str, ...]], bool]] = {
    "quotes stay in the text": (
        ("bare_text", lambda text: text),
        [Command("hi")],
        [("\\", "'", "hi"), ("h", '"', "i"), ('"', "h", '"', "i"), ("h\\'i",)],
        False,
    ),
    "a head is one word": (("_last_piece", lambda head, separators: head), [Command("a b")], [("a", "\n", "b")], False),
    "a shortcut is no head": (
        ("_literal", lambda key, made: "天气"),
        [Command("天气", shortcuts=("图库",))],
        [("图库",)],
        False,
    ),
    "a command stays as it was": (
        ("Poll.changed", lambda self: False),
        [Command("天气", later="早")],
        [("q",), ("早",)],
        False,
    ),
    "the message is not kept": (
        ("keep_message", None),
        [Command("天气"), Command("q"), Command("x")],
        [("x",)],
        True,
    ),
    "the text is always the parser's": (
        ("Head.possible", lambda self, facts: facts.kind == "message" and any(w in facts.text for w in self.words)),
        [Command("x"), Command("天气")],
        [("x",)],
        True,
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from napcore.edge.nonebot import alconna

    (place, fault), what, said, rewriting = PLANTED[name]
    stock, ours, _ = with_and_without(what, said, rewriting)
    assert ours == stock
    if fault is None:

        async def fault(bot: Any, event: Any, state: Any) -> None:
            pass

    owner = getattr(alconna, place.split(".")[0]) if "." in place else alconna
    monkeypatch.setattr(owner, place.split(".")[-1], fault)
    stock, ours, _ = with_and_without(what, said, rewriting)
    assert ours != stock
