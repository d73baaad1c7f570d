"""WebSocket over an anyio stream: dialling. The handshake is that of websockets' Sans-I/O classes (RFC 6455)."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import anyio
from anyio.abc import ByteStream, SocketAttribute
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
from websockets.protocol import State
from websockets.uri import parse_uri

from napcore.core import throttle
from napcore.core.onebot import MAX_FRAME
from napcore.errors import ConfigError
from napcore.net.causes import dial_cause, status_cause

__all__ = (
    "CLOSE",
    "PONG",
    "Dialled",
    "DialFailed",
    "SILENT",
    "TOO_BIG",
    "check_url",
    "close_data",
    "dial",
    "is_loopback",
    "peer_address",
    "public_url",
)

CLOSE: Final = 8
PONG: Final = 10
"""Opcodes of the control frames that links make (RFC 6455, 5.5); a ping is the writer's."""

TOO_BIG: Final = 1009
"""The close code for a message that is too big to process (RFC 6455, 7.4.1)."""

SILENT: Final = logging.Logger("napcore.websocket", level=logging.CRITICAL)
"""For websockets' classes, which would log headers and frames at DEBUG: tokens and messages."""


class DialFailed(Exception):
    """A dial that brought no link. ``status`` is the HTTP status if the peer answered with one."""

    def __init__(self, cause: str, status: int | None = None) -> None:
        self.cause = cause
        self.status = status
        super().__init__(cause)


class Dialled(NamedTuple):
    """An open WebSocket in the client role."""

    stream: ByteStream
    early: bytes
    """What came behind the handshake's answer in the same piece."""


async def dial(
    url: str, headers: Mapping[str, str], *, ssl_context: ssl.SSLContext | None = None, timeout: float = 10.0
) -> Dialled:
    """Open a WebSocket to ``url``; ``timeout`` in seconds covers everything up to the peer's answer.

    Raises:
        DialFailed: refused, timed out, not a WebSocket, or turned down with a status.
    """
    uri = parse_uri(url)
    try:
        with anyio.fail_after(timeout):
            stream: ByteStream
            if uri.secure:
                stream = await anyio.connect_tcp(
                    uri.host, uri.port, ssl_context=ssl_context, tls=True, tls_standard_compatible=False
                )
            else:
                stream = await anyio.connect_tcp(uri.host, uri.port)
            try:
                return await _shake_hands(stream, ClientProtocol(uri, max_size=MAX_FRAME, logger=SILENT), headers)
            except BaseException:
                await anyio.aclose_forcefully(stream)
                raise
    except TimeoutError:
        raise DialFailed(f"no answer within {timeout:g} s") from None
    except OSError as error:
        raise DialFailed(dial_cause(error, uri.host)) from error
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        raise DialFailed("the peer closed the connection during the handshake") from None


async def _shake_hands(stream: ByteStream, protocol: ClientProtocol, headers: Mapping[str, str]) -> Dialled:
    request = protocol.connect()
    for name, value in headers.items():
        request.headers[name] = value
    protocol.send_request(request)
    await stream.send(b"".join(protocol.data_to_send()))
    received, within = b"", True
    while True:
        try:
            data = await stream.receive()
        except anyio.EndOfStream:
            protocol.receive_eof()
        else:
            if within:
                received += data
                _, end, early = received.partition(b"\r\n\r\n")
                within = not end
                # Frames are not for the protocol; the text of a refusal is.
                protocol.receive_data(data[: len(data) - len(early)] if end else data)
                if protocol.state is State.OPEN:
                    return Dialled(stream, early)
                data = early
            protocol.receive_data(data)
        refusal = protocol.handshake_exc
        if isinstance(refusal, InvalidStatus):
            status = refusal.response.status_code
            raise DialFailed(status_cause(status), status)
        if any(
            isinstance(error, (EOFError, ConnectionError)) for error in (refusal, getattr(refusal, "__cause__", None))
        ):
            raise anyio.EndOfStream
        if isinstance(refusal, InvalidHandshake):
            raise DialFailed(f"not a WebSocket: {refusal}")
        if refusal is not None:
            raise DialFailed(f"not a WebSocket: {refusal!r}")


def close_data(code: int, reason: str) -> bytes:
    """What a close frame carries (RFC 6455, 5.5.1); nothing for 1005, which only stands for that."""
    return b"" if code == 1005 else code.to_bytes(2, "big") + reason.encode()


def check_url(url: str, key: str = "url") -> str:
    """``url`` if it is a ws:// or wss:// URL.

    Raises:
        ConfigError: it is not.
    """
    try:
        parse_uri(url)
    except (InvalidURI, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"must be a ws:// or wss:// URL, not {public_url(str(url))!r}", key=key) from error
    return url


def public_url(url: str) -> str:
    """``url`` without user, password and token, fit for logs."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "<not a URL>"
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    query = [(key, "***" if "token" in key.lower() else value) for key, value in parse_qsl(parts.query)]
    return urlunsplit((parts.scheme, host + port, parts.path, urlencode(query, safe="*"), ""))


def peer_address(stream: ByteStream) -> str:
    """The peer's address; empty where it has none, which is a local socket."""
    address = stream.extra(SocketAttribute.remote_address, None)
    return str(address[0]) if isinstance(address, tuple) else ""


def is_loopback(stream: ByteStream) -> bool:
    """Whether the peer is on this machine."""
    return throttle.is_loopback(peer_address(stream))
