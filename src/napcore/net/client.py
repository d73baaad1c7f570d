"""Consumers over the network: a client, its sessions (one per account) and a session's link."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import anyio

from napcore.core.calls import Answer
from napcore.core.filter import Filter
from napcore.core.hub import HubClient
from napcore.core.onebot import OWN_META, heartbeat, lifecycle
from napcore.core.policy import Policy
from napcore.core.stats import ClientStatistics
from napcore.dispatch import Outbox, Owner
from napcore.net.link import Link
from napcore.types import MessageFormat

if TYPE_CHECKING:
    import ssl

    from napcore.net.relay import Relay

__all__ = ("ClientLink", "RemoteClient", "Session")

_TOO_LARGE = (
    "client %s closed its connection over an event of %d bytes, which is dropped as oversize, and so is every event"
    " of that size or larger until the relay is started anew; let it accept larger messages (websockets: max_size)"
    " and start the relay anew, or set max_frame below what it takes"
)

_log = logging.getLogger("napcore.client")


class RemoteClient:
    """A client of a relay, made by ``Relay.add_client``; it outlives its links."""

    def __init__(
        self,
        relay: Relay,
        name: str,
        url: str | None,
        *,
        token: str | None,
        filter: Filter,
        policy: Policy,
        message_format: MessageFormat | None,
        heartbeat: float,
        ssl_context: ssl.SSLContext | None,
        declared: bool = True,
        anonymous: bool = False,
    ) -> None:
        self.name = name
        self.url = url
        self.token = token
        self.policy = policy
        self.message_format = message_format
        self.heartbeat = heartbeat
        self.ssl_context = ssl_context
        self.declared = declared
        self.anonymous = anonymous
        """Whether it is known by its link alone, so that nothing is held for it."""
        self.sessions: dict[int | None, Session] = {}
        """Its sessions by account; None while no account is known."""
        self._relay = relay
        self._filter = filter

    @property
    def filter(self) -> Filter:
        """Which events it gets; assign a new one at any time, it holds from the next event on."""
        return self._filter

    @filter.setter
    def filter(self, filter: Filter) -> None:
        self._filter = filter
        self._relay.traffic.clients.refilter(self)

    async def aclose(self) -> None:
        """Close its links and forget it; what waits is counted ``shutdown``."""
        await self._relay.remove_client(self)

    def __repr__(self) -> str:
        return f"<RemoteClient {self.name!r} sessions={len(self.sessions)}>"


class Session(Owner):
    """A client and one account: the event lane, its position and its ledger; at most one link."""

    def __init__(self, relay: Relay, client: RemoteClient, self_id: int | None) -> None:
        super().__init__()
        self.client = client
        self.self_id = self_id
        self.link: ClientLink | None = None
        self.connects = 0
        self.dialling = False
        self.retired = False
        """Whether it has no future: nothing is dialled for it any more."""
        self.scope: anyio.CancelScope | None = None
        """Around the task that dials, where we dial."""
        self.takeover = anyio.Lock()
        """Held while an old link makes room for a new one."""
        self.forsaken = False
        """Whether it has had no link for so long that its hold is over."""
        self._alone_since = 0.0
        self._caught_up = 0
        self.relay = relay
        self._hub_name = relay.unique_name(client.name)
        self.hub_client: HubClient = relay.traffic.hub.add(
            self._hub_name,
            self._bound(client.filter),
            client.policy,
            form="frame" if client.url is None else "masked",
            message_format=client.message_format,
            owner=self,
        )
        self._hold()

    @property
    def label(self) -> str:
        """For logs: ``nonebot@10001``."""
        return f"{self.client.name}@{self.self_id or '?'}"

    @property
    def outbox(self) -> Outbox:
        """What waits for the client."""
        return self.hub_client.outbox

    def refilter(self) -> None:
        """Take over the client's filter, or a new account."""
        self.hub_client.filter = self._bound(self.client.filter)

    def bind(self, self_id: int) -> None:
        """Give a session that was waiting for an account its account."""
        self.self_id = self_id
        self.refilter()
        self.greet()

    def greet(self) -> None:
        """Send lifecycle ``connect`` if there is a link that gets events and the account is known."""
        if self.link is not None and self.self_id is not None and self.self_id in self.relay.traffic.accounts:
            self.link.link.send(lifecycle(self.self_id, int(time.time())))

    def attach(self, link: ClientLink) -> None:
        """The link is this session's from now on; its first frame is the lifecycle."""
        self.link = link
        self.writer = link.link.writer
        self.connects += 1
        self.forsaken = False
        self.outbox.resume()
        self.greet()

    def detach(self, link: ClientLink) -> None:
        """The link is gone; what waits is held for the next one."""
        if self.link is link:
            self.link = self.writer = None
            if self.relay.closing:
                self.outbox.clear("shutdown")
            self._hold()

    def _hold(self) -> None:
        self._alone_since = time.monotonic()
        self.outbox.hold()
        if self.client.anonymous or self.client.policy.hold == 0:
            self.forsaken = True
            self.outbox.end_hold(True)

    def check(self, now: float) -> None:
        """To be called about once a second, with ``time.monotonic()``: ends the hold when it is time."""
        if self.link is None and not self.forsaken and now - self._alone_since >= self.client.policy.hold:
            self.forsaken = True
            self.outbox.end_hold()
        self.outbox.tick(now)
        if self.outbox.caught_up != self._caught_up:
            self._caught_up = self.outbox.caught_up
            if self.self_id is not None:
                self.relay.traffic.api.pacing.disturb(self.self_id, now)

    def retire(self, reason: str) -> None:
        """No more events for it, no more dialling; what waits is counted under ``reason``."""
        if self.retired:
            return
        self.retired = True
        self.settle(reason)
        if self.link is None and self.scope is not None:
            # Else the dialling task ends by itself once the link has been closed properly.
            self.scope.cancel()

    def settle(self, reason: str) -> None:
        """No more events for it; what waits is counted under ``reason``."""
        self.outbox.clear(reason)
        self.relay.traffic.tell_rest(self, self.label, self.outbox.dropped)
        if self._hub_name in self.relay.traffic.hub.clients:
            self.relay.traffic.hub.remove(self._hub_name)

    def flush(self) -> None:
        """See to it that queued events are written; without a link they wait for one."""
        if self.link is not None:
            self.link.link.flush()

    @property
    def state(self) -> str:
        """``connected``, ``connecting``, ``waiting`` (for an account) or ``absent``."""
        if self.link is not None:
            return "waiting" if self.self_id is None else "connected"
        return "connecting" if self.dialling else "absent"

    def statistics(self) -> ClientStatistics:
        """A snapshot of its ledger."""
        return self.hub_client.statistics()._replace(
            name=self.client.name, self_id=self.self_id, state=self.state, connects=self.connects
        )

    def _bound(self, filter: Filter) -> Filter:
        # A session sees its own account only, and no upstream lifecycle or heartbeat: it gets ours.
        accounts = frozenset() if self.self_id is None else frozenset({self.self_id})
        return filter & Filter(self_ids=accounts, exclude_kinds=OWN_META, self_messages=True)


