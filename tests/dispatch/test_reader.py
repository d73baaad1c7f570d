"""The reader: what frames become, what is against the rules, and what it costs in memory."""

from __future__ import annotations

import math
import os
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.frames import Frame, Opcode

MASKED = pytest.mark.parametrize("masked", [False, True])
TEXT, BINARY, CONT, PING, PONG, CLOSE = (
    *(Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.PING),
    *(Opcode.PONG, Opcode.CLOSE),
)


def encode(*frames: Any, masked: bool = False) -> bytes:
    """Frames as ``(opcode, data)`` or ``(opcode, data, final)``; bytes alone are a text."""
    made = [Frame(TEXT, one) if isinstance(one, bytes) else Frame(*one) for one in frames]
    return b"".join(frame.serialize(mask=masked) for frame in made)


def head(first: int, size: int, *, masked: bool = False, wide: int = 0) -> bytes:
    """A head as nobody would make it; its key is zeros."""
    bit = 0x80 * masked
    width = wide or (8 if size > 65535 else 2 if size > 125 else 0)
    length = {0: bytes((bit | size & 127,)), 2: bytes((bit | 126,)), 8: bytes((bit | 127,))}[width]
    return bytes((first,)) + length + (size.to_bytes(width, "big") if width else b"") + bytes(4 * masked)


@MASKED
def test_messages_of_every_size_come_whole(wire: Any, masked: bool) -> None:
    sizes = (0, 1, 2, 7, 8, 31, 32, 33, 34, 35, 125, 126, 127, 65535, 65536, 200_000)
    payloads = [bytes(97 + number % 26 for number in range(size)) for size in sizes]
    data = encode(*payloads, masked=masked)
    assert wire.Reader(masked=masked).feed(data) == payloads
    for step in (1, 3, 1000, 65536):
        reader = wire.Reader(masked=masked)
        pieces = range(0, len(data), step) if step > 1 else range(5000)
        found = [message for at in pieces for message in reader.feed(data[at : at + step])]
        assert found == payloads[: len(found)]
        assert len(found) > 12
    assert (reader.over, reader.due) == (False, False)


def test_short_messages_leave_the_interpreters_own_bytes_as_they_are(wire: Any) -> None:
    singles = [bytes((number,)) for number in range(128)]
    assert wire.Reader(masked=True).feed(encode(*singles, masked=True)) == singles
    assert [single[0] for single in singles] == list(range(128))


@MASKED
def test_fragments_become_one_message_with_control_frames_in_between(wire: Any, masked: bool) -> None:
    reader = wire.Reader(masked=masked)
    data = encode(
        *((TEXT, b"\xe6", False), (PING, b"1"), (CONT, b"\xb1", False), (PONG, b"?"), (CONT, b"", False)),
        *((PING, b"2"), (CONT, b"\x89"), b"next"),
        masked=masked,
    )
    assert reader.feed(data) == ["\u6c49".encode(), b"next"]
    assert (reader.due, reader.take_pings(), reader.take_pings()) == (True, [b"1", b"2"], [])


def test_binary_messages_are_counted_and_left_out(wire: Any) -> None:
    reader = wire.Reader(masked=False)
    assert reader.feed(encode((BINARY, b"\xff"), (BINARY, b"x", False), (CONT, b"\xff"), b"t")) == [b"t"]
    assert reader.binary == 2
    reader = wire.Reader(masked=False, binary=True)
    data = encode((BINARY, b"\xff" * 300), b"t", (BINARY, b"x", False), (CONT, b"\xff"), (BINARY, b""))
    assert reader.feed(data) == [bytearray(b"\xff" * 300), b"t", bytearray(b"x\xff"), bytearray()]
    assert reader.binary == 3


def test_of_many_pings_the_last_ones_wait_for_an_answer(wire: Any) -> None:
    reader = wire.Reader(masked=True)
    reader.feed(encode(*((PING, b"%d" % number) for number in range(1000)), masked=True))
    assert reader.take_pings() == [b"%d" % number for number in range(1000 - wire.MAX_PINGS, 1000)]


