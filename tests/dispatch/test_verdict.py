"""What is accepted, and where and why input is refused."""

from __future__ import annotations

from typing import Any

import pytest

from napcore.errors import BadEvent, NapcoreError

E = b'{"post_type":"notice","a":'


def refusal(core: Any, data: Any) -> tuple[int, str]:
    with pytest.raises(BadEvent) as caught:
        core.peek_frame(data)
    return caught.value.offset, caught.value.reason


@pytest.mark.parametrize(
    ("data", "offset", "reason"),
    [
        (b"", 0, "unexpected end of data"),
        (b" \r\n\t", 4, "unexpected end of data"),
        (b"[]", 0, "not an object"),
        (b"  1", 2, "not an object"),
        (b"\x00{}", 0, "not an object"),
        (b"\xff", 0, "not an object"),
        (b"\x0b{}", 0, "not an object"),
        (b"\xef\xbb\xbf{}", 0, "byte order mark"),
        (b"\xef\xbb\xbf", 0, "byte order mark"),
        (b"\xef\xbb", 0, "not an object"),
        (b" \xef\xbb\xbf{}", 1, "not an object"),
        (b"{", 1, "unexpected end of data"),
        (b"{ ", 2, "unexpected end of data"),
        (b"{,", 1, "unexpected byte"),
        (b"{]", 1, "unexpected byte"),
        (b"{a", 1, "unexpected byte"),
        (b"{1:2}", 1, "unexpected byte"),
        (b'{"a"', 4, "unexpected end of data"),
        (b'{"a" ', 5, "unexpected end of data"),
        (b'{"a",', 4, "unexpected byte"),
        (b'{"a" }', 5, "unexpected byte"),
        (b'{"a":', 5, "unexpected end of data"),
        (b'{"a":}', 5, "unexpected byte"),
        (b'{"a":,', 5, "unexpected byte"),
        (b'{"a":1', 6, "unexpected end of data"),
        (b'{"a":1]', 6, "unexpected byte"),
        (b'{"a":1 "b"', 7, "unexpected byte"),
        (b'{"a":1,', 7, "unexpected end of data"),
        (b'{"a":1,}', 7, "unexpected byte"),
        (b'{"a":1,,', 7, "unexpected byte"),
        (b'{"a":[1,]}', 8, "unexpected byte"),
        (b'{"a":[,', 6, "unexpected byte"),
        (b'{"a":[}', 6, "unexpected byte"),
        (b'{"a":[1}', 7, "unexpected byte"),
        (b'{"a":[1 2', 8, "unexpected byte"),
        (b'{"a":[', 6, "unexpected end of data"),
        (b'{"a":[1:', 7, "unexpected byte"),
        (b'{"a":{"b":1]', 11, "unexpected byte"),
        (b'{"a":{1', 6, "unexpected byte"),
        (b"{}x", 2, "trailing data"),
        (b"{} \n {}", 5, "trailing data"),
        (b"{}\x00", 2, "trailing data"),
        (b"{}}", 2, "trailing data"),
        (b"{}\xef\xbb\xbf", 2, "trailing data"),
        # literals
        (b'{"a":t', 6, "unexpected end of data"),
        (b'{"a":tru', 8, "unexpected end of data"),
        (b'{"a":tru}', 8, "unexpected byte"),
        (b'{"a":truE}', 8, "unexpected byte"),
        (b'{"a":truex', 9, "unexpected byte"),
        (b'{"a":fals ', 9, "unexpected byte"),
        (b'{"a":nulL', 8, "unexpected byte"),
        (b'{"a":nan', 6, "unexpected byte"),
        (b'{"a":True', 5, "unexpected byte"),
        (b'{"a":NaN', 5, "unexpected byte"),
        (b'{"a":Infinity', 5, "unexpected byte"),
        (b'{"a":-Infinity', 6, "unexpected byte"),
        # numbers
        (b'{"a":-', 6, "unexpected end of data"),
        (b'{"a":-}', 6, "unexpected byte"),
        (b'{"a":+1', 5, "unexpected byte"),
        (b'{"a":.5', 5, "unexpected byte"),
        (b'{"a":01', 6, "unexpected byte"),
        (b'{"a":-01', 7, "unexpected byte"),
        (b'{"a":00.5', 6, "unexpected byte"),
        (b'{"a":1.', 7, "unexpected end of data"),
        (b'{"a":1.}', 7, "unexpected byte"),
        (b'{"a":1..', 7, "unexpected byte"),
        (b'{"a":0.e1', 7, "unexpected byte"),
        (b'{"a":1.5.', 8, "unexpected byte"),
        (b'{"a":1e', 7, "unexpected end of data"),
        (b'{"a":1e}', 7, "unexpected byte"),
        (b'{"a":1e+', 8, "unexpected end of data"),
        (b'{"a":1E-}', 8, "unexpected byte"),
        (b'{"a":1e++', 8, "unexpected byte"),
        (b'{"a":1e5.', 8, "unexpected byte"),
        (b'{"a":1e5e', 8, "unexpected byte"),
        (b'{"a":1.5e3x', 10, "unexpected byte"),
        (b'{"a":0x1', 6, "unexpected byte"),
        (b'{"a":1_0', 6, "unexpected byte"),
        (b'{"a":12', 7, "unexpected end of data"),
        # strings
        (b'{"', 2, "unexpected end of data"),
        (b'{"a":"', 6, "unexpected end of data"),
        (b'{"a":"xyz', 9, "unexpected end of data"),
        (b'{"a":"\n', 6, "control character in string"),
        (b'{"a":"12345678\x1f', 14, "control character in string"),
        (b'{"a":"\x00"', 6, "control character in string"),
        (b'{"a\tb":1', 3, "control character in string"),
        (b"{'a'", 1, "unexpected byte"),
        (b'{"a":\'', 5, "unexpected byte"),
        # escapes
        (b'{"a":"\\', 7, "unexpected end of data"),
        (b'{"a":"\\x', 7, "invalid escape"),
        (b'{"a":"\\\n', 7, "invalid escape"),
        (b'{"a":"\\\xe4', 7, "invalid escape"),
        (b'{"a":"\\U0041', 7, "invalid escape"),
        (b'{"a":"\\u', 8, "unexpected end of data"),
        (b'{"a":"\\u12', 10, "unexpected end of data"),
        (b'{"a":"\\u12"', 10, "invalid escape"),
        (b'{"a":"\\u123g', 11, "invalid escape"),
        (b'{"a":"\\ug', 8, "invalid escape"),
        (b'{"a":"\\u-123', 8, "invalid escape"),
        (b'{"a":"\\"', 8, "unexpected end of data"),
        (b'{"\\q":1', 3, "invalid escape"),
        # UTF-8
        (b'{"a":"\x80', 6, "invalid UTF-8"),
        (b'{"a":"\xbf', 6, "invalid UTF-8"),
        (b'{"a":"\xc0\x80', 6, "invalid UTF-8"),
        (b'{"a":"\xc1\xbf', 6, "invalid UTF-8"),
        (b'{"a":"\xc2', 7, "unexpected end of data"),
        (b'{"a":"\xc2"', 7, "invalid UTF-8"),
        (b'{"a":"\xc2\xc2', 7, "invalid UTF-8"),
        (b'{"a":"\xe0\x80', 7, "invalid UTF-8"),
        (b'{"a":"\xe0\x9f', 7, "invalid UTF-8"),
        (b'{"a":"\xe4\xbd"', 8, "invalid UTF-8"),
        (b'{"a":"\xe4\xbd', 8, "unexpected end of data"),
        (b'{"a":"\xe4\xbd\xc0', 8, "invalid UTF-8"),
        (b'{"a":"\xed\xa0\x80"', 7, "invalid UTF-8"),
        (b'{"a":"\xed\xbf\xbf"', 7, "invalid UTF-8"),
        (b'{"a":"\xf0\x80', 7, "invalid UTF-8"),
        (b'{"a":"\xf0\x8f', 7, "invalid UTF-8"),
        (b'{"a":"\xf0\x9f\x98', 9, "unexpected end of data"),
        (b'{"a":"\xf0\x9f\x98"', 9, "invalid UTF-8"),
        (b'{"a":"\xf4\x90', 7, "invalid UTF-8"),
        (b'{"a":"\xf5', 6, "invalid UTF-8"),
        (b'{"a":"\xff', 6, "invalid UTF-8"),
        (b'{"\xff":1', 2, "invalid UTF-8"),
        (b'{"a":\xe4', 5, "unexpected byte"),
        (b'{"a":1\xe4', 6, "unexpected byte"),
        (b"{\xc2\xa0}", 1, "unexpected byte"),
        # the first mistake is the one that is told
        (b'{"a":"\xff","b":}', 6, "invalid UTF-8"),
        (b'{"a":"\xc3\xa4\x01\xff"}', 8, "control character in string"),
        (b'{"a":"\xc3\xa4\xff\x01"}', 8, "invalid UTF-8"),
        (b'{"a":"\xc3\xa4\\x\xff"}', 9, "invalid escape"),
    ],
)
def test_refused(core: Any, data: bytes, offset: int, reason: str) -> None:
    assert refusal(core, data) == (offset, reason)


