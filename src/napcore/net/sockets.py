"""Listening sockets, bound by hand: anyio 4.10 leaves the socket of a failed bind open."""

from __future__ import annotations

import socket

import anyio
from anyio.abc import SocketListener

__all__ = ("bind",)

BACKLOG = 1024
"""Connections the system may keep waiting to be accepted."""


async def bind(host: str, port: int, *, receive_buffer: int | None = None) -> list[SocketListener]:
    """Listen on every address ``host`` stands for; port 0 lets the system choose, the same for all.

    ``receive_buffer`` is SO_RCVBUF in bytes, which accepted sockets inherit.

    Raises:
        OSError: the host is unknown, or an address or the port cannot be had; nothing is left open.
    """
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((entry[0], entry[4][0]) for entry in found):
            bound = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(bound)
            # Windows lets anybody share a port bound with SO_REUSEADDR, and take its connections.
            bound.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR), 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if receive_buffer is not None:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            bound.bind((address, port))
            port = bound.getsockname()[1]
            bound.listen(BACKLOG)
        return [await SocketListener.from_socket(bound) for bound in sockets]
    except BaseException:
        for bound in sockets:
            bound.close()
        raise
