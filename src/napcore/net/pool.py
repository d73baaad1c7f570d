"""Many sockets watched as one: an event loop's turn for each of them costs several times what reading a pong does.

On asyncio and uvloop the loop itself has a poller read. On trio one of those who share it, the
leader, waits for it; the others sleep until they are over or lead. Nothing runs beside them, so
nothing has to be started or ended.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any

import anyio
import anyio.lowlevel

from napcore.dispatch import Poller

__all__ = ("Member", "pool", "readable_waiter", "watch_descriptor")


def watch_descriptor(loop: Any, descriptor: int, callback: Callable[..., object], *args: object) -> None:
    """``loop.add_reader``, for a callback in which anyio works, whoever has started the loop.

    In a callback runs no task, by which sniffio would know asyncio; it has to have been told.
    ``anyio.run`` tells it, ``asyncio.run`` does not.
    """
    context = copy_context()
    sniffio = sys.modules.get("sniffio")
    if sniffio is not None:
        context.run(sniffio.current_async_library_cvar.set, "asyncio")
    context.run(loop.add_reader, descriptor, callback, *args)


def readable_waiter() -> Callable[[int], Awaitable[None]]:
    """``anyio.wait_readable``, or where this is trio what that calls in the end: a twentieth of a turn of the loop."""
    trio = sys.modules.get("trio")
    if trio is None or hasattr(anyio.lowlevel.current_token().native_token, "add_reader"):
        return anyio.wait_readable
    wait: Callable[[int], Awaitable[None]] = trio.lowlevel.wait_readable
    return wait


class Member:
    """One socket of a pool; its reader reads into ``on_read`` when there is something, which must not raise."""

    def __init__(self, descriptor: int, reader: Any, on_read: Callable[[list[bytes]], None]) -> None:
        self.descriptor = descriptor
        self.reader = reader
        self.on_read = on_read
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
        self._poller = Poller()
        self._members: dict[int, Member] = {}
        self._leader: Member | None = None
        self._wait_readable = readable_waiter()
        loop = anyio.lowlevel.current_token().native_token
        self._loop: Any = loop if hasattr(loop, "add_reader") else None
        if self._loop is not None:
            watch_descriptor(self._loop, self._poller.descriptor, self._poller.pull)

    def __len__(self) -> int:
        return len(self._members)

    async def serve(self, member: Member) -> None:
        """Watch a member's socket until it is stopped."""
        self._poller.add(member.descriptor, member.reader, member.on_read)
        self._members[member.descriptor] = member
        try:
            while not member.over:
                if self._leader is None and self._loop is None:
                    await self._lead(member)
                else:
                    await member.turn.wait()
                    member.turn = anyio.Event()
        finally:
            del self._members[member.descriptor]
            self._poller.remove(member.descriptor)
            self._pass_on()

    async def _lead(self, member: Member) -> None:
        self._leader = member
        try:
            with anyio.CancelScope() as member.scope:
                while not member.over:
                    await self._wait_readable(self._poller.descriptor)
                    self._poller.pull()
        finally:
            member.scope = self._leader = None

    def _pass_on(self) -> None:
        """Have another one lead if nobody does."""
        if self._leader is None and self._loop is None:
            for other in self._members.values():
                if not other.over:
                    other.turn.set()
                    return

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._loop is not None:
            self._loop.remove_reader(self._poller.descriptor)
        self._poller.close()


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
