"""The paths of an event, a request and an answer through a relay.

An event: ``UpstreamLink.take`` -> :meth:`Traffic.take_batch` (peek, account) -> ``Hub.route`` (match,
encode, offer: ``napcore._dispatch_py`` is the readable form) -> ``flush_ready`` (``napcore._wire_py``),
which writes to all links at once; ``Session.flush`` -> ``Link`` where that is not the end of it. A
request: ``ClientLink.take_requests`` -> :meth:`Traffic.take_request` -> ``Calls.forward`` -> the
upstream's ``RequestLane``. Its answer: :meth:`Traffic.take_batch` -> ``Calls.answer`` -> the asking
link. Nothing on these paths waits.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from napcore.core.calls import Answer, Asker, Call, Calls
from napcore.core.hub import Hub
from napcore.core.onebot import OWN_META
from napcore.core.stats import LossReport
from napcore.dispatch import Event, Report, Request, Response, flush_ready, peek_frame, peek_request
from napcore.errors import BadEvent
from napcore.net.accounts import Accounts
from napcore.net.clients import Clients
from napcore.net.local import Subscription
from napcore.net.upstream import UpstreamLink

if TYPE_CHECKING:
    from napcore.net.relay import Relay

__all__ = ("Traffic",)

TICK = 1.0
"""Seconds between looks at overdue calls, silent links and lost events."""

SLICE = 128
"""Links that are written to before other tasks have their turn: half a millisecond."""

LOSS_TEXTS = {
    "oldest": "its queue was full and the oldest had to go; it reads too slowly",
    "newest": "its queue was full and the newest were refused; it reads too slowly",
    "ttl": "they waited longer than their lifetime; it reads too slowly",
    "oversize": "they were larger than its max_frame, or than it takes",
    "hold": "it was not connected",
    "budget": "the memory limit of the relay was reached",
    "disconnect": "its queue was full and its policy is to disconnect",
    "uncertain": "they were being written when its connection was lost",
    "shutdown": "the relay was closed",
}
"""What each drop reason means, for the log."""

_log = logging.getLogger("napcore.relay")


class Traffic:
    """What a relay routes with: the hub, the calls in flight, the accounts and the clients."""

    def __init__(self, relay: Relay, call_timeout: float, memory_limit: float) -> None:
        self.hub = Hub(memory_limit=memory_limit)
        self.calls = Calls(secrets.token_hex(4), timeout=call_timeout)
        self.accounts = Accounts()
        self.clients = Clients(relay)
        self.subscriptions: list[Subscription] = []
        self.received = 0
        """Events that came from upstreams and publishers."""
        self.invalid = 0
        """Frames that were not valid, dropped on arrival; binary ones are added when their link ends."""
        self.consumed = 0
        """Upstream lifecycle and heartbeat events; every link gets our own."""
        self._relay = relay
        self._unflushed: dict[Any, None] = {}  # owners that a task of its own flushes, in order
        self._losses = LossReport()
        self._told_invalid = -60.0

    def take_batch(self, messages: list[bytes], link: UpstreamLink) -> None:
        """What one read from an upstream brought: events to route, answers to hand back."""
        events: list[Event] = []
        for message in messages:
            try:
                item = peek_frame(message)
            except BadEvent as error:
                self._count_invalid(error, link)
                continue
            if isinstance(item, Response):
                self._take_answer(item, link)
                continue
            self_id = item.self_id
            if self_id is not None and self_id not in link.self_ids:
                self.see_account(self_id, link)
            if item.kind in OWN_META:
                self.consumed += 1
                if item.kind == "meta_event.heartbeat":
                    self.accounts.report(self_id or link.account, _says_online(item))
            events.append(item)
        if events:
            self.received += len(events)
            self.route(events, link.account)

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

    def send_call(self, message: bytes, asker: Asker, link: UpstreamLink) -> None:
        """A call of the relay's own, to one upstream link."""
        self._send(peek_request(message), asker, link)

    def see_account(self, self_id: int, link: UpstreamLink | None) -> None:
        """A sign of ``self_id`` on ``link`` (None: published in this process); a new account gets its sessions."""
        if link is not None:
            expected = link.upstream.self_id
            if expected is not None and expected != self_id and not link.self_ids - {expected}:
                _log.warning(
                    "upstream %s was announced as account %d and sends events of %d; they are routed as %d",
                    link.upstream.name,
                    expected,
                    self_id,
                    self_id,
                )
            link.self_ids.add(self_id)
        if self.accounts.see(self_id, link):
            _log.info("account %d: first seen%s", self_id, f" on {link.upstream.name}" if link else "")
            self.clients.greet(self_id)
        if link is not None:
            link.upstream.see(self_id)

    def lose_upstream(self, link: UpstreamLink) -> None:
        """An upstream link is gone: its calls are answered, its accounts are offline or on another link."""
        self.accounts.lose(link)
        self.invalid += link.link.binary
        self._hand_out(self.calls.lose(link))
        link.upstream.changed()

    def route(self, events: list[Event], account: int) -> Report:
        """Queue events for everyone who wants them and start sending; ``account`` stands in for a missing one."""
        report = self.hub.route(events, account=account)
        ready = report.ready
        if self._unflushed:
            self._unflushed.update(dict.fromkeys(ready))
        elif len(ready) <= SLICE:
            _flush(ready)
        else:
            self._unflushed = dict.fromkeys(islice(ready, SLICE, None))
            _flush(ready[:SLICE])
            self._relay.start("the rest of a flush", self._flush_rest)
        return report

    async def _flush_rest(self) -> None:
        while self._unflushed:
            await anyio.lowlevel.checkpoint()
            owners = list(islice(self._unflushed, SLICE))
            for owner in owners:
                del self._unflushed[owner]
            _flush(owners)

    def forward(self, request: Request, asker: Asker, self_id: int | None) -> Call | None:
        """Send a request upstream for the account ``self_id``, or answer it with a failure at once.

        Without one it is the only account, else the one in the request's params.
        """
        if self_id is None:
            self_id = request.self_id if len(self.accounts) != 1 else self.accounts.first
        if self_id is None:
            known = ", ".join(map(str, self.accounts)) or "none yet"
            detail = f"which account is meant? give self_id (known: {known})"
            asker.answer(self.calls.refuse(1400, request.echo, asker, detail))
            return None
        link = self.accounts.link(self_id)
        if link is None:
            asker.answer(self.calls.refuse(1501, request.echo, asker))
            return None
        return self._send(request, asker, link)

    def _send(self, request: Request, asker: Asker, link: UpstreamLink) -> Call | None:
        call = self.calls.forward(request, asker, link, time.monotonic())
        if isinstance(call, Answer):
            asker.answer(call)
            return None
        if not link.lane.offer(call):
            asker.answer(self.calls.undo(call, asker, 1503))
            return None
        link.link.flush()
        return call

    def _take_answer(self, response: Response, link: UpstreamLink) -> None:
        if link.turned_down(response):
            return
        answer = self.calls.answer(response, link, time.monotonic())
        if answer is not None:
            answer.origin.answer(answer)

    def _hand_out(self, answers: list[Answer]) -> None:
        for answer in answers:
            answer.origin.answer(answer)

    def _count_invalid(self, error: BadEvent, link: UpstreamLink) -> None:
        self.invalid += 1
        now = time.monotonic()
        if now - self._told_invalid >= 60.0:
            self._told_invalid = now
            _log.warning(
                "upstream %s sent a frame that is not valid (%s); it was dropped, %d so far",
                link.upstream.name,
                error,
                self.invalid,
            )

    def tell_rest(self, owner: object, name: str, dropped: Mapping[str, int]) -> None:
        """A last word about events a session or subscription lost and nobody has been told of."""
        for reason, count in self._losses.rest(owner, dropped):
            _warn_of_loss(name, reason, count)

    async def tick(self) -> None:
        """Every second: answer overdue calls, and tell of lost events."""
        while True:
            await anyio.sleep(TICK)
            now = time.monotonic()
            self._hand_out(self.calls.expire(now))
            for link in tuple(self.clients.links):
                link.link.check(now)
            for session in self.clients.sessions():
                for reason, count in self._losses.due(now, session, session.outbox.dropped):
                    _warn_of_loss(session.label, reason, count)
            for subscription in self.subscriptions:
                for reason, count in self._losses.due(now, subscription, subscription.statistics().dropped):
                    _warn_of_loss(subscription.name, reason, count)


def _flush(owners: list[Any]) -> None:
    for owner in flush_ready(owners, time.monotonic()):
        owner.flush()


def _says_online(event: Event) -> bool:
    status = event.data.get("status")
    return not (isinstance(status, dict) and status.get("online") is False)


def _warn_of_loss(name: str, reason: str, count: int) -> None:
    _log.warning("client %s lost %d events: %s", name, count, LOSS_TEXTS[reason])
