"""Plain twin of ``_json.h``: prove that bytes are one JSON object and find its members.

One state machine decides what is accepted (RFC 8259, at most ``MAX_DEPTH`` deep, UTF-8 without
encoded surrogates) and where input goes wrong: the offset of an error is the length of the
longest prefix that some accepted document starts with. Tokens are matched by regular
expressions; a token that does not match is gone through byte by byte to find the place.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple, NoReturn

import orjson

from napcore.errors import BadEvent

__all__ = (
    "MAX_DEPTH",
    "Member",
    "decode",
    "identifier",
    "integer",
    "scan",
    "scan_members",
    "scan_object",
    "skip_white",
    "string",
)

MAX_DEPTH: Final = 512
"""Deepest nesting accepted; the outermost object is level 1."""

_INT64: Final = 1 << 63
_MAX_DIGITS: Final = 4300

_SPACES: Final = b" \t\n\r"
_WHITE: Final = re.compile(rb"[ \t\n\r]*")
_COLON: Final = re.compile(rb"[ \t\n\r]*:")
# The repetition is bounded because the matcher remembers every turn of it.
_TEXT: Final = re.compile(rb'[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})[^"\\\x00-\x1f]*){0,1000}')
_STRING: Final = re.compile(b'"' + _TEXT.pattern + b'"')
_INTEGER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_NUMBER: Final = re.compile(_INTEGER.pattern + rb"(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_DECIMAL: Final = re.compile(r"-?[0-9]+")

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_CLOSERS: Final = {ord("{"): ord("}"), ord("["): ord("]")}
_LITERALS: Final = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}

_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
_COMMA: Final = ord(",")
_OBJECT_END: Final = ord("}")

# What may come next, white space apart.
_FIRST_KEY: Final = 0  # a key or the end of the object
_KEY: Final = 1
_FIRST_ITEM: Final = 2  # a value or the end of the array
_VALUE: Final = 3
_AFTER: Final = 4  # a comma or the end of what is open


class Member(NamedTuple):
    """Where one member of an object lies in the bytes."""

    key: int
    """Offset of the key's opening quote."""
    start: int
    """Offset of the value's first byte."""
    end: int
    """Offset behind the value's last byte."""


def scan(raw: bytes) -> dict[str, Member]:
    """Prove that ``raw`` is one JSON object; return its members by decoded key, the last of equal keys.

    Raises:
        BadEvent: it is not; ``offset`` and ``reason`` say where and why.
    """
    if raw.startswith(_BYTE_ORDER_MARK):
        raise BadEvent("byte order mark", 0)
    at = skip_white(raw, 0)
    if at == len(raw) or raw[at] != ord("{"):
        _unexpected(raw, at, "not an object")
    members, at = scan_object(raw, at)
    at = skip_white(raw, at)
    if at != len(raw):
        raise BadEvent("trailing data", at)
    return members


def scan_object(raw: bytes, at: int) -> tuple[dict[str, Member], int]:
    """Members of the object that opens at ``at``, and the offset behind it; all inside is proved too.

    Of equal keys it is the last.

    Raises:
        BadEvent: as ``scan``.
    """
    members, at = scan_members(raw, at)
    return dict(members), at


def scan_members(raw: bytes, at: int) -> tuple[list[tuple[str, Member]], int]:
    """As ``scan_object``, but every member in its order, those of equal keys included."""
    members: list[tuple[str, Member]] = []
    key, key_at, value_at = "", 0, 0
    closers = bytearray(b"}")  # what closes each open bracket, outermost first
    state = _FIRST_KEY
    at += 1
    size = len(raw)
    while True:
        if at == size:
            _unexpected(raw, at)
        byte = raw[at]
        if byte in _SPACES:
            at += 1
        elif byte == closers[-1] and state in (_FIRST_KEY, _FIRST_ITEM, _AFTER):
            closers.pop()
            at += 1
            if not closers:
                return members, at
            if len(closers) == 1:
                members.append((key, Member(key_at, value_at, at)))
            state = _AFTER
        elif state == _AFTER:
            if byte != _COMMA:
                _unexpected(raw, at)
            at += 1
            state = _KEY if closers[-1] == _OBJECT_END else _VALUE
        elif state in (_FIRST_KEY, _KEY):
            if byte != _QUOTE:
                _unexpected(raw, at)
            end = _skip_string(raw, at)
            if len(closers) == 1:
                key, key_at = string(raw, at, end), at
            at = _skip_colon(raw, end)
            state = _VALUE
        else:
            if len(closers) == 1:
                value_at = at
            if byte in _CLOSERS:
                if len(closers) == MAX_DEPTH:
                    raise BadEvent("nesting too deep", at)
                closers.append(_CLOSERS[byte])
                at += 1
                state = _FIRST_KEY if byte == ord("{") else _FIRST_ITEM
            else:
                at = _skip_scalar(raw, at)
                if len(closers) == 1:
                    members.append((key, Member(key_at, value_at, at)))
                state = _AFTER


def string(raw: bytes, start: int, end: int) -> str:
    """Text of the proved JSON string at ``raw[start:end]``, quotes included; lone surrogates stay."""
    token = raw[start:end]
    if _BACKSLASH in token:
        text: str = json.loads(token)
        return text
    return token[1:-1].decode()


def integer(raw: bytes, start: int, end: int) -> int | None:
    """The proved JSON value at ``raw[start:end]`` if it is an integer literal within int64."""
    token = raw[start:end]
    return _within_int64(token.decode()) if _INTEGER.fullmatch(token) else None


