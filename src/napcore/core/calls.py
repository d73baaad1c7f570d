"""API calls on their way: echoes rewritten and restored, every call answered exactly once.

Clients number their echoes alike (``"1"``, ``{"seq":1}``, 1), so each call travels upstream with
an echo of ours, and the answer goes back with the client's own bytes. Only bytes are spliced:
params and data are never decoded.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Final, NamedTuple, Protocol

from napcore.core.onebot import MAX_FRAME, failure
from napcore.core.stats import CallStatistics
from napcore.dispatch import CONTROL_LIMIT, Request, Response, frame, masked_frame
from napcore.types import Outcome

__all__ = ("Answer", "Asker", "Call", "Calls", "RequestLane", "replace_echo", "restore_echo")

REQUEST_LIMIT: Final = 64 << 20
"""Bytes of calls that may wait for one upstream link, plus one call."""

_WHITE: Final = b" \t\r\n"
_COMMA: Final = ord(",")


class Asker(Protocol):
    """Who makes calls: a client's link, or a task in this process. Compared by identity."""

    def answer(self, answer: Answer, /) -> None:
        """Take an answer; must not wait or raise."""
        ...


class Call:
    """One call waiting for its answer."""

    __slots__ = ("action", "deadline", "echo", "key", "origin", "over", "request", "upstream", "written")

    def __init__(
        self, key: bytes, request: bytes, action: str, echo: bytes | None, origin: Asker, upstream: object
    ) -> None:
        self.key = key
        self.request = request
        self.action = action
        self.echo = echo
        self.origin: Asker | None = origin
        self.upstream = upstream
        self.deadline = 0.0
        self.written = False
        """Whether its first byte may have left."""
        self.over = False
        """Whether it has been answered or given up; such a call is not written any more."""


class Answer(NamedTuple):
    """An answer for whoever asked."""

    origin: Asker
    """Who asked."""
    frame: bytes
    """The answer's JSON with the asker's own echo."""
    final: bool = True
    """Whether the call is over; False for all but the last frame of a stream answer."""
    retcode: int | None = None
    """The retcode if the answer is a failure of our own."""


