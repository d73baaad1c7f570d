"""WebSocket over an anyio stream: dialling, and turning received bytes into whole messages.

The handshake, the frame rules and the close handshake are those of websockets' Sans-I/O
classes (RFC 6455). They hand out single frames; putting fragments together, and bounding them,
is done here.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import anyio
from anyio.abc import ByteStream, SocketAttribute
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol
from websockets.uri import parse_uri

from napcore.core.onebot import MAX_FRAME
from napcore.errors import ConfigError
from napcore.net.causes import dial_cause, status_cause

__all__ = (
    "Dialled",
    "DialFailed",
    "MessageReader",
    "SILENT",
    "TOO_BIG",
    "check_url",
    "dial",
    "head_ends",
    "is_loopback",
    "public_url",
)

MAX_FRAGMENTS: Final = 4096
"""Fragments a message may have; more is taken for a flood and closed with 1009."""

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
    protocol: ClientProtocol
    early: list[Frame]
    """Frames that came in the same bytes as the handshake's answer."""
    between_frames: bool
    """Whether nothing else came in them."""


class MessageReader:
    """Puts frames together to messages.

    ``limit`` bounds a message in bytes. A message over it, or of too many fragments, fails the
    connection with 1009.
    """

    def __init__(self, protocol: Protocol, limit: int = MAX_FRAME) -> None:
        self._protocol = protocol
        self._limit = limit
        self._parts: list[bytes | bytearray | memoryview] = []
        self._size = 0
        self._text = True
        self.binary = 0
        """Binary messages seen; OneBot 11 has none, so they are not handed out."""

    @property
    def within_message(self) -> bool:
        """Whether a message has begun that is in several frames, and has not ended."""
        return bool(self._parts)

    def messages(self, frames: list[Frame]) -> list[bytes]:
        """The text messages that ``frames`` complete."""
        whole: list[bytes] = []
        for frame in frames:
            opcode = frame.opcode
            if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
                self._text = opcode is Opcode.TEXT
                if frame.fin:
                    self._finish(bytes(frame.data), whole)
                else:
                    self._parts = [frame.data]
                    self._size = len(frame.data)
            elif opcode is Opcode.CONT:
                self._parts.append(frame.data)
                self._size += len(frame.data)
                if self._size > self._limit or len(self._parts) > MAX_FRAGMENTS:
                    self._parts.clear()
                    self._protocol.fail(1009, "message too large or in too many fragments")
                    break
                if frame.fin:
                    parts, self._parts = self._parts, []
                    self._finish(b"".join(parts), whole)
        return whole

    def _finish(self, message: bytes, whole: list[bytes]) -> None:
        if self._text:
            whole.append(message)
        else:
            self.binary += 1


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
    received = b""
    while True:
        try:
            data = await stream.receive()
        except anyio.EndOfStream:
            protocol.receive_eof()
        else:
            received += data
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
        events = protocol.events_received()
        if events:
            whole = head_ends(received)
            return Dialled(stream, protocol, [event for event in events if isinstance(event, Frame)], whole)


def wire_size(frames: Iterable[Frame], masked: bool) -> int:
    """Bytes that received frames took; one with a longer head than it needs took more."""
    sizes = [len(frame.data) for frame in frames]
    heads = sum(2 if size < 126 else 4 if size < 65536 else 10 for size in sizes)
    return sum(sizes) + heads + 4 * len(sizes) * masked


def head_ends(data: bytes) -> bool:
    """Whether these bytes are an HTTP head and nothing behind it."""
    return data.find(b"\r\n\r\n") == len(data) - 4


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


def is_loopback(stream: ByteStream) -> bool:
    """Whether the peer is on this machine."""
    address = stream.extra(SocketAttribute.remote_address, None)
    if not isinstance(address, tuple):
        return True
    host = str(address[0]).removeprefix("::ffff:")
    return host == "::1" or host.startswith("127.")
