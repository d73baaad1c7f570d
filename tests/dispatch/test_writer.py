"""The writer: what a flush puts into a socket, in which order, how much of it, and what it says afterwards."""

from __future__ import annotations

import errno
import importlib
import math
import os
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from napcore.types import EventClass, Flushed

MESSAGE = EventClass.MESSAGE
DONE, MORE, BLOCKED, LOST, LATER = Flushed


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    near, far = socket.socketpair()
    for one in (near, far):
        one.setblocking(False)
    with near, far:
        yield near, far


@pytest.fixture
def made(core: Any, wire: Any, pair: Any) -> Callable[..., Any]:
    """``made(outbox options, writer options)``: a writer into the first socket."""
    if not wire.CAN_WRITE:
        pytest.skip("no descriptors to write to")

    def make(bounds: dict[str, Any] | None = None, **options: Any) -> Any:
        lane = core.Outbox(**{"message_ttl": math.inf, "catch_up_rate": math.inf, **(bounds or {})})
        return wire.Writer(lane, os.dup(pair[0].fileno()), **options)

    return make


@pytest.fixture
def narrow(pair: Any) -> None:
    """The first of the sockets has little room."""
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


def offer(writer: Any, *payloads: bytes) -> None:
    for payload in payloads:
        writer.lane.offer(payload, MESSAGE, writer.lane.received + 1, 0.0)


def received(far: socket.socket) -> bytes:
    data = b""
    try:
        while piece := far.recv(65536):
            data += piece
    except BlockingIOError:
        pass
    return data


def ping(sequence: int) -> bytes:
    return b"\x89\x08" + sequence.to_bytes(8, "big")


def ledger(lane: Any) -> tuple[int, int, int, dict[str, int]]:
    assert lane.received == lane.confirmed + lane.unconfirmed + lane.queued + sum(lane.dropped.values())
    return lane.confirmed, lane.unconfirmed, lane.queued, lane.dropped


def test_control_frames_then_events_then_a_ping_in_one_piece(made: Any, pair: Any) -> None:
    writer = made()
    offer(writer, b"one", b"two")
    writer.lane.offer_control(b"answer")
    assert writer.flush(0.0) is DONE
    assert received(pair[1]) == b"answeronetwo" + ping(2)
    assert ledger(writer.lane) == (0, 2, 0, {})
    assert writer.outstanding
    assert writer.flush(0.0) is DONE
    assert received(pair[1]) == b""


def test_its_pong_confirms_and_no_other_does(made: Any, pair: Any) -> None:
    writer = made()
    offer(writer, b"one")
    writer.flush(0.0)
    offer(writer, b"two")
    writer.flush(0.5)
    assert received(pair[1]) == b"one" + ping(1) + b"two"
    for data in (b"", ping(1), (2).to_bytes(8, "big"), (1).to_bytes(7, "big")):
        assert not writer.pong(data)
    assert writer.pong((1).to_bytes(8, "big"))
    assert not writer.pong((1).to_bytes(8, "big"))
    assert (ledger(writer.lane), writer.outstanding, writer.ponged) == ((1, 1, 0, {}), False, True)
    # A second after the last one it is time for another, with or without events before it.
    assert writer.flush(0.9) is DONE
    assert received(pair[1]) == b""
    writer.flush(1.0)
    assert received(pair[1]) == ping(2)


def test_a_masked_ping(made: Any, pair: Any) -> None:
    writer = made(masked=True)
    offer(writer, b"x")
    writer.flush(0.0)
    data = received(pair[1])
    assert data[:3] == b"x\x89\x88"
    key, masked = data[3:7], data[7:]
    assert bytes(byte ^ key[at % 4] for at, byte in enumerate(masked)) == (1).to_bytes(8, "big")


