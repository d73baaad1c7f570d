"""Plain twin of the compiled reader: how what comes in over a WebSocket becomes whole messages.

Bytes come in pieces of any size. Text messages are put together, however many frames they are in,
and handed out whole; of control frames there is nothing to hand out: a pong confirms what our
ping covered, what pings carried waits for whoever answers them, and a close says that no more
will come. What is against the rules ends the reading, with the code and the words for our own
close frame. Each rule is judged as soon as the bytes it is about are there; UTF-8 too, so that a
wrong byte in a long text is found before the text has ended.

OneBot 11 has no binary messages: they are judged as the others are, and counted.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, final

from napcore._frame_py import mask
from napcore._ledger_py import size_of

if TYPE_CHECKING:
    from napcore._source_py import Source
    from napcore._writer_py import Writer

__all__ = ("CAN_READ", "MAX_FRAGMENTS", "MAX_PINGS", "MESSAGE_LIMIT", "READ_AT_ONCE", "Assembly", "Reader")

CAN_READ: Final = os.name == "posix"
"""Whether a socket's descriptor can be read from."""

MESSAGE_LIMIT: Final = 50 << 20
"""Bytes a message may have: what NapCat takes."""

MAX_FRAGMENTS: Final = 4096
"""Frames a message may be in; more is taken for a flood."""

MAX_PINGS: Final = 16
"""Pings of one read that are answered; of more, the last ones (RFC 6455, 5.5.3)."""

READ_AT_ONCE: Final = 524288
"""Bytes that are read before others have their turn, if nothing else is said."""

_CHUNK: Final = 65536
_BURST: Final = 4  # messages of one read
_MOST_PENDING: Final = 32768  # bytes handed on before a source is flushed
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10


class _Fault(Exception):
    def __init__(self, code: int, text: str) -> None:
        self.code = code
        super().__init__(text)


