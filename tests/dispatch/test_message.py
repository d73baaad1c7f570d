"""Messages as CQ strings and as segments, on both cores."""

from __future__ import annotations

from typing import Any

import pytest

JSON_CARD = '{"app":"com.tencent.miniapp_01","desc":"[a], b & c"}'

READ = [
    ("", []),
    ("汉字 a,b=c", [("text", {"text": "汉字 a,b=c"})]),
    ("[CQ:at,qq=all]", [("at", {"qq": "all"})]),
    ("[CQ:shake]", [("shake", {})]),
    ("a[CQ:face,id=178]b", [("text", {"text": "a"}), ("face", {"id": "178"}), ("text", {"text": "b"})]),
    # Escapes: & is undone last, so that an escaped escape is text.
    ("&#91;x&#93; a&amp;b", [("text", {"text": "[x] a&b"})]),
    ("&amp;#91;&amp;amp;&amp;#44;", [("text", {"text": "&#91;&amp;&#44;"})]),
    ("[CQ:image,url=http://a/?b=c&amp;d=&#91;&#44;&#93;]", [("image", {"url": "http://a/?b=c&d=[,]"})]),
    # A comma needs no escape in text, but those who write one are understood.
    ("a&#44;b", [("text", {"text": "a,b"})]),
    ("& &lt; &#45;", [("text", {"text": "& &lt; &#45;"})]),
    # Values.
    ("[CQ:image,summary=,file=a.jpg]", [("image", {"summary": "", "file": "a.jpg"})]),
    ("[CQ:a,b=1=2]", [("a", {"b": "1=2"})]),
    ("[CQ:a,b=1,c=2,b=3]", [("a", {"b": "3", "c": "2"})]),
    ("[CQ:a,b=[x]", [("a", {"b": "[x"})]),
    ("[CQ:a,b= c ]", [("a", {"b": " c "})]),
    ("[CQ:a,b=1,]", [("a", {"b": "1"})]),
    ("[CQ:a,]", [("a", {})]),
    # Types and keys that nobody knows.
    ("[CQ:some-Thing_2.x,k-_.9=v]", [("some-Thing_2.x", {"k-_.9": "v"})]),
    ("[CQ:text,text=&#91;]", [("text", {"text": "["})]),
]

TEXT_ONLY = [
    "[CQ:",
    "[CQ:]",
    "[CQ:,a=1]",
    "[CQ:at,qq=1",
    "[CQ:at",
    "[CQ:at,qq]",
    "[CQ:at,qq=1,,]",
    "[CQ:at,=1]",
    "[CQ: at,qq=1]",
    "[CQ:at, qq=1]",
    "[CQ:at ,qq=1]",
    "[CQ:图片,file=1]",
    "[CQ:at,号=1]",
    "[cq:at,qq=1]",
    "[CP:at,qq=1]",
    "CQ:at,qq=1]",
    '[CQ:json,data={"a":[1,2]}]',
]


def segments_of(pairs: list[tuple[str, dict[str, str]]]) -> list[dict[str, Any]]:
    return [{"type": name, "data": data} for name, data in pairs]


@pytest.mark.parametrize(("text", "pairs"), READ, ids=lambda value: value if isinstance(value, str) else "")
def test_a_cq_string_is_read(core: Any, text: str, pairs: list[tuple[str, dict[str, str]]]) -> None:
    found = core.parse_message(text)
    assert found == segments_of(pairs)
    assert [list(segment["data"]) for segment in found] == [list(data) for _, data in pairs]
    assert core.parse_message(core.format_message(found)) == found


@pytest.mark.parametrize("text", TEXT_ONLY)
def test_what_is_no_code_stays_text(core: Any, text: str) -> None:
    assert core.parse_message(text) == segments_of([("text", {"text": text})])
    assert core.plain_text(text) == text
    # Codes around it are found all the same.
    around = segments_of([("x", {}), ("text", {"text": f"{text} & !"})])
    assert core.parse_message(f"[CQ:x]{text} & !") == around
    if text != "[CQ:at,qq=1":  # whose value would go on
        assert core.parse_message(f"[CQ:x]{text} & ![CQ:y]") == [*around, *segments_of([("y", {})])]


def test_a_code_inside_of_what_is_none(core: Any) -> None:
    assert core.parse_message("[CQ:[CQ:a]")[1:] == segments_of([("a", {})])
    assert core.parse_message("[CQ:a,b[CQ:c]") == segments_of([("text", {"text": "[CQ:a,b"}), ("c", {})])
    assert core.parse_message("[CQ:a,b=[CQ:c,!]") == segments_of([("text", {"text": "[CQ:a,b=[CQ:c,!]"})])
    assert core.parse_message("[CQ:a,b=[CQ:c]]") == segments_of([("a", {"b": "[CQ:c"}), ("text", {"text": "]"})])


