"""Where events come from over the network: an implementation we dial, or one that dialled us."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from napcore.core.calls import Answer
from napcore.core.onebot import encode_call, parse_self_id
from napcore.core.request_lane import RequestLane
from napcore.core.stats import UpstreamStatistics
from napcore.dispatch import Response, peek_frame
from napcore.errors import ConnectionClosed
from napcore.net.link import Link
from napcore.net.websocket import public_url

if TYPE_CHECKING:
    import ssl

    from napcore.net.relay import Relay

__all__ = ("Upstream", "UpstreamLink")

PATIENCE = 3.0
"""Seconds an upstream we dialled may be silent before it is asked who it is."""

_log = logging.getLogger("napcore.upstream")


class Upstream:
    """A OneBot implementation, made by ``Relay.add_upstream`` or by its own dialling in."""

    def __init__(
        self,
        relay: Relay,
        url: str | None,
        *,
        token: str | None = None,
        self_id: int | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.url = url
        self.token = token
        self.self_id = self_id
        """The account its events belong to where they do not say."""
        self.ssl_context = ssl_context
        self.name = public_url(url) if url else f"reverse {self_id}"
        self.state = "connecting" if url else "absent"
        """``connected``, ``connecting`` or ``absent``."""
        self.received = 0
        """Frames that came from it."""
        self.connects = 0
        """Links it has had."""
        self.links: list[UpstreamLink] = []
        self.retired = False
        """Whether it has been closed for good: nothing is dialled any more."""
        self.scope: anyio.CancelScope | None = None
        """Around the task that dials, where we dial."""
        self.relay = relay
        self._seen: set[int] = set()
        self._change = anyio.Event()

    @property
    def self_ids(self) -> frozenset[int]:
        """Accounts seen on it."""
        return frozenset(self._seen)

    async def ready(self, timeout: float = 10.0) -> None:
        """Wait until it is connected and an account of it is known; ``timeout`` in seconds.

        Raises:
            TimeoutError: it did not come to that in time.
            ConnectionClosed: it was closed meanwhile.
        """
        with anyio.fail_after(timeout):
            while not (self.links and self._seen):
                if self.retired:
                    raise ConnectionClosed(1001, "the upstream has been closed")
                await self._change.wait()

    async def aclose(self) -> None:
        """Close its links and dial no more."""
        self.retired = True
        self.relay.forget_upstream(self)
        for link in list(self.links):
            await link.link.close(1000, "no longer needed")
        if self.scope is not None:
            self.scope.cancel()
        self.state = "absent"
        self.changed()

    def see(self, self_id: int) -> None:
        """An account's first sign on it."""
        self._seen.add(self_id)
        self.changed()

    def changed(self) -> None:
        """Wake those who wait in :meth:`ready`."""
        change, self._change = self._change, anyio.Event()
        change.set()

    def statistics(self) -> UpstreamStatistics:
        """A snapshot of its counters."""
        return UpstreamStatistics(self.name, self.state, tuple(sorted(self._seen)), self.received, self.connects)

    def __repr__(self) -> str:
        return f"<Upstream {self.name} {self.state}>"


class UpstreamLink:
    """An upstream's live connection: its events and answers in, calls out.

    ``calls`` is False for a link that takes none (go-cqhttp's ``Event`` role).
    """

    def __init__(self, relay: Relay, upstream: Upstream, *, masked: bool, calls: bool = True) -> None:
        self.upstream = upstream
        self.lane = RequestLane(masked=masked)
        self._calls = calls
        self.self_ids: set[int] = set()
        self.link: Link
        self.refused = False
        """Whether the upstream turned our token down (NapCat accepts first and says 1403 then)."""
        self._relay = relay

    @property
    def calls(self) -> bool:
        """Whether calls can be sent on it now."""
        return self._calls and self.link.open

    @property
    def account(self) -> int:
        """What stands in for a missing ``self_id``; 0 when unknown."""
        if self.upstream.self_id is not None:
            return self.upstream.self_id
        return next(iter(self.self_ids)) if len(self.self_ids) == 1 else 0

    async def run(self, link: Link) -> None:
        """Serve ``link`` until it ends; then every call on it is answered with a failure."""
        self.link = link
        upstream, relay = self.upstream, self._relay
        upstream.links.append(self)
        upstream.state = "connected"
        upstream.connects += 1
        try:
            async with anyio.create_task_group() as tg:
                if upstream.self_id is not None:
                    relay.traffic.see_account(upstream.self_id, self)
                else:
                    tg.start_soon(self._ask_who)
                upstream.changed()
                await link.run()
                tg.cancel_scope.cancel()
        finally:
            upstream.links.remove(self)
            if not upstream.links:
                upstream.state = "connecting" if upstream.url and not upstream.retired else "absent"
            relay.traffic.lose_upstream(self)

    def take(self, messages: list[bytes]) -> None:
        """What one read brought."""
        self.upstream.received += len(messages)
        self._relay.traffic.take_batch(messages, self)

    def turned_down(self, response: Response) -> bool:
        """Whether ``response`` is NapCat's refusal of our token; it closes without a code after it."""
        if response.retcode == 1403 and response.echo in (None, b"null"):
            self.refused = True
        return self.refused

    def answered(self) -> None:
        """An answer came: it carries calls out."""

    def suspect(self, now: float) -> None:
        """A call has been waiting for its answer for long."""

    async def _ask_who(self) -> None:
        await anyio.sleep(PATIENCE)
        if not self.self_ids and self.calls:
            self._relay.traffic.api.send_call(encode_call("get_login_info", None), _Asked(self._relay, self), self)


class _Asked:
    """Waits for the answer to ``get_login_info``."""

    def __init__(self, relay: Relay, link: UpstreamLink) -> None:
        self.client = link
        self._relay = relay
        self._link = link

    def answer(self, answer: Answer) -> None:
        data = peek_frame(answer.frame).data.get("data")
        user_id = data.get("user_id") if isinstance(data, dict) else None
        self_id = parse_self_id(str(user_id))
        if self_id is not None:
            self._relay.traffic.see_account(self_id, self._link)
        elif answer.retcode is None:
            _log.warning("upstream %s does not say which account it is; give its self_id", self._link.upstream.name)
