"""Which way a link's bytes are taken, and that none are lost where one way gives over to another."""

from __future__ import annotations

from collections import UserList
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute
from websockets.frames import Frame, Opcode

import napcore.net.receiver
from napcore.dispatch import CAN_READ, Reader
from napcore.net.receiver import Receiver, make_reader
from napcore.net.reference import ReferenceReader


def text(data: bytes) -> bytes:
    return Frame(Opcode.TEXT, data).serialize(mask=True)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Any, Any]]:
    listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener:
        (one,) = listener.listeners
        far = await anyio.connect_tcp("127.0.0.1", listener.extra(SocketAttribute.local_port))
        near = await one.accept()
        async with far, near:
            yield near, far


class Collected:
    """A receiver and what it handed on."""

    def __init__(self, stream: Any, on_read: Callable[[list[bytes]], None] | None = None) -> None:
        self.messages: list[bytes] = []
        self.change = anyio.Event()
        self.receiver = Receiver(stream, Reader(masked=True), -1, on_read or self.take)

    def take(self, messages: list[bytes]) -> None:
        self.messages += messages
        self.change.set()

    async def until(self, count: int) -> None:
        with anyio.fail_after(10):
            while len(self.messages) < count:
                self.change = anyio.Event()
                await self.change.wait()


@pytest.mark.skipif(not CAN_READ, reason="descriptors are read on POSIX alone")
async def test_a_plain_socket_is_read_past_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected() as (near, far), anyio.create_task_group() as tasks:
        monkeypatch.setattr(near, "receive", None)
        found = Collected(near)
        tasks.start_soon(found.receiver.run)
        for number in range(20):
            await far.send(text(b"%d" % number))
            await found.until(number + 1)
        assert found.messages == [b"%d" % number for number in range(20)]
        found.receiver.stop()
        await far.send(text(b"wakes a waiting one"))


async def test_what_the_stream_has_read_ahead_comes_first() -> None:
    async with connected() as (near, far), anyio.create_task_group() as tasks:
        data = text(b"one") + text(b"two")
        await far.send(b"head" + data[:-1])
        assert await near.receive(4) == b"head"
        found = Collected(near)
        tasks.start_soon(found.receiver.run)
        await far.send(data[-1:] + text(b"three"))
        await found.until(3)
        assert found.messages == [b"one", b"two", b"three"]
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("what", ["no descriptors", "a stream of another kind", "no descriptor to be had"])
async def test_else_it_is_read_through_its_stream(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    if what == "no descriptors":
        monkeypatch.setattr(napcore.net.receiver, "CAN_READ", False)
    elif what == "a stream of another kind":
        monkeypatch.setattr(napcore.net.receiver, "deque", UserList)
    else:
        monkeypatch.setattr(napcore.net.receiver, "own_descriptor", lambda stream: -1)
    async with connected() as (near, far), anyio.create_task_group() as tasks:
        found = Collected(near)
        tasks.start_soon(found.receiver.run)
        for number in range(20):
            await far.send(text(b"%d" % number * 5000))
        await found.until(20)
        assert found.messages == [b"%d" % number * 5000 for number in range(20)]
        await far.aclose()


@pytest.mark.parametrize("through_stream", [False, True])
async def test_a_fault_in_what_is_called_reaches_the_task(
    through_stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(napcore.net.receiver, "CAN_READ", not through_stream)

    def fail(messages: list[bytes]) -> None:
        raise RuntimeError("planted")

    async with connected() as (near, far):
        await far.send(text(b"x"))
        with anyio.fail_after(10), pytest.raises(RuntimeError, match="planted"):
            await Collected(near, fail).receiver.run()


@pytest.mark.parametrize("through_stream", [False, True])
async def test_it_ends_with_the_connection(through_stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(napcore.net.receiver, "CAN_READ", not through_stream)
    async with connected() as (near, far):
        await far.send(text(b"last"))
        await far.aclose()
        found = Collected(near)
        with anyio.fail_after(10):
            await found.receiver.run()
        assert found.messages == [b"last"]


async def test_a_cancelled_one_takes_no_more() -> None:
    async with connected() as (near, far):
        found = Collected(near)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(found.receiver.run)
            await far.send(text(b"1"))
            await found.until(1)
            tasks.cancel_scope.cancel()
        await far.send(text(b"2"))
        await anyio.wait_all_tasks_blocked()
        assert found.messages == [b"1"]


def test_the_reader_is_ours_unless_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAPCORE_READER", raising=False)
    assert isinstance(make_reader(masked=True, writer=None), Reader)
    monkeypatch.setenv("NAPCORE_READER", "websockets")
    assert isinstance(make_reader(masked=True, writer=None), ReferenceReader)
