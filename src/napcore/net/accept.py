"""Accepting connections: a loop that outlives a shortage of file descriptors, and a limit on handshakes.

anyio's own listener ends with the first EMFILE, on asyncio and on trio, and takes its task group
with it.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeAlias

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketListener, TaskGroup

from napcore.core.pacing import Bucket, Rates
from napcore.core.seldom import Seldom
from napcore.net.newcomer import Newcomer

__all__ = ("Acceptor", "Handshakes")

AT_ONCE: Final = 2
"""Connections accepted before other tasks have their turn."""

FIRST_PAUSE: Final = 0.01
"""Seconds to wait after the first shortage; doubled with each further one."""

LONGEST_PAUSE: Final = 1.0
"""Seconds to wait at most."""

HANDSHAKES: Final = Rates(50.0, 100.0)
"""Handshakes of clients a second, and at once, that are gone into; more are told to come again."""

BUSY: Final = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
"""What a connection is told that there is no descriptor for."""

Handle: TypeAlias = Callable[[ByteStream], Awaitable[None]]

_SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_log = logging.getLogger("napcore.listen")


class Handshakes:
    """How many clients come in: a crowd is turned away quickly, so that nobody waits longer than a second.

    Upstreams are not counted: NapCat gives a handshake 2 s, and is one.
    """

    def __init__(self) -> None:
        self._bucket = Bucket(HANDSHAKES, time.monotonic())

    def admit(self) -> bool:
        """Whether one more may be gone into now."""
        if self._bucket.wait(time.monotonic()) > 0.0:
            return False
        self._bucket.take()
        return True


class Acceptor:
    """Accepts the connections of one listening socket."""

    def __init__(self, listener: SocketListener) -> None:
        self.listener = listener
        self._scope = anyio.CancelScope()
        self._running = False
        self._stopped = False
        self._ended = anyio.Event()

    async def run(self, handle: Handle, connections: TaskGroup) -> None:
        """Accept until :meth:`aclose`; each connection is handled in a task of ``connections``.

        It is a ``Newcomer``, which ``handle`` closes, or anyio's stream where the event loop cannot
        wait for bare sockets.
        """
        if self._stopped:
            return
        self._running = True
        reserve = _Reserve()
        try:
            with self._scope:
                await self._accept(handle, connections, reserve)
        finally:
            self._ended.set()
            reserve.close()

    async def aclose(self) -> None:
        """Stop accepting, and close the socket. Connections that are open stay."""
        self._stopped = True
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            if self._running:
                # Not before: uvloop aborts the process when it is to wait for a closed socket.
                await self._ended.wait()
            await self.listener.aclose()

    async def _accept(self, handle: Handle, connections: TaskGroup, reserve: _Reserve) -> None:
        raw = self.listener.extra(SocketAttribute.raw_socket)
        pause = FIRST_PAUSE
        while True:
            try:
                await anyio.wait_readable(raw)
            except NotImplementedError:
                # An event loop that cannot wait for a socket by itself.
                await self.listener.serve(handle, connections)
                return
            try:
                for _ in range(AT_ONCE):
                    accepted, address = raw.accept()
                    connections.start_soon(_open, accepted, address, handle)
                    pause = FIRST_PAUSE
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno not in _SHORTAGES:
                    # Of the connection, not of the listener: it was reset while it waited, for one.
                    _log.debug("a connection could not be accepted: %s", error)
                    await anyio.sleep(FIRST_PAUSE)
                    continue
                reserve.turn_away(raw, error)
                await anyio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)


async def _open(accepted: socket.socket, address: object, handle: Handle) -> None:
    try:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        # The peer has gone already.
        _log.debug("a connection ended before it began: %s", error)
        accepted.close()
        return
    try:
        await handle(Newcomer(accepted, address))
    except BaseException:
        accepted.close()
        raise


class _Reserve:
    """A descriptor kept back, so that a connection nobody can serve can at least be told so."""

    def __init__(self) -> None:
        self._descriptor: int | None = os.open(os.devnull, os.O_RDONLY)
        self._told = Seldom()
        self._turned_away = 0

    def turn_away(self, listener: socket.socket, error: OSError) -> None:
        """Take one connection and end it; what it leaves is kept back again."""
        self.close()
        with suppress(OSError):
            accepted, _address = listener.accept()
            with accepted, suppress(OSError):
                accepted.setblocking(False)
                accepted.send(BUSY)
                self._turned_away += 1
        with suppress(OSError):
            self._descriptor = os.open(os.devnull, os.O_RDONLY)
        if self._told.due(time.monotonic()):
            _log.error(
                "no connection can be accepted: %s; %d turned away so far. Allow this process more open files",
                error.strerror,
                self._turned_away,
            )

    def close(self) -> None:
        """Give the descriptor back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