@pytest.mark.parametrize(
    ("frames", "code", "fault"),
    [
        (head(0x83, 0), 1002, "reserved opcode"),
        (head(0x8B, 0), 1002, "reserved opcode"),
        (head(0x81, 2, masked=True), 1002, "a server's frame must not be masked"),
        (head(0xC1, 0), 1002, "reserved bits must be 0"),
        (head(0xA1, 0), 1002, "reserved bits must be 0"),
        (head(0x99, 0), 1002, "reserved bits must be 0"),
        (head(0x09, 0), 1002, "control frame in fragments"),
        (head(0x88, 126), 1002, "control frame of more than 125 bytes"),
        (head(0x80, 0), 1002, "continuation of nothing"),
        (head(0x01, 0) + head(0x81, 0), 1002, "new message before the end of the last"),
        (head(0x02, 0) + head(0x01, 0), 1002, "new message before the end of the last"),
        (head(0x81, (50 << 20) + 1), 1009, "message too large"),
        (head(0x82, (1 << 63) + 1), 1009, "message too large"),
        (head(0x81, (1 << 64) - 1), 1009, "message too large"),
        (head(0x02, 40 << 20) + bytes(40 << 20) + head(0x80, 11 << 20), 1009, "message too large"),
        (head(0x01, 0) + head(0x00, 0) * 4096, 1009, "message in too many fragments"),
        (head(0x88, 1) + b"x", 1002, "close frame of one byte"),
        (head(0x88, 2) + (1005).to_bytes(2, "big"), 1002, "close code that must not be sent"),
        (head(0x88, 2) + bytes(2), 1002, "close code that must not be sent"),
        (head(0x88, 3) + (1000).to_bytes(2, "big") + b"\xff", 1007, "close reason is not UTF-8"),
        (head(0x88, 3) + (1000).to_bytes(2, "big") + b"\xe6", 1007, "close reason is not UTF-8"),
        (head(0x81, 1) + b"\xff", 1007, "text is not UTF-8"),
    ],
)
def test_what_is_against_the_rules(wire: Any, frames: bytes, code: int, fault: str) -> None:
    reader = wire.Reader(masked=False)
    assert reader.feed(encode(b"before") + frames + encode(b"after")) == [b"before"]
    assert (reader.over, reader.due, reader.fault_code, reader.fault) == (True, True, code, fault)
    assert reader.feed(encode(b"later")) == []


def test_a_client_must_mask(wire: Any) -> None:
    reader = wire.Reader(masked=True)
    assert reader.feed(encode(b"x")) == []
    assert (reader.fault_code, reader.fault) == (1002, "a client's frame must be masked")


@pytest.mark.parametrize("wide", [2, 8])
def test_a_longer_head_than_needed_is_let_pass(wire: Any, wide: int) -> None:
    assert wire.Reader(masked=False).feed(head(0x81, 3, wide=wide) + b"abc") == [b"abc"]


def test_a_wrong_byte_is_found_before_the_text_has_ended(wire: Any) -> None:
    for begin, wrong in ((b"\xe6", b"x"), (b"\xf0", b"\x80"), (b"\xed", b"\xa0"), (b"", b"\xc0"), (b"a" * 70, b"\x80")):
        reader = wire.Reader(masked=False)
        assert reader.feed(head(0x81, 1000) + begin) == []
        assert reader.fault_code == 0
        reader.feed(wrong)
        assert reader.fault_code == 1007
    for size in (0, 13, 14, 15, 29, 30, 31, 45, 61):
        reader = wire.Reader(masked=False)
        reader.feed(head(0x81, 1000) + b"x" * size + b"\xf2\xf2\x8b")
        assert reader.fault_code == 1007, "one character cut short by the next"
    reader = wire.Reader(masked=False)
    reader.feed(encode((TEXT, b"\xe6\xb1", False), (CONT, b"", False)))
    assert reader.fault_code == 0
    assert reader.feed(encode((CONT, b""))) == []
    assert reader.fault_code == 1007


@MASKED
@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (b"", 1005, ""),
        ((1000).to_bytes(2, "big"), 1000, ""),
        ((1014).to_bytes(2, "big") + "\u518d\u89c1".encode(), 1014, "\u518d\u89c1"),
        ((4999).to_bytes(2, "big") + b"x" * 123, 4999, "x" * 123),
    ],
)
def test_a_close_frame(wire: Any, masked: bool, data: bytes, code: int, reason: str) -> None:
    reader = wire.Reader(masked=masked)
    frames = encode((TEXT, b"unfinished", False), (CLOSE, data), (CONT, b"after"), masked=masked)
    assert reader.feed(frames) == []
    assert (reader.over, reader.due, reader.fault_code) == (True, True, 0)
    assert (reader.close_code, reader.close_reason) == (code, reason)


