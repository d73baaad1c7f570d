"""API calls on their way: echoes rewritten and restored, every call answered exactly once.

Clients number their echoes alike (``"1"``, ``{"seq":1}``, 1), so each call travels upstream with
an echo of ours, and the answer goes back with the client's own bytes. Only bytes are spliced:
params and data are never decoded.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol

from napcore.core.onebot import MAX_FRAME, acknowledgement, failure
from napcore.core.splice import more_follow, replace_echo, restore_echo
from napcore.core.stats import CallStatistics
from napcore.dispatch import Request, Response

__all__ = ("Answer", "Asker", "Call", "Calls")

WAITING_LIMIT: Final = 128 << 20
"""Bytes of requests that may wait for being written, all upstreams together, plus one request."""

ECHO_LIMIT: Final = 16 << 10
"""Bytes of an echo: it is kept until the answer comes, in up to 2,048 calls at once."""

NAME_LIMIT: Final = 1024
"""Characters of an action, kept as long."""


class Asker(Protocol):
    """Who makes calls: a client's link, or a task in this process. Compared by identity."""

    @property
    def client(self) -> object:
        """Whose calls count together against the bound for one client."""
        ...

    def answer(self, answer: Answer, /) -> None:
        """Take an answer; must not wait or raise."""
        ...


