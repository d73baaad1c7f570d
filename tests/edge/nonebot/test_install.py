"""Switching on and off, before and after NoneBot2 itself; settings; versions; what steps in when something is
replaced.
"""

from __future__ import annotations

import sys
from typing import Any

import anyio
import anyio.lowlevel
import nonebot
import nonebot.message
import pytest
from nonebot.adapters.onebot.v11 import Bot
from nonebot.matcher import Matcher, matchers
from nonebot.rule import keyword, to_me

import napcore.nonebot
from napcore.edge.nonebot import install as installing
from napcore.edge.nonebot import stock
from napcore.edge.nonebot.settings import Settings
from napcore.errors import ConfigError

bench: Any = sys.modules["napcore_nonebot_bench"]
program: Any = sys.modules["napcore_nonebot_program"]

OWNERS = ("Matcher", "MatcherMeta", "Rule", "Permission")


@pytest.fixture(autouse=True)
def emptied(no_matchers: None) -> None:
    bench.LOGGED.clear()


def surroundings() -> dict[str, Any]:
    """Everything that install() replaces, by name."""
    from nonebot.adapters.onebot.v11 import adapter, bot
    from nonebot.internal.adapter import message as messages

    of = stock.Stock()
    classes = [getattr(of, name) for name in OWNERS] + list(of.checkers[:11])
    places = [vars(module) for module in (nonebot.message, adapter, bot, messages)] + [vars(each) for each in classes]
    return {f"{number}.{key}": value for number, place in enumerate(places) for key, value in place.items()}


async def say(*parts: str) -> None:
    """A message in a group."""
    run = bench.Run(program.Program((), (), ()))
    await Bot(bench.adapter(), "10001").handle_event(run.event(program.Event("message", parts)))


def ran(rule: Any, **more: Any) -> tuple[Any, list[str]]:
    """A matcher that notes its runs."""
    out: list[str] = []

    async def handler() -> None:
        out.append("ran")

    return Matcher.new("message", rule, handlers=[handler], **more), out


def test_everything_is_put_back() -> None:
    before = surroundings()
    installed = napcore.nonebot.install()
    assert installed.active
    during = surroundings()
    assert {key.split(".")[1] for key in during if during[key] is not before.get(key)} == {
        "TrieRule",
        "matchers",
        "check_and_run_matcher",
        "_run_matcher",
        "type_validate_python",
        "__setattr__",
        "__delattr__",
        "checkers",
    }
    installed.uninstall()
    after = surroundings()
    assert before.keys() == after.keys()
    assert [key for key in before if after[key] is not before[key]] == []
    assert not installed.active
    installed.uninstall()


def test_a_second_call_changes_nothing() -> None:
    installed = napcore.nonebot.install(verify=0.5)
    assert napcore.nonebot.install() is installed
    assert installed.settings().verify == 0.5
    installed.uninstall()
    again = napcore.nonebot.install()
    assert again is not installed
    assert again.settings().verify == 0


def test_matchers_made_before_and_after_are_served() -> None:
    _, early = ran(keyword("hi"))
    installed = napcore.nonebot.install()
    _, late = ran(keyword("hi"))
    anyio.run(say, "hi")
    anyio.run(say, "ho")
    installed.uninstall()
    anyio.run(say, "hi")
    assert (len(early), len(late)) == (2, 2)
    statistics = installed.statistics()
    assert (statistics.events, statistics.skipped, statistics.stepped_aside) == (2, 2, 0)


