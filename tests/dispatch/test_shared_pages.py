"""Long sends to many: they share the kernel's pages, and everybody gets what is theirs, whatever happens."""

from __future__ import annotations

import math
import os
import random
import select
import signal
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from napcore.types import EventClass

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no descriptors to write to")

Pairs = list[tuple[socket.socket, socket.socket]]


def unix_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        return near, listener.accept()[0]


@pytest.fixture(params=[unix_pair, tcp_pair], ids=["unix", "tcp"])
def pairs(request: pytest.FixtureRequest) -> Iterator[Callable[[int], Pairs]]:
    """``pairs(N)``: so many connected sockets."""
    made: Pairs = []

    def make(count: int) -> Pairs:
        for _ in range(count):
            near, far = request.param()
            near.setblocking(False)
            far.setblocking(False)
            made.append((near, far))
        return made

    yield make
    for near, far in made:
        near.close()
        far.close()


@pytest.fixture
def owners_of(core: Any, wire: Any) -> Callable[..., list[Any]]:
    """``owners_of(pairs, writer options)``: those whose writers write into the first of each pair."""

    def make(pairs: Pairs, **options: Any) -> list[Any]:
        bounds = {"message_ttl": math.inf, "max_events": math.inf, "max_bytes": math.inf, "catch_up_rate": math.inf}
        return [
            SimpleNamespace(writer=wire.Writer(core.Outbox(**bounds), os.dup(near.fileno()), **options))
            for near, _ in pairs
        ]

    return make


def needs_flags(wire: Any) -> None:
    if wire.__name__.endswith("_py"):
        pytest.skip("os.write() has no MSG_NOSIGNAL and no MSG_DONTWAIT")


def offer(owner: Any, *payloads: bytes) -> None:
    for payload in payloads:
        owner.writer.lane.offer(payload, EventClass.MESSAGE, owner.writer.lane.received + 1, 0.0)


def read(far: socket.socket, most: int = 1 << 30) -> bytes:
    data = b""
    try:
        while len(data) < most and (piece := far.recv(min(65536, most - len(data)))):
            data += piece
    except BlockingIOError:
        pass
    return data


def read_rest(far: socket.socket, found: bytes, size: int) -> bytes:
    """What comes until there are ``size`` bytes without pings: what a full window held back is on its way."""
    while len(without_pings(found)) < size and select.select([far], [], [], 10.0)[0]:
        found += read(far)
    return without_pings(found)


def burst(number: int, size: int = 700) -> list[bytes]:
    """Sixteen frames that no other burst has."""
    return [b"<%d/%d%s>" % (number, frame, bytes([33 + number % 90]) * size) for frame in range(16)]


def without_pings(data: bytes) -> bytes:
    parts = data.split(b"\x89\x08")
    return parts[0] + b"".join(part[8:] for part in parts[1:])


def assert_same(found: bytes, expected: bytes) -> None:
    """Without a comparison of megabytes where they are not."""
    at = next((at for at, (one, other) in enumerate(zip(found, expected, strict=False)) if one != other), None)
    assert (len(found), at) == (len(expected), None)


def test_a_client_that_reads_late_gets_what_was_sent_then(wire: Any, owners_of: Any, pairs: Any) -> None:
    connected = pairs(12)
    for near, far in connected:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    owners = owners_of(connected, max_in_flight=math.inf)
    late, *prompt = connected
    expected = b""
    # Several times what the shared pages hold at once.
    for number in range(200):
        frames = burst(number)
        expected += b"".join(frames)
        for owner in owners:
            offer(owner, *frames)
        left = wire.flush_ready(owners, 0.0)
        assert all(owner is owners[0] for owner in left)
        for _, far in prompt:
            assert_same(without_pings(read(far)), b"".join(frames))
    found = b""
    while True:
        found += read(late[1])
        if not owners[0].writer.lane.queued:
            break
        owners[0].writer.flush(0.0)
    assert_same(read_rest(late[1], found, len(expected)), expected)


def test_a_socket_that_takes_a_part_goes_on_from_there(wire: Any, owners_of: Any, pairs: Any) -> None:
    connected = pairs(24)
    dice = random.Random(7)
    for near, _ in connected[::2]:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    owners = owners_of(connected, max_in_flight=math.inf)
    found = [b""] * len(connected)
    expected = [b""] * len(connected)
    for number in range(60):
        for at, owner in enumerate(owners):
            # Now and then one gets something of its own, or leaves a burst out.
            frames = [] if dice.random() < 0.05 else burst(number)
            if dice.random() < 0.1:
                frames = [b"(own %d)" % number, *frames]
            expected[at] += b"".join(frames)
            offer(owner, *frames)
        wire.flush_ready(owners, number / 4)
        for at, (_, far) in enumerate(connected):
            found[at] += read(far, dice.choice((0, 3000, 1 << 30)))
    while any(owner.writer.lane.queued for owner in owners):
        wire.flush_ready(owners, 20.0)
        for at, (_, far) in enumerate(connected):
            found[at] += read(far)
    for at, (_, far) in enumerate(connected):
        assert_same(read_rest(far, found[at], len(expected[at])), expected[at])