def test_pongs_confirm_what_the_writers_ping_covered(core: Any, wire: Any) -> None:
    lane = core.Outbox(message_ttl=math.inf)
    writer = wire.Writer(lane, max_in_flight=2)
    reader = wire.Reader(masked=True, writer=writer)
    for number in range(4):
        lane.offer(b"%d" % number, 0, number + 1, 0.0)
    writer.gather(0.0)
    writer.wrote()
    assert (writer.outstanding, lane.confirmed, lane.queued) == (True, 0, 2)
    for wrong in (b"", b"\0" * 8, (2).to_bytes(9, "big")):
        assert reader.feed(encode((PONG, wrong), masked=True)) == []
    assert (reader.due, lane.confirmed) == (False, 0)
    data = encode((PONG, (2).to_bytes(8, "big")), masked=True)
    reader.feed(data[:9])
    reader.feed(data[9:])
    assert (reader.due, lane.confirmed, writer.outstanding) == (True, 2, False)


def test_unfinished_messages_share_a_bound(wire: Any) -> None:
    assembly = wire.Assembly(1000)
    one, two = (wire.Reader(masked=False, assembly=assembly) for _ in range(2))
    one.feed(head(0x81, 900) + b"x" * 600)
    assert assembly.used == 600
    two.feed(head(0x01, 300) + b"x" * 300)
    assert assembly.used == 900
    assert two.feed(encode((CONT, b""), b"y" * 5000)) == [b"x" * 300, b"y" * 5000]
    assert assembly.used == 600
    two.feed(head(0x81, 900) + b"x" * 401)
    assert (two.fault_code, two.fault) == (1009, "too much in unfinished messages of all links")
    assert (one.over, assembly.used) == (False, 600)
    assert one.feed(b"x" * 300) == [b"x" * 900]
    assert assembly.used == 0
    one.feed(head(0x81, 900) + b"x" * 5)
    one.close()
    assert (assembly.used, one.over, one.feed(b"x" * 895)) == (0, True, [])
    three = wire.Reader(masked=False, assembly=assembly)
    three.feed(head(0x81, 900) + b"x" * 5)
    del three
    assert assembly.used == 0


def test_a_long_message_is_filled_in_as_it_comes(wire: Any) -> None:
    text = "\u6c49\u5b57 and letters ".encode() * 800_000
    for masked in (False, True):
        reader = wire.Reader(masked=masked)
        data = encode(text, b"x", masked=masked)
        found = [one for at in range(0, len(data), 65536) for one in reader.feed(data[at : at + 65536])]
        assert found == [text, b"x"]


@pytest.mark.parametrize("data", [bytearray(b"\x81\0"), memoryview(b"\x81\0"), "x", None])
def test_only_bytes_are_fed(wire: Any, data: Any) -> None:
    with pytest.raises(TypeError):
        wire.Reader(masked=False).feed(data)


needs_sockets = pytest.mark.skipif(os.name != "posix", reason="descriptors are read on POSIX alone")


@needs_sockets
@MASKED
def test_a_socket_is_read_without_waiting(wire: Any, masked: bool) -> None:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        reader = wire.Reader(masked=masked)
        assert (reader.receive(near.fileno()), reader.ended) == ([], False)
        text = "\u6c49\u5b57".encode() * 100_000
        data = memoryview(encode(b"first", text, (TEXT, text, False), (CONT, text), b"last", masked=masked))
        found: list[bytes] = []
        while data:
            try:
                data = data[far.send(data) :]
            except BlockingIOError:
                found += reader.receive(near.fileno())
        far.shutdown(socket.SHUT_WR)
        while not reader.ended:
            found += reader.receive(near.fileno())
        assert found == [b"first", text, text + text, b"last"]
        assert (reader.over, reader.due, reader.fault_code, reader.close_code) == (True, True, 0, 0)


