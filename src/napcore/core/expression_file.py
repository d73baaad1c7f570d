"""An expression from a file: the one thing in this ring that is read from a disk, when a filter is made."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from napcore._json_py import decode, scan
from napcore.core.expression import Expression, Step
from napcore.errors import BadEvent, ConfigError, ConfigProblem

__all__ = ("read_expression",)

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_DECODER: Final = json.JSONDecoder(parse_int=float)
_WHITE: Final = " \t\r\n"


def read_expression(path: str | os.PathLike[str]) -> Expression:
    """Read and compile a file of JSON in UTF-8, with or without a byte order mark.

    Raises:
        ConfigError: the file cannot be read, is no JSON object, or is no expression; every
            mistake in the expression is listed with its line.
    """
    file = os.fspath(path)
    try:
        raw = Path(file).read_bytes().removeprefix(_BYTE_ORDER_MARK)
    except OSError as error:
        raise _error(file, None, f"cannot be read: {error.strerror or error}") from None
    try:
        scan(raw)
    except BadEvent as error:
        line = raw.count(b"\n", 0, error.offset) + 1
        reason = "must be a JSON object" if error.reason == "not an object" else f"not valid JSON: {error.reason}"
        raise _error(file, line, reason) from None
    document: dict[str, Any] = decode(raw)
    text = raw.decode()
    return Expression(document, file=file, locate=lambda steps: _line(text, steps))


def _error(file: str, line: int | None, message: str) -> ConfigError:
    return ConfigError([ConfigProblem(file, line, "expression", message)])


def _line(text: str, steps: tuple[Step, ...]) -> int:
    """The line of a place in a proved document: of its key, or of the item itself."""
    named = at = _skip(text, 0)
    for step in steps:
        named, at = _enter(text, at, step)
    return text.count("\n", 0, named) + 1


def _enter(text: str, at: int, step: Step) -> tuple[int, int]:
    """Where the member or item stands, and where its value does; of equal keys the last."""
    found = at, at
    is_object = text[at] == "{"
    at = _skip(text, at + 1)
    count = 0
    while text[at] not in "}]":
        named = at
        name: Step = count
        if is_object:
            name, at = _DECODER.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
        if name == step:
            found = named, at
        _, at = _DECODER.raw_decode(text, at)
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
        count += 1
    return found


def _skip(text: str, at: int) -> int:
    while text[at] in _WHITE:
        at += 1
    return at