def test_pings_go_behind_what_is_shared(wire: Any, owners_of: Any, pairs: Any) -> None:
    connected = pairs(10)
    owners = owners_of(connected)
    for number, owner in enumerate(owners):
        if number % 3 == 0:
            # Its ping has another number.
            offer(owner, b"before")
            owner.writer.flush(0.0)
            assert owner.writer.pong((1).to_bytes(8, "big"))
    for number, owner in enumerate(owners):
        offer(owner, *burst(1))
        if number % 4 == 1:
            owner.writer.lane.offer_control(b"answer")
    wire.flush_ready(owners, 2.0)
    for number, (owner, (_, far)) in enumerate(zip(owners, connected, strict=True)):
        lane = owner.writer.lane
        first = b"before\x89\x08" + (1).to_bytes(8, "big") if number % 3 == 0 else b"answer" if number % 4 == 1 else b""
        if number % 3 == 0 and number % 4 == 1:
            first += b"answer"
        data = read(far)
        assert data == first + b"".join(burst(1)) + b"\x89\x08" + lane.in_flight_sequence.to_bytes(8, "big")
        assert owner.writer.outstanding
        assert owner.writer.pong(lane.in_flight_sequence.to_bytes(8, "big"))
        assert (lane.in_flight, lane.queued) == (0, 0)


def test_each_has_a_ping_of_its_own_as_the_websocket_client(wire: Any, owners_of: Any, pairs: Any) -> None:
    connected = pairs(10)
    owners = owners_of(connected, masked=True)
    for owner in owners:
        offer(owner, *burst(1))
    assert wire.flush_ready(owners, 0.0) == []
    masks = set()
    for _, far in connected:
        data = read(far)
        assert data.startswith(b"".join(burst(1)) + b"\x89\x88")
        masks.add(data[-12:-8])
        assert bytes(one ^ other for one, other in zip(data[-8:], data[-12:-8] * 2, strict=True)) == (16).to_bytes(
            8, "big"
        )
    assert len(masks) == 10


@pytest.mark.parametrize("ignored", [True, False])
def test_who_has_gone_is_told_and_kills_nobody(wire: Any, owners_of: Any, pairs: Any, ignored: bool) -> None:
    if not ignored:
        needs_flags(wire)
    connected = pairs(10)
    owners = owners_of(connected)
    for at in (0, 4, 9):
        connected[at][1].close()
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        lost: set[int] = set()
        for number in range(3):
            for owner in owners:
                if owner.writer.error == 0:
                    offer(owner, *burst(number))
            lost |= {owners.index(owner) for owner in wire.flush_ready(owners, 0.0) if owner.writer.error}
        assert lost == {0, 4, 9}
    finally:
        signal.signal(signal.SIGPIPE, before)
    for at, (_, far) in enumerate(connected):
        if at not in lost:
            assert without_pings(read(far)) == b"".join(frame for number in range(3) for frame in burst(number))


def test_a_socket_that_would_wait_does_not(wire: Any, owners_of: Any, pairs: Any) -> None:
    needs_flags(wire)
    connected = pairs(8)
    for near, _ in connected:
        near.setblocking(True)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    owners = owners_of(connected, max_in_flight=math.inf)
    for _ in range(2000):
        for owner in owners:
            offer(owner, *burst(0))
        if len(wire.flush_ready(owners, 0.0)) == len(owners):
            break
    else:
        pytest.fail("the sockets are never full")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_process_writes_to_pages_of_its_own(wire: Any, owners_of: Any, pairs: Any) -> None:
    connected = pairs(16)
    owners = owners_of(connected)
    parents, children = owners[:8], owners[8:]
    for owner in parents:
        offer(owner, *burst(1))
    wire.flush_ready(parents, 0.0)  # unread as yet
    child = os.fork()
    if not child:
        for number in range(2, 100):
            for owner in children:
                offer(owner, *burst(number))
            wire.flush_ready(children, 0.0)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    for _, far in connected[:8]:
        assert without_pings(read(far)) == b"".join(burst(1))
    for _, far in connected[8:]:
        assert without_pings(read(far)).startswith(b"".join(burst(2) + burst(3)))
