"""The pages in docs: their code runs from top to bottom and prints what they show, their settings load."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import napcore
from napcore.core.expression import Expression
from napcore.core.onebot import FAILURES
from napcore.types import DROP_REASONS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {
    name: (f"{name}.md", f"{name}.zh-CN.md")
    for name in ("aiocqhttp", "bots", "delivery", "faults", "filters", "links", "nonebot", "nonebot-adapter")
}
NEEDS = {"aiocqhttp": ("aiocqhttp",), "nonebot": ("nonebot2", "nonebot-adapter-onebot")}
NEEDS["nonebot-adapter"] = NEEDS["nonebot"]
"""Distributions without which a page's code does not run."""
UNTYPED = {"aiocqhttp": ("--ignore-missing-imports", "--allow-untyped-decorators")}
"""What mypy is told where a distribution has no py.typed."""
FILES = [page for pages in PAGES.values() for page in pages]

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def blocks(page: str) -> list[tuple[str, str]]:
    return [(found[1], found[2]) for found in BLOCK.finditer((DOCS / page).read_text("utf-8"))]


def of_kind(page: str, kind: str) -> list[str]:
    return [code for found, code in blocks(page) if found == kind]


def skip_without_needs(page: str) -> None:
    for distribution in NEEDS.get(page.split(".")[0], ()):
        try:
            metadata.version(distribution)
        except metadata.PackageNotFoundError:
            pytest.skip(f"{distribution} not installed: pip install --group e2e")


def without_comments(code: str) -> str:
    return re.sub(r"[ ]*#\s.*", "", code)


