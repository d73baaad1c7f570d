"""Filters as they are written in a configuration file, with the place of every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from napcore import ConfigError, Filter, load_config

HEAD = '[[upstream]]\nurl = "ws://127.0.0.1:3001"\n[[client]]\nname = "bot"\nurl = "ws://127.0.0.1:8080/"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "napcore.toml"


def read(file: Path, text: str) -> Filter:
    file.write_text(HEAD + text, "utf-8")
    [client] = load_config(file).client
    return client.filter()


def refused(file: Path, text: str) -> str:
    file.write_text(HEAD + text, "utf-8")
    with pytest.raises(ConfigError) as error:
        load_config(file)
    return str(error.value)


def test_every_condition_can_be_written(file: Path) -> None:
    filter = read(
        file,
        """
commands = ["help", "\u5929\u6c14"]
command_start = ["", "!"]
command_whitespace = true
prefix = "!!"
suffix = ["?"]
fullmatch = "ping"
keywords = ["\u901a\u77e5"]
ignore_case = true
regex = "^!!"
to_me = true
has = ["image", "at"]
roles = "admin"
min_size = 10
max_size = "64KiB"
expression = { "sender.role" = "admin" }
expression_fails = "open"
""",
    )
    assert filter == Filter(
        commands={"help", "\u5929\u6c14"},
        command_start={"", "!"},
        command_whitespace=True,
        prefix="!!",
        suffix="?",
        fullmatch="ping",
        keywords="\u901a\u77e5",
        ignore_case=True,
        regex="^!!",
        to_me=True,
        has={"image", "at"},
        roles="admin",
        min_size=10,
        max_size=65536,
        expression={"sender.role": "admin"},
        expression_fails="open",
    )


def test_without_conditions_there_are_none(file: Path) -> None:
    assert read(file, "") == Filter()
    assert read(file, 'max_size = "off"\n') == Filter()


def test_a_file_is_found_beside_the_configuration(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent / "deep").mkdir()
    (file.parent / "deep" / "filter.json").write_text('{"user_id": 7}')
    monkeypatch.chdir("/")
    filter = read(file, 'expression = "deep/filter.json"\n')
    assert filter == Filter(expression=file.parent / "deep" / "filter.json")
    monkeypatch.setenv("FILTERS", str(file.parent / "deep"))
    assert read(file, 'expression = "${FILTERS}/filter.json"\n') == filter


def test_a_mistake_in_a_file_has_its_place_there(file: Path) -> None:
    other = file.parent / "filter.json"
    other.write_text('{\n"user_id": {".inn": []}}')
    assert refused(file, 'expression = "filter.json"\nprivate = 1\n') == (
        f"{file}:7: client[0].private: must be true or false, not a whole number\n"
        f"{other}:2: client[0].expression: user_id > .inn: there is no operator .inn (did you mean '.in'?)"
    )
    assert refused(file, 'expression = "none.json"\n').endswith(
        "none.json: client[0].expression: cannot be read: No such file or directory"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'expression = { ".inn" = 1 }\n',
            "6: client[0].expression: .inn: there is no operator .inn (did you mean '.in'?)",
        ),
        ("expression = 5\n", "6: client[0].expression: must be a text in quotes or a table, not a whole number"),
        ('\nregex = ["("]\n', "7: client[0].regex: '(' is no regular expression of RE2: missing ): ("),
        ("prefix = 5\n", "6: client[0].prefix: must be a list, not a whole number"),
        ("has = [5]\n", "6: client[0].has[0]: must be a text in quotes, not a whole number"),
        ('prefix = ""\n', "6: client[0].prefix: must be a text that is not empty, not ''"),
        ('roles = "boss"\n', "6: client[0].roles: must be one of owner, admin, member, not 'boss'"),
        ('max_size = "64kb"\n', "6: client[0].max_size: must be bytes as a whole number, or with a unit"),
        ('expression_fails = "opn"\n', "6: client[0].expression_fails: must be one of closed, open, not 'opn'"),
        ('keyword = "a"\n', "6: client[0].keyword: unknown key (did you mean 'keywords'?)"),
    ],
)
def test_mistakes(file: Path, text: str, message: str) -> None:
    assert refused(file, text).startswith(f"{file}:{message}")
