from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import anyio
import pytest

from napcore.dispatch import CAN_POLL
from napcore.net.pool import Member, pool

pytestmark = pytest.mark.skipif(not CAN_POLL, reason="no epoll here")


class Socket:
    """A member of a pool, and the other end of what it watches."""

    def __init__(self, connections: ExitStack) -> None:
        self.near, self.far = socket.socketpair()
        for one in (self.near, self.far):
            one.setblocking(False)
            connections.enter_context(one)
        self.member = Member(self.near.fileno(), self, self.took)
        self.got: list[bytes] = []
        self.change = anyio.Event()

    def pull(self, descriptor: int, on_read: Callable[[list[Any]], None]) -> None:
        assert descriptor == self.near.fileno()
        on_read([self.near.recv(100)])

    def took(self, messages: list[bytes]) -> None:
        self.got += messages
        self.change.set()
        if self.got[-1] == b"end":
            self.member.stop()

    async def says(self, data: bytes) -> None:
        self.change = anyio.Event()
        self.far.send(data)
        with anyio.fail_after(5):
            await self.change.wait()


@pytest.fixture
def sockets() -> Iterator[list[Socket]]:
    with ExitStack() as connections:
        yield [Socket(connections) for _ in range(4)]


async def test_each_is_called_for_its_own_and_the_first_need_not_stay(sockets: list[Socket]) -> None:
    with pool() as shared:
        async with anyio.create_task_group() as tasks:
            for one in sockets:
                tasks.start_soon(shared.serve, one.member)
                await anyio.wait_all_tasks_blocked()
            assert len(shared) == 4
            for number in range(3):
                for one in sockets:
                    await one.says(b"%d" % number)
            # The leader first, each time: from within, and from without.
            await sockets[0].says(b"end")
            await sockets[3].says(b"x")
            sockets[1].member.stop()
            await anyio.wait_all_tasks_blocked()
            assert len(shared) == 2
            await sockets[2].says(b"y")
            await sockets[3].says(b"end")
            await sockets[2].says(b"end")
    assert [one.got[3:] for one in sockets] == [[b"end"], [], [b"y", b"end"], [b"x", b"end"]]


async def test_a_cancelled_leader_passes_it_on(sockets: list[Socket]) -> None:
    first, second, *_ = sockets
    with pool() as shared:
        async with anyio.create_task_group() as tasks:
            async with anyio.create_task_group() as doomed:
                doomed.start_soon(shared.serve, first.member)
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(shared.serve, second.member)
                await anyio.wait_all_tasks_blocked()
                doomed.cancel_scope.cancel()
            first.far.send(b"nobody listens")
            await second.says(b"x")
            await second.says(b"end")
    assert (first.got, second.got) == ([], [b"x", b"end"])


async def test_one_that_is_stopped_before_it_is_served_never_waits(sockets: list[Socket]) -> None:
    sockets[0].member.stop()
    with pool() as shared, anyio.fail_after(5):
        await shared.serve(sockets[0].member)


async def test_a_loop_has_one_pool_as_long_as_somebody_uses_it(sockets: list[Socket]) -> None:
    with pool() as shared, pool() as same:
        assert shared is same
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shared.serve, sockets[0].member)
            await anyio.wait_all_tasks_blocked()
            await sockets[0].says(b"end")
    with pytest.raises(ValueError, match="closed"):
        await shared.serve(sockets[1].member)
    with pool() as another:
        assert another is not shared
