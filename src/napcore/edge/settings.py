"""``napcore.toml``: found, read and checked, with the line of every mistake."""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from napcore.core.config import Config
from napcore.core.tables import Variable
from napcore.edge.toml_lines import locate_keys
from napcore.errors import ConfigError, ConfigProblem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ("FILE_NAME", "config_places", "find_config", "load_config")

FILE_NAME: Final = "napcore.toml"

_VARIABLE: Final = re.compile(r"(?P<literal>\$)?\$\{(?P<name>[^}]*)\}")
_PLACE: Final = re.compile(r" \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")
_ESCAPE_TROUBLE: Final = ("Unescaped", "hex value", "Escaped character")


def load_config(path: str | os.PathLike[str]) -> Config:
    """Read a configuration file.

    TOML in UTF-8, with or without a byte order mark, or in UTF-16 with one. ``${NAME}`` in a
    string is replaced by the environment variable; ``$${`` stands for ``${``.

    Raises:
        ConfigError: the file cannot be read, or something in it is wrong; every mistake is
            listed with its line.
    """
    file = os.fspath(path)
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise ConfigError([ConfigProblem(file, None, "", f"cannot be read: {error.strerror or error}")]) from None
    text = _decode(file, data)
    try:
        document = tomllib.loads(text)
    except ValueError as error:
        raise ConfigError([_syntax_problem(file, text, str(error))]) from None
    problems: list[ConfigProblem] = []
    document = _substitute(document, "", problems)
    _anchor_expressions(document, Path(file).parent)
    try:
        config = Config.from_dict(document)
    except ConfigError as error:
        known = {problem.key for problem in problems}
        problems += [problem for problem in error.errors if problem.key not in known]
    else:
        if not problems and not config.upstream and config.listen is None:
            problems.append(ConfigProblem(None, None, "", "no [[upstream]] and no [listen]: no event can come in"))
        if not problems:
            return config
    lines = locate_keys(text.replace("\r\n", "\n"))
    placed = [
        # What is wrong in a file of its own has its place there.
        problem if problem.file is not None else problem._replace(file=file, line=_line(problem.key, lines))
        for problem in problems
    ]
    raise ConfigError(sorted(placed, key=lambda problem: (problem.file != file, problem.line or 0)))


def find_config(name: str = FILE_NAME) -> Path | None:
    """The configuration file used when none is named: in the working directory, else in the user's folder."""
    return next((place for place in config_places(name) if place.is_file()), None)


def config_places(name: str = FILE_NAME) -> list[Path]:
    """Where :func:`find_config` looks, first place first."""
    return [Path(name), _user_folder(sys.platform, os.environ, Path.home) / "napcore" / name]


def _user_folder(platform: str, environment: Mapping[str, str], home: Callable[[], Path]) -> Path:
    if platform == "win32":
        return Path(environment.get("APPDATA") or home() / "AppData" / "Roaming")
    if platform == "darwin":
        return home() / "Library" / "Application Support"
    # The XDG specification has relative paths ignored.
    named = Path(environment.get("XDG_CONFIG_HOME", ""))
    return named if named.is_absolute() else home() / ".config"


def _decode(file: str, data: bytes) -> str:
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1 if encoding != "utf-16" else None
        message = "is not UTF-8"
        if encoding != "utf-16":
            try:
                data.decode("gb18030")
            except UnicodeDecodeError:
                pass
            else:
                message = "is not UTF-8 but probably GBK (called ANSI by Windows Notepad); save it as UTF-8"
        raise ConfigError([ConfigProblem(file, line, "", message)]) from None


def _syntax_problem(file: str, text: str, message: str) -> ConfigProblem:
    place = _PLACE.search(message)
    line = int(place["line"]) if place is not None and place["line"] else text.count("\n") + 1
    message = _PLACE.sub("", message)
    lines = text.split("\n")
    written = lines[line - 1] if line <= len(lines) else ""
    if "\\" in written and any(trouble in message for trouble in _ESCAPE_TROUBLE):
        message = "a backslash in double quotes starts an escape; write it twice, or use single quotes: 'C:\\folder'"
    return ConfigProblem(file, line, "", f"not valid TOML: {message}")


def _substitute(value: Any, path: str, problems: list[ConfigProblem]) -> Any:
    if isinstance(value, dict):
        return {key: _substitute(item, f"{path}.{key}" if path else key, problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, f"{path}[{index}]", problems) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> str:
        if match["literal"]:
            return match[0][1:]
        found = os.environ.get(match["name"])
        if found is None:
            text = f"the environment variable {match['name']} is not set"
            problems.append(ConfigProblem(None, None, path, text))
            return match[0]
        return found

    whole = _VARIABLE.fullmatch(value)
    result = _VARIABLE.sub(look_up, value)
    return Variable(result) if whole is not None and not whole["literal"] else result


def _anchor_expressions(document: Mapping[str, Any], folder: Path) -> None:
    """An expression that is a path starts from the folder of the configuration."""
    clients = document.get("client")
    tables = [*clients, document.get("defaults")] if isinstance(clients, list) else [document.get("defaults")]
    queues = [table.get("queue") for table in tables if isinstance(table, dict)]
    for table in (*tables, *(queue.get("keep") for queue in queues if isinstance(queue, dict))):
        if isinstance(table, dict) and isinstance(table.get("expression"), str):
            table["expression"] = str(folder / table["expression"])


def _line(key: str, lines: Mapping[str, int]) -> int | None:
    # A key that is missing is told at its table.
    while key and key not in lines:
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return lines.get(key)
