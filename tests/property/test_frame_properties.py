"""Frames come back as they went through the websockets package."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Opcode
from websockets.protocol import Protocol, Side, State

NAMES = ["_dispatch_py"] if os.environ.get("NAPCORE_PURE") == "1" else ["_dispatch", "_dispatch_py"]
CORES = [importlib.import_module(f"napcore.{name}") for name in NAMES]

payloads = st.binary(max_size=300) | st.sampled_from([125, 126, 65535, 65536, 70001]).map(lambda size: b"\xa5" * size)
opcodes = st.sampled_from([Opcode.TEXT, Opcode.BINARY])


def parse(side: Side, frame: bytes) -> Any:
    protocol = Protocol(side, state=State.OPEN)
    protocol.receive_data(frame)
    (found,) = protocol.events_received()
    return found


@pytest.mark.parametrize("core", CORES, ids=NAMES)
@given(data=payloads, opcode=opcodes, key=st.binary(min_size=4, max_size=4))
@example(data=b"", opcode=Opcode.TEXT, key=b"\0\0\0\0")
def test_frames_parse_back(core: Any, data: bytes, opcode: Opcode, key: bytes) -> None:
    for side, made in (
        (Side.CLIENT, core.frame(data, opcode)),
        (Side.SERVER, core.masked_frame(data, key, opcode)),
    ):
        found = parse(side, made)
        assert (found.opcode, found.data, found.fin) == (opcode, data, True)
        assert (found.rsv1, found.rsv2, found.rsv3) == (False, False, False)


@given(st.binary(max_size=200), st.binary(min_size=4, max_size=4), st.integers(0, 15))
def test_cores_agree(data: bytes, key: bytes, opcode: int) -> None:
    assert len({core.frame(data, opcode) for core in CORES}) == 1
    assert len({core.masked_frame(data, key, opcode) for core in CORES}) == 1


@given(st.lists(st.binary(max_size=40), max_size=5), st.none() | st.binary(min_size=4, max_size=4))
def test_cores_agree_on_parts(parts: list[bytes], key: bytes | None) -> None:
    whole = b"".join(parts)
    expected = CORES[0].frame(whole) if key is None else CORES[0].masked_frame(whole, key)
    assert {core.join_frame(parts, key) for core in CORES} == {expected}
