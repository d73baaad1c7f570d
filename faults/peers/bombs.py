"""Frames that break the rules, and how a link that sends them must end."""

from __future__ import annotations


def masked(opcode: int, data: bytes, *, fin: bool = True, rsv: int = 0) -> bytes:
    """A client's frame with the key 0."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    size = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0xFE]) + len(data).to_bytes(2, "big")
    return bytes([first]) + size + b"\0\0\0\0" + data


BOMBS: dict[str, tuple[bytes, int]] = {
    "a frame of 2^62 bytes": (b"\x81\xff" + (1 << 62).to_bytes(8, "big") + b"\0\0\0\0" + b"x" * 1000, 1009),
    "a frame of 2^63 bytes": (b"\x81\xff" + (1 << 63).to_bytes(8, "big") + b"\0\0\0\0", 1009),
    "20,000 fragments": (masked(1, b"a", fin=False) + masked(0, b"a", fin=False) * 20_000, 1009),
    "a frame without mask": (b"\x81\x05hello", 1002),
    "a compressed frame nobody agreed on": (masked(1, b"\xaa\x56\x2a\x49\x2d\x2e\x51\x02\x00", rsv=4), 1002),
    "another reserved bit": (masked(1, b"x", rsv=1), 1002),
    "a reserved opcode": (masked(3, b"x"), 1002),
    "a ping of 126 bytes": (masked(9, b"x" * 126), 1002),
    "a ping in fragments": (masked(9, b"x", fin=False), 1002),
    "a continuation of nothing": (masked(0, b"x"), 1002),
    "bad UTF-8": (masked(1, b'{"action":"\xff\xfe"}'), 1007),
    "bad UTF-8 split over frames": (masked(1, b"\xe4", fin=False) + masked(0, b"A"), 1007),
    "a close of one byte": (masked(8, b"\x03"), 1002),
    "a close with the code 1005": (masked(8, (1005).to_bytes(2, "big")), 1002),
}
"""What a client must not send, and the code its link is closed with (RFC 6455, 5 and 7.4)."""
