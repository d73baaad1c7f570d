"""What the documents say is true: their code runs and type-checks, their settings load, both languages agree."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import napcore

ROOT = Path(__file__).parents[1]
READMES = {"en": ROOT / "README.md", "zh": ROOT / "README.zh-CN.md"}


def blocks(language: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", READMES[language].read_text("utf-8"), re.M | re.S)


def without_comments(block: str) -> str:
    return re.sub(r"[ ]*#.*", "", block)


@pytest.mark.parametrize("language", READMES)
@pytest.mark.parametrize("number", [0, 1])
def test_the_python_code_runs(language: str, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    code = blocks(language, "python")[number]
    exec(compile(code, f"{READMES[language].name}[{number}]", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert printed == ("" if number == 0 else f"1 {EVENT}\n")


EVENT = {"self_id": 10001, "post_type": "message", "message_type": "group", "group_id": 1}


@pytest.mark.parametrize("language", READMES)
def test_the_python_code_type_checks(language: str, tmp_path: Path) -> None:
    codes = blocks(language, "python")
    assert len(codes) == 2
    for number, code in enumerate(codes):
        (tmp_path / f"block_{number}.py").write_text(code, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=.cache", "."],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": os.environ.get("PYTHONPATH", "")},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "Success: no issues found in 2 source files\n"


@pytest.mark.parametrize("language", READMES)
def test_the_settings_load_and_can_be_carried_out(language: str, tmp_path: Path) -> None:
    [toml] = blocks(language, "toml")
    (tmp_path / "napcore.toml").write_text(toml, "utf-8")
    config = napcore.load_config(tmp_path / "napcore.toml")
    assert config.listen is not None
    assert config.listen.port == 6710
    assert [upstream.url for upstream in config.upstream] == ["ws://127.0.0.1:3001"]
    assert [(client.name, client.url) for client in config.client] == [
        ("nonebot", "ws://127.0.0.1:8080/onebot/v11/ws"),
        ("hoshino", "ws://127.0.0.1:8090/ws/"),
    ]
    assert napcore.Relay.from_config(config).failed is None


def test_both_languages_show_the_same_code() -> None:
    for kind in ("bash", "python", "toml"):
        english, chinese = ([without_comments(block) for block in blocks(language, kind)] for language in READMES)
        assert english == chinese
        assert english != []
    headings = {language: len(re.findall(r"^## ", path.read_text("utf-8"), re.M)) for language, path in READMES.items()}
    assert headings == {"en": 3, "zh": 3}


def test_the_first_screen_has_two_commands() -> None:
    """.ci/run takes both from here."""
    for language in READMES:
        demo, test = blocks(language, "bash")
        assert demo == "python3 -m venv .venv && .venv/bin/pip install '.[trio]' && .venv/bin/napcore demo\n"
        assert test.startswith("python3 -m venv .venv && ")
        assert test.endswith(" && .venv/bin/pytest\n")
        assert READMES[language].read_text("utf-8").split("\n").index(test.rstrip()) < 50


def test_no_document_links_to_a_missing_file() -> None:
    links = [
        (path.name, link)
        for path in [*READMES.values(), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text("utf-8"))
    ]
    assert [(name, link) for name, link in links if not (ROOT / link).exists()] == []
    assert ("README.md", "README.zh-CN.md") in links


def test_the_table_of_files_is_complete() -> None:
    """CONTRIBUTING.md names every source file, and no file that is gone."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = set(re.findall(r"^\| `(src/[^`]+)` \|", text, re.M))
    made = {".so", ".pyd", ".pyc", ".c", ".html"}
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "src" / "napcore").rglob("*")
        if path.is_file() and path.suffix not in made
    }
    assert named == files