@pytest.mark.parametrize(
    "value",
    [
        b"null",
        b"true",
        b"false",
        b"0",
        b"-0",
        b"-0.0e-0",
        b"1E400",
        b"-1e+99999",
        b"1" * 5000,
        b"0.000",
        b'""',
        b'"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\uD800\\udc00\\uDC00"',
        b'"\x7f"',
        b'"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"',
        b'"\xe2\x80\xa8"',
        b"[]",
        b"{}",
        b"[[],{},[{}]]",
        b' [ 1 , { "x" : 2 } ] ',
    ],
)
def test_accepted(core: Any, value: bytes) -> None:
    data = E + value + b"}"
    assert core.peek(data).raw == data
    assert core.peek(b"\r\n\t " + data + b"\t \n\r").kind == "notice"


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_depth(core: Any, opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    inner = b"[]" if opening == b"[" else b"{}"
    core.peek(E + opening * 510 + inner + closing * 510 + b"}")
    assert refusal(core, E + opening * 511 + inner) == (len(E) + len(opening) * 511, "nesting too deep")
    assert refusal(core, E + b"1,[]," + opening * 600)[1] == "unexpected byte"
    assert core.MAX_DEPTH == 512


def test_depth_counts_open_brackets_only(core: Any) -> None:
    assert core.peek(E + b"[" + b"[[]],{}," * 2000 + b"[]]}").post_type == "notice"


@pytest.mark.parametrize("size", range(40))
def test_every_alignment_of_a_string(core: Any, size: int) -> None:
    # Strings are skipped in blocks; each offset of a special byte inside a block counts.
    text = b"x" * size
    assert refusal(core, E + b'"' + text) == (len(E) + 1 + size, "unexpected end of data")
    assert refusal(core, E + b'"' + text + b"\x1f" + b"y" * 40) == (len(E) + 1 + size, "control character in string")
    assert refusal(core, E + b'"' + text + b"\xff" + b"y" * 40) == (len(E) + 1 + size, "invalid UTF-8")
    assert refusal(core, E + b'"' + text + b"\\y" + b"y" * 40) == (len(E) + 2 + size, "invalid escape")
    event = core.peek(E + b'"' + text + b'","user_id":77}')
    assert event.user_id == 77


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, bytes.decode])
def test_kinds_of_input(core: Any, kind: Any) -> None:
    data = E + '"你好 🎲"}'.encode()
    event = core.peek(kind(data))
    assert event.raw == data
    assert type(event.raw) is bytes
    assert event.data["a"] == "你好 🎲"