@needs_sockets
def test_it_pulls_as_long_as_messages_come_and_tells_what_is_due(wire: Any) -> None:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        reader = wire.Reader(False)
        told: list[Any] = []

        def take(messages: list[bytes]) -> None:
            told.append((messages, reader.take_pings()))
            if messages == [b"1"]:
                far.send(encode(b"came meanwhile"))
            reader.due = False

        reader.pull(near.fileno(), take)
        far.send(encode((PONG, b"12345678")))
        reader.pull(near.fileno(), take)
        assert (told, reader.reads) == ([], 1)
        far.send(encode(b"1"))
        reader.pull(near.fileno(), take)
        far.send(encode((PING, b"?")))
        reader.pull(near.fileno(), take)
        assert told == [([b"1"], []), ([b"came meanwhile"], []), ([], [b"?"])]
        for _ in range(100):
            far.send(bytes(1000) + b"x" * 50_000)  # a fault, and much behind it
            reader.pull(near.fileno(), take)
        assert (len(told), reader.fault_code) == (4, 1002)
        far.close()
        while not reader.ended:
            reader.pull(near.fileno(), take)
        assert told[3:] == [([], [])] * 2


@needs_sockets
def test_a_broken_connection_is_the_end(wire: Any) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname()) as near:
        far, _ = listener.accept()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.close()
        reader = wire.Reader(masked=True)
        while not reader.ended:
            assert reader.receive(near.fileno()) == []
        assert reader.over


def test_a_flood_of_short_messages_leaves_others_their_turn(wire: Any) -> None:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        reader = wire.Reader(masked=False, at_once=2000)
        assert (reader.at_once, wire.Reader(masked=False).at_once) == (2000, wire.READ_AT_ONCE)
        far.sendall(encode(*[b"x" * 98] * 100))
        got: list[bytes] = []
        for turn in range(1, 6):
            reader.pull(near.fileno(), got.extend)
            assert len(got) == 20 * turn
        # The rest of one long message comes in one turn, and with it no more than as much again.
        far.sendall(encode(b"y" * 30_000, *[b"z" * 98] * 100))
        reader.pull(near.fileno(), got.extend)
        assert len(got) == 100
        reader.pull(near.fileno(), got.extend)
        assert got[100:] == [b"y" * 30_000] + [b"z" * 98] * (len(got) - 101)
        assert len(got) <= 121


@needs_sockets
def test_what_comes_in_one_piece_is_completed_once(wire: Any) -> None:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        reader = wire.Reader(False)
        told: list[Any] = []
        follow: list[bytes] = []

        class Taker:
            def take(self, messages: list[bytes]) -> None:
                told.append(len(messages))
                if follow:
                    far.sendall(follow.pop(0))

            def flush(self) -> None:
                told.append("complete")

        def on_read(messages: list[bytes]) -> None:
            assert reader.due
            reader.due = False
            told.append([len(messages)])

        def pulled(data: bytes, *others: bytes) -> list[Any]:
            told.clear()
            follow[:] = others
            far.sendall(data)
            reader.pull(near.fileno(), on_read, Taker())
            return told[:]

        alone, burst = encode(b"x"), encode(*[b"x" * 600] * 16)
        assert pulled(alone) == [1, "complete"]
        assert pulled(alone, alone) == [1, "complete", 1, "complete"], "none waits for another"
        assert pulled(burst) == [16, "complete"]
        assert pulled(burst, burst) == [16, 16, "complete"]
        assert pulled(burst, burst[:9000], burst[9000:]) == [16, 14, 2, "complete"]
        assert pulled(burst, *[burst] * 4) == [16, 16, 16, 16, "complete", 16, "complete"], "it does not go on for ever"
        assert pulled(encode((PONG, b"12345678"))) == []
        assert pulled(encode((PING, b"?"))) == [[0]]
        assert pulled(burst, encode((PING, b"?"))) == [16, [0], "complete"]
        assert pulled(burst + encode((PING, b"?"))) == [[16], "complete"]
        assert pulled(burst, burst, encode((CLOSE, b""))) == [16, 16, [0], "complete"]
        assert reader.over


@needs_sockets
def test_whatever_a_turn_brings_is_completed_in_it(wire: Any) -> None:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        reader = wire.Reader(False, at_once=1000)
        got: list[Any] = []
        far.sendall(encode(*[b"x" * 98] * 25))
        taker = SimpleNamespace(take=lambda messages: got.append(len(messages)), flush=lambda: got.append("complete"))
        reader.pull(near.fileno(), got.extend, taker)
        assert got == [10, "complete"]