class Calls:
    """The table of calls in flight. No clock: ``now`` is passed in, in seconds.

    ``timeout`` is how long a call may wait; ``per_origin`` and ``total`` bound the table.
    ``epoch`` makes echoes of different relays differ.
    """

    def __init__(self, epoch: str, *, timeout: float = 120.0, per_origin: int = 256, total: int = 2048) -> None:
        self.timeout = timeout
        self.per_origin = per_origin
        self.total = total
        self._prefix = b'"' + epoch.encode("ascii") + b"."
        self._count = 0
        self._calls: dict[bytes, Call] = {}
        self._origins: dict[Asker, set[bytes]] = {}
        self._forwarded = self._answered = self._failed = self._late = self._unknown = 0

    def forward(self, request: Request, origin: Asker, upstream: object, now: float) -> Call | Answer:
        """Enter a call. Returns the Call, whose ``request`` goes upstream, or the failure to answer with."""
        mine = self._origins.get(origin, ())
        if len(mine) >= self.per_origin or len(self._calls) >= self.total:
            return self.refuse(1503, request.echo, origin)
        self._count += 1
        key = b'%b%d"' % (self._prefix, self._count)
        spliced = replace_echo(request, key)
        if len(spliced) > MAX_FRAME:
            return self.refuse(1505, request.echo, origin)
        call = Call(key, spliced, request.action, request.echo, origin, upstream)
        call.deadline = now + self.timeout
        self._calls[key] = call
        self._origins.setdefault(origin, set()).add(key)
        self._forwarded += 1
        return call

    def refuse(self, retcode: int, echo: bytes | None, origin: Asker, detail: str = "") -> Answer:
        """A counted failure answer of our own."""
        self._failed += 1
        return Answer(origin, failure(retcode, echo, detail), True, retcode)

    def answer(self, response: Response, upstream: object, now: float) -> Answer | None:
        """Match an answer from ``upstream`` to the call it was sent; None (counted) if nobody waits for it.

        Frames of a stream answer (NapCat's ``stream-action``) keep the call open until the last.
        """
        key = response.echo
        call = self._calls.get(key) if key is not None else None
        if call is None or call.upstream is not upstream:
            self._count_stray(key)
            return None
        final = not _more_follow(response)
        if not final:
            # Moved to the end: the table stays in order of deadlines.
            del self._calls[call.key]
            self._calls[call.key] = call
            call.deadline = now + self.timeout
        else:
            self._remove(call)
        if call.origin is None:
            self._late += 1
            return None
        self._answered += 1
        return Answer(call.origin, restore_echo(response, call.echo), final)

    def expire(self, now: float) -> list[Answer]:
        """Failures for every call past its deadline: 1504, or 1501 if it has not even been written."""
        overdue = []
        for call in self._calls.values():
            if call.deadline > now:
                break
            overdue.append(call)
        written = [call for call in overdue if call.written]
        unwritten = [call for call in overdue if not call.written]
        return self._fail(written, 1504) + self._fail(unwritten, 1501)

    def next_deadline(self) -> float | None:
        """When :meth:`expire` has something to do next."""
        return next((call.deadline for call in self._calls.values()), None)

    def forget(self, origin: Asker) -> None:
        """The asker has gone; answers still to come are counted ``late``."""
        for key in self._origins.pop(origin, ()):
            self._calls[key].origin = None

    def undo(self, call: Call, origin: Asker, retcode: int) -> Answer:
        """Take back a call that could not be queued; returns the failure for its asker."""
        self._remove(call)
        self._forwarded -= 1
        return self.refuse(retcode, call.echo, origin)

    def cancel(self, call: Call) -> None:
        """The asker no longer waits for this one call; its answer will be counted ``late``."""
        if call.origin is not None and self._calls.get(call.key) is call:
            self._leave_origin(call)
            call.origin = None

    def lose(self, upstream: object) -> list[Answer]:
        """The upstream link is gone: 1502 for what was written, 1501 (safe to retry) for what was not."""
        lost = [call for call in self._calls.values() if call.upstream is upstream]
        written = [call for call in lost if call.written]
        unwritten = [call for call in lost if not call.written]
        return self._fail(written, 1502) + self._fail(unwritten, 1501)

    def statistics(self) -> CallStatistics:
        """A snapshot of the counters."""
        return CallStatistics(
            pending=len(self._calls),
            forwarded=self._forwarded,
            answered=self._answered,
            failed=self._failed,
            late=self._late,
            unknown=self._unknown,
        )

    def _fail(self, calls: list[Call], retcode: int) -> list[Answer]:
        answers = []
        for call in calls:
            self._remove(call)
            if call.origin is not None:
                answers.append(self.refuse(retcode, call.echo, call.origin))
        return answers

    def _remove(self, call: Call) -> None:
        del self._calls[call.key]
        call.over = True
        self._leave_origin(call)

    def _leave_origin(self, call: Call) -> None:
        keys = self._origins.get(call.origin) if call.origin is not None else None
        if call.origin is not None and keys is not None:
            keys.discard(call.key)
            if not keys:
                del self._origins[call.origin]

    def _count_stray(self, key: bytes | None) -> None:
        number = key[len(self._prefix) : -1] if key is not None and key.startswith(self._prefix) else b""
        # An upstream chooses this text: int() refuses thousands of digits.
        if number.isdigit() and len(number) < 20 and 0 < int(number) <= self._count:
            self._late += 1
        else:
            self._unknown += 1


