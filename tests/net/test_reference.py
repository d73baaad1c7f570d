"""websockets' parser behind our interface says the same as our reader."""

from __future__ import annotations

import pytest
from websockets.frames import Frame, Opcode

from napcore.dispatch import MAX_FRAGMENTS, Reader
from napcore.net.reference import ReferenceReader

TEXT, CONT, BINARY, PING, CLOSE = Opcode.TEXT, Opcode.CONT, Opcode.BINARY, Opcode.PING, Opcode.CLOSE


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([(TEXT, b"a"), (TEXT, b"b", False), (PING, b"!"), (CONT, b"c"), (BINARY, b"\xff"), (TEXT, b"")], 0),
        ([(TEXT, b"a"), (CLOSE, (4000).to_bytes(2, "big") + b"bye"), (TEXT, b"b")], 0),
        ([(CLOSE, b"")], 0),
        ([(TEXT, b"a"), (CONT, b"b")], 1002),
        ([(TEXT, b"a", False), (TEXT, b"b")], 1002),
        ([(CLOSE, b"\x03")], 1002),
        ([(CLOSE, (1005).to_bytes(2, "big"))], 1002),
        ([(CLOSE, (1000).to_bytes(2, "big") + b"\xff")], 1007),
        ([(TEXT, b"\xff")], 1007),
        ([(TEXT, b"\xe6", False), (CONT, b"x")], 1007),
        ([(TEXT, b"x" * 101)], 1009),
        ([(TEXT, b"x" * 60, False), (CONT, b"x" * 41)], 1009),
        ([(TEXT, b"", False), *[(CONT, b"", False)] * MAX_FRAGMENTS], 1009),
    ],
)
def test_same_messages_same_verdict(masked: bool, frames: list[tuple[Opcode, bytes]], code: int) -> None:
    data = b"".join(Frame(*frame).serialize(mask=masked) for frame in frames)
    ours, theirs = (kind(masked=masked, limit=100) for kind in (Reader, ReferenceReader))
    assert ours.feed(data) == theirs.feed(data)
    assert ours.fault_code == theirs.fault_code == code
    for name in ("over", "due", "close_code", "close_reason", "binary"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.take_pings() == theirs.take_pings()