@final
class Assembly:
    """What all unfinished messages together may take.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        """Bytes they have now."""


@final
class Reader:
    """The reading end of a link: what comes in, in pieces of any size, becomes whole text messages.

    Args:
        masked: whether the peer is the WebSocket client (RFC 6455, 5.1).
        writer: whose pings the peer's pongs answer.
        assembly: what it shares with others; None is no bound but ``limit``.
        limit: bytes a message may have.
        binary: whether binary messages are handed out too, as bytearrays.
        at_once: bytes that are read before others have their turn.
    """

    def __init__(
        self,
        masked: bool,
        *,
        writer: Writer | None = None,
        assembly: Assembly | None = None,
        limit: int = MESSAGE_LIMIT,
        binary: bool = False,
        at_once: int = READ_AT_ONCE,
    ) -> None:
        self.over = False
        """Whether nothing is read any more: the peer has closed, broken a rule or gone."""
        self.ended = False
        """Whether ``receive`` has found the end of the connection."""
        self.close_code = 0
        """What the peer's close frame said, 1005 if it said nothing (RFC 6455, 7.1.5); 0 without one."""
        self.close_reason = ""
        self.fault_code = 0
        """What to close with because the peer broke a rule: 1002, 1007 or 1009; 0 if it has not."""
        self.fault = ""
        """Which rule, in words."""
        self.binary = 0
        """Binary messages that came."""
        self.reads = 0
        """How often something came."""
        self.due = False
        """Set when there is something beside messages to look after: pings, the end of reading, or
        events that a pong has made room for. To be cleared by whoever does."""
        self.at_once = at_once
        self._masked = masked
        self._writer = writer
        self._assembly = assembly
        self._limit = limit
        self._keep_binary = binary
        self._data = b""  # of a head that is not whole
        self._opcode: int | None = None  # of the frame under way; None: its head is
        self._final = False
        self._left = 0  # bytes of it still to come
        self._key = b""
        self._control = b""
        self._message = 0  # opcode of the message under way
        self._fragments = 0
        self._size = 0  # of it, frames announced included
        self._held = bytearray()  # of it, what has come
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._charged = 0
        self._pings: list[bytes] = []

    def feed(self, data: bytes) -> list[Any]:
        """What these bytes complete."""
        size_of(data)
        self.reads += 1
        messages: list[Any] = []
        try:
            while not self.over:
                if self._opcode is None:
                    data = self._read_head(self._data + data)
                    if self._opcode is None:
                        break
                data = self._read_payload(data, messages)
                if self._opcode is not None:
                    break
            if not self.over:
                self._charge(len(self._held))
        except _Fault as fault:
            self.fault_code, self.fault = fault.code, str(fault)
            self._end()
        return messages

    def receive(self, descriptor: int) -> list[Any]:
        """``feed`` with what a socket has; does not wait."""
        try:
            # The rest of a frame under way is no more work for that.
            rest = 0 if self._opcode is None else self._left
            data = os.read(descriptor, min(_CHUNK, self.at_once + rest))
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if data:
            return self.feed(data)
        self.ended = True
        self._end()
        return []

    def pull(self, descriptor: int, on_read: Callable[[list[Any]], None], source: Source | None = None) -> None:
        """``receive`` as long as messages come; what to do with them is ``on_read``'s.

        It is called when there are messages, and when :attr:`due` is set. While it works more may
        have come: that is seen for a small part of what waking up costs.

        A ``source`` takes the messages when nothing is due, and is flushed, as Netty's channelReadComplete,
        when those are all for now: behind every read that brought few messages, and behind several that
        brought a burst of them, when no more have followed or many bytes have.
        """
        pending = 0
        for _ in range(max(1, self.at_once // _CHUNK)):
            messages = self.receive(descriptor)
            if source is not None and messages and not self.due:
                source.take(messages)
            elif messages or self.due:
                on_read(messages)
            more = len(messages) > 0
            if source is not None:
                pending += sum(len(message) + 1 for message in messages)
                if len(messages) >= _BURST and pending < _MOST_PENDING and not self.over:
                    continue
                if pending:
                    source.flush()
                    pending = 0
                    more = True
            if self.over or not more:
                return
        if source is not None and pending:
            source.flush()

    def take_pings(self) -> list[bytes]:
        """What the pings carried that have come since the last time: at most the last ``MAX_PINGS``."""
        pings, self._pings = self._pings, []
        return pings

    def close(self) -> None:
        """Read nothing any more, and let go of a message that is not whole."""
        self._end()

    def _read_head(self, data: bytes) -> bytes:
        """Begin a frame if its head is there; returns what follows the head."""
        self._data = data
        if len(data) < 2:
            return b""
        opcode, final, size = data[0] & 15, data[0] >> 7 == 1, data[1] & 0x7F
        if opcode not in (_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG):
            raise _Fault(1002, "reserved opcode")
        if data[1] >> 7 != self._masked:
            raise _Fault(1002, f"a {'client' if self._masked else 'server'}'s frame must {_MUST[self._masked]} masked")
        if data[0] & 0x70:
            raise _Fault(1002, "reserved bits must be 0")
        if opcode >= _CLOSE:
            if not final:
                raise _Fault(1002, "control frame in fragments")
            if size > 125:
                raise _Fault(1002, "control frame of more than 125 bytes")
        elif opcode == _CONTINUATION:
            if not self._message:
                raise _Fault(1002, "continuation of nothing")
        elif self._message:
            raise _Fault(1002, "new message before the end of the last")
        wide = {126: 2, 127: 8}.get(size, 0)
        start = 2 + wide
        if len(data) < start:
            return b""
        if wide:
            size = int.from_bytes(data[2:start], "big")
        if opcode < _CLOSE:
            if size + (self._size if self._message else 0) > self._limit:
                raise _Fault(1009, "message too large")
            if self._message and self._fragments >= MAX_FRAGMENTS:
                raise _Fault(1009, "message in too many fragments")
        if len(data) < start + 4 * self._masked:
            return b""
        if self._masked:
            self._key = data[start : start + 4]
            start += 4
        self._opcode, self._final, self._left = opcode, final, size
        self._control = b""
        if opcode < _CLOSE:
            if opcode != _CONTINUATION:
                self._message, self._fragments, self._size = opcode, 0, 0
            self._fragments += 1
            self._size += size
        self._data = b""
        return data[start:]

    def _read_payload(self, data: bytes, messages: list[Any]) -> bytes:
        """Take what is there of the frame under way; returns what follows it."""
        part, rest = data[: self._left], data[self._left :]
        self._left -= len(part)
        if self._masked:
            part = mask(part, self._key)
            turn = len(part) % 4
            self._key = self._key[turn:] + self._key[:turn]
        opcode = self._opcode or 0
        if opcode >= _CLOSE:
            self._control += part
        elif self._message == _TEXT:
            self._held += part
            if not self._may_be_text(part):
                raise _Fault(1007, "text is not UTF-8")
        elif self._keep_binary:
            self._held += part
        if self._left:
            return b""
        self._opcode = None
        if opcode >= _CLOSE:
            self._take_control(opcode, self._control)
        elif self._final:
            whole, self._held = self._held, bytearray()
            if self._message == _TEXT:
                messages.append(bytes(whole))
            else:
                self.binary += 1
                if self._keep_binary:
                    messages.append(whole)
            self._message = 0
        return rest

    def _may_be_text(self, part: bytes) -> bool:
        try:
            self._decoder.decode(part, self._final and not self._left)
        except UnicodeDecodeError:
            return False
        # Python waits for the third byte of a surrogate, which is wrong from the second on.
        pending = self._decoder.getstate()[0]
        return not (pending[:1] == b"\xed" and pending[1:2] >= b"\xa0")

    def _take_control(self, opcode: int, data: bytes) -> None:
        if opcode == _PONG:
            writer = self._writer
            if writer is not None and writer.pong(data) and writer.lane.queued:
                # What the window held back may go now.
                self.due = True
        elif opcode == _PING:
            self._pings = [*self._pings, data][-MAX_PINGS:]
            self.due = True
        else:
            self._take_close(data)

    def _take_close(self, data: bytes) -> None:
        code = int.from_bytes(data[:2], "big")
        if len(data) == 1:
            raise _Fault(1002, "close frame of one byte")
        if data and not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
            raise _Fault(1002, "close code that must not be sent")
        try:
            self.close_reason = data[2:].decode()
        except UnicodeDecodeError:
            raise _Fault(1007, "close reason is not UTF-8") from None
        self.close_code = code or 1005
        self._end()

    def _charge(self, held: int) -> None:
        if self._assembly is not None:
            self._assembly.used += held - self._charged
            self._charged = held
            if held and self._assembly.used > self._assembly.limit:
                raise _Fault(1009, "too much in unfinished messages of all links")

    def _end(self) -> None:
        self.over = self.due = True
        self._held = bytearray()
        self._charge(0)

    def __del__(self) -> None:
        self._charge(0)


_MUST: Final = {True: "be", False: "not be"}