class Waiting:
    """How many bytes of requests have not been written yet."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0


class Call:
    """One call waiting for its answer.

    Its life: held (while it is paced), queued (in an upstream's lane), written, over. ``parts``
    are the bytes of the request that goes upstream, empty once written or over.
    """

    __slots__ = (
        "action",
        "asked_at",
        "deadline",
        "echo",
        "key",
        "origin",
        "over",
        "parts",
        "size",
        "upstream",
        "waiting",
        "written",
    )

    def __init__(
        self,
        key: bytes,
        parts: tuple[bytes | memoryview, ...],
        action: str,
        echo: bytes | None,
        origin: Asker,
        upstream: object,
        waiting: Waiting | None = None,
    ) -> None:
        self.key = key
        self.parts = parts
        self.size = sum(map(len, parts))
        self.action = action
        self.echo = echo
        self.origin: Asker | None = origin
        self.upstream = upstream
        self.asked_at = 0.0
        self.deadline = 0.0
        self.written = False
        """Whether its first byte may have left."""
        self.over = False
        """Whether it has been answered or given up; such a call is not written any more."""
        self.waiting = waiting
        if waiting is not None:
            waiting.size += self.size

    @property
    def request(self) -> bytes:
        """The request's bytes, as long as they are here."""
        return b"".join(self.parts)

    def release(self) -> None:
        """Let go of the request: it has been written, or never will be."""
        if self.waiting is not None and self.parts:
            self.waiting.size -= self.size
        self.parts = ()


class Answer(NamedTuple):
    """An answer for whoever asked."""

    origin: Asker
    """Who asked."""
    frame: bytes
    """The answer's JSON with the asker's own echo."""
    final: bool = True
    """Whether the call is over; False for all but the last frame of a stream answer."""
    retcode: int | None = None
    """The retcode if the answer is one of our own."""


class Calls:
    """The table of calls in flight. No clock: ``now`` is passed in, in seconds.

    ``timeout`` is how long a call may wait; ``per_client`` and ``total`` bound the table, and
    ``max_waiting`` the bytes in it. ``epoch`` makes echoes of different relays differ.
    """

    def __init__(
        self,
        epoch: str,
        *,
        timeout: float = 120.0,
        per_client: int = 256,
        total: int = 2048,
        max_waiting: int = WAITING_LIMIT,
    ) -> None:
        self.timeout = timeout
        self.per_client = per_client
        self.total = total
        self.max_waiting = max_waiting
        self._prefix = b'"' + epoch.encode("ascii") + b"."
        self._count = 0
        self._calls: dict[bytes, Call] = {}
        self._held: dict[bytes, Call] = {}
        self._origins: dict[Asker, set[bytes]] = {}
        self._clients: dict[object, int] = {}
        self._waiting = Waiting()
        self._forwarded = self._answered = self._failed = self._late = self._unknown = 0
        self.shared = 0
        """Answers that served another identical call too; counted by whoever hands them out."""

    def forward(self, request: Request, origin: Asker, upstream: object, now: float) -> Call | Answer:
        """Enter a call. Returns the Call, whose ``parts`` go upstream, or the failure to answer with."""
        client = origin.client
        if self._clients.get(client, 0) >= self.per_client:
            detail = f"{self.per_client} calls of this client are in flight"
            return self.refuse(1503, request.echo, origin, detail)
        if len(self._calls) + len(self._held) >= self.total:
            return self.refuse(1503, request.echo, origin, f"{self.total} calls are in flight")
        if len(request.action) > NAME_LIMIT or len(request.echo or b"") > ECHO_LIMIT:
            detail = f"an action has at most {NAME_LIMIT} characters, an echo {ECHO_LIMIT >> 10} KiB"
            return self.refuse(1400, request.echo, origin, detail)
        if self._waiting.size > self.max_waiting:
            return self.refuse(1503, request.echo, origin, f"{self.max_waiting >> 20} MiB of calls are waiting")
        self._count += 1
        key = b'%b%d"' % (self._prefix, self._count)
        parts = replace_echo(request, key)
        if sum(map(len, parts)) > MAX_FRAME:
            return self.refuse(1505, request.echo, origin)
        call = Call(key, parts, request.action, request.echo, origin, upstream, self._waiting)
        call.asked_at = now
        call.deadline = now + self.timeout
        self._calls[key] = call
        self._origins.setdefault(origin, set()).add(key)
        self._clients[client] = self._clients.get(client, 0) + 1
        self._forwarded += 1
        return call

    def refuse(self, retcode: int, echo: bytes | None, origin: Asker, detail: str = "", why: str = "") -> Answer:
        """A counted failure answer of our own; ``detail`` and ``why`` say more, in English and in Chinese."""
        self._failed += 1
        return Answer(origin, failure(retcode, echo, detail, why), True, retcode)

    def acknowledge(self, call: Call, stand_in: Asker) -> Answer:
        """Answer a call nobody waits for (OneBot 11, api: ``_async``); ``stand_in`` gets the upstream's answer."""
        origin = call.origin
        assert origin is not None
        self._leave_origin(call)
        call.origin = stand_in
        self._origins.setdefault(stand_in, set()).add(call.key)
        self._clients[stand_in.client] = self._clients.get(stand_in.client, 0) + 1
        return Answer(origin, acknowledgement(call.echo), True, 1)

    def hold(self, call: Call) -> None:
        """Keep a call back for a while; its time for an answer starts at :meth:`let_go`."""
        del self._calls[call.key]
        self._held[call.key] = call

    def let_go(self, call: Call, now: float) -> bool:
        """A call that was held goes on; False if it is over, or nobody waits for it any more."""
        if self._held.pop(call.key, None) is None:
            return False
        call.asked_at = now
        call.deadline = now + self.timeout
        self._calls[call.key] = call
        if call.origin is None:
            self._remove(call)
        return not call.over

    def answer(self, response: Response, upstream: object, now: float) -> Answer | None:
        """Match an answer from ``upstream`` to the call it was sent; None (counted) if nobody waits for it.

        Frames of a stream answer (NapCat's ``stream-action``) keep the call open until the last.
        """
        key = response.echo
        call = self._calls.get(key) if key is not None else None
        if call is None or call.upstream is not upstream:
            self._count_stray(key)
            return None
        final = not more_follow(response)
        if not final:
            # Moved to the end: the table stays in order of deadlines.
            del self._calls[call.key]
            self._calls[call.key] = call
            call.asked_at = now
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

    def unanswered(self, since: float) -> set[Any]:
        """Upstreams with a call that was written, and has had no answer since that time."""
        found: set[Any] = set()
        for call in self._calls.values():
            if call.asked_at > since:
                break
            if call.written:
                found.add(call.upstream)
        return found

    def forget(self, origin: Asker) -> None:
        """The asker has gone; answers still to come are counted ``late``."""
        for key in self._origins.pop(origin, ()):
            (self._calls.get(key) or self._held[key]).origin = None
            self._leave_client(origin.client)

    def undo(self, call: Call, origin: Asker, retcode: int, detail: str = "", why: str = "") -> Answer:
        """Take back a call that has not been queued; returns the failure for its asker."""
        self._remove(call)
        self._forwarded -= 1
        return self.refuse(retcode, call.echo, origin, detail, why)

    def cancel(self, call: Call) -> None:
        """The asker no longer waits for this one call; its answer will be counted ``late``."""
        if call.origin is not None and not call.over:
            self._leave_origin(call)
            call.origin = None

    def lose(self, upstream: object) -> list[Answer]:
        """The upstream link is gone: 1502 for what was written, 1501 (safe to retry) for what was not."""
        lost = [call for call in (*self._calls.values(), *self._held.values()) if call.upstream is upstream]
        written = [call for call in lost if call.written]
        unwritten = [call for call in lost if not call.written]
        return self._fail(written, 1502) + self._fail(unwritten, 1501)

    @property
    def waiting(self) -> int:
        """Calls that somebody still waits for."""
        return sum(map(len, self._origins.values()))

    def statistics(self) -> CallStatistics:
        """A snapshot of the counters."""
        return CallStatistics(
            pending=len(self._calls) + len(self._held),
            forwarded=self._forwarded,
            answered=self._answered,
            failed=self._failed,
            late=self._late,
            unknown=self._unknown,
            held=len(self._held),
            shared=self.shared,
        )

    def _fail(self, calls: list[Call], retcode: int) -> list[Answer]:
        answers = []
        for call in calls:
            self._remove(call)
            if call.origin is not None:
                answers.append(self.refuse(retcode, call.echo, call.origin))
        return answers

    def _remove(self, call: Call) -> None:
        if self._calls.pop(call.key, None) is None:
            del self._held[call.key]
        call.over = True
        call.release()
        self._leave_origin(call)

    def _leave_origin(self, call: Call) -> None:
        keys = self._origins.get(call.origin) if call.origin is not None else None
        if call.origin is not None and keys is not None and call.key in keys:
            keys.discard(call.key)
            self._leave_client(call.origin.client)
            if not keys:
                del self._origins[call.origin]

    def _leave_client(self, client: object) -> None:
        left = self._clients[client] - 1
        if left:
            self._clients[client] = left
        else:
            del self._clients[client]

    def _count_stray(self, key: bytes | None) -> None:
        number = key[len(self._prefix) : -1] if key is not None and key.startswith(self._prefix) else b""
        # An upstream chooses this text: int() refuses thousands of digits.
        if number.isdigit() and len(number) < 20 and 0 < int(number) <= self._count:
            self._late += 1
        else:
            self._unknown += 1