class ClientLink:
    """A client's live connection: its requests in, its session's events and its answers out.

    Without a session (path ``/api``) it carries calls and answers only.
    """

    def __init__(self, relay: Relay, client: RemoteClient, session: Session | None, self_id: int | None) -> None:
        self.client = client
        self.session = session
        self.link: Link
        self._relay = relay
        self._self_id = self_id
        self.lane = session.outbox if session is not None else Outbox(self)

    @property
    def self_id(self) -> int | None:
        """The account it is bound to; None is whichever is the only one."""
        return self.session.self_id if self.session is not None else self._self_id

    def connect(self, link: Link) -> None:
        """``link`` is its connection; the session's events go there from now on."""
        self.link = link
        self._relay.traffic.clients.links.add(self)
        if self.session is not None:
            self.session.attach(self)

    async def run(self) -> None:
        """Serve the connection until it ends."""
        session, link = self.session, self.link
        largest = self.lane.max_frame
        try:
            async with anyio.create_task_group() as tg:
                if session is not None:
                    tg.start_soon(self._beat, session)
                await link.run()
                tg.cancel_scope.cancel()
        finally:
            self._relay.traffic.clients.links.discard(self)
            self._relay.traffic.count_end(link)
            self._relay.traffic.api.forget(self)
            if self.lane.max_frame < largest:
                _log.warning(_TOO_LARGE, link.name, int(self.lane.max_frame) + 1)
            if session is not None:
                session.detach(self)

    def take_requests(self, messages: list[bytes]) -> None:
        """Requests of one read, in order."""
        for message in messages:
            self._relay.traffic.api.take_request(message, self, self.self_id)

    def answer(self, answer: Answer) -> None:
        """Send an answer ahead of queued events."""
        self.link.send(answer.frame)

    async def _beat(self, session: Session) -> None:
        while True:
            await anyio.sleep(self.client.heartbeat)
            self_id = session.self_id
            if self_id is not None and self_id in self._relay.traffic.accounts:
                online = self._relay.traffic.accounts.online(self_id)
                self.link.send(heartbeat(self_id, int(time.time()), self.client.heartbeat, online), latest=True)
