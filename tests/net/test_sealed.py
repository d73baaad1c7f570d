"""Sending over TLS without waiting: in order, whoever sends, and without a task as long as there is room."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio.streams.tls import TLSStream

from napcore import Relay
from napcore.net.sealed import Sealed, sealed

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.name != "posix", reason="no descriptors to write to")]


class Clear:
    """A TLS object whose records are what they were made of."""

    def __init__(self, records: ssl.MemoryBIO) -> None:
        self._records = records

    def write(self, data: bytes) -> None:
        self._records.write(data)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with near, far:
        yield near, far


@pytest.fixture
def far(pair: tuple[socket.socket, socket.socket]) -> socket.socket:
    return pair[1]


@pytest.fixture
def way(pair: tuple[socket.socket, socket.socket]) -> Iterator[Sealed]:
    records = ssl.MemoryBIO()
    made = Sealed(Clear(records), records, pair[0].detach())  # type: ignore[arg-type]
    yield made
    made.close()


async def read(far: socket.socket, size: int) -> bytes:
    far.setblocking(False)
    data = b""
    with anyio.fail_after(10):
        while len(data) < size:
            await anyio.wait_readable(far)
            data += far.recv(size)
    return data


async def test_what_finds_no_room_is_written_later_and_in_order(way: Sealed, far: socket.socket) -> None:
    expected = b""
    for number in range(1000):
        expected += (part := b"<%d>" % number * 100)
        if not way.write(part):
            break
    assert way.pending
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(way.finish)
        await anyio.wait_all_tasks_blocked()
        # Two wait for room, and what they wait for is one queue.
        assert not way.put(b"of the stream itself")
        tasks.start_soon(way.finish)
        assert not way.write(b"behind it")
        expected += b"of the stream itselfbehind it"
        assert await read(far, len(expected)) == expected
    assert not way.pending
    assert way.write(b"at once")
    assert await read(far, 7) == b"at once"


class Frames:
    """A source that counts what it has been told."""

    def __init__(self, *frames: bytes) -> None:
        self._waiting = list(frames)
        self.told = 0

    def gather(self, now: float, max_bytes: int = 0, /) -> list[bytes]:
        return [self._waiting.pop(0)] if self._waiting else []

    def wrote(self) -> None:
        self.told += 1


async def test_what_somebody_else_has_finished_is_told_of_too(way: Sealed, far: socket.socket) -> None:
    source = Frames(b"x" * 100_000, b"y")
    assert not way.flush(source)
    assert (way.begun, source.told) == (True, 0)
    async with anyio.create_task_group() as tasks:
        # The stream, which had something to say and waited for room.
        tasks.start_soon(way.finish)
        assert await read(far, 100_000) == b"x" * 100_000
    assert not way.pending
    assert await way.complete(source, 1.0)
    assert (way.begun, source.told) == (False, 1)
    assert await way.complete(source, 1.0)
    assert source.told == 1
    assert way.flush(source)
    assert (await read(far, 1), source.told) == (b"y", 2)


async def test_a_peer_that_takes_nothing_is_given_up(way: Sealed) -> None:
    while way.write(bytes(1000)):
        pass
    assert not await way.finish(0.01)
    assert way.pending


async def test_a_peer_that_has_gone_is_noticed(way: Sealed, far: socket.socket) -> None:
    while way.write(bytes(1000)):
        pass
    far.close()
    with pytest.raises(OSError, match="Broken pipe|reset"):
        await way.finish()
    way._rest.clear()
    with pytest.raises(OSError, match="Broken pipe"):
        way.put(b"x")


async def test_nothing_is_written_once_it_is_closed(way: Sealed) -> None:
    way.close()
    with pytest.raises(BrokenPipeError, match="closed"):
        way.write(b"x")


async def test_only_what_is_known_is_gone_around(certificates: Any) -> None:
    served: list[anyio.abc.SocketStream] = []
    over = anyio.Event()

    async def serve(stream: anyio.abc.SocketStream) -> None:
        served.append(stream)
        wrapped = await TLSStream.wrap(stream, server_side=True, ssl_context=certificates.server)
        await wrapped.send(await wrapped.receive())
        await over.wait()
        await anyio.aclose_forcefully(wrapped)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        plain = await anyio.connect_tcp("127.0.0.1", port)
        assert sealed(plain) is None
        stream = await TLSStream.wrap(plain, hostname="127.0.0.1", ssl_context=certificates.client)
        bio = stream._write_bio
        stream._write_bio = None  # type: ignore[assignment]
        assert sealed(stream) is None
        stream._write_bio = bio
        found = sealed(stream)
        assert found is not None
        assert found.write(b"there and ")
        assert await stream.receive() == b"there and "
        assert stream.extra(anyio.abc.SocketAttribute.remote_port) == port
        found.close()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.send(b"x")
        await anyio.aclose_forcefully(stream)
        over.set()
        tasks.cancel_scope.cancel()


async def test_an_event_needs_no_task(certificates: Any, dial: Any, message: Any) -> None:
    async with Relay() as relay:
        relay.add_client("bot")
        listener = await relay.listen("127.0.0.1", 0, ssl_context=certificates.server)
        relay.publish(message(0))
        async with dial(listener, "/c/bot", ssl_context=certificates.client) as peer:
            await peer.json()
            (link,) = relay.traffic.clients.links
            for number in range(1, 20):
                relay.publish(message(number))
                assert link.link._drained is None
                assert (await peer.json())["message_id"] == number
