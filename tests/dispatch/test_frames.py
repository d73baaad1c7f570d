"""Frames as RFC 6455, section 5 lays them out; the examples of 5.7 among them."""

from __future__ import annotations

from typing import Any

import pytest


def test_examples_of_the_rfc(core: Any) -> None:
    assert core.frame(b"Hello") == bytes.fromhex("810548656c6c6f")
    assert core.masked_frame(b"Hello", bytes.fromhex("37fa213d")) == bytes.fromhex("818537fa213d7f9f4d5158")
    assert core.frame(b"Hello", 9) == bytes.fromhex("890548656c6c6f")
    assert core.masked_frame(b"Hello", bytes.fromhex("37fa213d"), 10) == bytes.fromhex("8a8537fa213d7f9f4d5158")
    assert core.frame(bytes(256), 2) == bytes.fromhex("827e0100") + bytes(256)
    assert core.frame(bytes(65536), opcode=2) == bytes.fromhex("827f0000000000010000") + bytes(65536)


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, "8100"),
        (1, "8101"),
        (125, "817d"),
        (126, "817e007e"),
        (127, "817e007f"),
        (65535, "817effff"),
        (65536, "817f0000000000010000"),
        (70000, "817f0000000000011170"),
    ],
)
def test_lengths(core: Any, size: int, head: str) -> None:
    data = bytes(number % 251 for number in range(size))
    assert core.frame(data) == bytes.fromhex(head) + data
    key = b"\x01\x80\xff\x00"
    masked = core.masked_frame(data, key)
    start = bytearray.fromhex(head)
    start[1] |= 0x80
    assert masked[: len(start)] == start
    assert masked[len(start) : len(start) + 4] == key
    assert masked[len(start) + 4 :] == bytes(byte ^ key[at % 4] for at, byte in enumerate(data))


@pytest.mark.parametrize("size", range(1, 70))
def test_masking_of_every_remainder(core: Any, size: int) -> None:
    data = bytes(range(size))
    masked = core.masked_frame(data, b"\xa1\xb2\xc3\xd4")
    assert masked[6:] == bytes(byte ^ b"\xa1\xb2\xc3\xd4"[at % 4] for at, byte in enumerate(data))


def test_opcodes(core: Any) -> None:
    for opcode in range(16):
        assert core.frame(b"", opcode) == bytes((0x80 | opcode, 0))
        assert core.masked_frame(b"", b"abcd", opcode) == bytes((0x80 | opcode, 0x80)) + b"abcd"
    for opcode in (-1, 16, 256, 0x81):
        with pytest.raises(ValueError, match="0 to 15"):
            core.frame(b"", opcode)
        with pytest.raises(ValueError, match="0 to 15"):
            core.masked_frame(b"", b"abcd", opcode)


@pytest.mark.parametrize("key", [b"", b"abc", b"abcde"])
def test_wrong_keys(core: Any, key: bytes) -> None:
    with pytest.raises(ValueError, match="4 bytes"):
        core.masked_frame(b"x", key)


@pytest.mark.parametrize("data", ["text", None, 5])
def test_wrong_types(core: Any, data: Any) -> None:
    with pytest.raises(TypeError):
        core.frame(data)
    with pytest.raises(TypeError):
        core.masked_frame(data, b"abcd")
    with pytest.raises(TypeError):
        core.masked_frame(b"", data)


@pytest.mark.parametrize("key", [None, b"\x01\x80\xff\x00"])
def test_a_frame_of_parts_is_that_of_the_whole(core: Any, key: bytes | None) -> None:
    data = bytes(number % 251 for number in range(70_000))
    whole = core.frame(data) if key is None else core.masked_frame(data, key)
    view = memoryview(data)
    for cuts in ([], [0], [1], [3, 3, 10], [5, 66_000], [70_000]):
        edges = [0, *cuts, 70_000]
        parts = [view[start:end] for start, end in zip(edges, edges[1:], strict=False)]
        assert core.join_frame(parts, key) == whole
        assert core.join_frame(tuple(map(bytes, parts)), key) == whole
    assert core.join_frame((), key) == (core.frame(b"") if key is None else core.masked_frame(b"", key))


def test_what_is_no_part_of_a_frame(core: Any) -> None:
    for part in ("text", None, 5, bytearray(b"x")):
        with pytest.raises(TypeError):
            core.join_frame((b"x", part), None)
    with pytest.raises(TypeError):
        core.join_frame((b"x",), "abcd")
    with pytest.raises(ValueError, match="4 bytes"):
        core.join_frame((b"x",), b"abc")
    for view in (memoryview(b"abcd")[::2], memoryview(b"abcd").cast("I")):
        with pytest.raises(ValueError, match="single bytes in a row"):
            core.join_frame((view,), None)


@pytest.mark.parametrize(
    ("data", "block"),
    [
        (b'{"a":1}', b'data: {"a":1}\n\n'),
        (b'{"a":1}\n', b'data: {"a":1}\n\n'),
        (b'{\r\n "a":\r1\n}', b'data: {\ndata:  "a":\ndata: 1\ndata: }\n\n'),
        (b"", b"data: \n\n"),
        ('{"a":"\u2028 \u0085"}'.encode(), 'data: {"a":"\u2028 \u0085"}\n\n'.encode()),
    ],
)
def test_sse_block(core: Any, data: bytes, block: bytes) -> None:
    assert core.sse_block(data) == block


def test_sse_block_takes_bytes(core: Any) -> None:
    with pytest.raises(TypeError, match="expected bytes, not str"):
        core.sse_block("{}")