def test_before_init_the_settings_are_read_at_the_first_event(monkeypatch: pytest.MonkeyPatch) -> None:
    config = nonebot.get_driver().config
    monkeypatch.setattr(config, "napcore_dispatch", False, raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(nonebot, "_driver", None)
        installed = napcore.nonebot.install()
        assert installed.settings() == Settings(True, 0.0)
    _, out = ran(keyword("hi"))
    anyio.run(say, "ho")
    anyio.run(say, "hi")
    assert out == ["ran"]
    assert installed.settings() == Settings(False, 0.0)
    assert installed.statistics().events == 0


def test_the_configuration_goes_before_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    config = nonebot.get_driver().config
    monkeypatch.setattr(config, "napcore_verify", "0.25", raising=False)
    monkeypatch.setattr(config, "napcore_dispatch", "on", raising=False)
    assert napcore.nonebot.install(dispatch=False, verify=1).settings() == Settings(True, 0.25)


@pytest.mark.parametrize("value", [2, -0.1, "often", True, float("nan")])
def test_a_share_out_of_range_is_refused(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="NAPCORE_VERIFY"):
        napcore.nonebot.install(verify=value)
    if value is not True:
        monkeypatch.setattr(nonebot.get_driver().config, "napcore_verify", value, raising=False)
        with pytest.raises(ConfigError, match="NAPCORE_VERIFY"):
            napcore.nonebot.install()
    assert installing._installed is None


def test_a_wrong_setting_that_is_found_late_is_logged_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonebot.get_driver().config, "napcore_verify", "often", raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(nonebot, "_driver", None)
        napcore.nonebot.install()
    _, out = ran(keyword("hi"))
    anyio.run(say, "hi")
    anyio.run(say, "hi")
    assert len(out) == 2
    assert len([line for line in bench.LOGGED if "NAPCORE_VERIFY" in line]) == 1


@pytest.mark.parametrize("version", ["2.2.1", "2.6.0", "3.0", "1.9.1", "rubbish"])
def test_an_unknown_version_is_left_alone_with_one_warning(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "version", lambda: version)
    before = surroundings()
    installed = napcore.nonebot.install()
    napcore.nonebot.install()
    assert not installed.active
    assert surroundings() == before
    assert [version in line for line in bench.LOGGED] == [True]
    assert installed.statistics().events == 0
    installed.uninstall()


@pytest.mark.parametrize("version", ["2.3.0", "2.4.4", "2.5.0", "2.5.1rc1"])
def test_known_versions(version: str) -> None:
    assert stock.is_supported(version)


def test_without_nonebot2_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(ImportError, match=r"napcore\[nonebot\]"):
        napcore.nonebot.install()


def test_a_dispatch_that_looks_different_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handle_event(bot: Any, event: Any) -> None:
        pass

    monkeypatch.setattr(nonebot.message, "handle_event", handle_event)
    assert not napcore.nonebot.install().active
    assert len(bench.LOGGED) == 1


@pytest.mark.parametrize("name", ["check_rule", "check_perm"])
def test_replaced_checks_are_nonebots_to_call(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """nonebug and others put their own in the place of Matcher's checks: every matcher is then asked."""
    installed = napcore.nonebot.install()
    ran(keyword("hi"))
    asked = []
    original = vars(Matcher)[name].__func__

    async def check(cls: Any, *arguments: Any) -> Any:
        asked.append(cls)
        return await original(cls, *arguments)

    anyio.run(say, "ho")
    with monkeypatch.context() as patch:
        patch.setattr(Matcher, name, classmethod(check))
        anyio.run(say, "ho")
    anyio.run(say, "ho")
    assert len(asked) == 1
    assert installed.statistics().stepped_aside == 1


def test_a_matcher_with_checks_of_its_own_is_always_asked() -> None:
    napcore.nonebot.install()
    asked = []

    class Own(Matcher):
        @classmethod
        async def check_rule(cls, *arguments: Any, **more: Any) -> bool:
            asked.append(cls)
            return False

    Own.new("message", keyword("hi"))
    anyio.run(say, "ho")
    assert len(asked) == 1


@pytest.mark.parametrize("users", [["group_5_7"], ({"unhashable": 1}, "group_5_7"), {"group_5_7"}])
def test_a_permission_made_by_hand_is_always_asked(users: Any) -> None:
    from nonebot.permission import Permission, User

    installed = napcore.nonebot.install()
    _, out = ran(keyword("hi"), permission=Permission(User(users)))
    anyio.run(say, "hi")
    anyio.run(say, "ho")
    assert out == ["ran"]
    statistics = installed.statistics()
    assert (statistics.skipped, statistics.stepped_aside) == (0, 0)


def test_somebody_elses_replacement_is_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = napcore.nonebot.install()
    ours = nonebot.message.check_and_run_matcher

    async def theirs(*arguments: Any, **more: Any) -> None:
        await ours(*arguments, **more)

    monkeypatch.setattr(nonebot.message, "check_and_run_matcher", theirs)
    _, out = ran(keyword("hi"))
    anyio.run(say, "hi")
    assert out == ["ran"]
    assert installed.statistics().stepped_aside == 1
    installed.uninstall()
    assert nonebot.message.check_and_run_matcher is theirs
    assert "check_and_run_matcher" in bench.LOGGED[-1]
    anyio.run(say, "hi")
    assert len(out) == 2


def test_a_failure_inside_leaves_the_event_to_nonebot(monkeypatch: pytest.MonkeyPatch) -> None:
    from napcore.edge.nonebot.index import Index

    installed = napcore.nonebot.install()
    _, out = ran(keyword("hi"))
    with monkeypatch.context() as patch:
        patch.setattr(Index, "candidates", lambda self, facts: 1 // 0)
        anyio.run(say, "hi")
        anyio.run(say, "hi")
    anyio.run(say, "hi")
    assert len(out) == 3
    assert installed.statistics().stepped_aside == 2
    assert len(bench.LOGGED) == 1


def test_everybody_else_sees_all_matchers() -> None:
    napcore.nonebot.install()
    seen = []

    async def look() -> None:
        seen.append([len(matchers[priority]) for priority in (1, 2)])
        seen.append([len(nonebot.message.matchers[priority]) for priority in (1, 2)])
        seen.append(sorted(map(len, nonebot.message.matchers.values())))
        nonebot.message.matchers[3] = []
        assert 3 in matchers
        assert len(nonebot.message.matchers) == len(matchers)
        del nonebot.message.matchers[3]
        assert nonebot.message.matchers.provider is matchers.provider
        assert nonebot.message.matchers == matchers
        assert repr(nonebot.message.matchers) == repr(matchers)

    Matcher.new("message", handlers=[look])
    Matcher.new("message", keyword("hi"), priority=2)
    anyio.run(say, "ho")
    assert seen == [[1, 1], [1, 1], [1, 1]]


def test_one_matcher_listed_twice_is_asked_twice() -> None:
    napcore.nonebot.install()
    matcher, out = ran(keyword("hi"))
    matchers[1].append(matcher)
    anyio.run(say, "hi")
    assert len(out) == 2


def test_matchers_that_are_gone_are_forgotten() -> None:
    installed = napcore.nonebot.install()
    made = [ran(keyword("hi"), priority=priority)[0] for priority in (1, 1, 2)]
    anyio.run(say, "ho")
    assert installed.statistics().matchers == 3
    for matcher in made[1:]:
        matcher.destroy()
    anyio.run(say, "ho")
    assert installed.statistics().matchers == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_set_of_checkers_that_somebody_holds_is_looked_at(when: str) -> None:
    """Changed long after it was got hold of, at a time when nothing reads the attribute."""
    matcher, out = ran(keyword("hi"))
    held = matcher.rule.checkers if when == "before" else None
    installed = napcore.nonebot.install()
    anyio.run(say, "ho")
    if held is None:
        held = matcher.rule.checkers
    anyio.run(say, "ho")
    assert installed.statistics().skipped == 2
    held.clear()
    anyio.run(say, "ho")
    assert out == ["ran"]


def test_a_set_of_checkers_that_nobody_holds_any_more_is_not() -> None:
    installed = napcore.nonebot.install()
    matcher, _ = ran(keyword("hi"))
    anyio.run(say, "ho")
    assert installed._dispatch is not None
    index = installed._dispatch.index
    assert not index._exposed
    held = matcher.rule.checkers
    assert len(index._exposed) == 1
    anyio.run(say, "ho")
    assert len(index._exposed) == 1
    assert held
    del held
    anyio.run(say, "ho")
    assert not index._exposed


def test_verify_finds_and_runs_what_would_have_been_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    from nonebot.matcher import MatcherSource

    from napcore.edge.nonebot import conditions

    monkeypatch.setattr(conditions.ToMe, "possible", lambda self, facts: False)
    _, out = ran(to_me(), source=MatcherSource(plugin_id="weather"))
    installed = napcore.nonebot.install(verify=1.0)
    anyio.run(say, "@me", "hi")
    anyio.run(say, "hi")
    assert out == ["ran"]
    statistics = installed.statistics()
    assert (statistics.verified, statistics.mismatches, statistics.skipped) == (2, 1, 0)
    assert "weather" in bench.LOGGED[0]


def test_verify_takes_about_its_share() -> None:
    installed = napcore.nonebot.install(verify=0.5)
    assert installed._dispatch is not None
    installed._dispatch._random.seed(1)
    ran(keyword("hi"))

    async def many() -> None:
        for _ in range(100):
            await say("ho")

    anyio.run(many)
    assert 30 < installed.statistics().verified < 70


def test_events_side_by_side_do_not_mix() -> None:
    napcore.nonebot.install()
    out = []

    def handler_of(word: str) -> Any:
        async def handler(event: bench.BaseEvent) -> None:
            await anyio.lowlevel.checkpoint()
            out.append((word, event.get_plaintext()))

        return handler

    for word in ("hi", "ho", "ha"):
        for priority in (1, 2):
            Matcher.new("message", keyword(word), priority=priority, handlers=[handler_of(word)])

    async def many() -> None:
        async with anyio.create_task_group() as tasks:
            for text in ("hi", "ho", "ha", "hi ho", "zzz") * 5:
                tasks.start_soon(say, text)

    anyio.run(many)
    expected = [(word, text) for text in ("hi", "ho", "ha", "hi ho") for word in text.split()] * 10
    assert sorted(out) == sorted(expected)
