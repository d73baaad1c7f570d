"""Messages on the compiled module against the plain twin, and conversions against decoded documents."""

from __future__ import annotations

import json
import sys
from typing import Any

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

from napcore import _dispatch, _dispatch_py
from napcore.errors import BadEvent

CORES = (_dispatch, _dispatch_py)


def outcome(function: Any, *arguments: Any) -> Any:
    """What a call gives, its errors included."""
    try:
        return function(*arguments)
    except (TypeError, ValueError, RecursionError) as error:
        return type(error), str(error)


def same(name: str, *arguments: Any) -> Any:
    """The same from both."""
    compiled, plain = (outcome(getattr(core, name), *arguments) for core in CORES)
    assert compiled == plain, f"{name}: {compiled} != {plain}"
    return compiled


def check_text(text: str) -> None:
    """A CQ string: read, written, read again."""
    segments = same("parse_message", text)
    written = same("format_message", segments)
    again = same("parse_message", written)
    assert same("format_message", again) == written
    assert same("plain_text", text) == same("plain_text", segments) == same("plain_text", written)


def check_value(data: bytes) -> None:
    """Decoded JSON as a message, whatever it is."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    same("plain_text", value)
    written = same("format_message", value)
    if isinstance(written, str):
        same("parse_message", written)


def read(raw: bytes) -> dict[str, Any]:
    """Decoded, numbers as they are written."""
    found: dict[str, Any] = json.loads(raw, parse_int=str, parse_float=str)
    return found


def check_event(raw: bytes) -> None:
    """A document, if it is an event: converted, and what decoding makes of that."""
    try:
        events = [core.peek(raw) for core in CORES]
    except BadEvent:
        return
    for to in ("array", "string"):
        made = [core.convert_event(event, to) for core, event in zip(CORES, events, strict=True)]
        assert made[0].raw == made[1].raw, f"to {to}: {made[0].raw!r} != {made[1].raw!r}"
        assert [one is event for one, event in zip(made, events, strict=True)] == [made[0].raw == raw] * 2
        if made[0].raw == raw:
            continue
        _dispatch.peek(made[0].raw)
        before, after = read(raw), read(made[0].raw)
        kept = [key for key in before if key not in ("message", "message_format", "raw_message")]
        assert list(before) == list(after)
        assert [before[key] for key in kept] == [after[key] for key in kept]
        if to == "array":
            assert after["message"] == _dispatch_py.parse_message(before["message"])
        elif not any(isinstance(value, (dict, list)) for one in before["message"] for value in values_of(one)):
            assert after["message"] == _dispatch_py.format_message(before["message"])


def values_of(segment: Any) -> list[Any]:
    return list((segment.get("data") or {}).values())


def try_one(data: bytes) -> None:
    """One input, as a text, a value and an event."""
    check_text(data.decode("utf-8", "surrogateescape"))
    check_value(data)
    check_event(data)
    check_event(b'{"post_type":"message","message":' + data + b',"message_format":"array","raw_message":1}')
    check_event(b'{"post_type":"message_sent","message":"' + data + b'"}')


if __name__ == "__main__":
    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()
