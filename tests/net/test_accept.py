"""The accept loop: what a shortage of descriptors, and a crowd, do to it."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute

import napcore.net.accept
from napcore import Relay
from napcore.net.accept import Acceptor
from napcore.net.sockets import bind
from napcore.testing import Simulator

resource = pytest.importorskip("resource")


@contextmanager
def descriptors(more: int) -> Iterator[None]:
    """Let this process have so many more descriptors than it has now."""
    highest = os.open(os.devnull, os.O_RDONLY)
    os.close(highest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def echo(stream: ByteStream) -> None:
    async with stream:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                await stream.send(await stream.receive())


def dial(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port))
    made.setblocking(False)
    return made


async def read(raw: socket.socket) -> bytes:
    with anyio.fail_after(10):
        await anyio.wait_readable(raw)
    return raw.recv(4096)


async def test_connections_are_accepted_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    (listener,) = await bind("127.0.0.1", 0)
    acceptor = Acceptor(listener)
    port = listener.extra(SocketAttribute.local_port)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(acceptor.run, echo, tasks)
        made = [dial(port) for _ in range(200)]
        for number, raw in enumerate(made):
            raw.send(b"%d" % number)
        for number, raw in enumerate(made):
            assert await read(raw) == b"%d" % number
        await acceptor.aclose()
        await acceptor.aclose()
        with pytest.raises(ConnectionRefusedError):
            dial(port)
        made[0].send(b"still here")
        assert await read(made[0]) == b"still here"
        for raw in made:
            raw.close()


async def test_one_that_is_stopped_before_it_begins() -> None:
    (listener,) = await bind("127.0.0.1", 0)
    acceptor = Acceptor(listener)
    await acceptor.aclose()
    async with anyio.create_task_group() as tasks:
        await acceptor.run(echo, tasks)


async def test_a_shortage_of_descriptors_is_survived(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(napcore.net.accept, "LONGEST_PAUSE", 0.02)
    (listener,) = await bind("127.0.0.1", 0)
    acceptor = Acceptor(listener)
    port = listener.extra(SocketAttribute.local_port)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(acceptor.run, echo, tasks)
        await anyio.wait_all_tasks_blocked()
        dialled: list[socket.socket] = []
        with descriptors(12):
            with suppress(OSError):
                # Made, but not connected yet: the last descriptors of both sides are these.
                while len(dialled) < 100:
                    dialled += [socket.socket()]
            spare = [dialled.pop() for _ in range(3)]
            for raw in dialled:
                raw.setblocking(False)
                with suppress(BlockingIOError):
                    raw.connect(("127.0.0.1", port))
            spare.pop().close()
            for raw in dialled:
                # None is left hanging: one gets the free descriptor, the others are told.
                raw.send(b"hello") if raw is dialled[0] else None
            answers = [await read(raw) for raw in dialled]
            assert answers[0] in (b"hello", napcore.net.accept.BUSY)
            assert any(answer.startswith(b"HTTP/1.1 503 ") for answer in answers)
            for raw in (*dialled, *spare):
                raw.close()
        with dial(port) as raw:
            raw.send(b"again")
            assert await read(raw) == b"again"
        tasks.cancel_scope.cancel()
    await acceptor.aclose()
    (told,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "Too many open files" in told.getMessage()


async def test_other_errors_are_the_connections_own(monkeypatch: pytest.MonkeyPatch) -> None:
    (listener,) = await bind("127.0.0.1", 0)
    acceptor = Acceptor(listener)
    port = listener.extra(SocketAttribute.local_port)
    raw = listener.extra(SocketAttribute.raw_socket)
    errors = [ConnectionAbortedError(errno.ECONNABORTED, "aborted"), OSError(errno.EPERM, "firewall")]

    class Listener:
        def extra(self, attribute: Any) -> Any:
            return self

        def fileno(self) -> int:
            return int(raw.fileno())

        def accept(self) -> Any:
            if errors:
                raise errors.pop()
            return raw.accept()

    async with anyio.create_task_group() as tasks:
        fake: Any = Listener()
        acceptor.listener = fake
        tasks.start_soon(acceptor.run, echo, tasks)
        with dial(port) as made:
            made.send(b"hello")
            assert await read(made) == b"hello"
        assert errors == []
        acceptor.listener = listener
        tasks.cancel_scope.cancel()
    await acceptor.aclose()


async def test_where_sockets_cannot_be_waited_for_anyio_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    async def cannot(raw: object) -> None:
        raise NotImplementedError

    (listener,) = await bind("127.0.0.1", 0)
    acceptor = Acceptor(listener)
    port = listener.extra(SocketAttribute.local_port)
    async with anyio.create_task_group() as tasks:
        with monkeypatch.context() as patch:
            patch.setattr(anyio, "wait_readable", cannot)
            tasks.start_soon(acceptor.run, echo, tasks)
            await anyio.wait_all_tasks_blocked()
        with dial(port) as raw:
            raw.send(b"hello")
            assert await read(raw) == b"hello"
        await acceptor.aclose()


async def test_a_crowd_is_told_to_come_again_and_the_upstream_gets_in(exchange: Any, until: Any) -> None:
    head = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    answers: list[bytes] = []
    async with Relay() as relay, Simulator(10001) as sim:
        listener = await relay.listen("127.0.0.1", 0)

        async def come() -> None:
            # Without a key: those that are gone into get a 400.
            answers.append(await exchange(listener, head))

        start = time.monotonic()
        async with anyio.create_task_group() as tasks:
            for _ in range(250):
                tasks.start_soon(come)
            sim.connect(listener.url)
            await sim.wait_connected()
        busy = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503 ")]
        assert len(busy) <= 150, "100 at once, and 50 a second"
        assert len(busy) >= 150 - 50 * (time.monotonic() - start)
        assert all(b"\r\nRetry-After: " in answer for answer in busy)
        assert len(answers) == 250
        assert sim.refusals == 0, sim.last_refusal
