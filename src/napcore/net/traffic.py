"""The path of an event through a relay, and the fork where answers leave it.

An event: ``Reader.pull`` -> ``Source.take`` (peek, match, encode, offer: ``napcore._dispatch_py`` is the
readable form) -> ``Source.flush``, when no more has come, which writes to all links at once
(``napcore._wire_py``); ``Session.flush`` -> ``Link`` where that is not the end of it. What is no event, or
not one like any other: ``Source.take`` -> :meth:`Traffic.take_other`. An answer: from there to ``Api``,
where requests come along too. Nothing here waits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from napcore.core.ages import Ages
from napcore.core.dedup import Dedup
from napcore.core.hub import Hub
from napcore.core.onebot import OWN_META
from napcore.core.pacing import SendRate
from napcore.core.seldom import Seldom
from napcore.core.stats import ClientStatistics, LossReport, RelayStatistics, add_up
from napcore.dispatch import SLICE, Event, Report, Response, Source, flush_ready, peek_batch
from napcore.errors import BadEvent
from napcore.net.accounts import Accounts
from napcore.net.api import Api
from napcore.net.clients import Clients
from napcore.net.local import Subscription
from napcore.net.upstream import Upstream, UpstreamLink
from napcore.types import Off

if TYPE_CHECKING:
    from napcore.net.link import Link
    from napcore.net.relay import Relay

__all__ = ("Traffic",)

TICK = 1.0
"""Seconds between looks at overdue calls, silent links and lost events."""

LOOKS = 32
"""Links that are looked at before other tasks have their turn: most are sent a ping."""

TELLING = OWN_META | {"notice.bot_offline"}
"""Kinds that say something of their upstream."""

LOSS_TEXTS = {
    "oldest": "its queue was full and the oldest had to go; it reads too slowly",
    "newest": "its queue was full and the newest were refused; it reads too slowly",
    "ttl": "they were past their lifetime; it reads too slowly or was away, or they came too late",
    "oversize": "they were larger than its max_frame, or than it takes",
    "hold": "it was not connected, and they are not held for it that long",
    "budget": "the memory limit of the relay was reached",
    "disconnect": "its queue was full and its policy is to disconnect",
    "uncertain": "they were being written when its connection was lost",
    "shutdown": "the relay was closed",
}
"""What each drop reason means, for the log."""

_log = logging.getLogger("napcore.relay")


class Traffic:
    """What a relay routes with: the hub, the API path, the accounts and the clients."""

    def __init__(
        self, relay: Relay, memory_limit: float, call_timeout: float, send_rate: SendRate, share_gets: float | Off
    ) -> None:
        self.hub = Hub(memory_limit=memory_limit)
        self.accounts = Accounts()
        self.api = Api(relay, self.accounts, call_timeout, send_rate, share_gets)
        self.calls = self.api.calls
        self.clients = Clients(relay)
        self.ages = Ages()
        self.dedup = Dedup()
        self.subscriptions: list[Subscription] = []
        self.uplinks: set[UpstreamLink] = set()
        """Every open link of an upstream."""
        self.received = 0
        """Events that came from publishers, and from upstream links that have ended."""
        self.invalid = 0
        """Frames that were not valid, dropped on arrival; binary ones are added when their link ends."""
        self.consumed = 0
        """Upstream lifecycle and heartbeat events; every link gets our own."""
        self.left = add_up()
        """The ledgers of all subscriptions that have ended, added up."""
        self._relay = relay
        self._unwritten: dict[Any, None] = {}  # owners that a task of its own writes to, in order
        self._losses = LossReport()
        self._closed: dict[int, int] = {}
        self._told_invalid, self._told_full = Seldom(), Seldom()

    def source(self, link: UpstreamLink) -> Source:
        """What the messages of an upstream's link go into; what is ordinary among them is routed without a look."""
        # As long as some events may come by two links, or tell that an account is back, none is.
        doubts = self.dedup.accounts, self.accounts.offline
        return Source(
            self.hub.router,
            clock=self.hub.clock,
            peek=partial(peek_batch, link.self_ids, TELLING, doubts, lambda item: self.take_other(link, item)),
            birth=self.ages.birth,
            write=self._write,
            behind=self._unwritten,
            on_gap=link.disturb,
        )

    def take_other(self, link: UpstreamLink, item: Event | Response | BadEvent) -> bool:
        """Something that is not to be routed without a look at it; whether it is to be routed."""
        if isinstance(item, BadEvent):
            self._count_invalid(item, link)
            return False
        if isinstance(item, Response):
            self.api.take_answer(item, link)
            return False
        self_id = item.self_id
        if self_id is not None and self_id not in link.self_ids:
            self.see_account(self_id, link)
        if item.kind in TELLING or self.accounts.offline:
            self._take_news(item, self_id or link.account, link)
        return not (self.dedup.accounts and self.dedup.repeated(item, self_id or link.account, link, time.monotonic()))

    def _take_news(self, event: Event, account: int, link: UpstreamLink) -> None:
        """What an event says of its upstream and of the account."""
        if event.kind in OWN_META:
            self.consumed += 1
            if event.kind == "meta_event.heartbeat":
                link.beat(event)
                self.accounts.report(account, _says_online(event))
        elif event.kind == "notice.bot_offline":
            self.accounts.report(account, False)
        elif event.post_type == "message":
            self.accounts.report(account, True)

    def publish(self, events: list[Event]) -> Report:
        """Queue events that did not come from an upstream for everyone who wants them, and start sending."""
        for self_id in {event.self_id for event in events}:
            if self_id is not None:
                self.see_account(self_id, None)
        self.received += len(events)
        report = self.hub.route(events)
        self._write(report.ready)
        return report

    def see_account(self, self_id: int, link: UpstreamLink | None) -> None:
        """A sign of ``self_id`` on ``link`` (None: published in this process); a new account gets its sessions."""
        if self.accounts.full and self_id not in self.accounts:
            self._tell_full(link)
            return
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
            link.see(self_id)
        had = self.accounts.links(self_id)
        known = self_id in self.accounts
        if self.accounts.see(self_id, link):
            _log.info("account %d: first seen%s", self_id, f" on {link.upstream.name}" if link else "")
            self.clients.greet(self_id)
        if link is not None and link not in had:
            self._welcome(self_id, link, had, known)
        if link is not None:
            link.upstream.see(self_id)

    def _tell_full(self, link: UpstreamLink | None) -> None:
        if self._told_full.due(time.monotonic()):
            where = f"upstream {link.upstream.name}" if link else "this process"
            _log.warning("%s names more than %d accounts; no more are taken in", where, len(self.accounts))

    def _welcome(self, self_id: int, link: UpstreamLink, others: list[UpstreamLink], known: bool) -> None:
        """The account has one more link."""
        now = time.monotonic()
        self.dedup.links(self_id, len(others) + 1, now)
        if others:
            _log.info(
                "account %d: upstream %s is one more link of it; the newest takes calls", self_id, link.upstream.name
            )
        elif known:
            self.api.pacing.disturb(self_id, now)
        for other in others:
            other.doubt()

    def lose_upstream(self, link: UpstreamLink) -> None:
        """An upstream link is gone: its calls are answered, its accounts are offline or on another link."""
        self.uplinks.discard(link)
        link.source.flush()  # what it brought before it failed
        self.received += link.source.events
        self.accounts.lose(link)
        for self_id in link.self_ids:
            self.dedup.links(self_id, len(self.accounts.links(self_id)), time.monotonic())
        self.invalid += link.link.binary
        self.api.lose(link)
        link.upstream.changed()

    def _write(self, owners: list[Any]) -> None:
        """Write to all of them, now or, where there are many, soon."""
        if self._unwritten:
            self._unwritten.update(dict.fromkeys(owners))
            return
        for owner in flush_ready(owners[:SLICE], time.monotonic()):
            owner.flush()
        if len(owners) > SLICE:
            self._unwritten.update(dict.fromkeys(islice(owners, SLICE, None)))
            self._relay.start("the rest of a flush", self._write_rest)

    async def _write_rest(self) -> None:
        while self._unwritten:
            await anyio.lowlevel.checkpoint()
            owners = list(islice(self._unwritten, SLICE))
            for owner in owners:
                del self._unwritten[owner]
            for owner in flush_ready(owners, time.monotonic()):
                owner.flush()

    def _count_invalid(self, error: BadEvent, link: UpstreamLink) -> None:
        self.invalid += 1
        if self._told_invalid.due(time.monotonic()):
            _log.warning(
                "upstream %s sent a frame that is not valid (%s); it was dropped, %d so far",
                link.upstream.name,
                error,
                self.invalid,
            )

    def statistics(self, upstreams: Sequence[Upstream]) -> RelayStatistics:
        """A snapshot of what is counted here."""
        sessions = tuple(session.statistics() for session in self.clients.sessions())
        local = tuple(subscription.statistics() for subscription in self.subscriptions)
        return RelayStatistics(
            uptime=0.0,
            received=self.received + sum(link.source.events for link in self.uplinks),
            invalid=self.invalid + sum(link.link.binary for link in self.uplinks),
            consumed=self.consumed,
            memory=self.hub.router.memory,
            accounts=self.accounts.statistics(),
            listeners=(),
            upstreams=tuple(upstream.statistics() for upstream in upstreams),
            clients=sessions + local,
            gone=self.gone(),
            calls=self.calls.statistics(),
            duplicates=self.dedup.count,
            closed=dict(self._closed),
        )

    def count_end(self, link: Link) -> None:
        """``link`` has ended."""
        code = link.closed_with
        if code is not None:
            self._closed[code] = self._closed.get(code, 0) + 1

    def gone(self) -> ClientStatistics:
        """The ledgers of all sessions and subscriptions that are no more, added up."""
        return add_up(self.left, self.clients.gone())

    def tell_rest(self, owner: object, name: str, dropped: Mapping[str, int]) -> None:
        """A last word about events a session or subscription lost and nobody has been told of."""
        for reason, count in self._losses.rest(owner, dropped):
            _warn_of_loss(name, reason, count)

    async def tick(self) -> None:
        """Every second: answer overdue calls, end holds, and tell of lost events."""
        while True:
            await anyio.sleep(TICK)
            now = time.monotonic()
            self.api.expire(now)
            links = tuple(self.clients.links)
            for start in range(0, len(links), LOOKS):
                for link in links[start : start + LOOKS]:
                    link.link.check(now)
                await anyio.lowlevel.checkpoint()
            self.clients.check(now)
            for session in self.clients.sessions():
                for reason, count in self._losses.due(now, session, session.outbox.dropped):
                    _warn_of_loss(session.label, reason, count)
            for subscription in self.subscriptions:
                for reason, count in self._losses.due(now, subscription, subscription.statistics().dropped):
                    _warn_of_loss(subscription.name, reason, count)


def _says_online(event: Event) -> bool:
    status = event.data.get("status")
    return not (isinstance(status, dict) and status.get("online") is False)


def _warn_of_loss(name: str, reason: str, count: int) -> None:
    _log.warning("client %s lost %d events: %s", name, count, LOSS_TEXTS[reason])
