"""The compiled reader against its plain twin, and against websockets' parser (``napcore.net.reference``).

The input is as in ``reader.c``. Messages and verdicts are the same as websockets', but for these:

- It judges the first two bytes of a head when the whole frame has come, we at once: where a frame
  breaks a rule and is too large as well, it says 1009 and we 1002.
- A fault in the text of a frame is found before the frame has ended.
- It takes a close frame between two fragments for a fault; RFC 6455, 5.4, lets control frames
  stand there.
- A close frame with a wrong code and a reason that is not UTF-8 is 1007 there, 1002 here.
- It takes a control frame whose short length is written the long way, which RFC 6455, 5.2, forbids;
  so do we for other frames, where 5.5 gives no reason to refuse one before its length is read.
- Of more than 16 pings in one piece the last are answered (RFC 6455, 5.5.3).
"""

from __future__ import annotations

import sys
from typing import Any

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

from napcore import _wire, _wire_py
from napcore.net.reference import ReferenceReader

LIMIT = 700


def seen(reader: Any) -> tuple[Any, ...]:
    """Everything that can be seen of a reader."""
    return (
        *(reader.over, reader.ended, reader.due, reader.binary, reader.take_pings()),
        *(reader.close_code, reader.close_reason, reader.fault_code, reader.fault),
    )


def check_against_websockets(messages: list[bytes], last: tuple[Any, ...], masked: bool, data: bytes) -> None:
    """``last`` is what was seen of our reader at the end."""
    theirs = ReferenceReader(masked=masked, limit=LIMIT)
    texts = theirs.feed(data)
    code, fault = last[7:]
    if code and not theirs.over:
        # It waits for the end of the frame.
        texts += theirs.feed(bytes(LIMIT + 14))
    if fault == "control frame of more than 125 bytes" and theirs.fault != "control frame too long":
        assert messages == texts[: len(messages)]
        return
    assert messages == texts, (messages, texts)
    if (last[5], code) == (theirs.close_code, theirs.fault_code):
        return
    if code == 1002 and theirs.fault_code == 1009:
        return
    if code == 1002 and theirs.fault_code == 1007:
        assert fault == "close code that must not be sent"
        return
    assert last[5], (last, theirs.fault_code, theirs.fault)
    assert (theirs.fault_code, theirs.fault) == (1002, "incomplete fragmented message")


def try_one(data: bytes) -> None:
    """One input."""
    if len(data) < 2:
        return
    masked, binary, step, stream = bool(data[0] & 1), bool(data[0] & 2), data[1] or len(data), data[2:]
    assembly = [core.Assembly(LIMIT * 2) for core in (_wire, _wire_py)]
    readers = [
        core.Reader(masked, limit=LIMIT, binary=binary, assembly=shared)
        for core, shared in zip((_wire, _wire_py), assembly, strict=True)
    ]
    messages: list[bytes] = []
    last = seen(readers[0])
    seen(readers[1])
    for start in range(0, len(stream), step):
        compiled, plain = (reader.feed(stream[start : start + step]) for reader in readers)
        assert compiled == plain, (compiled, plain)
        last, other = map(seen, readers)
        assert last == other, (last, other)
        assert assembly[0].used == assembly[1].used
        messages += compiled
    if not binary:
        check_against_websockets(messages, last, masked, stream)


if __name__ == "__main__":
    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()
