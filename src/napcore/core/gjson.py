"""Paths into decoded JSON, and values as text, the way gjson has them (tidwall/gjson, SYNTAX.md).

go-cqhttp's event filter names fields in this language. Here is the part of it that such filters
use: keys, ``*`` and ``?`` in keys, indexes, ``#`` and ``\\`` before a character that stands for
itself. Pipes, modifiers, queries, multipaths and literals are refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from typing import Any, Final, NamedTuple

import orjson

__all__ = ("MISSING", "Missing", "compile_path", "plain_key", "text_of")

_INT64: Final = 1 << 63
_UINT64: Final = 1 << 64
_LONGEST: Final = 64
_STARS: Final = "*"
_ANY: Final = "?"


class Missing(Enum):
    """The type of ``MISSING``."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""What a path that leads nowhere gives."""

Get = Callable[[Any], Any]


class _Part(NamedTuple):
    """What stands between two dots, as an object and as an array understands it."""

    key: str
    pattern: tuple[tuple[str, bool], ...] | None  # characters, and whether they are wildcards
    item: int  # its index in an array; -1: none
    counts: bool


def compile_path(text: str) -> Get:
    """A function that gives the value at the path in a decoded document, or ``MISSING``.

    Raises:
        ValueError: the path uses what is not supported; the text says what.
    """
    parts = _parse(text)
    keys = [key for part in parts if (key := _key_of(part)) is not None]
    if len(keys) < len(parts):
        return lambda value: _walk(value, parts, 0)

    def get(value: Any) -> Any:
        for key in keys:
            if not isinstance(value, dict):
                return MISSING
            value = value.get(key, MISSING)
        return value

    return get


def plain_key(text: str) -> str | None:
    """The key, if the path is no more than one key that only objects can have.

    Raises:
        ValueError: as ``compile_path``.
    """
    parts = _parse(text)
    return _key_of(parts[0]) if len(parts) == 1 else None


def _key_of(part: _Part) -> str | None:
    return part.key if part.pattern is None and part.item < 0 and not part.counts else None


def _parse(text: str) -> tuple[_Part, ...]:
    parts: list[_Part] = []
    start = 0
    while start <= len(text):
        _refuse(text, start, not parts or parts[-1].counts)
        key: list[tuple[str, bool]] = []
        at = start
        while at < len(text) and text[at] != ".":
            if text[at] == "|":
                raise ValueError("a pipe (|) is not supported; write \\| for the character itself")
            escaped = text[at] == "\\"
            at += escaped
            if at < len(text):
                key.append((text[at], not escaped and text[at] in (_STARS, _ANY)))
                at += 1
        raw = text[start:at]
        plain = "".join(character for character, _ in key)
        wild = any(wildcard for _, wildcard in key)
        index = int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 19 else -1
        parts.append(_Part(plain, _pattern(plain) if wild else None, index, raw == "#"))
        if len(parts) > _LONGEST:
            raise ValueError(f"a path has at most {_LONGEST} parts")
        start = at + 1
    return tuple(parts)


def _refuse(text: str, start: int, fresh: bool) -> None:
    # Where a path begins anew, at its start and behind #, two dots would read JSON lines.
    rest = text[start : start + 2]
    if rest == ".." and fresh:
        raise ValueError("JSON lines (..) are not supported")
    if rest in ("#(", "#["):
        raise ValueError("a query (#(...)) is not supported")
    if len(rest) > 1 and rest[0] in "@![{":
        what = {
            "@": "a modifier (@...)",
            "!": "a literal (!...)",
            "[": "a multipath ([...])",
            "{": "a multipath ({...})",
        }
        raise ValueError(f"{what[rest[0]]} is not supported; write \\{rest[0]} for the character itself")


def _pattern(text: str) -> tuple[tuple[str, bool], ...]:
    # One wildcard makes gjson lose which of the others were escaped; what is left of an escaped
    # backslash then escapes what follows it.
    found: list[tuple[str, bool]] = []
    at = 0
    while at < len(text):
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
            found.append((text[at], False))
        elif text[at] != _STARS or not found or found[-1] != (_STARS, True):
            found.append((text[at], text[at] in (_STARS, _ANY)))
        at += 1
    return tuple(found)


def _fits(key: str, pattern: tuple[tuple[str, bool], ...]) -> bool:
    # Only the last star is ever tried again, so that no pattern takes more than len(key) * len(pattern) steps.
    at = here = 0
    star, tried = -1, 0
    while at < len(key):
        if here < len(pattern) and pattern[here] == (_STARS, True):
            star, tried = here, at
            here += 1
        elif here < len(pattern) and (pattern[here] == (_ANY, True) or pattern[here] == (key[at], False)):
            here += 1
            at += 1
        elif star >= 0:
            tried += 1
            here, at = star + 1, tried
        else:
            return False
    return pattern[here:] in ((), ((_STARS, True),))


def _walk(value: Any, parts: tuple[_Part, ...], at: int) -> Any:
    if at == len(parts):
        return value
    part = parts[at]
    if isinstance(value, dict):
        if part.pattern is None:
            return _walk(value[part.key], parts, at + 1) if part.key in value else MISSING
        for key, inner in value.items():
            if _fits(key, part.pattern) and (found := _walk(inner, parts, at + 1)) is not MISSING:
                return found
    elif isinstance(value, list):
        if part.counts:
            if at + 1 == len(parts):
                return len(value)
            every = [_walk(item, parts, at + 1) for item in value]
            return [found for found in every if found is not MISSING]
        if 0 <= part.item < len(value):
            return _walk(value[part.item], parts, at + 1)
    return MISSING


def text_of(value: Any) -> str:
    """A value as text, gjson's ``String()``: ``""`` for null and what is missing, no quotes around a string.

    Integers keep their digits, other numbers are written out without an exponent. Objects and
    arrays are their compact JSON. Never raises for what a JSON document can hold.
    """
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is int:
        return str(value) if -_INT64 <= value < _UINT64 else _number(_double(value))
    if value is None or value is MISSING:
        return ""
    if kind is bool:
        return "true" if value else "false"
    if kind is float:
        return _number(value)
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # Lone surrogates, integers beyond 64 bits, deep nesting.
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _double(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    # repr has the fewest digits that give this double again.
    return format(Decimal(repr(value)), "f").removesuffix(".0")
