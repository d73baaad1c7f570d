from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

from napcore.edge import cli
from napcore.edge.cli import texts
from napcore.edge.cli.layout import table
from napcore.edge.cli.texts import TEXTS, language, say

FOLDER = Path(cli.__file__).parent
SOURCES = {path: path.read_text("utf-8") for path in FOLDER.glob("*.py") if path.name != "texts.py"}


def placeholders(text: str) -> set[tuple[str, str]]:
    return {(name, form or "") for _, name, form, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("key", TEXTS)
def test_both_languages_say_the_same(key: str) -> None:
    assert set(TEXTS[key]) == {"en", "zh"}
    assert all(text.strip() for text in TEXTS[key].values())
    assert placeholders(TEXTS[key]["en"]) == placeholders(TEXTS[key]["zh"])
    assert TEXTS[key]["en"].isascii()
    assert re.search("[\u4e00-\u9fff]", TEXTS[key]["zh"])


def test_the_catalogue_is_in_use_and_in_order() -> None:
    literals = set(re.findall(r'"([a-z][a-z0-9_.]*)"', "".join(SOURCES.values())))
    assert set(TEXTS) - literals == set()
    assert {key for source in SOURCES.values() for key in re.findall(r'say\("([^"]+)"', source)} - set(TEXTS) == set()
    assert list(TEXTS) == sorted(TEXTS)


def test_nothing_is_said_past_the_catalogue() -> None:
    for path, source in SOURCES.items():
        assert not re.search("[\u4e00-\u9fff]", source), path
        for printed in re.findall(r'print\(f?"[^"]*', source):
            raise AssertionError(f"{path}: {printed}")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "de_DE.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8", "LC_MESSAGES": "zh_TW.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "NAPCORE_LANG": "en"}, "en"),
        ({"LANG": "en_US.UTF-8", "NAPCORE_LANG": "ZH-cn"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "NAPCORE_LANG": ""}, "zh"),
    ],
)
def test_language(environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts.sys, "platform", "linux")
    for name in ("NAPCORE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert language() == expected
    assert say("run.stopped") == {"en": "Stopped.", "zh": "已停止。"}[expected]


def test_tables_are_straight_in_chinese() -> None:
    assert table([["客户端", "收到"], ["reverse", "1500"], ["慢", "3"]]) == (
        "客户端   收到\nreverse  1500\n慢          3"
    )