class RequestLane:
    """What waits for an upstream link: control frames and calls, in order, control first.

    It has an outbox's shape, so that one drainer serves both. ``masked`` says that we are the
    WebSocket client, whose frames carry a fresh random key each (RFC 6455, 5.3).
    """

    def __init__(self, *, masked: bool) -> None:
        self.close_code = 0
        """1013 once the control lane has overflowed."""
        self.late = 0
        """Control frames that were waiting when the link ended."""
        self._masked = masked
        self._control: deque[bytes] = deque()
        self._control_bytes = 0
        self._calls: deque[Call] = deque()
        self._call_bytes = 0
        self._staged = False

    def __len__(self) -> int:
        return len(self._control) + len(self._calls)

    @property
    def control_queued(self) -> int:
        """Control frames waiting."""
        return len(self._control)

    def offer_control(self, frame: bytes) -> Outcome:
        """Queue a control frame ahead of calls."""
        if self._control_bytes > CONTROL_LIMIT:
            self.late += 1
            self.close_code = 1013
            return Outcome.DISCONNECT
        self._control.append(frame)
        self._control_bytes += len(frame)
        return Outcome.QUEUED

    def offer(self, call: Call) -> bool:
        """Queue a call; False if the bytes waiting are at their bound, so that it cannot be sent."""
        if self._call_bytes > REQUEST_LIMIT:
            return False
        self._calls.append(call)
        self._call_bytes += len(call.request)
        return True

    def gather(self, now: float, max_bytes: int = 65536) -> list[bytes]:
        """The next frames to write, at least one if any waits; from here on a call counts as written.

        Raises:
            RuntimeError: the frames gathered last are still being written.
        """
        if self._staged:
            raise RuntimeError("the frames gathered last are still being written")
        frames: list[bytes] = []
        size = 0
        while self._control and (not frames or size + len(self._control[0]) <= max_bytes):
            control = self._control.popleft()
            self._control_bytes -= len(control)
            frames.append(control)
            size += len(control)
        while self._calls and not self._control and (not frames or size + len(self._calls[0].request) <= max_bytes):
            call = self._calls.popleft()
            self._call_bytes -= len(call.request)
            if call.over:
                continue
            call.written = True
            frames.append(masked_frame(call.request, os.urandom(4)) if self._masked else frame(call.request))
            call.request = b""
            size += len(frames[-1])
        self._staged = bool(frames)
        return frames

    def wrote(self) -> int:
        """The frames gathered last are out."""
        self._staged = False
        return 0

    def lose_link(self, refused_size: bool = False) -> int:
        """The link is gone: what waited will never be written. ``Calls.lose`` fails the calls."""
        self.late += len(self._control)
        self._control.clear()
        self._control_bytes = 0
        self._calls.clear()
        self._call_bytes = 0
        self._staged = False
        self.close_code = 0
        return 0


def replace_echo(request: Request, echo: bytes) -> bytes:
    """The request's bytes with ``echo`` (raw JSON) in place of its own, or added where it has none."""
    raw = request.raw
    span = request.echo_span
    if span is not None:
        view = memoryview(raw)
        return b"".join((view[: span[0]], echo, view[span[1] :]))
    start = raw.index(b"{") + 1
    return b"".join((raw[:start], b'"echo":', echo, b",", memoryview(raw)[start:]))


def restore_echo(response: Response, echo: bytes | None) -> bytes:
    """The answer's bytes with the asker's ``echo``; None takes the member out again."""
    raw = response.raw
    span, member = response.echo_span, response.echo_member
    if span is None or member is None:
        return raw
    view = memoryview(raw)
    if echo is not None:
        return b"".join((view[: span[0]], echo, view[span[1] :]))
    start, end = member
    after = end
    while raw[after] in _WHITE:
        after += 1
    if raw[after] == _COMMA:
        return b"".join((view[:start], view[after + 1 :]))
    before = start - 1
    while raw[before] in _WHITE:
        before -= 1
    if raw[before] == _COMMA:
        start = before
    return b"".join((view[:start], view[end:]))


def _more_follow(response: Response) -> bool:
    if response.stream != "stream-action" or response.status == "failed":
        return False
    data = response.data.get("data")
    return isinstance(data, dict) and data.get("type") in ("stream", "reset")