def test_the_window_is_64_events_and_opens_with_the_pong(made: Any, pair: Any) -> None:
    writer = made()
    offer(writer, *(b"%03d" % number for number in range(100)))
    assert writer.flush(0.0) is DONE
    assert received(pair[1]) == b"".join(b"%03d" % number for number in range(64)) + ping(64)
    writer.lane.offer_control(b"answers pass")
    assert writer.flush(0.1) is DONE
    assert received(pair[1]) == b"answers pass"
    assert writer.pong((64).to_bytes(8, "big"))
    assert writer.flush(0.2) is DONE
    assert received(pair[1]) == b"".join(b"%03d" % number for number in range(64, 100))


def test_the_window_grows_with_what_a_second_brings(made: Any, pair: Any) -> None:
    writer = made({"max_events": 10_000})
    for second in (0.0, 1.0, 2.0):
        for step in range(20):
            offer(writer, *[b"x"] * 20)
            writer.flush(second + step / 100)
            if writer.outstanding:
                writer.pong(writer.lane.in_flight_sequence.to_bytes(8, "big"))
    writer.lane.confirm(writer.lane.received)
    offer(writer, *[b"x"] * 1000)
    writer.flush(2.9)
    assert 380 <= writer.lane.in_flight <= 420
    writer.lane.confirm(writer.lane.received)
    writer.flush(9.0)
    assert writer.lane.in_flight == 64, "the seconds in between brought nothing"


def test_bytes_bound_the_window_too(core: Any, wire: Any) -> None:
    writer = wire.Writer(core.Outbox(message_ttl=math.inf, max_bytes=math.inf))
    offer(writer, *[bytes(100_000)] * 5, bytes(400_000))
    assert sum(map(len, writer.gather(0.0, 1 << 20))) == 200_000 + len(ping(0))
    writer.wrote()
    assert writer.pong((2).to_bytes(8, "big"))
    for now, expected in ((1.0, 200_000), (2.0, 100_000), (3.0, 400_000)):
        assert sum(map(len, writer.gather(now, 1 << 20))) == expected + len(ping(0))
        writer.wrote()
        sequence = writer.lane.in_flight_sequence
        assert writer.pong(sequence.to_bytes(8, "big"))


@pytest.mark.parametrize(("window", "expected"), [(1, 1), (3.0, 3), (math.inf, 100)])
def test_a_window_of_ones_own(core: Any, wire: Any, window: float, expected: int) -> None:
    writer = wire.Writer(core.Outbox(message_ttl=math.inf), max_in_flight=window)
    offer(writer, *[b"x"] * 100)
    assert writer.gather(0.0) == [b"x"] * expected + [ping(expected)]


def test_a_peer_that_is_trusted_has_what_was_written(core: Any, wire: Any) -> None:
    writer = wire.Writer(core.Outbox(message_ttl=math.inf))
    writer.trusting = True
    offer(writer, *[b"x"] * 100)
    writer.gather(0.0)
    writer.wrote()
    assert ledger(writer.lane) == (100, 0, 0, {})


def test_a_pong_that_is_quicker_than_the_word_of_the_write(core: Any, wire: Any) -> None:
    writer = wire.Writer(core.Outbox(message_ttl=math.inf))
    offer(writer, b"x")
    writer.gather(0.0)
    assert not writer.pong((1).to_bytes(8, "big")), "nothing is written yet"
    assert not writer.outstanding
    writer.wrote()
    assert (ledger(writer.lane), writer.outstanding) == ((1, 0, 0, {}), False)


