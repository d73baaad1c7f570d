"""peek against orjson and json, against its twin, and its error offsets against their definition."""

from __future__ import annotations

import importlib
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from napcore.errors import BadEvent

NAMES = ["_dispatch_py"] if os.environ.get("NAPCORE_PURE") == "1" else ["_dispatch", "_dispatch_py"]
CORES = [importlib.import_module(f"napcore.{name}") for name in NAMES]
CORPUS = [
    line
    for line in (Path(__file__).parents[1] / "corpus" / "events.jsonl").read_bytes().split(b"\n")
    if 0 < len(line) < 2000
]

EVENT_FIELDS = "post_type kind sub_type self_id group_id user_id message_id time event_class".split()
RESPONSE_FIELDS = "status retcode stream echo echo_span echo_member".split()
REQUEST_FIELDS = "action echo echo_span params_span group_id user_id self_id message_type".split()
IDS = ("self_id", "group_id", "user_id", "message_id", "time")
KEYS = [
    *("post_type", "message_type", "notice_type", "request_type", "meta_event_type", "guild_type", "sub_type"),
    *(*IDS, "echo", "status", "retcode", "stream", "action", "params"),
]

# ---- documents as text, so that white space, escapes, duplicates and odd numbers occur ----

white = st.sampled_from(["", "", "", "", " ", "\n\t", "\r  "])
escapes = st.sampled_from(["\\n", '\\"', "\\\\", "\\/", "\\b", "\\f", "\\r", "\\t"]) | st.integers(0, 0xFFFF).map(
    lambda code: f"\\u{code:04x}"
)
surrogates = st.sampled_from(["\\ud83d", "\\ude00", "\\uD83D\\uDE00", "\\udc00\\ud800"])
characters = st.text(
    st.characters(min_codepoint=0x20, exclude_characters='"\\', exclude_categories=["Cs"]), max_size=12
)
texts = st.lists(characters | escapes | surrogates, max_size=4).map("".join)
strings = texts.map('"{}"'.format)
numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,4})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
ids = st.integers(-(1 << 64), 1 << 64).map(str) | st.sampled_from(["0", "-0", "10001"])
id_texts = (ids | st.sampled_from(["007", "-", "\\u0031", "1\\u0030", "\\u002d2"])).map('"{}"'.format)
post_types = st.sampled_from(["message", "message_sent", "notice", "request", "meta_event", "guild"])
scalars = (
    st.sampled_from(["null", "true", "false"]) | numbers | strings | ids | id_texts | post_types.map('"{}"'.format)
)


def escaped(key: str) -> st.SearchStrategy[str]:
    """The key with one of its characters written as an escape."""
    return st.integers(0, len(key) - 1).map(lambda at: f"{key[:at]}\\u{ord(key[at]):04X}{key[at + 1 :]}")


known_keys = st.sampled_from(KEYS).flatmap(lambda key: st.just(key) | st.just(key) | escaped(key))
keys = known_keys.map('"{}"'.format) | strings


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    items = st.lists(st.tuples(white, values, white).map("".join), max_size=4)
    return st.tuples(white, items).map(lambda parts: f"[{','.join(parts[1]) or parts[0]}]")


def objects(values: st.SearchStrategy[str], most: int = 4) -> st.SearchStrategy[str]:
    member = st.tuples(white, keys, white, st.just(":"), white, values, white).map("".join)
    return st.tuples(white, st.lists(member, max_size=most)).map(lambda parts: f"{{{','.join(parts[1]) or parts[0]}}}")


values = st.recursive(scalars, lambda inner: arrays(inner) | objects(inner), max_leaves=8)
documents = st.tuples(white, objects(values, most=9), white).map(lambda parts: "".join(parts).encode())

# ---- and what may have become of them on the way ----

sources = documents | st.sampled_from(CORPUS)
odd_bytes = st.sampled_from(
    list(b'{}[]":,\\/0123456789-+.eEtrufalsn \t\n\x00\x1f\x7f\x80\xbf\xc2\xe0\xe4\xed\xf0\xf4\xff')
)


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(sources))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        how = draw(st.sampled_from(["set", "insert", "delete", "cut", "double"]))
        if how == "set" and at < len(data):
            data[at] = draw(odd_bytes | st.integers(0, 255))
        elif how == "insert":
            data.insert(at, draw(odd_bytes | st.integers(0, 255)))
        elif how == "delete":
            del data[at : at + draw(st.integers(1, 4))]
        elif how == "cut":
            del data[at:]
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 30))]
    return bytes(data)


