"""peek on the compiled module against the plain twin, and against orjson and json where they must agree."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]
import orjson

from napcore import _dispatch, _dispatch_py
from napcore.errors import BadEvent

FIELDS = {
    "Event": ("post_type", "kind", "sub_type", "self_id", "group_id", "user_id", "message_id", "time", "event_class"),
    "Response": ("status", "retcode", "stream", "echo", "echo_span", "echo_member"),
    "Request": ("action", "echo", "echo_span", "params_span", "group_id", "user_id", "self_id", "message_type"),
}


def seen(function: Any, data: Any) -> tuple[Any, ...]:
    """Everything that can be seen of a call."""
    try:
        found = function(data)
    except BadEvent as error:
        return "refused", error.offset, error.reason
    kind = type(found).__name__
    return kind, found.raw, *(getattr(found, field) for field in FIELDS[kind])


def inner_values(value: Any) -> list[Any]:
    """The value and all that is inside."""
    found, waiting = [], [value]
    while waiting:
        item = waiting.pop()
        found.append(item)
        if isinstance(item, dict):
            waiting += [*item, *item.values()]
        elif isinstance(item, list):
            waiting += item
    return found


def depth(value: Any) -> int:
    """How deep arrays and objects are nested."""
    deepest, level = 0, [value]
    while level := [item for item in level if isinstance(item, (dict, list))]:
        deepest += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return deepest


def is_beyond_orjson(value: Any) -> bool:
    """Whether a decoded document has a lone surrogate or a number beyond double."""
    for item in inner_values(value):
        if isinstance(item, str) and any(0xD800 <= ord(character) <= 0xDFFF for character in item):
            return True
        if isinstance(item, float) and math.isinf(item):
            return True
        if isinstance(item, int) and abs(item) > 1 << 1023:
            return True
    return False


def check_against_peers(data: bytes) -> None:
    """The verdict is orjson's but for lone surrogates, numbers beyond double and depth above 512."""
    try:
        decoded = orjson.loads(data)
    except orjson.JSONDecodeError:
        decoded = None
    try:
        found = _dispatch.peek_frame(data)
    except BadEvent as error:
        assert not isinstance(decoded, dict) or depth(decoded) > _dispatch.MAX_DEPTH, "orjson takes it"
        assert 0 <= error.offset <= len(data)
        assert (error.offset == len(data)) == (error.reason == "unexpected end of data")
        return
    if decoded is None:
        # Members that a later duplicate replaces count as well.
        every = json.loads(data, object_pairs_hook=lambda pairs: [item for pair in pairs for item in pair])
        assert is_beyond_orjson(every), "orjson refuses it"
        decoded = json.loads(data)
    assert found.data == found.json() == decoded


def as_another_buffer(data: bytes) -> Any:
    """The same input in a form that its length chooses."""
    match len(data) % 4:
        case 0:
            return bytearray(data)
        case 1:
            return memoryview(b"{" + data)[1:]  # need not start where its block starts
        case 2:
            return data.decode("utf-8", "surrogateescape")
        case _:
            return data


def try_one(data: bytes) -> None:
    """One input."""
    for name in ("peek_frame", "peek_request"):
        compiled, plain = (seen(getattr(core, name), data) for core in (_dispatch, _dispatch_py))
        assert compiled == plain, f"{name}: {compiled} != {plain}"
    frame = seen(_dispatch.peek_frame, data)
    event = ("refused", 0, "not an event") if frame[0] == "Response" else frame
    assert seen(_dispatch.peek, data) == event
    other = as_another_buffer(data)
    compiled, plain = (seen(core.peek_frame, other) for core in (_dispatch, _dispatch_py))
    assert compiled == plain, f"{type(other).__name__}: {compiled} != {plain}"
    check_against_peers(data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()