def identifier(raw: bytes, start: int, end: int) -> int | None:
    """An id: an integer literal, or a string of digits, within int64; 0 and all else is None."""
    if raw[start] != _QUOTE:
        return integer(raw, start, end) or None
    text = string(raw, start, end)
    return (_within_int64(text) or None) if _DECIMAL.fullmatch(text) else None


def decode(raw: bytes) -> Any:
    """Decode proved JSON: ``orjson.loads``, and ``json.loads`` for what only we accept.

    An integer of more digits than Python converts (4,300) becomes a float.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return json.loads(raw, parse_int=_parse_int)


def _parse_int(text: str) -> int | float:
    if len(text.lstrip("-")) > _MAX_DIGITS:
        return float(text)
    try:
        return int(text)
    except ValueError:  # the process has lowered sys.set_int_max_str_digits
        return float(text)


def _within_int64(text: str) -> int | None:
    # int() refuses thousands of digits, zeros included, so the length is judged first.
    digits = text.lstrip("-").lstrip("0")
    if len(digits) > 19:
        return None
    value = int(digits or "0")
    if text.startswith("-"):
        value = -value
    return value if -_INT64 <= value < _INT64 else None


def skip_white(raw: bytes, at: int) -> int:
    """The offset of the first byte from ``at`` on that is no white space."""
    match = _WHITE.match(raw, at)
    return match.end() if match else at


def _skip_colon(raw: bytes, at: int) -> int:
    match = _COLON.match(raw, at)
    if match:
        return match.end()
    _unexpected(raw, skip_white(raw, at))


def _skip_scalar(raw: bytes, at: int) -> int:
    byte = raw[at]
    if byte == _QUOTE:
        return _skip_string(raw, at)
    literal = _LITERALS.get(byte)
    if literal:
        if raw.startswith(literal, at):
            return at + len(literal)
        _explain_literal(raw, at, literal)
    match = _NUMBER.match(raw, at)
    # "1." and "1e" match up to the digit, but it is the byte behind the point or e that is wrong.
    if match is None or raw[match.end() : match.end() + 1] in (b".", b"e", b"E"):
        _explain_number(raw, at)
    return match.end()


def _skip_string(raw: bytes, at: int) -> int:
    match = _STRING.match(raw, at)
    end = match.end() if match else _skip_long_string(raw, at)
    text = raw[at:end]
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            _explain_string(raw, at)
    return end


def _skip_long_string(raw: bytes, at: int) -> int:
    end = at + 1
    while (match := _TEXT.match(raw, end)) and match.end() > end:
        end = match.end()
    if raw[end : end + 1] != b'"':
        _explain_string(raw, at)
    return end + 1


def _explain_literal(raw: bytes, at: int, literal: bytes) -> NoReturn:
    while raw[at : at + 1] == literal[:1]:
        at, literal = at + 1, literal[1:]
    _unexpected(raw, at)


def _explain_number(raw: bytes, at: int) -> NoReturn:
    digits = b"0123456789"
    if raw[at] == ord("-"):
        at += 1
    _expect(raw, at, digits, "unexpected byte")
    at = _skip_digits(raw, at)
    if raw[at] == ord("."):
        at += 1
        _expect(raw, at, digits, "unexpected byte")
        at = _skip_digits(raw, at)
    if raw[at] in b"eE":
        at += 1
        if raw[at : at + 1] in (b"+", b"-"):
            at += 1
        _expect(raw, at, digits, "unexpected byte")
        at = _skip_digits(raw, at)
    raise BadEvent("unexpected byte", at)


def _skip_digits(raw: bytes, at: int) -> int:
    while raw[at : at + 1].isdigit():
        at += 1
    return at


def _explain_string(raw: bytes, at: int) -> NoReturn:
    at += 1
    while at < len(raw):
        byte = raw[at]
        at += 1
        if byte < 0x20:
            raise BadEvent("control character in string", at - 1)
        if byte == _BACKSLASH:
            _expect(raw, at, b'"\\/bfnrtu', "invalid escape")
            at += 1
            if raw[at - 1] == ord("u"):
                for _ in range(4):
                    _expect(raw, at, b"0123456789abcdefABCDEF", "invalid escape")
                    at += 1
        elif byte >= 0x80:
            for low, high in _continuations(byte, at - 1):
                _expect(raw, at, bytes(range(low, high + 1)), "invalid UTF-8")
                at += 1
    raise BadEvent("unexpected end of data", at)


def _continuations(lead: int, at: int) -> list[tuple[int, int]]:
    """The ranges of the bytes that must follow ``lead`` (Unicode 15, table 3-7)."""
    rest = (0x80, 0xBF)
    if 0xC2 <= lead <= 0xDF:
        return [rest]
    if 0xE0 <= lead <= 0xEF:
        return [{0xE0: (0xA0, 0xBF), 0xED: (0x80, 0x9F)}.get(lead, rest), rest]
    if 0xF0 <= lead <= 0xF4:
        return [{0xF0: (0x90, 0xBF), 0xF4: (0x80, 0x8F)}.get(lead, rest), rest, rest]
    raise BadEvent("invalid UTF-8", at)


def _expect(raw: bytes, at: int, allowed: bytes, reason: str) -> None:
    if at == len(raw) or raw[at] not in allowed:
        _unexpected(raw, at, reason)


def _unexpected(raw: bytes, at: int, reason: str = "unexpected byte") -> NoReturn:
    raise BadEvent(reason if at < len(raw) else "unexpected end of data", at)