def test_every_page_is_known() -> None:
    assert sorted(FILES) == sorted(path.name for path in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", [*PAGES["nonebot"], *PAGES["nonebot-adapter"]])
def test_the_code_of_a_framework_runs_in_a_process_of_its_own(page: str, tmp_path: Path) -> None:
    skip_without_needs(page)
    (tmp_path / "page.py").write_text("\n".join(of_kind(page, "python")), "utf-8")
    done = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env={**os.environ, "LOG_LEVEL": "CRITICAL"},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    printed = [line for line in done.stdout.splitlines() if "nonebot | " not in line]
    assert printed == "".join(of_kind(page, "text")).splitlines() != []


@pytest.mark.parametrize("page", PAGES["aiocqhttp"])
def test_the_code_of_a_bot_of_aiocqhttp_runs_with_the_settings_of_its_page(page: str, tmp_path: Path) -> None:
    skip_without_needs(page)
    every = of_kind(page, "toml")
    for toml in every:
        (tmp_path / "napcore.toml").write_text(toml.replace("6710", "0"), "utf-8")
        napcore.Relay.from_config(napcore.load_config(tmp_path / "napcore.toml"))
    (tmp_path / "napcore.toml").write_text(every[0].replace("6710", "0"), "utf-8")
    (tmp_path / "page.py").write_text("\n".join(of_kind(page, "python")), "utf-8")
    done = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == "".join(of_kind(page, "text")) != ""
    for code in of_kind(page, "py"):
        compile(code, page, "exec")


@pytest.mark.parametrize("page", [*PAGES["bots"], *PAGES["delivery"], *PAGES["filters"], *PAGES["links"]])
def test_the_code_runs_and_prints_what_is_shown(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = printed = 0
    every = blocks(page)
    for number, (kind, code) in enumerate(every):
        if kind != "python":
            continue
        exec(compile(code, f"{page}[{number}]", "exec"), names)
        found = capsys.readouterr().out
        follower = every[number + 1] if number + 1 < len(every) else ("", "")
        assert found == (follower[1] if follower[0] == "text" else "")
        printed += bool(found)
    shown = len(of_kind(page, "text"))
    assert printed == shown > 0


@pytest.mark.parametrize("page", FILES)
def test_the_code_type_checks(page: str, tmp_path: Path) -> None:
    skip_without_needs(page)
    (tmp_path / "page.py").write_text("\n".join(of_kind(page, "python")), "utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=.cache"),
            *UNTYPED.get(page.split(".")[0], ()),
            "page.py",
        ],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": os.environ.get("PYTHONPATH", "")},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "Success: no issues found in 1 source file\n"


@pytest.mark.parametrize("page", PAGES["filters"])
def test_the_settings_load_and_can_be_carried_out(page: str, tmp_path: Path) -> None:
    for document in of_kind(page, "json"):
        (tmp_path / "filter.json").write_text(document, "utf-8")
    found = of_kind(page, "toml")
    assert found != []
    for toml in found:
        (tmp_path / "napcore.toml").write_text(toml, "utf-8")
        config = napcore.load_config(tmp_path / "napcore.toml")
        assert napcore.Relay.from_config(config).failed is None
        assert all(client.filter() != napcore.Filter() for client in config.client)


@pytest.mark.parametrize("page", PAGES["delivery"])
def test_the_settings_of_a_queue_are_told_and_load(page: str, tmp_path: Path) -> None:
    (toml,) = of_kind(page, "toml")
    (tmp_path / "napcore.toml").write_text(toml + "[listen]\nport = 0\n", "utf-8")
    config = napcore.load_config(tmp_path / "napcore.toml")
    assert config.memory_limit == napcore.Config().memory_limit
    (client,) = config.client
    keep = napcore.Filter(users={10000}, commands={"help"})
    assert client.policy(config.defaults) == napcore.Policy(keep=keep, catch_up_rate=50)
    text = (DOCS / page).read_text("utf-8")
    told = [field.name for field in fields(napcore.Policy)]
    assert [name for name in (*told, *DROP_REASONS) if f"`{name}" not in text] == []


@pytest.mark.parametrize("page", PAGES["links"])
def test_the_settings_of_the_relay_load(page: str, tmp_path: Path) -> None:
    (toml,) = of_kind(page, "toml")
    (tmp_path / "napcore.toml").write_text(toml + "[listen]\nport = 0\n", "utf-8")
    config = napcore.load_config(tmp_path / "napcore.toml")
    assert config.arguments() == {**napcore.Config().arguments(), "send_rate": "auto", "call_timeout": 120.0}


@pytest.mark.parametrize("page", PAGES["links"])
def test_every_retcode_and_state_is_told(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    assert [code for code in FAILURES if f"| {code} |" not in text] == []
    states = ("connected", "connecting", "absent", "stalled", "stuck", "online", "offline")
    assert [state for state in states if f"| `{state}` |" not in text] == []


@pytest.mark.parametrize("page", PAGES["bots"])
def test_the_test_of_a_bot_passes(page: str, tmp_path: Path) -> None:
    (tmp_path / "test_bot.py").write_text("import napcore\n" + of_kind(page, "python")[-1], "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:nonebug", "-p", "no:cacheprovider", "--rootdir=.", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert re.search(r"^[12] passed in", done.stdout, re.M), done.stdout


@pytest.mark.parametrize("page", FILES)
def test_the_expressions_are_some(page: str) -> None:
    for document in of_kind(page, "json"):
        assert Expression(json.loads(document)).document == json.loads(document)


@pytest.mark.parametrize("pages", PAGES.values(), ids=PAGES)
def test_both_languages_show_the_same(pages: tuple[str, str]) -> None:
    english, chinese = ([(kind, without_comments(code)) for kind, code in blocks(page)] for page in pages)
    assert english == chinese
    headings = [re.findall(r"^#+ ", (DOCS / page).read_text("utf-8"), re.M) for page in pages]
    rows = [len(re.findall(r"^\|", (DOCS / page).read_text("utf-8"), re.M)) for page in pages]
    assert headings[0] == headings[1]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("page", FILES)
def test_no_page_links_to_a_missing_file(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (DOCS / page).read_text("utf-8"))
    assert [link for link in links if not (DOCS / link).exists()] == []
    assert links != []


@pytest.mark.parametrize("page", PAGES["filters"])
def test_every_field_of_a_filter_is_told(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    assert [name for name in napcore.Filter.__dataclass_fields__ if f"`{name}" not in text] == []
