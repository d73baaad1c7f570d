"""Opening WebSockets in either role, and the ports to open them on."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
from anyio.abc import ByteStream, Listener, SocketAttribute
from anyio.streams.tls import TLSListener
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from napcore.net.sockets import bind
from napcore.testing.websocket import CHUNK, MAX_FRAME, SILENT, Socket, end_stream

__all__ = ("Refused", "accept_socket", "dial_socket", "open_listener", "query_value")


class Refused(ConnectionError):
    """A dial that brought no WebSocket. ``status`` is the HTTP status if the peer sent one."""

    def __init__(self, cause: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(cause)


async def dial_socket(
    url: str,
    headers: Mapping[str, str],
    *,
    timeout: float,
    max_size: int = MAX_FRAME,
    receive_buffer: int | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> Socket:
    """Open a WebSocket to ``url``; ``timeout`` in seconds covers connecting and the handshake.

    Raises:
        Refused: nobody there, too slow, or turned down.
    """
    uri = parse_uri(url)
    protocol = ClientProtocol(uri, max_size=max_size, logger=SILENT)
    request = protocol.connect()
    request.headers.update(headers)
    protocol.send_request(request)
    stream: ByteStream | None = None
    try:
        with anyio.fail_after(timeout):
            if uri.secure:
                stream = await anyio.connect_tcp(
                    uri.host, uri.port, tls=True, ssl_context=ssl_context, tls_standard_compatible=False
                )
            else:
                stream = await anyio.connect_tcp(uri.host, uri.port)
            if receive_buffer is not None:
                raw = stream.extra(SocketAttribute.raw_socket)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            for data in protocol.data_to_send():
                await stream.send(data)
            while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
                protocol.receive_data(await stream.receive(CHUNK))
            if protocol.handshake_exc is not None:
                raise protocol.handshake_exc
            response, *early = protocol.events_received()
            return Socket(stream, protocol, request.path, getattr(response, "headers", Headers()), early)
    except BaseException as error:
        if stream is not None:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)
        refusal = _refusal(error, timeout)
        if refusal is None:
            raise
        raise refusal from error


async def open_listener(
    host: str, port: int, *, receive_buffer: int | None = None, ssl_context: ssl.SSLContext | None = None
) -> tuple[Listener[Any], str]:
    """A listener on ``host`` (an IP address) and its URL; port 0 lets the system choose.

    Raises:
        OSError: the port cannot be had.
    """
    (bound,) = await bind(host, port, receive_buffer=receive_buffer)
    port = bound.extra(SocketAttribute.local_port)
    listener: Listener[Any] = bound
    if ssl_context is not None:
        listener = TLSListener(listener, ssl_context, standard_compatible=False)
    shown = f"[{host}]" if ":" in host else host
    return listener, f"{'wss' if ssl_context else 'ws'}://{shown}:{port}"


async def accept_socket(
    stream: ByteStream,
    check: Callable[[Request], tuple[int, str] | None],
    *,
    timeout: float = 10.0,
    max_size: int = MAX_FRAME,
) -> Socket | None:
    """The WebSocket a peer asks for on ``stream``; None if it asked for something else or too slowly.

    ``check`` may turn the request down with an HTTP status and a text. A stream that brings no
    WebSocket is closed here.
    """
    protocol = ServerProtocol(max_size=max_size, logger=SILENT)
    accepted = False
    try:
        with anyio.fail_after(timeout):
            events: list[Any] = []
            while not events and protocol.handshake_exc is None:
                protocol.receive_data(await stream.receive(CHUNK))
                events = protocol.events_received()
            if events:
                request: Request = events[0]
                refusal = check(request)
                protocol.send_response(protocol.reject(*refusal) if refusal else protocol.accept(request))
                if protocol.state is State.OPEN:
                    accepted = True
                    return Socket(stream, protocol, request.path, request.headers, events[1:])
            for data in protocol.data_to_send():
                if data:
                    await stream.send(data)
            with suppress(anyio.EndOfStream):
                await end_stream(stream)
                await stream.receive()
    except (TimeoutError, anyio.EndOfStream, anyio.BrokenResourceError):
        pass
    finally:
        if not accepted:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)
    return None


def query_value(path: str, name: str) -> str:
    """The last value of ``name`` in the query of ``path``; empty if there is none."""
    return parse_qs(urlsplit(path).query).get(name, [""])[-1]


def _refusal(error: BaseException, timeout: float) -> Refused | None:
    if isinstance(error, InvalidStatus):
        return Refused(f"HTTP {error.response.status_code}", error.response.status_code)
    if isinstance(error, TimeoutError):
        return Refused(f"no answer within {timeout:g} s")
    if isinstance(error, (anyio.EndOfStream, anyio.BrokenResourceError, EOFError)):
        return Refused("closed during the handshake")
    if isinstance(error, InvalidHandshake):
        return Refused(f"not a WebSocket: {error}")
    if isinstance(error, OSError):
        # anyio puts the failures of several addresses into one OSError.
        causes = getattr(error.__cause__, "exceptions", (error.__cause__, error))
        if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
            return Refused("connection refused")
        return Refused(error.strerror or str(error) or type(error).__name__)
    return None
