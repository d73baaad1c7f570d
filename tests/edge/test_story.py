"""``napcore demo`` without options, in both languages."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from napcore.edge.cli import main
from napcore.edge.cli import story as story_module
from napcore.testing.story import Figures, StoryResult


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPCORE_LANG", "en")


def story(state: str = "connected", **figures: Any) -> StoryResult:
    plain: dict[str, Any] = dict.fromkeys(
        ("received", "waiting", "most_waiting", "most_waiting_kib", "stale", "oldest", "dropped", "burst", "redials"), 0
    )
    way = Figures(**{**plain, "healthy_p99_ms": 1.25, "state": state, **figures})
    return StoryResult(
        12.0, 100, replace(way, stale=77, waiting=33), replace(way, stale=5, dropped=6, healthy_p99_ms=None)
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_demo_without_options_tells_the_story(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    async def run_story(on_moment: Any) -> StoryResult:
        for part in ("normal", "blocked", "returned", "frozen", "released", "end"):
            on_moment(part, story("stalled"))
        return story()

    monkeypatch.setattr(story_module, "run_story", run_story)
    monkeypatch.setenv("NAPCORE_LANG", language)
    assert main(["demo", "--backend", "trio"]) == 0
    told = capsys.readouterr().out
    lines = told.splitlines()
    assert len([line for line in lines if line.startswith(" 12 ")]) == 6
    assert "stalled" in told
    if language == "en":
        assert "77 stale messages reached it" in told
        assert re.split("  +", lines[-11]) == ["measured in this run", "NapCat alone", "through napcore"]
        assert re.split("  +", lines[-10])[1:] == ["1.2", "-"]
        assert re.split("  +", lines[-7])[1:] == ["77", "5"]
        assert lines[-1].startswith("One run, both ways at the same time, on trio, ")


def test_a_story_that_does_not_come_up_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_story(on_moment: Any) -> StoryResult:
        raise TimeoutError("0 of 1 links are open after 10 s")

    monkeypatch.setattr(story_module, "run_story", run_story)
    assert main(["demo"]) == 1
    assert capsys.readouterr().err == "error: 0 of 1 links are open after 10 s\n"
