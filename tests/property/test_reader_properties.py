"""Readers of both cores get the same frames in the same pieces; what comes out does not depend on the pieces."""

from __future__ import annotations

import importlib
import os
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

CORES = ["_wire_py"] if os.environ.get("NAPCORE_PURE") == "1" else ["_wire", "_wire_py"]
WIRE = [importlib.import_module(f"napcore.{core}") for core in CORES]
LIMIT = 1000

texts = st.one_of(
    st.text(max_size=40).map(str.encode),
    st.sampled_from(["\u6c49\u5b57" * 60, "a" * 130, "\U0001f600" * 20 + "x" * 70, "é" * 33, ""]).map(str.encode),
    st.binary(max_size=6),
    st.sampled_from(
        [b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90", b"\xe0\x9f", b"a" * 64 + b"\x80", b"\xff"]
    ),
)
closes = st.one_of(
    st.just(b""),
    st.binary(min_size=1, max_size=4),
    st.tuples(st.sampled_from([1000, 1004, 1005, 1011, 1015, 2999, 3000, 4999, 5000]), st.text(max_size=9)).map(
        lambda pair: pair[0].to_bytes(2, "big") + pair[1].encode()
    ),
)


@st.composite
def frames(draw: st.DrawFn) -> tuple[bytes, ...]:
    """A frame as (first byte, second byte's high bit and length form, payload), usually a right one."""
    opcode = draw(st.sampled_from([1, 1, 1, 0, 0, 2, 9, 10, 8, 3, 11]))
    final = draw(st.sampled_from([0x80, 0x80, 0]))
    reserved = draw(st.sampled_from([0] * 20 + [0x40, 0x10]))
    payload = draw(closes if opcode == 8 else texts if opcode < 2 else st.binary(max_size=9))
    if draw(st.integers(0, 30)) == 0:
        payload = payload * 30
    wide = draw(st.sampled_from([0] * 10 + [126, 127]))
    return bytes((opcode | final | reserved,)), bytes((wide,)), payload


def encode(pieces: list[tuple[bytes, ...]], masked: bool, wrong: int) -> bytes:
    data = b""
    for number, (first, form, payload) in enumerate(pieces):
        bit = 0x80 if masked != (number == wrong) else 0
        size, wide = len(payload), form[0]
        if size > 65535 or wide == 127:
            head = bytes((bit | 127,)) + size.to_bytes(8, "big")
        elif size > 125 or wide == 126:
            head = bytes((bit | 126,)) + size.to_bytes(2, "big")
        else:
            head = bytes((bit | size,))
        if bit:
            key = bytes((number & 255, 7, 0, 255))
            payload = bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))
            head += key
        data += first + head + payload
    return data


def seen(reader: Any) -> tuple[Any, ...]:
    return (
        *(reader.over, reader.close_code, reader.close_reason, reader.fault_code, reader.fault, reader.binary),
        *(reader.due, reader.take_pings()),
    )


def read(wire: Any, data: bytes, cuts: list[int], masked: bool, budget: int | None = None) -> tuple[Any, ...]:
    assembly = None if budget is None else wire.Assembly(budget)
    reader = wire.Reader(masked=masked, limit=LIMIT, assembly=assembly, binary=len(data) % 2 == 0)
    found, states = [], []
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in zip(edges, edges[1:], strict=False):
        found.append(reader.feed(data[start:end]))
        states.append((*seen(reader), assembly and assembly.used))
    return found, states


@given(
    st.lists(frames(), max_size=12),
    st.lists(st.integers(0, 600), max_size=12),
    st.booleans(),
    st.sampled_from([-1] * 9 + [0, 2]),
    st.sampled_from([None, None, 5, 200]),
)
@example([(b"\x01", b"\0", b"\xe6\xb1"), (b"\x89", b"\0", b"x"), (b"\x80", b"\0", b"\x89")], [7, 8, 9], True, -1, None)
@example([(b"\x01", b"\0", b"\xe0"), (b"\x00", b"\0", b"\x80"), (b"\x80", b"\0", b"\x80")], [], False, -1, None)
@example([(b"\x81", b"\0", b"x" * LIMIT), (b"\x81", b"\0", b"x" * (LIMIT + 1))], [], True, -1, None)
def test_both_read_the_same_however_it_is_cut(
    pieces: list[tuple[bytes, ...]], cuts: list[int], masked: bool, wrong: int, budget: int | None
) -> None:
    data = encode(pieces, masked, wrong)
    results = [read(wire, data, cuts, masked, budget) for wire in WIRE]
    assert results.count(results[0]) == len(results)
    if budget is None:
        whole, dribbled = read(WIRE[0], data, [], masked), read(WIRE[0], data, list(range(len(data))), masked)
        assert sum(whole[0], []) == sum(dribbled[0], []) == sum(results[0][0], [])
        if data:
            # But for the pings, which both have taken away as they came.
            assert whole[1][-1][:6] == dribbled[1][-1][:6]


@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(0, 400))
def test_bytes_that_mean_nothing(pieces: list[bytes], cut: int) -> None:
    data = b"".join(pieces)
    for masked in (False, True):
        results = [read(wire, data, [cut], masked) for wire in WIRE]
        assert results.count(results[0]) == len(results)


@given(st.binary(max_size=70), st.integers(0, 70))
def test_text_is_taken_exactly_when_python_decodes_it(text: bytes, cut: int) -> None:
    for wire in WIRE:
        reader = wire.Reader(masked=False)
        data = bytes((0x81, len(text))) + text
        messages = reader.feed(data[: cut + 2]) + reader.feed(data[cut + 2 :])
        try:
            text.decode()
        except UnicodeDecodeError:
            assert (messages, reader.fault_code) == ([], 1007)
        else:
            assert (messages, reader.fault_code) == ([text], 0)
