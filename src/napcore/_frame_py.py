"""Plain twin, third part: the forms an event has on the wire."""

from __future__ import annotations

from collections.abc import Sequence

from napcore._ledger_py import size_of

__all__ = ("frame", "join_frame", "mask", "masked_frame", "sse_block")


def frame(data: bytes, opcode: int = 1) -> bytes:
    """One final, unmasked WebSocket frame (RFC 6455, 5.2), as a server sends it.

    Raises:
        TypeError: ``data`` is not bytes.
        ValueError: ``opcode`` is not within 0 to 15.
    """
    return _frame_head(size_of(data), opcode, 0) + data


def masked_frame(data: bytes, key: bytes, opcode: int = 1) -> bytes:
    """One final frame masked with the 4 bytes of ``key`` (RFC 6455, 5.3), as a client sends it.

    Raises:
        TypeError: ``data`` or ``key`` is not bytes.
        ValueError: ``key`` is not 4 bytes, or ``opcode`` is not within 0 to 15.
    """
    size = size_of(data)
    if size_of(key) != 4:
        raise ValueError("a masking key has 4 bytes")
    return _frame_head(size, opcode, 0x80) + key + mask(data, key)


def join_frame(parts: Sequence[bytes | memoryview], key: bytes | None) -> bytes:
    """One final text frame of the ``parts`` in a row, copied once; masked if there is a key.

    Raises:
        TypeError: a part is neither bytes nor a memoryview, or ``key`` is not bytes.
        ValueError: ``key`` is not 4 bytes, or a view is not of single bytes in a row.
    """
    for part in parts:
        if isinstance(part, memoryview):
            if part.format != "B" or not part.c_contiguous:
                raise ValueError("a part is not single bytes in a row")
        else:
            size_of(part)
    data = b"".join(parts)
    return frame(data) if key is None else masked_frame(data, key)


def mask(data: bytes, key: bytes) -> bytes:
    """``data`` masked with the 4 bytes of ``key``; the same undoes it (RFC 6455, 5.3)."""
    size = len(data)
    stream = int.from_bytes((key * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(data, "big") ^ stream).to_bytes(size, "big")


def sse_block(data: bytes) -> bytes:
    """One event of a server-sent event stream (WHATWG HTML, 9.2.6): its data, a line each, and an empty line.

    Raises:
        TypeError: ``data`` is not bytes.
    """
    size_of(data)
    # JSON has line breaks only where white space may be; a parser puts them in again.
    return b"".join(b"data: %b\n" % line for line in data.splitlines() or [b""]) + b"\n"


def _frame_head(size: int, opcode: int, mask_bit: int) -> bytes:
    if not 0 <= opcode <= 15:
        raise ValueError(f"an opcode is within 0 to 15, not {opcode}")
    first = bytes((0x80 | opcode,))
    if size < 126:
        return first + bytes((mask_bit | size,))
    if size < 65536:
        return first + bytes((mask_bit | 126,)) + size.to_bytes(2, "big")
    return first + bytes((mask_bit | 127,)) + size.to_bytes(8, "big")
