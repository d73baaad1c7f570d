"""The paths of a request and its answer through a relay.

A request: ``ClientLink.take_requests`` -> :meth:`Api.take_request` -> :meth:`Api.forward` (whose
account, ``_async`` and ``_rate_limited``, calls that share an answer) -> ``Calls.forward`` -> pacing
-> the upstream's ``RequestLane``. Its answer: ``Traffic.take_other`` -> :meth:`Api.take_answer` ->
``Calls.answer`` -> the asking link. Nothing on these paths waits; what is paced is held in between,
and sent on by a task of its own.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio

from napcore.core.calls import Answer, Asker, Call, Calls
from napcore.core.onebot import encode_call
from napcore.core.pacing import Pacing, Queue, SendRate, Verdict
from napcore.core.sharing import SharedGets
from napcore.core.splice import split_suffix
from napcore.dispatch import Request, Response, peek_frame, peek_request
from napcore.errors import BadEvent, ConfigError
from napcore.net.local import PendingCall, Unheard
from napcore.types import Off

if TYPE_CHECKING:
    from napcore.net.accounts import Accounts
    from napcore.net.relay import Relay
    from napcore.net.upstream import UpstreamLink

__all__ = ("Api",)

STEP: Final = 0.1
"""Seconds between looks at held calls: another may be due before the one that was waited for."""

SLOW: Final = 30.0
"""Seconds after which an unanswered call makes its upstream suspect; NoneBot2 gives it up then."""


class _Held(NamedTuple):
    call: Call
    self_id: int
    group: int | None


class Api:
    """Requests on their way to an upstream, and answers on their way back."""

    def __init__(
        self, relay: Relay, accounts: Accounts, timeout: float, send_rate: SendRate, share_gets: float | Off
    ) -> None:
        self.calls = Calls(secrets.token_hex(4), timeout=timeout)
        self.pacing = Pacing(send_rate)
        self._limited = Queue()
        self._shared = _sharing(share_gets)
        self._accounts = accounts
        self._relay = relay
        self._releasing = False

    def take_request(self, message: bytes, asker: Asker, self_id: int | None) -> None:
        """A request from a client's link; whatever is wrong with it becomes its answer."""
        try:
            request = peek_request(message)
        except BadEvent as error:
            echo: bytes | None = b"null"
            if error.reason == "not a request":
                item = peek_frame(message)
                echo = item.echo if isinstance(item, Response) else None
            asker.answer(self.calls.refuse(1400, echo, asker, str(error)))
            return
        self.forward(request, asker, self_id)

    async def ask(self, action: str, params: Mapping[str, Any] | None, self_id: int | None, timeout: float) -> Any:
        """Call from this process, and wait for the answer's data.

        Raises:
            CallError: one of its kinds.
        """
        pending = PendingCall(action, self)
        call = self.forward(peek_request(encode_call(action, params)), pending, self_id)
        try:
            return await pending.result(timeout)
        finally:
            self.cancel(pending, call)

    def cancel(self, asker: Asker, call: Call | None) -> None:
        """``asker``, who waits for one answer only, no longer does; ``call`` is what :meth:`forward` gave for it."""
        if call is not None:
            self.calls.cancel(call)
        elif self._shared is not None:
            self._shared.forget(asker)

    def send_call(self, message: bytes, asker: Asker, link: UpstreamLink) -> None:
        """A call of the relay's own, to one upstream link."""
        call = self._enter(peek_request(message), asker, link)
        if call is not None:
            self._queue(call, link)

    def forward(self, request: Request, asker: Asker, self_id: int | None) -> Call | None:
        """Send a request upstream for the account ``self_id``, or answer it with a failure at once.

        Without one it is the only account, else the one in the request's params.
        """
        if self._relay.closing:
            asker.answer(self.calls.refuse(1501, request.echo, asker, "the relay is shutting down"))
            return None
        if self_id is None:
            self_id = request.self_id if len(self._accounts) != 1 else self._accounts.first
        if self_id is None:
            known = ", ".join(map(str, self._accounts)) or "none yet"
            detail = f"which account is meant? give self_id (known: {known})"
            asker.answer(self.calls.refuse(1400, request.echo, asker, detail))
            return None
        link = self._accounts.link(self_id)
        if link is None:
            asker.answer(self.calls.refuse(1501, request.echo, asker))
            return None
        request, suffix = split_suffix(request)
        if suffix or self._shared is None:
            return self._send(request, asker, link, self_id, suffix)
        who = self._shared.join(request, asker, link, time.monotonic())
        if isinstance(who, Answer):
            asker.answer(who)
        elif who is asker:
            return self._send(request, asker, link, self_id, "")
        elif who is not None:
            call = self._send(request, who, link, self_id, "")
            if call is not None:
                # So that there is one to put each asker's own in place of.
                call.echo = b"null"
        self.calls.shared = self._shared.count
        return None

    def take_answer(self, response: Response, link: UpstreamLink) -> None:
        """An answer came by ``link``."""
        if link.turned_down(response):
            return
        link.answered()
        answer = self.calls.answer(response, link, time.monotonic())
        if answer is not None:
            answer.origin.answer(answer)

    def lose(self, link: UpstreamLink) -> None:
        """An upstream link is gone: every call on it is answered."""
        if self._shared is not None:
            self._shared.lose(link)
        self._hand_out(self.calls.lose(link))
        self.pacing.discard(_is_over)
        self._limited.discard(_is_over)

    def forget(self, asker: Asker) -> None:
        """A client's link is gone."""
        self.calls.forget(asker)
        if self._shared is not None:
            self._shared.forget(asker)

    def expire(self, now: float) -> None:
        """To be called about once a second: answers overdue calls, and has upstreams probed that owe answers."""
        self._hand_out(self.calls.expire(now))
        for link in self.calls.unanswered(now - SLOW):
            link.suspect(now)

    def _send(self, request: Request, asker: Asker, link: UpstreamLink, self_id: int, suffix: str) -> Call | None:
        call = self._enter(request, asker, link)
        if call is None:
            return None
        now = time.monotonic()
        held = _Held(call, self_id, _group_of(request))
        if suffix == "_rate_limited":
            verdict = self._limited.offer(held, self_id, now)
        else:
            verdict = Verdict.GO
        if verdict is Verdict.GO:
            verdict = self.pacing.offer(held, call.action, self_id, held.group, now)
        if verdict is Verdict.REFUSE:
            asker.answer(self.calls.undo(call, asker, 1503, *PACED))
            return None
        if verdict is Verdict.WAIT:
            self.calls.hold(call)
            self._release_later()
        elif not self._queue(call, link):
            return None
        if suffix:
            asker.answer(self.calls.acknowledge(call, Unheard(asker.client)))
        return call

    def _enter(self, request: Request, asker: Asker, link: UpstreamLink) -> Call | None:
        call = self.calls.forward(request, asker, link, time.monotonic())
        if isinstance(call, Answer):
            asker.answer(call)
            return None
        return call

    def _queue(self, call: Call, link: UpstreamLink) -> bool:
        if not link.lane.offer(call):
            origin = call.origin
            assert origin is not None
            origin.answer(self.calls.undo(call, origin, 1503, *FULL))
            return False
        link.link.flush()
        return True

    def _release_later(self) -> None:
        if not self._releasing:
            self._releasing = True
            self._relay.start("the pacing of calls", self._release)

    async def _release(self) -> None:
        try:
            while True:
                now = time.monotonic()
                dues = (self._limited.next_due(), self.pacing.next_due(now))
                due = min((due for due in dues if due is not None), default=None)
                if due is None:
                    return
                await anyio.sleep(min(max(due - now, 0.0), STEP))
                self._release_due(time.monotonic())
        finally:
            self._releasing = False

    def _release_due(self, now: float) -> None:
        ready, late = self.pacing.due(now)
        for held in self._limited.due(now):
            verdict = self.pacing.offer(held, held.call.action, held.self_id, held.group, now)
            if verdict is not Verdict.WAIT:
                (ready if verdict is Verdict.GO else late).append(held)
        for held in ready:
            if self.calls.let_go(held.call, now):
                self._queue(held.call, held.call.upstream)
        for held in late:
            origin = held.call.origin
            if origin is not None and not held.call.over:
                origin.answer(self.calls.undo(held.call, origin, 1503, *PACED))
            else:
                self.calls.let_go(held.call, now)

    def _hand_out(self, answers: list[Answer]) -> None:
        for answer in answers:
            answer.origin.answer(answer)


PACED: Final = (
    "held back by send_rate, and its turn would not come within 20 s",
    "受 send_rate 限速，20 秒内轮不到发送",
)
FULL: Final = ("too many bytes of calls wait for the upstream", "等待上游接收的请求字节数过多")


def _is_over(held: _Held) -> bool:
    return held.call.over


def _group_of(request: Request) -> int | None:
    private = request.action.startswith("send_private") or request.message_type == "private"
    return None if private else request.group_id


def _sharing(share_gets: float | Off) -> SharedGets | None:
    if share_gets == "off":
        return None
    if type(share_gets) not in (int, float) or not 0 <= share_gets < math.inf:
        text = f'must be "off" or seconds, 0 or more, not {share_gets!r}'
        raise ConfigError(text, key="share_gets")
    return SharedGets(share_gets)
