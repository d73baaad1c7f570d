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

from napcore._json_py import Member, scan_members, scan_object, skip_white, string
from napcore.types import MessageFormat, Segment

__all__ = ("convert_bytes", "format_message", "parse_message", "plain_text")

_OPENING: Final = "[CQ:"
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")
_VALUE: Final = re.compile(r"=([^,\]]*)")

_ESCAPE: Final = re.compile(r"\\(?:u00([2-7][0-9A-Fa-f])|.)")
_QUOTE: Final = re.compile(r'\\.|"')


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


# ---- events ----


def convert_bytes(raw: bytes, message_format: MessageFormat) -> bytes | None:
    """The proved bytes of a message event with its message in that format; None: see ``convert_event``."""
    members, _ = scan_members(raw, skip_white(raw, 0))
    message = dict(members).get("message")
    if message is None or raw[message.start] != ord("[" if message_format == "string" else '"'):
        return None
    values = {"message_format": f'"{message_format}"'}
    if message_format == "array":
        values["message"] = _array_of(_body(raw, message))
    else:
        body = _string_of(raw, message.start)
        if body is None:
            return None
        values["message"] = values["raw_message"] = f'"{body}"'
    parts: list[bytes] = []
    done = 0
    for key, member in members:
        if key in values:
            parts += raw[done : member.start], values[key].encode()
            done = member.end
    return b"".join(parts) + raw[done:]


def _array_of(body: str) -> str:
    """The JSON of the segments of a CQ string, of which this is what lies between the quotes of its JSON."""
    segments = []
    for part in _split(body):
        if isinstance(part, str):
            name, data = "text", {"text": part}
        else:
            name, data = part[0], dict(part[1])
        members = ",".join(f'"{key}":"{_unescape(value)}"' for key, value in data.items())
        segments.append(f'{{"type":"{name}","data":{{{members}}}}}')
    return f"[{','.join(segments)}]"


def _string_of(raw: bytes, at: int) -> str | None:
    """The CQ string of the array at ``at``, as what lies between the quotes of its JSON; None: cannot be."""
    parts = []
    at = skip_white(raw, at + 1)
    while raw[at] != ord("]"):
        if raw[at] != ord("{"):
            return None
        segment, at = scan_object(raw, at)
        part = _code_of(raw, segment)
        if part is None:
            return None
        parts.append(part)
        at = skip_white(raw, at)
        if raw[at] == ord(","):
            at = skip_white(raw, at + 1)
    return "".join(parts)


def _code_of(raw: bytes, segment: dict[str, Member]) -> str | None:
    kind, data = segment.get("type"), segment.get("data")
    values: dict[str, Member] = {}
    if kind is None or raw[kind.start] != ord('"'):
        return None
    if data is not None and raw[data.start] != ord("n"):
        if raw[data.start] != ord("{"):
            return None
        values, _ = scan_object(raw, data.start)
    name = string(raw, kind.start, kind.end)
    if name == "text":
        return _escape(_written(raw, values["text"]) or "") if "text" in values else ""
    parts = [_OPENING, name]
    names = [name]
    for key, member in values.items():
        value = _written(raw, member)
        if value is not None:
            names.append(key)
            parts += ",", key, "=", _escape_value(value)
    return "".join(parts) + "]" if all(map(_NAME.fullmatch, names)) else None


def _written(raw: bytes, value: Member) -> str | None:
    """What a CQ string says for a JSON value, as what lies between quotes in JSON; None for null."""
    first = raw[value.start : value.start + 1]
    if first == b'"':
        return _body(raw, value)
    text = raw[value.start : value.end].decode()
    if first in b"{[":
        return _compact(text).replace("\\", "\\\\").replace('"', '\\"')
    return None if text == "null" else text


def _body(raw: bytes, member: Member) -> str:
    """What lies between the quotes, escapes of printable ASCII undone: whatever means something here is that."""
    return _ESCAPE.sub(_plain, raw[member.start + 1 : member.end - 1].decode())


def _plain(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16)) if escape[1] else ""
    return escape[0] if character in ("", '"', "\\", "\x7f") else character


def _compact(text: str) -> str:
    """JSON without white space between its tokens."""
    parts: list[str] = []
    done, inside = 0, False
    for mark in _QUOTE.finditer(text):
        if mark[0] == '"':
            between = text[done : mark.start()]
            parts += between if inside else "".join(between.split()), '"'
            done, inside = mark.end(), not inside
    return "".join(parts) + "".join(text[done:].split())


# ---- CQ strings ----


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
