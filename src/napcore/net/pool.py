"""Many sockets watched as one: for an event loop on which each waiting task is dear.

An epoll instance is a descriptor that is readable when one of its sockets is. One of those who
share it, the leader, waits for that and calls whoever has something to read; the others sleep
until they are over or lead. Nothing runs beside them, so nothing has to be started or ended.
"""

from __future__ import annotations

import select
from collections.abc import Callable

import anyio
import anyio.lowlevel

__all__ = ("CAN_POOL", "Member", "pool")

CAN_POOL = hasattr(select, "epoll")
"""Whether there is epoll: on Linux."""


class Member:
    """One socket of a pool; ``pull`` is called when it has something to read, and must not raise."""

    def __init__(self, descriptor: int, pull: Callable[[], None]) -> None:
        self.descriptor = descriptor
        self.pull = pull
        self.over = False
        self.turn = anyio.Event()
        """Set when there is something to do: to end, or to lead."""
        self.scope: anyio.CancelScope | None = None
        """Around its waiting, while it leads."""

    def stop(self) -> None:
        """Have :meth:`Pool.serve` return. Does not wait."""
        self.over = True
        self.turn.set()
        if self.scope is not None:
            self.scope.cancel()


class Pool:
    """The sockets that are watched together in one event loop."""

    def __init__(self) -> None:
        self.users = 0
        """Blocks that hold it."""
        self._epoll = select.epoll()
        self._members: dict[int, Member] = {}
        self._leader: Member | None = None

    def __len__(self) -> int:
        return len(self._members)

    async def serve(self, member: Member) -> None:
        """Watch a member's socket until it is stopped."""
        self._epoll.register(member.descriptor, select.EPOLLIN)
        self._members[member.descriptor] = member
        try:
            while not member.over:
                if self._leader is None:
                    await self._lead(member)
                else:
                    await member.turn.wait()
                    member.turn = anyio.Event()
        finally:
            del self._members[member.descriptor]
            self._epoll.unregister(member.descriptor)
            self._pass_on()

    async def _lead(self, member: Member) -> None:
        self._leader = member
        try:
            with anyio.CancelScope() as member.scope:
                while not member.over:
                    await anyio.wait_readable(self._epoll.fileno())
                    for descriptor, _ in self._epoll.poll(0):
                        self._members[descriptor].pull()
        finally:
            member.scope = self._leader = None

    def _pass_on(self) -> None:
        """Have another one lead if nobody does."""
        if self._leader is None:
            for other in self._members.values():
                if not other.over:
                    other.turn.set()
                    return

    def close(self) -> None:
        """Let go of the descriptor."""
        self._epoll.close()


_POOL: anyio.lowlevel.RunVar[Pool | None] = anyio.lowlevel.RunVar("napcore.pool", None)


class pool:
    """``with pool() as shared``: the event loop's pool, which is there as long as somebody uses it."""

    def __enter__(self) -> Pool:
        shared = _POOL.get()
        if shared is None:
            shared = Pool()
            _POOL.set(shared)
        shared.users += 1
        self._shared = shared
        return shared

    def __exit__(self, *error: object) -> None:
        self._shared.users -= 1
        if not self._shared.users:
            self._shared.close()
            _POOL.set(None)