@pytest.mark.usefixtures("narrow")
def test_short_writes_keep_order_and_let_control_frames_pass_between_frames(made: Any, pair: Any) -> None:
    writer = made(max_in_flight=math.inf)
    payloads = [b"<%03d%s>" % (number, b"." * 3000) for number in range(40)]
    offer(writer, *payloads)
    seen = b""
    assert writer.flush(0.0) is BLOCKED
    torn = writer.lane.queued
    writer.lane.offer_control(b"<control>")
    while (flushed := writer.flush(0.0)) is not DONE or not seen.endswith(payloads[-1] + ping(40)):
        assert flushed in (BLOCKED, MORE, DONE)
        piece = received(pair[1])
        seen += piece
        if flushed is DONE and not piece:
            break
    seen += received(pair[1])
    text = seen
    for sequence in range(1, 41):
        text = text.replace(ping(sequence), b"")
    frames = [frame + b">" for frame in text.split(b">")[:-1]]
    assert [frame for frame in frames if frame != b"<control>"] == payloads
    # Behind the one that was torn, before all others.
    assert frames.index(b"<control>") in (40 - torn, 41 - torn)


@pytest.mark.usefixtures("narrow")
def test_what_is_out_in_part_counts_as_not_written(made: Any, pair: Any) -> None:
    writer = made(max_in_flight=math.inf)
    offer(writer, *[bytes(3000)] * 40)
    assert writer.flush(0.0) is BLOCKED
    _, written, queued, _ = ledger(writer.lane)
    whole = len(received(pair[1])) // 3000
    assert written == whole
    assert writer.lane.lose_link() == written
    assert ledger(writer.lane) == (0, 0, queued, {"uncertain": written})


def test_a_torn_ping_is_finished_first(core: Any, wire: Any) -> None:
    writer = wire.Writer(core.Outbox(message_ttl=math.inf))
    offer(writer, b"event")
    assert writer.gather(0.0) == [b"event", ping(1)]
    writer.sent(5 + 3)
    assert writer.outstanding
    writer.lane.offer_control(b"control")
    assert writer.gather(0.0) == [ping(1)[3:], b"control"]
    writer.sent(2)
    assert writer.gather(0.0) == [ping(1)[5:], b"control"]
    writer.wrote()
    assert writer.gather(0.0) == []
    assert writer.pong((1).to_bytes(8, "big"))


def test_a_ping_that_did_not_fit_was_not_sent(core: Any, wire: Any) -> None:
    writer = wire.Writer(core.Outbox(message_ttl=math.inf))
    offer(writer, b"event")
    writer.gather(0.0)
    writer.sent(5)
    assert not writer.outstanding
    assert writer.gather(0.0) == [ping(1)]


def test_no_event_and_no_ping_follow_a_close_frame(core: Any, wire: Any) -> None:
    writer = wire.Writer(core.Outbox(message_ttl=math.inf))
    offer(writer, b"event", b"event")
    writer.gather(0.0)
    writer.sent(2)
    writer.closing = True
    writer.lane.offer_control(b"close")
    assert writer.gather(0.0) == [b"ent", b"close"]
    writer.wrote()
    assert writer.gather(9.0) == []
    assert ledger(writer.lane) == (0, 1, 1, {})


def test_a_peer_that_is_gone(made: Any, pair: Any) -> None:
    writer = made()
    pair[1].close()
    offer(writer, b"event")
    assert writer.flush(0.0) is LOST
    assert writer.error in (errno.EPIPE, errno.ECONNRESET)
    assert ledger(writer.lane) == (0, 0, 1, {})


def test_closing_the_descriptor(made: Any, pair: Any) -> None:
    writer = made()
    descriptor = writer.descriptor
    os.fstat(descriptor)
    for _ in range(2):
        writer.close()
        assert (writer.descriptor, writer.held) == (-1, True)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    forgotten = made()
    descriptor = forgotten.descriptor
    del forgotten
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def owner_of(wire: Any, writer: Any, ours: bool) -> Any:
    """Somebody else's class, or one made for it."""
    if not ours:
        return SimpleNamespace(writer=writer)
    owner = type("Session", (wire.Owner,), {})()
    assert owner.writer is None
    owner.writer = writer
    return owner