def test_bytes_are_kept_and_others_copied(core: Any) -> None:
    data = E + b"1}"
    assert core.peek(data).raw is data
    assert core.peek_frame(data).raw is data
    changing = bytearray(data)
    event = core.peek(changing)
    changing[:] = b"x" * len(changing)
    assert event.raw == data


def test_slices_and_subclasses(core: Any) -> None:
    class Named(bytes):
        pass

    data = E + b"1}"
    event = core.peek(Named(data))
    assert (type(event.raw), event.raw) == (bytes, data)
    doubled = bytes(byte for byte in data for _ in range(2))
    assert core.peek(memoryview(doubled)[::2]).raw == data
    assert core.peek(memoryview(b"xx" + data)[2:]).raw == data


def test_lone_surrogate_in_str_is_invalid_utf8(core: Any) -> None:
    assert refusal(core, '{"ä":"\ud800"}') == (8, "invalid UTF-8")
    assert core.peek('{"post_type":"notice","a":"\\ud800"}').data["a"] == "\ud800"


@pytest.mark.parametrize("data", [None, 1, {"post_type": "message"}, [123], object()])
def test_other_types(core: Any, data: Any) -> None:
    for function in (core.peek, core.peek_frame, core.peek_request):
        with pytest.raises(TypeError, match=f"not {type(data).__name__}"):
            function(data)


def test_bad_event(core: Any) -> None:
    with pytest.raises(BadEvent, match="^unexpected end of data at byte 5$") as caught:
        core.peek(b'{"a":')
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, NapcoreError)
    assert (caught.value.offset, caught.value.reason, caught.value.code) == (5, "unexpected end of data", "NC201")


def test_not_an_event(core: Any) -> None:
    for data in (b"{}", b' {"status":"ok","a":{"post_type":"message"}}', b'{"post_type ":1}'):
        with pytest.raises(BadEvent) as caught:
            core.peek(data)
        assert (caught.value.offset, caught.value.reason) == (0, "not an event")
        assert type(core.peek_frame(data)) is core.Response
    # Only when the document proved valid.
    with pytest.raises(BadEvent) as caught:
        core.peek(b'{"status":"ok"')
    assert (caught.value.offset, caught.value.reason) == (14, "unexpected end of data")