pieces = [b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\\u", b"true", b"-", b"0", b"1", b".", b"e", b" "]
fragments = st.lists(st.sampled_from(pieces) | st.binary(max_size=3), max_size=14).map(b"".join)
inputs = documents | mutants() | fragments | fragments.map(b'{"a":'.__add__) | st.binary(max_size=40)

# ---- results ----


def result(function: Any, data: bytes) -> tuple[Any, ...]:
    """Everything that can be seen of a call."""
    try:
        found = function(data)
    except BadEvent as error:
        return "refused", error.offset, error.reason
    kind = type(found).__name__
    fields = {"Event": EVENT_FIELDS, "Response": RESPONSE_FIELDS, "Request": REQUEST_FIELDS}[kind]
    assert found.raw is data
    return kind, *(getattr(found, field) for field in fields)


@given(inputs)
@example(b'{"post_type":"\\ud83d","\\ud83d_type":"\\ude00"}')
@example(b'{"post_type":"\\ud83d\\ude00_","\xf0\x9f\x98\x80__type":"x"}')
@example(b'{"action":"","params":{"user_id":1},"\\u0070arams":{"group_id":"\\u002d1"},"echo" :\n[] }')
def test_compiled_equals_plain(data: bytes) -> None:
    for name in ("peek", "peek_frame", "peek_request"):
        results = [result(getattr(core, name), data) for core in CORES]
        assert results.count(results[0]) == len(results)


def walk(value: Any) -> list[Any]:
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
    deepest, level = 0, [value]
    while level := [item for item in level if isinstance(item, (dict, list))]:
        deepest += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return deepest


def is_beyond_orjson(value: Any) -> bool:
    """Whether a decoded document has one of the things that only napcore accepts."""
    for item in walk(value):
        if isinstance(item, str) and any(0xD800 <= ord(character) <= 0xDFFF for character in item):
            return True
        if isinstance(item, float) and math.isinf(item):
            return True
        if isinstance(item, int) and abs(item) > 1 << 1023:
            return True
    return False


@pytest.mark.parametrize("core", CORES, ids=NAMES)
@given(data=inputs)
@example(data=b'{"a":1E400}')
@example(data=b'{"a":-1' + b"0" * 400 + b"}")
@example(data=b'{"a":"\\uDC00"}')
@example(data=b'{"a":' + b"[" * 511 + b"]" * 511 + b"}")
@example(data=b'{"a":' + b"[" * 512 + b"]" * 512 + b"}")
@example(data=b"\xef\xbb\xbf{}")
def test_verdict_is_that_of_orjson_but_for_three_things(core: Any, data: bytes) -> None:
    try:
        decoded = orjson.loads(data)
    except orjson.JSONDecodeError:
        decoded = None
    seen = result(core.peek_frame, data)
    if seen[0] == "refused":
        _, offset, reason = seen
        assert not isinstance(decoded, dict) or depth(decoded) > 512
        assert 0 <= offset <= len(data)
        assert (offset == len(data)) == (reason == "unexpected end of data")
        return
    if decoded is None:
        # Values that a later duplicate replaces count as well.
        every = json.loads(data, object_pairs_hook=lambda pairs: [item for pair in pairs for item in pair])
        assert is_beyond_orjson(every)
        decoded = json.loads(data)
    found = core.peek_frame(data)
    assert found.data == found.json() == decoded


def text_of(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def number_of(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch("-?[0-9]+", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 63) <= value < 1 << 63:
        return None
    return value or None


@pytest.mark.parametrize("core", CORES, ids=NAMES)
@given(data=documents)
def test_head_is_what_json_says(core: Any, data: bytes) -> None:
    decoded = json.loads(data)
    found = core.peek_frame(data)
    if "post_type" in decoded:
        post_type = text_of(decoded["post_type"])
        second = text_of(decoded.get("message_type" if post_type == "message_sent" else f"{post_type}_type"))
        kind = f"{post_type}.{second}" if post_type is not None and second is not None else post_type
        assert (found.post_type, found.kind, found.sub_type) == (post_type, kind, text_of(decoded.get("sub_type")))
        assert [getattr(found, name) for name in IDS] == [number_of(decoded.get(name)) for name in IDS]
    else:
        assert (found.status, found.stream) == (text_of(decoded.get("status")), text_of(decoded.get("stream")))
        code = decoded.get("retcode")
        fits = isinstance(code, int) and not isinstance(code, bool) and -(1 << 63) <= code < 1 << 63
        assert found.retcode == (code if fits else None)
        check_echo(found, decoded)
        if found.echo is not None:
            start, end = found.echo_member
            assert json.loads(b"{" + data[start:end] + b"}") == {"echo": decoded["echo"]}
    if isinstance(decoded.get("action"), str):
        request = core.peek_request(data)
        assert request.action == decoded["action"]
        check_echo(request, decoded)
        params = decoded.get("params")
        if request.params_span is None:
            assert "params" not in decoded
        else:
            assert json.loads(data[slice(*request.params_span)]) == params
        inner = params if isinstance(params, dict) else {}
        assert request.message_type == text_of(inner.get("message_type"))
        assert [getattr(request, name) for name in IDS[:3]] == [number_of(inner.get(name)) for name in IDS[:3]]
    else:
        assert result(core.peek_request, data) == ("refused", 0, "not a request")


def check_echo(found: Any, decoded: dict[str, Any]) -> None:
    assert (found.echo is not None) == ("echo" in decoded)
    if found.echo is not None:
        assert json.loads(found.echo) == decoded["echo"]
        assert found.raw[slice(*found.echo_span)] == found.echo


# ---- the offset of an error, by its definition ----

TOKEN_ENDS = [
    *(b"", b"0", b"+0", b"n", b"0000", b"000", b"00", b"u0000", b"\x80", b"\xa0\x80", b"\x80\x80", b"\x80\x80\x80"),
    b"\x90\x80\x80",
    *(word[at:] for word in (b"true", b"false", b"null") for at in range(1, len(word))),
]
CONTINUATIONS = [b"", b'"', b'":0', b":0", b"0", b'"":0', b"{}"]
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)


def is_document(data: bytes) -> bool:
    try:
        decoded = json.loads(data.decode(), parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError):
        return False
    return isinstance(decoded, dict) and depth(decoded) <= 512


def can_be_completed(prefix: bytes) -> bool:
    """Whether some document starts so: end the token, give what a member lacks, close what is open."""
    closers = bytearray()
    for byte in STRING.sub(b"", prefix):
        if byte in b"{[":
            closers.append(b"}"[0] if byte == b"{"[0] else b"]"[0])
        elif byte in b"}]" and closers:
            closers.pop()
    return any(is_document(prefix + end + more + closers[::-1]) for end in TOKEN_ENDS for more in CONTINUATIONS)


@given((documents | mutants() | fragments | fragments.map(b'{"a":'.__add__)).filter(lambda data: len(data) < 200))
@example(b'{"a":"\xed\xa0\x80"}')
@example(b'{"a":"\xf4\x90"}')
@example(b'{"a":"\xe0\x9f"}')
@example(b'{"a":1.e')
@example(b'{"a":-0.0e-,')
@example(b'{"a":"\\u00')
@example(b'{"a":[tru]}')
@example(b" \xef\xbb\xbf{}")
def test_offset_is_the_longest_prefix_of_a_document(data: bytes) -> None:
    for core in CORES:
        seen = result(core.peek_frame, data)
        if seen[0] == "refused":
            offset = seen[1]
            assert can_be_completed(data[:offset])
            assert offset == len(data) or not can_be_completed(data[: offset + 1])


@given(documents.filter(lambda data: len(data) < 120))
def test_each_prefix_of_a_document_merely_ends(data: bytes) -> None:
    end = len(data.rstrip(b" \t\r\n"))
    for at in range(end):
        for core in CORES:
            assert result(core.peek_frame, data[:at]) == ("refused", at, "unexpected end of data")