@pytest.mark.parametrize("ours", [lambda number: False, lambda number: True, lambda number: number % 3], ids=range(3))
def test_flushing_many_at_once(core: Any, wire: Any, ours: Callable[[int], int]) -> None:
    if not wire.CAN_WRITE:
        pytest.skip("no descriptors to write to")
    pairs = [socket.socketpair() for _ in range(300)]
    owners = []
    for number, (near, far) in enumerate(pairs):
        near.setblocking(False)
        far.setblocking(False)
        writer = wire.Writer(core.Outbox(message_ttl=math.inf), os.dup(near.fileno()))
        offer(writer, *(b"%d" % event for event in range(number % 5)))
        owners.append(owner_of(wire, writer, bool(ours(number))))
    held, none, closing = owners[1], owners[2], owners[3]
    held.writer.held = True
    none.writer = None
    closing.writer.lane.offer_control(bytes(core.CONTROL_LIMIT + 1))
    closing.writer.lane.offer_control(b"")
    gone = owners[4]
    pairs[4][1].close()
    assert set(map(id, wire.flush_ready(owners, 0.0))) == set(map(id, (held, none, closing, gone)))
    assert gone.writer.error
    for number, (_, far) in enumerate(pairs):
        if number not in (1, 2, 3, 4):
            events = b"".join(b"%d" % event for event in range(number % 5))
            assert received(far) == (events + ping(number % 5) if events else b"")
    assert wire.flush_ready([], 0.0) == []
    for near, far in pairs:
        near.close()
        far.close()


def test_an_event_has_no_wire_form_and_nothing_stays_staged(core: Any, made: Any, event: Any) -> None:
    writer, good = made(), made()
    offer(good, b"good")
    offer(writer, b"bytes")
    writer.lane.offer(event(post_type="notice"), MESSAGE, 2, 0.0)
    wire = importlib.import_module(core.__name__.replace("_dispatch", "_wire"))
    with pytest.raises(TypeError, match="an Event cannot be written"):
        wire.flush_ready([SimpleNamespace(writer=good), SimpleNamespace(writer=writer)], 0.0)
    assert writer.lane.in_flight == 0
    assert writer.lane.queued == 2
    good.flush(0.0)
    assert ledger(good.lane) == (0, 1, 0, {})


def test_what_goes_to_many_is_right_for_each(core: Any, wire: Any) -> None:
    if not wire.CAN_WRITE:
        pytest.skip("no descriptors to write to")
    shared = [b"<%d%s>" % (number, b"." * (7 * number)) for number in range(20)]
    large = b"<" + b"=" * 40_000 + b">"
    pairs, owners, expected = [], [], []
    for number in range(40):
        near, far = socket.socketpair()
        far.setblocking(False)
        near.setblocking(False)
        pairs += [near, far]
        lane = core.Outbox(message_ttl=math.inf)
        writer = wire.Writer(lane, os.dup(near.fileno()), max_in_flight=math.inf)
        owners.append(owner_of(wire, writer, number % 2 == 0))
        # All but every fifth get the same; some have a ping due, some one large event among the small.
        payloads = [*shared, large] if number % 7 == 0 else shared if number % 5 else [b"<own %d>" % number, *shared]
        expected.append(b"".join(payloads))
        offer(owners[-1].writer, *payloads)
    for _ in range(50):
        if not (left := wire.flush_ready(owners, 0.0)):
            break
    assert not left
    for one, far, wanted in zip(owners, pairs[1::2], expected, strict=True):
        found = received(far)
        assert found.startswith(wanted)
        assert found[len(wanted) :] == ping(one.writer.lane.in_flight_sequence)
    # Now that no pings are in between, the same memory goes to many in a row.
    for number, one in enumerate(owners):
        offer(one.writer, *(shared if number % 6 else shared[::-1]))
    assert wire.flush_ready(owners, 0.5) == []
    for number, (one, far) in enumerate(zip(owners, pairs[1::2], strict=True)):
        assert received(far) == b"".join(shared if number % 6 else shared[::-1])
        one.writer.close()
    for one in pairs:
        one.close()
