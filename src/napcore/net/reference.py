"""websockets' parser behind the interface of our reader: what tests compare it with.

``NAPCORE_READER=websockets`` puts it into every link. It hands out single frames; putting them
together, bounding them, and judging UTF-8 is done here.
"""

from __future__ import annotations

import codecs
import logging
import os
from collections.abc import Callable
from typing import Any, Final

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from napcore.dispatch import MAX_FRAGMENTS, MESSAGE_LIMIT, READ_AT_ONCE, Source, Writer

__all__ = ("ReferenceReader",)

_SILENT: Final = logging.Logger("napcore.reference", level=logging.CRITICAL)
_URI: Final = parse_uri("ws://reference/")


class ReferenceReader:
    """As ``Reader``, but for the bound over all links. Many times slower."""

    def __init__(self, *, masked: bool, writer: Writer | None = None, limit: int = MESSAGE_LIMIT) -> None:
        self.over = self.ended = self.due = False
        self.close_code = self.fault_code = self.binary = self.reads = 0
        self.close_reason = self.fault = ""
        self.at_once = READ_AT_ONCE
        self._protocol: Protocol = (
            ServerProtocol(state=State.OPEN, max_size=limit, logger=_SILENT)
            if masked
            else ClientProtocol(_URI, state=State.OPEN, max_size=limit, logger=_SILENT)
        )
        self._writer = writer
        self._limit = limit
        self._text = True
        self._parts: list[bytes] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._pings: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """What these bytes complete."""
        messages: list[bytes] = []
        self.reads += 1
        if self.over:
            return messages
        protocol = self._protocol
        protocol.receive_data(data)
        event: Any
        for event in protocol.events_received():
            self._take(event, messages)
        protocol.data_to_send()
        fault = protocol.close_sent
        if self.fault_code == self.close_code == 0 and protocol.parser_exc is not None and fault is not None:
            self._fail(int(fault.code), fault.reason)
        return messages

    def receive(self, descriptor: int) -> list[bytes]:
        """``feed`` with what a socket has; does not wait."""
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if data:
            return self.feed(data)
        self.ended = self.over = self.due = True
        return []

    def pull(
        self,
        descriptor: int,
        on_read: Callable[[list[bytes]], None],
        source: Source | None = None,
    ) -> None:
        """``receive``, and hand on what it brought."""
        messages = self.receive(descriptor)
        if messages or self.due:
            on_read(messages)
            if source is not None:
                source.flush()

    def take_pings(self) -> list[bytes]:
        """What the pings carried that have come since the last time."""
        pings, self._pings = self._pings, []
        return pings

    def close(self) -> None:
        """Nothing is read any more."""
        self.over = True
        self._parts = []

    def _take(self, frame: Frame, messages: list[bytes]) -> None:
        opcode, data = frame.opcode, bytes(frame.data)
        if self.over:
            return
        if opcode is Opcode.PING:
            self._pings.append(data)
            self.due = True
        elif opcode is Opcode.PONG:
            if self._writer is not None and self._writer.pong(data) and self._writer.lane.queued:
                self.due = True
        elif opcode is Opcode.CLOSE:
            received = self._protocol.close_rcvd
            assert received is not None
            self.close_code, self.close_reason = int(received.code), received.reason
            self.over = self.due = True
        else:
            self._take_data(opcode, data, frame.fin, messages)

    def _take_data(self, opcode: Opcode, data: bytes, final: bool, messages: list[bytes]) -> None:
        if opcode is not Opcode.CONT:
            self._text = opcode is Opcode.TEXT
        self._parts.append(data)
        if sum(map(len, self._parts)) > self._limit:
            self._fail(1009, "message too large")
        elif len(self._parts) > MAX_FRAGMENTS:
            self._fail(1009, "message in too many fragments")
        elif self._text:
            try:
                self._decoder.decode(data, final)
            except UnicodeDecodeError:
                self._fail(1007, "text is not UTF-8")
        if final and not self.over:
            parts, self._parts = self._parts, []
            if self._text:
                messages.append(b"".join(parts))
            else:
                self.binary += 1

    def _fail(self, code: int, reason: str) -> None:
        self.fault_code, self.fault = code, reason
        self.over = self.due = True
