from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import napcore
from napcore.core.config import Config
from napcore.edge.settings import _user_folder, config_places, find_config, load_config
from napcore.edge.toml_lines import locate_keys
from napcore.errors import ConfigError, ConfigProblem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

UPSTREAM = '[[upstream]]\nurl = "ws://127.0.0.1:3001"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "napcore.toml"


def problems(file: Path, text: str | bytes) -> list[ConfigProblem]:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as error:
        load_config(file)
    assert all(problem.file == str(file) for problem in error.value.errors)
    return error.value.errors


def test_a_file_is_read(file: Path) -> None:
    file.write_text(
        """
[listen]
port = 6710
token = "change-me-16-chars"

[[upstream]]
url = "ws://127.0.0.1:3001"

[[client]]
name = "nonebot"
url = "ws://127.0.0.1:8080/onebot/v11/ws"   # leave out for a client that dials us
groups = [342561735, 1062848088]
queue = { max_events = 4096, max_bytes = "4MiB", overflow = "drop_oldest", message_ttl = "60s" }
""",
        "utf-8",
    )
    config = napcore.load_config(file)
    assert isinstance(config, Config)
    assert config.client[0].groups == frozenset({342561735, 1062848088})
    assert config.client[0].queue.arguments() == {
        "max_events": 4096,
        "max_bytes": 4194304,
        "overflow": "drop_oldest",
        "message_ttl": 60.0,
    }
    assert load_config(str(file)) == config


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ],
)
def test_encodings(file: Path, mark: bytes, encoding: str, newline: str) -> None:
    text = f'# 配置\n{UPSTREAM}[[client]]\nname = "bot"\nprt = 1\n'.replace("\n", newline)
    (first, second) = problems(file, mark + text.encode(encoding))
    assert (first.line, first.key, first.message) == (
        4,
        "client[0].url",
        "is missing, so the client must dial us; but there is no [listen]",
    )
    assert (second.line, second.key) == (6, "client[0].prt")


def test_gbk_has_its_own_error(file: Path) -> None:
    text = f"{UPSTREAM}# 主人的群\n"
    assert problems(file, text.encode("gbk")) == [
        ConfigProblem(
            str(file),
            3,
            "",
            "is not UTF-8 but probably GBK (called ANSI by Windows Notepad); save it as UTF-8",
        )
    ]
    assert problems(file, b"\n\xff\xff") == [ConfigProblem(str(file), 2, "", "is not UTF-8")]
    assert problems(file, codecs.BOM_UTF16_LE + b"x") == [ConfigProblem(str(file), None, "", "is not UTF-8")]


@pytest.mark.parametrize("written", [r"C:\Users\me", r"C:\Documents", r"\x4", r"\ud800"])
def test_backslashes_have_their_own_error(file: Path, written: str) -> None:
    (problem,) = problems(file, f'[listen]\nport = 1\ntoken = "{written}"\n')
    assert problem.line == 3
    assert problem.message == (
        "not valid TOML: a backslash in double quotes starts an escape;"
        " write it twice, or use single quotes: 'C:\\folder'"
    )


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[listen\nport = 1\n", 1, "not valid TOML: Expected ']' at the end of a table declaration"),
        ("[listen]\nport = \n", 2, "not valid TOML: Invalid value"),
        ("[listen]\nport = 1\nport = 2\n", 3, "not valid TOML: Cannot overwrite a value"),
        ('[listen]\ntoken = """x\n\n', 4, "not valid TOML: Unterminated string"),
    ],
)
def test_syntax_errors_have_their_line(file: Path, text: str, line: int, message: str) -> None:
    assert problems(file, text) == [ConfigProblem(str(file), line, "", message)]


def test_every_mistake_has_its_line(file: Path) -> None:
    text = """\
[listen]
prt = 6710

[[upstream]]
url = "ws://127.0.0.1:3001"
[[upstream]]
token = "x"

[[client]]
name = "one"
url = "ws://127.0.0.1:8080"
groups = [
    1,  # a comment, [
    "2",
]
[[client]]
url = "ws://127.0.0.1:8081"
name = "two"
queue = { max_events = 5, overflw = "drop_oldest", max_bytes = "4MB" }

[client.queue2]
x = 1
"""
    assert [(p.line, p.key, p.suggestion) for p in problems(file, text)] == [
        (2, "listen.prt", "port"),
        (6, "upstream[1].url", None),
        (14, "client[0].groups[1]", None),
        (19, "client[1].queue.overflw", "overflow"),
        (19, "client[1].queue.max_bytes", None),
        (21, "client[1].queue2", "queue"),
    ]


