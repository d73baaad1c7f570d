"""Events that no matcher can want are withheld before they are validated; in doubt they are not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import nonebot
import nonebot.message
import pytest
from nonebot.adapters.onebot.v11 import Bot, GroupMessageEvent
from nonebot.matcher import Matcher
from nonebot.rule import Rule, command, keyword, regex, to_me

import napcore.nonebot
from napcore import Event
from napcore.edge.nonebot.unwanted import Unwanted

bench: Any = sys.modules["napcore_nonebot_bench"]

pytestmark = pytest.mark.usefixtures("no_matchers")


@pytest.fixture
def bot() -> Bot:
    return Bot(bench.adapter(), "10001")


@pytest.fixture
def unwanted() -> Unwanted:
    return Unwanted(napcore.nonebot.install())


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "data": {"text": words}}


ME = {"type": "at", "data": {"qq": "10001"}}


def message(*segments: Any, **fields: Any) -> Event:
    event = {
        "time": 1,
        "self_id": 10001,
        "post_type": "message",
        "message_type": "group",
        "sub_type": "normal",
        "user_id": 7,
        "group_id": 5,
        "message_id": 1,
        "message": [text(each) if isinstance(each, str) else each for each in segments],
        "raw_message": "",
        "font": 0,
        "sender": {"user_id": 7, "nickname": "n", "role": "member"},
        **fields,
    }
    return Event.from_dict({name: value for name, value in event.items() if value is not ...})


def notice() -> Event:
    return Event.from_dict({"time": 1, "self_id": 10001, "post_type": "notice", "notice_type": "x", "group_id": 5})


def test_without_matchers_everything_is_withheld(bot: Bot, unwanted: Unwanted) -> None:
    assert unwanted.withholds(message("hi"), bot)
    assert unwanted.withholds(notice(), bot)
    assert unwanted.count == 2


@pytest.mark.parametrize(
    ("rule", "wanted", "not_wanted"),
    [
        (lambda: command("天气"), ["/天气 北京"], ["天 气", "说天气"]),
        (lambda: command("天气"), [ME, " /天气"], [ME, " 好"]),
        (lambda: keyword("天气"), ["今天", {"type": "face", "data": {"id": "1"}}, "天气"], ["今天 天 气"]),
        (lambda: regex("^hi$"), ["hi"], ["hi", ME, "there"]),
        (lambda: to_me(), ["hi ", ME], ["hi ", {"type": "at", "data": {"qq": "9"}}]),
        (lambda: to_me() & keyword("a"), [ME, "a"], [ME, "b"]),
    ],
)
def test_what_rules_can_take_is_not(
    rule: Callable[[], Rule], wanted: list[Any], not_wanted: list[Any], bot: Bot, unwanted: Unwanted
) -> None:
    Matcher.new("message", rule())
    assert not unwanted.withholds(message(*wanted), bot)
    assert unwanted.withholds(message(*not_wanted), bot)
    assert unwanted.withholds(notice(), bot)


def test_a_rule_of_ones_own_may_want_anything_of_its_type(bot: Bot, unwanted: Unwanted) -> None:
    async def mine() -> bool:
        return False

    Matcher.new("message", Rule(mine))
    assert not unwanted.withholds(message("hi"), bot)
    assert unwanted.withholds(notice(), bot)
    Matcher.new("notice", keyword("nothing"))
    assert not unwanted.withholds(notice(), bot)


def test_a_message_as_a_string_is_read_too(bot: Bot, unwanted: Unwanted) -> None:
    Matcher.new("message", keyword("天气"))
    assert not unwanted.withholds(message(message="今天[CQ:face,id=1]天气"), bot)
    assert unwanted.withholds(message(message="[CQ:image,file=天气]"), bot)


@pytest.mark.parametrize(
    "event",
    [
        message({"type": "reply", "data": {"id": "1"}}, "hi"),
        message("hi", user_id="7"),
        message("hi", font=...),
        message("hi", anonymous={"id": 1, "name": "n", "flag": "f"}),
        message("hi", sender={"level": 3}),
        message("hi", sender=None),
        message("hi", to_me=True),
        message("hi", message_type="channel"),
        message("hi", message=3),
        message("hi", message=[{"type": "text", "data": {"text": 3}}]),
        message("hi", message=[{"type": 3, "data": {}}]),
        message("hi", post_type="message_sent"),
        message("hi", post_type="else"),
    ],
)
def test_what_is_not_certain_is_handed_over(event: Event, bot: Bot, unwanted: Unwanted) -> None:
    Matcher.new("message", keyword("天气"))
    assert not unwanted.withholds(event, bot)


def test_a_class_of_events_of_ones_own(bot: Bot, unwanted: Unwanted, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(GroupMessageEvent):
        """Somebody's."""

    Matcher.new("message", keyword("天气"))
    assert unwanted.withholds(message("hi"), bot)
    models = type(bot.adapter).event_models  # type: ignore[attr-defined]
    monkeypatch.setattr(type(bot.adapter), "get_event_model", classmethod(lambda cls, data: iter([Mine])))
    assert not unwanted.withholds(message("hi"), bot)
    assert models is type(bot.adapter).event_models  # type: ignore[attr-defined]


def test_something_of_ones_own_in_front_of_every_event(
    bot: Bot, unwanted: Unwanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert unwanted.withholds(message("hi"), bot)
    monkeypatch.setattr(Bot, "handle_event", lambda self, event: None)
    assert not unwanted.withholds(message("hi"), bot)


def test_a_matcher_past_its_time_has_to_be_destroyed(bot: Bot, unwanted: Unwanted) -> None:
    Matcher.new("message", keyword("天气"), expire_time=bench.PAST)
    assert not unwanted.withholds(message("hi"), bot)
    assert not unwanted.withholds(notice(), bot)


@pytest.mark.parametrize("register", [nonebot.message.event_preprocessor, nonebot.message.event_postprocessor])
def test_processors_see_every_event_and_are_named_once(register: Any, bot: Bot, unwanted: Unwanted) -> None:
    bench.LOGGED.clear()

    async def recorder() -> None:
        """Writes everything down."""

    register(recorder)
    for _ in range(3):
        assert not unwanted.withholds(message("hi"), bot)
    [line] = bench.LOGGED
    assert "NAPCORE_SKIP_UNWANTED does nothing" in line
    assert "recorder of plugin none" in line
    assert unwanted.count == 0
    nonebot.message._event_preprocessors.clear()
    nonebot.message._event_postprocessors.clear()
    assert unwanted.withholds(message("hi"), bot)


def test_nothing_is_withheld_without_the_index(bot: Bot) -> None:
    installed = napcore.nonebot.install(dispatch=False)
    assert not Unwanted(installed).withholds(message("hi"), bot)
    installed.uninstall()
    bench.LOGGED.clear()
    assert not Unwanted(installed).withholds(message("hi"), bot)
    [line] = bench.LOGGED
    assert "the index is not in place" in line


def test_events_that_are_to_be_verified_are_handed_over(bot: Bot) -> None:
    assert not Unwanted(napcore.nonebot.install(verify=1.0)).withholds(message("hi"), bot)


def test_nothing_is_changed_in_the_event(bot: Bot, unwanted: Unwanted) -> None:
    Matcher.new("message", keyword("天气"))
    event = message(ME, "  hi ", "there ", ME)
    before = event.json()
    assert unwanted.withholds(event, bot)
    assert event.data == before
