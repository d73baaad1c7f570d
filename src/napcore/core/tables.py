"""Plain data into msgspec structs, with every mistake in it instead of the first."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from napcore.core.units import UNITS
from napcore.errors import ConfigProblem

__all__ = ("NOT_BUILT", "Variable", "read_fields")

T = TypeVar("T", bound=Struct)

NOT_BUILT: Final = "is not built in this release; leave it out"

_NOT_BUILT_KEYS: Final = frozenset({"catch_up_rate", "keep"})
_TOP_KEYS: Final = frozenset({"call_timeout", "memory_limit", "send_rate", "share_gets"})
_UNION: Final = (Union, types.UnionType)
_EXPECTED: Final = re.compile(r"Expected `(?P<right>[^`]+)`, got `(?P<wrong>[^`]+)`(?: - at `\$(?P<at>[^`]*)`)?")
_AT: Final = re.compile(r" - at `\$(?P<at>[^`]*)`")
_WORDS: Final = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "null": "nothing",
    "object": "a table",
    "str": "a text in quotes",
}


class Variable(str):
    """A text that came from the environment as a whole: it may stand for a number or a truth value."""

    __slots__ = ()


def read_fields(table: type[Struct], data: Mapping[str, Any], path: str) -> tuple[dict[str, Any], list[ConfigProblem]]:
    """The values for ``table``'s fields that ``data`` has, and what is wrong with the rest.

    A nested table lacks what could not be read in it, so that the rest of it can still be judged;
    without its required fields it is None, also inside a list of tables.
    """
    hints = get_type_hints(table)
    required = {field.name for field in msgspec.structs.fields(table) if field.required}
    values: dict[str, Any] = {}
    problems = [_unknown(key, hints, path) for key in data if key not in hints]
    for key, kind in hints.items():
        value = data.get(key)
        if value is None:
            if key in required:
                problems.append(ConfigProblem(None, None, _join(path, key), "is missing"))
            continue
        try:
            read = _read_value(kind, key, value, _join(path, key), problems)
        except ValueError as error:
            problems.append(ConfigProblem(None, None, _join(path, key), str(error)))
        else:
            if read is not None:
                values[key] = read
    return values, problems


def _read_value(kind: Any, key: str, value: Any, path: str, problems: list[ConfigProblem]) -> Any:
    if key in UNITS:
        return UNITS[key](value)
    kinds = [one for one in (get_args(kind) if get_origin(kind) in _UNION else (kind,)) if one is not type(None)]
    if isinstance(value, str) and str in kinds:
        return value
    for one in kinds:
        if isinstance(one, type) and issubclass(one, Struct):
            return _read_table(one, value, path, problems)
        if get_origin(one) is tuple and isinstance(get_args(one)[0], type) and issubclass(get_args(one)[0], Struct):
            return _read_list(get_args(one)[0], value, path, problems)
        if get_origin(one) is Literal:
            return _read_choice(get_args(one), value, path, problems)
        if get_origin(one) is frozenset:
            # msgspec tells the place of a mistake in a tuple, not in a set.
            members = _convert(value, tuple.__class_getitem__((get_args(one)[0], ...)), path, problems)
            return None if members is None else frozenset(members)
    return _convert(value, kind, path, problems)


def _read_table(table: type[T], value: Any, path: str, problems: list[ConfigProblem]) -> T | None:
    if isinstance(value, list) and "." not in path:
        problems.append(ConfigProblem(None, None, path, f"there is one only: write [{path}]", f"[{path}]"))
        return None
    if not isinstance(value, Mapping):
        problems.append(ConfigProblem(None, None, path, "must be a table"))
        return None
    values, found = read_fields(table, value, path)
    problems += found
    try:
        return table(**values)
    except TypeError:
        # A required field is missing, which is told already.
        return None


def _read_list(table: type[T], value: Any, path: str, problems: list[ConfigProblem]) -> tuple[T | None, ...]:
    if not isinstance(value, list):
        problems.append(ConfigProblem(None, None, path, f"there may be several: write [[{path}]]", f"[[{path}]]"))
        return ()
    return tuple(_read_table(table, item, f"{path}[{index}]", problems) for index, item in enumerate(value))


def _read_choice(choices: tuple[str, ...], value: Any, path: str, problems: list[ConfigProblem]) -> str | None:
    if value in choices:
        return str(value)
    text = f"must be one of {', '.join(choices)}, not {value!r}"
    problems.append(ConfigProblem(None, None, path, text, _nearest(str(value), choices)))
    return None


def _convert(value: Any, kind: Any, path: str, problems: list[ConfigProblem]) -> Any:
    try:
        return msgspec.convert(value, kind, strict=not isinstance(value, Variable))
    except msgspec.ValidationError as error:
        text = str(error)
        at = _AT.search(text)
        key = path + (at["at"] if at else "")
        if expected := _EXPECTED.match(text):
            right = " or ".join(_WORDS.get(word, word) for word in expected["right"].split(" | ") if word != "null")
            wrong = _WORDS.get(expected["wrong"], expected["wrong"])
            text = f"must be {right}, not {wrong}"
        problems.append(ConfigProblem(None, None, key, text))
        return None


def _unknown(key: str, known: Mapping[str, Any], path: str) -> ConfigProblem:
    where = _join(path, key)
    if key in _NOT_BUILT_KEYS:
        return ConfigProblem(None, None, where, NOT_BUILT)
    if path and key in _TOP_KEYS:
        # TOML takes what stands below a table's head for a part of that table.
        return ConfigProblem(None, None, where, f"belongs to the top of the file, above the first [table]: {key} = ...")
    queue = known.get("queue")
    if queue is not None and key in get_type_hints(queue):
        return ConfigProblem(None, None, where, f"belongs into queue = {{ {key} = ... }}", f"queue.{key}")
    return ConfigProblem(None, None, where, "unknown key", _nearest(key, known))


def _nearest(word: str, words: Any) -> str | None:
    return next(iter(get_close_matches(word, list(words), n=1)), None)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