WRITTEN = [
    ([("text", {"text": "a&b[c],d"})], "a&amp;b&#91;c&#93;,d"),
    ([("image", {"url": "a&b[c],d="})], "[CQ:image,url=a&amp;b&#91;c&#93;&#44;d=]"),
    ([("text", {"text": "&#91;"})], "&amp;#91;"),
    ([("shake", None)], "[CQ:shake]"),
    ([("shake", {})], "[CQ:shake]"),
    ([("text", None)], ""),
    ([("text", {})], ""),
    ([("text", {"text": None})], ""),
    ([("text", {"text": 12, "more": "x"})], "12"),
    ([("image", {"summary": "", "file": None, "url": "x"})], "[CQ:image,summary=,url=x]"),
    (
        [("a", {"b": True, "c": False, "d": 0, "e": -1.5, "f": 1 << 70})],
        f"[CQ:a,b=true,c=false,d=0,e=-1.5,f={1 << 70}]",
    ),
    ([("face", {"raw": {"n": 1, "t": "[斜]"}})], '[CQ:face,raw={"n":1&#44;"t":"&#91;斜&#93;"}]'),
    ([("forward", {"content": [{"a": []}, None]})], '[CQ:forward,content=&#91;{"a":&#91;&#93;}&#44;null&#93;]'),
    ([("a", {"b": ["\ud83d"]})], '[CQ:a,b=&#91;"\ud83d"&#93;]'),
    ([("json", {"data": JSON_CARD})], None),
    ([("text", {"text": "\ud83d\u0000\u2028"})], "\ud83d\u0000\u2028"),
    ([], ""),
]


@pytest.mark.parametrize(("pairs", "text"), WRITTEN)
def test_segments_are_written(core: Any, pairs: list[tuple[str, Any]], text: str | None) -> None:
    segments = segments_of(pairs)
    written = core.format_message(segments)
    if text is not None:
        assert written == text
    assert core.format_message(tuple(segments)) == core.format_message(iter(segments)) == written
    if all(isinstance(value, str) for _, data in pairs for value in (data or {"": ""}).values()):
        expected = [{"type": name, "data": data or {}} for name, data in pairs if name != "text" or data]
        assert core.parse_message(written) == expected


def test_a_missing_data_is_as_none(core: Any) -> None:
    assert core.format_message([{"type": "shake"}, {"type": "text"}]) == "[CQ:shake]"


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a=b", "a]", "a[", "a&b", "类", "a\n"])
def test_a_name_the_format_has_no_place_for_is_refused(core: Any, name: str) -> None:
    for segment in ({"type": name, "data": {}}, {"type": "a", "data": {name: "1"}}):
        with pytest.raises(ValueError, match=r"^a CQ code has no place for the name "):
            core.format_message([segment])


@pytest.mark.parametrize(
    "segments",
    [
        "text",
        {"type": "text", "data": {"text": "a"}},
        ["text"],
        [None],
        [{}],
        [{"type": 1}],
        [{"type": "a", "data": []}],
        [{"type": "a", "data": "x"}],
        [{"type": "a", "data": {1: "x"}}],
        [{"type": "a", "data": {"b": object()}}],
        [{"type": "text", "data": {"text": object()}}],
        None,
        1,
    ],
)
def test_what_is_no_segment_is_a_type_error(core: Any, segments: Any) -> None:
    with pytest.raises(TypeError):
        core.format_message(segments)


@pytest.mark.parametrize("text", [None, b"x", 1, []])
def test_only_a_str_is_read(core: Any, text: Any) -> None:
    with pytest.raises(TypeError, match="expected str"):
        core.parse_message(text)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("", ""),
        ("[CQ:at,qq=1] /天气 &#91;北京&#93;", " /天气 [北京]"),
        ("a[CQ:x]b&amp;amp;", "ab&amp;"),
        ("a[CQ:text,text=b]", "ab"),
        (segments_of([("reply", {"id": "1"}), ("text", {"text": "a["}), ("text", {"text": "b"})]), "a[b"),
        (segments_of([("text", {"text": "only"})]), "only"),
        (segments_of([("image", {"text": "no"})]), ""),
        ([], ""),
        # Whatever comes over the wire.
        (None, ""),
        (5, ""),
        (b"bytes", ""),
        ({"type": "text", "data": {"text": "no list"}}, ""),
        ([None, 1, "x", [], {}, {"type": "text"}, {"type": []}], ""),
        ([{"type": "text", "data": value} for value in (None, [], "x", {}, {"text": None}, {"text": 1})], ""),
    ],
)
def test_the_plain_text_of_a_message(core: Any, message: Any, text: str) -> None:
    assert core.plain_text(message) == text


def test_hostile_input_is_gone_through_once(core: Any) -> None:
    size = 200_000  # quadratic, this is minutes
    for opening in ("[CQ:", "[CQ:a,b=", "[CQ:a,b=1,"):
        text = opening * size
        assert core.plain_text(text) == core.plain_text(text + ",!")[:-2] == text
