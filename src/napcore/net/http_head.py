"""The head of an HTTP request: read within bounds, and answered where that is all there is to it.

h11 reads it. A WebSocket upgrade goes on, byte for byte, to websockets' server protocol.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

import anyio
import anyio.lowlevel
import h11
from anyio.abc import ByteStream

from napcore.core.admission import Refused

__all__ = ("HEAD_TIMEOUT", "answer", "read_head", "wants_upgrade")

HEAD_LIMIT: Final = 16 << 10
"""Bytes of a request head."""

LINE_LIMIT: Final = 64
"""Header lines of a request head."""

END: Final = re.compile(rb"\n\r?\n")
"""Where a head ends; h11 takes bare line feeds too."""

HEAD_TIMEOUT: Final = 5.0
"""Seconds for TLS and the whole head, however it dribbles in."""


async def read_head(
    stream: ByteStream, turn: anyio.Lock, heard: Callable[[], None]
) -> tuple[bytes, h11.Request] | Refused:
    """The raw bytes up to the end of the head, and the head as h11 read it.

    ``turn`` is held while a piece is read into h11: of many heads that come at once, one a round of
    the event loop is looked at, so that what goes on over open links waits for one and not for all.
    ``heard`` is called for every piece, before that.
    """
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
    data = bytearray()
    read = 0
    while True:
        data += await stream.receive(HEAD_LIMIT)
        heard()
        # What is no HTTP shows at once; what dribbles in costs nobody anything until it is whole.
        if read and len(data) <= HEAD_LIMIT and not END.search(data, max(0, read - 3)):
            continue
        async with turn:
            await anyio.lowlevel.checkpoint()
            try:
                connection.receive_data(bytes(data[read:]))
                read = len(data)
                event = connection.next_event()
            except h11.RemoteProtocolError as error:
                return Refused(error.error_status_hint, str(error))
        if isinstance(event, h11.Request):
            if len(event.headers) > LINE_LIMIT:
                return Refused(431, "too many header lines")
            if len(data) - len(connection.trailing_data[0]) > HEAD_LIMIT:
                return Refused(431, "the head is too large")
            return bytes(data), event
        if event is not h11.NEED_DATA or len(data) > HEAD_LIMIT:
            return Refused(400, "not a request")


async def answer(stream: ByteStream, refusal: Refused) -> None:
    """Refuse a request in words."""
    body = (refusal.text + "\n").encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    if refusal.status == 426:
        headers.append(("Upgrade", "websocket"))
    if refusal.retry_after is not None:
        headers.append(("Retry-After", str(math.ceil(refusal.retry_after))))
    if refusal.status == 401:
        headers.append(("WWW-Authenticate", "Bearer"))
    try:
        reason = HTTPStatus(refusal.status).phrase
    except ValueError:
        reason = "Refused"
    lines = [f"HTTP/1.1 {refusal.status} {reason}", *(f"{name}: {value}" for name, value in headers), "", ""]
    with anyio.move_on_after(HEAD_TIMEOUT):
        await stream.send("\r\n".join(lines).encode("ascii") + body)


def wants_upgrade(headers: Mapping[str, list[str]]) -> bool:
    """Whether it is to become a WebSocket."""
    return any(value.strip().lower() == "websocket" for value in headers.get("upgrade", ()))
