"""Plain twin, fifth part: messages as CQ strings and as arrays of segments (OneBot 11, message/string and array).

A CQ string is text with codes in it, ``[CQ:type,key=value,...]``. Type and keys are made of ASCII
letters, digits, ``_``, ``.`` and ``-``; a value ends at the next ``,`` or ``]`` and may be empty; one
comma may stand before the ``]``. That is what NoneBot2 and aiocqhttp read, and NapCat's grammar but
for ``.``, ``-`` and that comma. Whatever looks otherwise is text. Types and keys need not be known.

In text ``&``, ``[`` and ``]`` are written ``&amp;``, ``&#91;`` and ``&#93;``, in values also ``,`` as
``&#44;``. All four are undone wherever they stand, as the three readers do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from napcore.types import Segment

__all__ = ("format_message", "parse_message", "plain_text")

_OPENING: Final = "[CQ:"
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")
_VALUE: Final = re.compile(r"=([^,\]]*)")


def parse_message(text: str) -> list[Segment]:
    """The segments of a CQ string; values are strings, as the format has no other type.

    Text between codes becomes segments of type ``text``, none of them empty. What is no code by
    the grammar, an unclosed ``[CQ:`` say, is text and stays as it is. A type is taken as it comes.
    Of equal keys the last value counts.

    Raises:
        TypeError: ``text`` is not a str.
    """
    if not isinstance(text, str):
        raise TypeError(f"expected str, not {type(text).__name__}")
    return [
        {"type": "text", "data": {"text": _unescape(part)}}
        if isinstance(part, str)
        else {"type": part[0], "data": {key: _unescape(value) for key, value in part[1]}}
        for part in _split(text)
    ]


def format_message(segments: Iterable[Mapping[str, Any]]) -> str:
    """The CQ string of segments; ``parse_message`` gives them back as far as the format carries them.

    Of a ``text`` segment its text is written, nothing else. In other segments strings are written
    as they are, empty ones included (NapCat leaves those out); what is no string as its compact
    JSON: ``true``, ``12``, ``{"a":[1]}`` (NapCat writes an array as ``[object Object]``). None is
    left out, and ``data`` may be None or missing.

    Not carried: that a value was no string, members that are None, and the border between two
    texts.

    Raises:
        TypeError: a segment is no dict with a str ``type``, its ``data`` no dict, or a value
            nothing that JSON can hold.
        ValueError: a type or key has characters that the format has no place for.
    """
    if isinstance(segments, (str, dict)):
        raise TypeError(f"expected segments, not {type(segments).__name__}")
    parts: list[str] = []
    for segment in segments:
        if not isinstance(segment, dict) or not isinstance(segment.get("type"), str):
            raise TypeError(f"a segment is a dict with a str 'type', not {type(segment).__name__}")
        name, data = segment["type"], segment.get("data")
        if data is not None and not isinstance(data, dict):
            raise TypeError(f"the data of a segment is a dict, not {type(data).__name__}")
        data = data or {}
        if name == "text":
            parts.append(_escape(_text_of(data.get("text")) or ""))
            continue
        parts += _OPENING, _check_name(name)
        for key, value in data.items():
            if value is not None:
                parts += ",", _check_name(key), "=", _escape_value(_text_of(value) or "")
        parts.append("]")
    return "".join(parts)


def plain_text(message: str | list[Any] | None) -> str:
    """The text of a message in either form: that of its ``text`` segments, joined.

    Of a CQ string that is what lies between the codes, escapes undone. Never raises: what is no
    message, no segment or no text has none.
    """
    if isinstance(message, str):
        if _OPENING not in message:
            return _unescape(message)
        message = parse_message(message)
    elif not isinstance(message, list):
        return ""
    texts = []
    for segment in message:
        if isinstance(segment, dict) and segment.get("type") == "text" and isinstance(segment.get("data"), dict):
            text = segment["data"].get("text")
            if isinstance(text, str):
                texts.append(text)
    return "".join(texts)


def _split(text: str) -> Iterator[str | tuple[str, list[tuple[str, str]]]]:
    """Texts and codes (type, parameters) in order, escapes left as they are."""
    done = 0  # before it everything has been given out
    at = text.find(_OPENING)
    while at >= 0:
        code, end = _code_at(text, at)
        if code is not None:
            if at > done:
                yield text[done:at]
            yield code
            done = end
        # No code starts between the opening and the place where it turns out to be none: it
        # would go wrong at the same place. So each character is looked at once.
        at = text.find(_OPENING, end)
    if done < len(text):
        yield text[done:]


def _code_at(text: str, at: int) -> tuple[tuple[str, list[tuple[str, str]]] | None, int]:
    """The code that opens at ``at`` and the place behind it; or None and the place that is wrong."""
    at += len(_OPENING)
    name = _NAME.match(text, at)
    if name is None:
        return None, at
    at = name.end()
    parameters = []
    while text[at : at + 1] == ",":
        at += 1
        key = _NAME.match(text, at)
        if key is None:
            break
        value = _VALUE.match(text, key.end())
        if value is None:
            return None, key.end()
        parameters.append((key[0], value[1]))
        at = value.end()
    if text[at : at + 1] != "]":
        return None, at
    return (name[0], parameters), at + 1


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("[", "&#91;").replace("]", "&#93;")


def _escape_value(text: str) -> str:
    return _escape(text).replace(",", "&#44;")


def _unescape(text: str) -> str:
    return text.replace("&#91;", "[").replace("&#93;", "]").replace("&#44;", ",").replace("&amp;", "&")


def _check_name(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a key is a str, not {type(name).__name__}")
    if not _NAME.fullmatch(name):
        raise ValueError(f"a CQ code has no place for the name {name!r}")
    return name


def _text_of(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # integers beyond 64 bits and lone surrogates as well
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
