"""Events from one message format to the other, on both cores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

CORPUS = Path(__file__).parents[1] / "corpus"
FRAMES = [line for line in (CORPUS / "events.jsonl").read_bytes().split(b"\n") if line]


def convert(core: Any, raw: str, message_format: str) -> str:
    converted: str = core.convert_event(core.peek(raw), message_format).raw.decode()
    return converted


def message(value: str, more: str = "") -> str:
    return f'{{"post_type":"message","message":{value}{more}}}'


TO_STRING = [
    ("[]", '""'),
    ("[ ]", '""'),
    ('[{"type":"text","data":{"text":"a&b[c],d"}}]', '"a&amp;b&#91;c&#93;,d"'),
    ('[{"data":{"qq":"1"},"type":"at"} , {"type":"text","data":{"text":" x"}}]', '"[CQ:at,qq=1] x"'),
    ('[{"type":"image","data":{"summary":"","url":"a,b","size":12}}]', '"[CQ:image,summary=,url=a&#44;b,size=12]"'),
    ('[{"type":"shake"},{"type":"shake","data":null},{"type":"shake","data":{}}]', '"[CQ:shake][CQ:shake][CQ:shake]"'),
    ('[{"type":"a","data":{"b":null,"c":true,"d":false}}]', '"[CQ:a,c=true,d=false]"'),
    # Numbers as they are written.
    ('[{"type":"a","data":{"b":-0.50e+1,"c":123456789012345678901234567890}}]',)
    + ('"[CQ:a,b=-0.50e+1,c=123456789012345678901234567890]"',),
    # Nested: compact, else as it is written.
    ('[{"type":"a","data":{"b":{ "c" : [ 1 , "x y" ] }}}]', '"[CQ:a,b={\\"c\\":&#91;1&#44;\\"x y\\"&#93;}]"'),
    ('[{"type":"a","data":{"b":["\\"\\\\\\u4f60&"]}}]', '"[CQ:a,b=&#91;\\"\\\\\\"\\\\\\\\\\\\u4f60&amp;\\"&#93;]"'),
    ('[{"type":"a","data":{"b":["\\\\"," "]}}]', '"[CQ:a,b=&#91;\\"\\\\\\\\\\"&#44;\\" \\"&#93;]"'),
    # Escapes of printable ASCII are undone, others stay.
    ('[{"type":"text","data":{"text":"\\u0026\\u005b\\u005D\\u002c\\u0061"}}]', '"&amp;&#91;&#93;,a"'),
    ('[{"type":"a","data":{"b":"\\u002c\\u0022\\u005c\\u007f"}}]', '"[CQ:a,b=&#44;\\u0022\\u005c\\u007f]"'),
    ('[{"type":"text","data":{"text":"\\ud83d\\\\u0026\\n\\/"}}]', '"\\ud83d\\\\u0026\\n\\/"'),
    # The last of equal keys, at the place of the first.
    ('[{"type":"a","data":{"b":1,"c":2,"b":3}}]', '"[CQ:a,b=3,c=2]"'),
    ('[{"type":"a","data":{"b":1,"b":null}}]', '"[CQ:a]"'),
    ('[{"type":"a","type":"b","data":5,"data":{"c":1}}]', '"[CQ:b,c=1]"'),
    ('[{"type":"text","data":{"text":"a","text":"b","more":"c"}}]', '"b"'),
    ('[{"\\u0074ype":"\\u0061t","d\\u0061ta":{"q\\u0071":"1"}}]', '"[CQ:at,qq=1]"'),
    ('[{"type":"text","data":{}},{"type":"text"},{"type":"text","data":{"text":null}}]', '""'),
    ('[{"type":"text","data":{"text":7}},{"type":"text","data":{"text":[1,2]}}]', '"7&#91;1,2&#93;"'),
]

TO_ARRAY = [
    ('""', "[]"),
    ('"a,b"', '[{"type":"text","data":{"text":"a,b"}}]'),
    ('"[CQ:at,qq=1] x"', '[{"type":"at","data":{"qq":"1"}},{"type":"text","data":{"text":" x"}}]'),
    ('"[CQ:shake]"', '[{"type":"shake","data":{}}]'),
    ('"&amp;#91;[CQ:a,b=&#91;&#44;&amp;,c=]"',)
    + ('[{"type":"text","data":{"text":"&#91;"}},{"type":"a","data":{"b":"[,&","c":""}}]',),
    ('"[CQ:a,b=1,c=2,b=3]"', '[{"type":"a","data":{"b":"3","c":"2"}}]'),
    # go-cqhttp writes & < > as escapes.
    ('"\\u0026amp;\\u003c\\u005bCQ:a\\u002Cb\\u003d\\u0026#44;\\u005d"',)
    + ('[{"type":"text","data":{"text":"&<"}},{"type":"a","data":{"b":","}}]',),
    ('"\\\\u0026amp;"', '[{"type":"text","data":{"text":"\\\\u0026amp;"}}]'),
    ('"\\ud83d[CQ:a,b=\\"\\n\\u4f60]\\\\"',)
    + ('[{"type":"text","data":{"text":"\\ud83d"}},{"type":"a","data":{"b":"\\"\\n\\u4f60"}},'
       '{"type":"text","data":{"text":"\\\\"}}]',),
    ('"[CQ:a,b[CQ:c]"', '[{"type":"text","data":{"text":"[CQ:a,b"}},{"type":"c","data":{}}]'),
    ('"[CQ:a,\\u4f60=1][CQ:"', '[{"type":"text","data":{"text":"[CQ:a,\\u4f60=1][CQ:"}}]'),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), TO_STRING)
def test_to_string(core: Any, before: str, after: str) -> None:
    assert convert(core, message(before), "string") == message(after)
    json.loads(message(after))


@pytest.mark.parametrize(("before", "after"), TO_ARRAY)
def test_to_array(core: Any, before: str, after: str) -> None:
    assert convert(core, message(before), "array") == message(after)
    json.loads(message(after))


@pytest.mark.parametrize("count", [32, 33, 200])
def test_segments_of_many_members(core: Any, count: int) -> None:
    data = ",".join(f'"k{number}":"{number}"' for number in range(count))
    code = "".join(f",k{number}={number}" for number in range(count))
    array, string = message(f'[{{"type":"a","data":{{{data}}}}}]'), message(f'"[CQ:a{code}]"')
    assert convert(core, array, "string") == string
    assert convert(core, string, "array") == array


def test_what_is_rewritten(core: Any) -> None:
    raw = (
        ' {"raw_message" : "old", "message":[{"type":"at","data":{"qq":"1"}}],"x":1.50,'
        '"message_format":"array" ,"post_type":"message_sent", "sender":{"message":[],"raw_message":"s"}}\n'
    )
    code = '"[CQ:at,qq=1]"'
    string = raw.replace('"old"', code).replace('[{"type":"at","data":{"qq":"1"}}]', code)
    assert convert(core, raw, "string") == string.replace('"array"', '"string"')
    # Back again, raw_message is the CQ string in either format.
    back = raw.replace('"old"', code)
    assert convert(core, string.replace('"array"', '"string"'), "array") == back


def test_nothing_is_added(core: Any) -> None:
    assert convert(core, message('"x"'), "array") == message('[{"type":"text","data":{"text":"x"}}]')
    assert convert(core, message('[{"type":"a"}]'), "string") == message('"[CQ:a]"')


def test_a_key_that_comes_twice_says_the_same_twice(core: Any) -> None:
    raw = (
        '{"message":[],"message_format":"array","post_type":"message","m\\u0065ssage":[{"type":"a"}],'
        '"message_format":null,"raw_message":1,"raw_message":2}'
    )
    assert convert(core, raw, "string") == (
        '{"message":"[CQ:a]","message_format":"string","post_type":"message","m\\u0065ssage":"[CQ:a]",'
        '"message_format":"string","raw_message":"[CQ:a]","raw_message":"[CQ:a]"}'
    )
    # The last one decides whether there is something to convert.
    for last in ('"[CQ:a]"', "null", "[1]"):
        event = core.peek(f'{{"message":[],"post_type":"message","message":{last}}}')
        assert core.convert_event(event, "string") is event
    many = ",".join(['"message":"x"'] * 20)
    assert convert(core, f'{{"post_type":"message",{many}}}', "array").count('[{"type":"text"') == 20


@pytest.mark.parametrize(
    "value",
    [
        *('"x"', "null", "5", "true", '{"type":"a"}', "[1]", "[null]", '["x"]', "[[]]", "[{}]", '[{"data":{}}]'),
        *('[{"type":1}]', '[{"type":null}]', '[{"type":"a","data":[]}]', '[{"type":"a","data":"x"}]'),
        *('[{"type":""}]', '[{"type":"a b"}]', '[{"type":"a,b"}]', '[{"type":"类"}]', '[{"type":"\\ud83d"}]'),
        *('[{"type":"a","data":{"":1}}]', '[{"type":"a","data":{"b]":1}}]', '[{"type":"a","data":{"\\u005b":1}}]'),
        *('[{"type":"a"},{"type":"b","data":{"c":1,"键":2}}]', '[{"type":"text","data":{"text":"x"}},7]'),
    ],
)
def test_what_a_string_cannot_carry_stays_as_received(core: Any, value: str) -> None:
    for fields in ("", ',"raw_message":"r","message_format":"array"'):
        event = core.peek(message(value, fields))
        assert core.convert_event(event, "string") is event


def test_members_of_no_value_need_no_name(core: Any) -> None:
    assert convert(core, message('[{"type":"a","data":{"键":null}}]'), "string") == message('"[CQ:a]"')


@pytest.mark.parametrize("value", ["[]", '[{"type":"a"}]', "null", "5", "{}"])
def test_what_is_no_string_stays_as_received(core: Any, value: str) -> None:
    event = core.peek(message(value))
    assert core.convert_event(event, "array") is event


@pytest.mark.parametrize("post_type", ['"notice"', '"meta_event"', '"guild"', "null"])
def test_only_messages_are_converted(core: Any, post_type: str) -> None:
    for value, message_format in (('"[CQ:a]"', "array"), ("[]", "string")):
        event = core.peek(f'{{"post_type":{post_type},"message":{value}}}')
        assert core.convert_event(event, message_format) is event


def test_an_event_without_a_message(core: Any) -> None:
    event = core.peek('{"post_type":"message","raw_message":"x","sender":{"message":"x"}}')
    for message_format in ("array", "string"):
        assert core.convert_event(event, message_format) is event


def test_the_head_stays(core: Any, event: Any) -> None:
    before = event(
        post_type="message",
        message_type="group",
        sub_type="normal",
        self_id=1,
        group_id=2,
        user_id=3,
        message_id=4,
        time=5,
        message="x",
    )
    assert before.data["message"] == "x"
    assert before.signature(b"secret")
    after = core.convert_event(before, "array")
    for name in (
        "post_type",
        "kind",
        "sub_type",
        "self_id",
        "group_id",
        "user_id",
        "message_id",
        "time",
        "event_class",
    ):
        assert getattr(after, name) == getattr(before, name) is not None
    assert after.data["message"] == [{"type": "text", "data": {"text": "x"}}]
    assert after.signature(b"secret") == core.peek(after.raw).signature(b"secret") != before.signature(b"secret")
    assert after == core.peek(after.raw)
    assert hash(after) == hash(after.raw)


@pytest.mark.parametrize("raw", FRAMES, ids=range(len(FRAMES)))
def test_the_corpus_goes_there_and_back(core: Any, raw: bytes) -> None:
    event = core.peek_frame(raw)
    if type(event).__name__ != "Event":
        return
    data = json.loads(raw)
    for message_format in ("array", "string"):
        converted = core.convert_event(event, message_format)
        value = data.get("message")
        if event.event_class or isinstance(value, str) == (message_format == "string") or value is None:
            assert converted is event
            continue
        found = json.loads(converted.raw)
        if message_format == "string":
            assert found["message"] == found["raw_message"] == core.format_message(value)
        else:
            assert found["message"] == core.parse_message(value)
            assert found.get("raw_message") == data.get("raw_message")
        assert found.get("message_format") == (message_format if "message_format" in data else None)
        assert {
            **found,
            **{key: data[key] for key in ("message", "raw_message", "message_format") if key in data},
        } == data
        assert list(found) == list(data)
        # All but the types of values, texts apart that touch.
        back = core.convert_event(converted, "array" if message_format == "string" else "string")
        assert core.plain_text(json.loads(back.raw)["message"]) == core.plain_text(value)


def test_calls_that_are_wrong(core: Any, event: Any) -> None:
    with pytest.raises(TypeError, match="expected an event"):
        core.convert_event(b'{"post_type":"message"}', "array")
    for message_format in ("cq", None, 1, "Array"):
        with pytest.raises(ValueError, match="message_format must be one of array, string"):
            core.convert_event(event(post_type="message"), message_format)


def test_huge_messages(core: Any) -> None:
    size = 50_000 if core.__name__.endswith("_py") else 1_000_000
    text = "[CQ:a,b=" * size
    array = convert(core, message(json.dumps(text)), "array")
    assert json.loads(array)["message"] == [{"type": "text", "data": {"text": text}}]
    string = convert(core, array, "string")
    assert json.loads(string)["message"] == text.replace("[", "&#91;")
    assert convert(core, string, "array") == array
