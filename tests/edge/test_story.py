"""``napcore demo`` without options, in both languages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
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


def test_a_gbk_console_shows_what_it_can(tmp_path: Path) -> None:
    # A bot's name may hold what GBK lacks; that is a "?" there, not a traceback.
    config = tmp_path / "\U0001f916.toml"
    config.write_text('[[upstream]]\nurl = "ws://127.0.0.1:1"\n', "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "napcore", "check", str(config)],
        env={**os.environ, "PYTHONIOENCODING": "gbk", "NAPCORE_LANG": "zh"},
        capture_output=True,
    )
    assert done.returncode == 0
    assert "没有问题：" in done.stdout.decode("gbk")
    assert "?.toml" in done.stdout.decode("gbk")
    assert done.stderr == b""
