"""Messages: the compiled core against its twin, round trips, and conversions against decode, convert, encode."""

from __future__ import annotations

import importlib
import json
import os
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from napcore import _dispatch_py as plain

NAMES = ["_dispatch_py"] if os.environ.get("NAPCORE_PURE") == "1" else ["_dispatch", "_dispatch_py"]
CORES = [importlib.import_module(f"napcore.{name}") for name in NAMES]
REWRITTEN = {"message", "raw_message", "message_format"}

# ---- CQ strings and segments ----

names = st.text("abcZ019_.-", min_size=1, max_size=4)
pieces = st.sampled_from(
    [*("[CQ:", "]", ",", "=", "&", "&amp;", "&#91;", "&#93;", "&#44;", "at", "qq", "text", " ", "汉", "\U0001f600")]
)
codes = st.tuples(names, st.lists(st.tuples(names, st.text(max_size=4)), max_size=3)).map(
    lambda code: "[CQ:" + ",".join([code[0], *(f"{key}={value}" for key, value in code[1])]) + "]"
)
cq_strings = st.lists(pieces | codes | st.text(max_size=3), max_size=12).map("".join)
texts = st.text(max_size=6) | cq_strings
segments = st.lists(
    st.one_of(
        st.builds(lambda text: {"type": "text", "data": {"text": text}}, texts),
        st.builds(
            lambda name, data: {"type": name, "data": data}, names, st.dictionaries(names, texts, max_size=3)
        ).filter(lambda segment: segment["type"] != "text"),
    ),
    max_size=5,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(-1e9, 1e9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
odd_segments = st.fixed_dictionaries(
    {}, optional={"type": names | st.sampled_from(["text", "a b", ""]) | json_values, "data": json_values}
)


def merged(message: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With texts that touch made one, and empty ones left out: a CQ string has no border between them."""
    found: list[dict[str, Any]] = []
    for segment in message:
        if segment["type"] == "text" and found and found[-1]["type"] == "text":
            found[-1] = {"type": "text", "data": {"text": found[-1]["data"]["text"] + segment["data"]["text"]}}
        elif segment["type"] != "text" or segment["data"]["text"]:
            found.append(segment)
    return found


def outcome(function: Any, *arguments: Any) -> Any:
    """What a call gives, its errors included."""
    try:
        return function(*arguments)
    except (TypeError, ValueError) as error:
        return type(error), str(error)


@given(cq_strings)
def test_compiled_reads_as_plain(text: str) -> None:
    expected = plain.parse_message(text)
    for core in CORES:
        assert core.parse_message(text) == expected
        assert core.plain_text(text) == core.plain_text(expected)
        assert core.parse_message(core.format_message(expected)) == merged(expected)


@pytest.mark.parametrize("core", CORES, ids=NAMES)
@given(message=segments)
@example(message=[{"type": "a", "data": {"b": "", "c": "\ud83d"}}, {"type": "text", "data": {"text": "&#44;\ude00"}}])
def test_segments_survive_the_string(core: Any, message: list[dict[str, Any]]) -> None:
    written = core.format_message(message)
    assert core.parse_message(written) == merged(message)
    assert core.plain_text(written) == core.plain_text(message)


@given(st.lists(odd_segments, max_size=3) | st.lists(json_values, max_size=3) | json_values)
def test_compiled_writes_as_plain(message: Any) -> None:
    expected = outcome(plain.format_message, message), plain.plain_text(message)
    for core in CORES:
        assert (outcome(core.format_message, message), core.plain_text(message)) == expected


# ---- events, as orjson writes them ----

messages = segments | st.lists(
    st.builds(
        lambda name, data: {"type": name, "data": data},
        names,
        st.none() | st.dictionaries(names, json_values, max_size=4),
    ),
    max_size=4,
)
events = st.fixed_dictionaries(
    {
        "self_id": st.integers(1, 1 << 40),
        "message": messages | cq_strings,
        "post_type": st.sampled_from(["message", "message_sent"]),
        "group_id": st.integers(1, 1 << 40),
    },
    optional={
        "raw_message": cq_strings,
        "message_format": st.sampled_from(["array", "string"]),
        "sender": json_values,
    },
)


@pytest.mark.parametrize("core", CORES, ids=NAMES)
@given(fields=events)
def test_an_event_is_converted_as_if_decoded(core: Any, fields: dict[str, Any]) -> None:
    event = core.peek(orjson.dumps(fields))
    other = "array" if isinstance(fields["message"], str) else "string"
    converted = core.convert_event(event, other)
    expected = dict(fields)
    if other == "array":
        expected["message"] = core.parse_message(fields["message"])
    else:
        expected["message"] = core.format_message(fields["message"])
        if "raw_message" in fields:
            expected["raw_message"] = expected["message"]
    if "message_format" in fields:
        expected["message_format"] = other
    assert converted.raw == orjson.dumps(expected)
    assert core.convert_event(event, "array" if other == "string" else "string") is event
    assert core.convert_event(converted, other) is converted


# ---- events as text, so that white space, escapes, duplicates and odd numbers occur ----

white = st.sampled_from(["", "", "", "", " ", "\n\t", "\r  "])
escapes = st.sampled_from(["\\n", '\\"', "\\\\", "\\/", "\\\\u0026", "\\ud83d", "\\ude00", "\\u4F60", "\\u0000"])
hidden = st.sampled_from("&[],=CQ:amp;#914 ~\x7f").map(lambda character: f"\\u{ord(character):04x}") | st.sampled_from(
    ["\\u005B", "\\u005D", "\\u002C"]
)
characters = st.text(st.characters(min_codepoint=0x20, exclude_characters='"\\', exclude_categories=["Cs"]), max_size=4)
plain_codes = codes.filter(lambda code: json.dumps(code, ensure_ascii=False) == f'"{code}"')
bodies = st.lists(characters | pieces | plain_codes | escapes | hidden, max_size=8).map("".join)
strings = bodies.map('"{}"'.format)
numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,4})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
scalars = st.sampled_from(["null", "true", "false"]) | numbers | strings


def spaced(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(white, values, white).map("".join)


def escaped(key: str) -> st.SearchStrategy[str]:
    """The key, or with one of its characters written as an escape."""
    some = st.integers(0, len(key) - 1).map(lambda at: f"{key[:at]}\\u{ord(key[at]):04X}{key[at + 1 :]}")
    return st.just(key) | st.just(key) | st.just(key) | some


def arrays(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(white, st.lists(spaced(items), max_size=4)).map(
        lambda parts: f"[{','.join(parts[1]) or parts[0]}]"
    )


def objects(keys: st.SearchStrategy[str], values: st.SearchStrategy[str], most: int = 4) -> st.SearchStrategy[str]:
    members = st.tuples(spaced(keys.map('"{}"'.format)), spaced(values)).map(":".join)
    return st.tuples(white, st.lists(members, max_size=most)).map(lambda parts: f"{{{','.join(parts[1]) or parts[0]}}}")


keys = names | bodies
values = st.recursive(scalars, lambda inner: arrays(inner) | objects(keys, inner), max_leaves=6)
datas = objects(names.flatmap(escaped) | st.just("text"), values) | objects(names | st.just("text"), values)
segment_texts = st.one_of(
    st.builds('{{"type":"text","data":{{"text":{}}}}}'.format, values),
    st.builds('{{"type":"{}","data":{}}}'.format, names | st.just("text"), datas),
    st.builds('{{"data":{},"type":"{}"}}'.format, datas, names.flatmap(escaped) | st.just("text")),
    objects(st.sampled_from(["type", "data", "other"]).flatmap(escaped), datas | names.map('"{}"'.format) | scalars),
)
documents = st.lists(
    st.one_of(
        st.tuples(st.just("message").flatmap(escaped), arrays(segment_texts) | strings | values),
        st.tuples(st.sampled_from(sorted(REWRITTEN)).flatmap(escaped), strings | values),
        st.tuples(bodies, values),
    ),
    max_size=5,
).flatmap(
    lambda members: st.tuples(
        white,
        st.permutations([("post_type", '"message"'), *members]).map(
            lambda all_: "{" + " ,".join(f'"{key}":{value}' for key, value in all_) + "}"
        ),
        white,
    ).map(lambda parts: "".join(parts).encode())
)


def pairs(raw: bytes) -> list[tuple[str, Any]]:
    """The members of a document, duplicates included, numbers as they are written."""
    depth: list[list[tuple[str, Any]]] = []

    def keep(found: list[tuple[str, Any]]) -> dict[str, Any]:
        depth.append(found)
        return dict(found)

    json.loads(raw, object_pairs_hook=keep, parse_int=str, parse_float=str)
    return depth[-1]


@given(documents)
@example(b'{"post_type":"message","message":[],"message":"[CQ:a,b=\\u0026amp;,b=2,c=]","message_format":5}')
@example(b'{"post_type":"message","message":[{"type":"a","data":{"b":1,"b":null,"b":"x"}}] , "m\\u0065ssage":[]}')
@example(b'{"post_type":"message","message":[{"type":"a","data":{"b":[ "\\\\\\" ,\\\\u0026", 1.50 ]}}]}')
@example(b'{"post_type":"message","message":"' + b"[CQ:a," + b",".join(b"k%d=1" % n for n in range(40)) + b']"}')
@example(b'{"post_type":"message",' + b",".join([b'"message":"x","message_format":"string"'] * 6) + b"}")
def test_compiled_converts_as_plain(raw: bytes) -> None:
    for message_format in ("array", "string"):
        expected = plain.convert_event(plain.peek(raw), message_format)
        for core in CORES:
            event = core.peek(raw)
            converted = core.convert_event(event, message_format)
            assert converted.raw == expected.raw
            assert (converted is event) == (expected.raw is raw)
            again = core.peek(converted.raw)
            for name in ("post_type", "kind", "sub_type", "self_id", "group_id", "user_id", "message_id", "time"):
                assert getattr(converted, name) == getattr(event, name) == getattr(again, name)


@given(documents)
def test_the_rest_of_a_converted_event_is_as_received(raw: bytes) -> None:
    core = CORES[0]
    before = pairs(raw)
    for message_format, kept in (("array", {"raw_message"}), ("string", set())):
        converted = core.convert_event(core.peek(raw), message_format)
        if converted.raw == raw:
            continue
        after = pairs(converted.raw)
        assert [key for key, _ in after] == [key for key, _ in before]
        changed = REWRITTEN - kept
        assert [pair for pair in after if pair[0] not in changed] == [pair for pair in before if pair[0] not in changed]
        found = {key: {json.dumps(value) for name, value in after if name == key} for key in changed}
        assert all(len(values) <= 1 for values in found.values())
        assert found["message_format"] <= {json.dumps(message_format)}
        message = dict(after)["message"]
        if message_format == "array":
            assert message == core.parse_message(dict(before)["message"])
        else:
            assert isinstance(message, str)
            assert core.plain_text(message) == "".join(
                segment["data"].get("text", "") for segment in core.parse_message(message) if segment["type"] == "text"
            )