def test_variables(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPCORE_TEST_PORT", "6711")
    monkeypatch.delenv("NAPCORE_TEST_ABSENT", raising=False)
    file.write_text(
        '[listen]\nport = "${NAPCORE_TEST_PORT}"\ntoken = "a-$${x}"\n'
        '[[upstream]]\nurl = "ws://127.0.0.1:${NAPCORE_TEST_PORT}/"\n'
    )
    config = load_config(file)
    assert config.listen is not None
    assert (config.listen.port, config.listen.token) == (6711, "a-${x}")
    assert config.upstream[0].url == "ws://127.0.0.1:6711/"
    text = f'{UPSTREAM}token = "x${{NAPCORE_TEST_ABSENT}}"\n[listen]\nport = "${{NAPCORE_TEST_ABSENT}}"\nhots = "x"\n'
    assert [str(problem).partition("napcore.toml:")[2] for problem in problems(file, text)] == [
        "3: upstream[0].token: the environment variable NAPCORE_TEST_ABSENT is not set",
        "5: listen.port: the environment variable NAPCORE_TEST_ABSENT is not set",
        "6: listen.hots: unknown key (did you mean 'host'?)",
    ]


def test_values_of_variables_are_not_read_as_toml(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPCORE_TEST_TOKEN", 'quote"\\${NAPCORE_TEST_TOKEN}')
    file.write_text('[listen]\ntoken = "${NAPCORE_TEST_TOKEN}"\n')
    config = load_config(file)
    assert config.listen is not None
    assert config.listen.token == 'quote"\\${NAPCORE_TEST_TOKEN}'


def test_files_that_cannot_be_read(file: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(file)
    assert error.value.errors == [ConfigProblem(str(file), None, "", "cannot be read: No such file or directory")]


def test_a_file_without_a_source_of_events_is_a_mistake(file: Path) -> None:
    assert problems(file, "# nothing\n") == [
        ConfigProblem(str(file), None, "", "no [[upstream]] and no [listen]: no event can come in")
    ]


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert config_places() == [Path("napcore.toml"), tmp_path / "xdg" / "napcore" / "napcore.toml"]
    assert find_config() is None
    user = config_places()[1]
    user.parent.mkdir(parents=True)
    user.write_text("")
    assert find_config() == user
    Path("napcore.toml").write_text("")
    assert find_config() == Path("napcore.toml")


@pytest.mark.parametrize(
    ("platform", "environment", "folder"),
    [
        ("linux", {}, "/home/me/.config"),
        ("linux", {"XDG_CONFIG_HOME": "/x"}, "/x"),
        ("linux", {"XDG_CONFIG_HOME": "relative"}, "/home/me/.config"),
        ("darwin", {"XDG_CONFIG_HOME": "/x"}, "/home/me/Library/Application Support"),
        ("win32", {"APPDATA": "/roaming"}, "/roaming"),
        ("win32", {}, "/home/me/AppData/Roaming"),
    ],
)
def test_user_folder(platform: str, environment: dict[str, str], folder: str) -> None:
    assert PurePosixPath(_user_folder(platform, environment, lambda: Path("/home/me"))) == PurePosixPath(folder)


def test_lines_of_everything_toml_has() -> None:
    text = '''\
# comment with [brackets] = and "quotes"
title = "a # no comment" # a comment
"quoted.key" = 1
"\\u4e2d" . 'literal' . bare = 2

[a.b]  # header
text = """
[not.a.header]
key = "x" \\"""
"""""
raw = \'\'\'
it''s = 1
\'\'\'
list = [ [1, 2], # one
  [ "]", { x = 1, y.z = [3] } ],
]
date = 1979-05-27 07:32:00Z
[[c]]
[[c]]
[c.d]
e = 1
[[c.f]]
[[c.f]]
g = 0x1
'''
    tomllib.loads(text)
    assert locate_keys(text) == {
        "title": 2,
        "quoted.key": 3,
        "中": 4,
        "中.literal": 4,
        "中.literal.bare": 4,
        "a": 6,
        "a.b": 6,
        "a.b.text": 7,
        "a.b.raw": 11,
        "a.b.list": 14,
        "a.b.list[0]": 14,
        "a.b.list[0][0]": 14,
        "a.b.list[0][1]": 14,
        "a.b.list[1]": 15,
        "a.b.list[1][0]": 15,
        "a.b.list[1][1]": 15,
        "a.b.list[1][1].x": 15,
        "a.b.list[1][1].y": 15,
        "a.b.list[1][1].y.z": 15,
        "a.b.list[1][1].y.z[0]": 15,
        "a.b.date": 17,
        "c": 18,
        "c[0]": 18,
        "c[1]": 19,
        "c[1].d": 20,
        "c[1].d.e": 21,
        "c[1].f": 22,
        "c[1].f[0]": 22,
        "c[1].f[1]": 23,
        "c[1].f[1].g": 24,
    }


def paths(value: Any, path: str = "") -> Iterator[str]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from paths(item, f"{path}[{index}]")


STRINGS = st.text(st.sampled_from("ab\"'#[]{},=\\\n中"), max_size=6)
SCALARS = st.one_of(st.integers(-9, 9), st.booleans(), STRINGS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["x", "y", "z-1"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def write(value: Any, newline: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        if "'" not in value and "\n" not in value:
            return f"'{value}'"
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"""\n{escaped}"""' if newline else '"' + escaped.replace("\n", "\\n") + '"'
    if isinstance(value, list):
        return "[" + ",".join(f"{newline}{write(item, newline)}" for item in value) + f"{newline}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {write(item, '')}" for key, item in value.items()) + " }"
    return str(value)


@given(
    st.lists(st.tuples(st.sampled_from(["[[t]]", "[t.u]", ""]), VALUES), max_size=6), st.sampled_from(["", "\n # ]\n"])
)
def test_every_path_has_the_line_its_key_is_on(parts: list[tuple[str, Any]], newline: str) -> None:
    text = "[[t]]\n"
    for number, (header, value) in enumerate(parts):
        # A second [t.u] in one [[t]] would not be TOML.
        text += f"{'[[t]]' if header == '[t.u]' else header}\n{header}\nk{number} = {write(value, newline)}\n".replace(
            "[[t]]\n[[t]]\n", "[[t]]\n"
        )
    document = tomllib.loads(text)
    lines = locate_keys(text)
    assert set(paths(document)) == set(lines)
    written = text.split("\n")
    for path, line in lines.items():
        key = path.rsplit(".", 1)[-1]
        if "[" not in key:
            assert key in written[line - 1]
