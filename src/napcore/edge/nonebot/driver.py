"""``DRIVER=~fastapi+napcore.nonebot``: NoneBot2's WebSocket client on napcore's links, for the stock adapter.

This module is made of NoneBot2's classes and imports it; ``napcore.nonebot`` imports this one when it is asked for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from nonebot.drivers import Request, WebSocket, WebSocketClientMixin, combine_driver
from nonebot.drivers.none import Driver as NoneDriver
from nonebot.exception import WebSocketClosed

from napcore.errors import ConnectionClosed
from napcore.net.open_socket import DialFailed, OpenSocket, open_socket

OPEN_TIMEOUT = 10.0
"""Seconds that dialling may take unless the request says otherwise."""

BINARY = 2
"""The opcode of a binary message (RFC 6455, 5.2)."""


class Socket(WebSocket):
    """A WebSocket that was dialled."""

    def __init__(self, *, request: Request, opened: OpenSocket) -> None:
        super().__init__(request=request)
        self._opened = opened

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._opened.closed

    async def accept(self) -> None:
        """What a server does; this is none."""
        raise NotImplementedError

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it and wait until it has gone."""
        await self._opened.close(code, reason)

    async def receive(self) -> str:
        """The next message, for as long as it takes; WebSocketClosed at the end."""
        try:
            return (await self._opened.receive()).decode()
        except ConnectionClosed as error:
            raise WebSocketClosed(error.close_code, error.reason) from None

    async def receive_text(self) -> str:
        """The same: all messages are text."""
        return await self.receive()

    async def receive_bytes(self) -> bytes:
        """There are no binary messages in OneBot; TypeError when the next message has come."""
        await self.receive()
        raise TypeError("WebSocket received unexpected frame type: str")

    async def send_text(self, data: str) -> None:
        """Send a text message; WebSocketClosed once it has ended."""
        await self._send(data.encode(), 1)

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary message; WebSocketClosed once it has ended."""
        await self._send(data, BINARY)

    async def _send(self, data: bytes, opcode: int) -> None:
        try:
            await self._opened.send(data, opcode)
        except ConnectionClosed as error:
            raise WebSocketClosed(error.close_code, error.reason) from None


class Mixin(WebSocketClientMixin):
    """A WebSocket client for NoneBot2's drivers: ``DRIVER=~fastapi+napcore.nonebot``.

    Messages of up to 50 MiB; no limit to how long one is waited for; a peer on this machine that stands still keeps
    its connection, a remote one that answers no ping loses it. asyncio and trio. Text messages alone are received.
    """

    @property
    def type(self) -> str:
        """Its name."""
        return "napcore"

    @asynccontextmanager
    async def websocket(self, setup: Request) -> AsyncGenerator[WebSocket, None]:
        """Dial; ConnectionError where that fails."""
        if setup.proxy is not None:
            raise ValueError("napcore's WebSocket client uses no proxy; take ~websockets for this one")
        headers = {**setup.headers, **setup.cookies.as_header(setup)}
        try:
            async with open_socket(str(setup.url), headers, timeout=_timeout(setup.timeout)) as opened:
                yield Socket(request=setup, opened=opened)
        except DialFailed as error:
            raise ConnectionError(error.cause) from None


def _timeout(value: Any) -> float:
    """What the request says about dialling: a number, or one of the fields of ``Timeout`` (since 2.5)."""
    for found in (value, getattr(value, "connect", None), getattr(value, "total", None)):
        if isinstance(found, (int, float)) and found > 0:
            return float(found)
    return OPEN_TIMEOUT


if TYPE_CHECKING:

    class Driver(Mixin, NoneDriver):
        """NoneBot2 without a server, with this client: ``DRIVER=napcore.nonebot``."""

else:
    Driver = combine_driver(NoneDriver, Mixin)
    Driver.__doc__ = "NoneBot2 without a server, with this client: ``DRIVER=napcore.nonebot``."
