"""Where events come from over the network: an implementation we dial, or one that dialled us."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

import anyio

from napcore.core.calls import Answer
from napcore.core.liveness import Liveness, Probe, Step, interval_of
from napcore.core.onebot import encode_call, parse_self_id
from napcore.core.request_lane import RequestLane
from napcore.core.stats import UpstreamStatistics
from napcore.dispatch import Event, Response, frame, masked_frame, peek_frame
from napcore.errors import ConnectFailed, ConnectionClosed
from napcore.net.link import Link
from napcore.net.local import Unheard
from napcore.net.websocket import public_url

if TYPE_CHECKING:
    import ssl

    from napcore.net.relay import Relay

__all__ = ("Upstream", "UpstreamLink")

PATIENCE = 3.0
"""Seconds an upstream we dialled may be silent before it is asked who it is."""

LOOK = 1.0
"""Seconds between looks at how long it has been silent."""

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
        self.down = "connecting" if url else "absent"
        """Its state while it has no link."""
        self.connects = 0
        """Links it has had."""
        self.links: list[UpstreamLink] = []
        self.retired = False
        """Whether it has been closed for good: nothing is dialled any more."""
        self.trouble = ""
        """Why it has no link, in words; empty as long as it has one."""
        self.refused = False
        """Whether that is because it refuses our token."""
        self.scope: anyio.CancelScope | None = None
        """Around the task that dials, where we dial."""
        self.relay = relay
        self._received = 0  # by links that have ended
        self._seen: set[int] = set()
        self._change = anyio.Event()

    @property
    def state(self) -> str:
        """``connected``; ``connecting`` (we dial) or ``absent`` (it dials); ``stalled`` or ``stuck``.

        Stalled: it does not answer, not even pings, but its system holds the connection, so it is
        kept. Stuck: it answers pings, but no calls.
        """
        return self.links[-1].state if self.links and not self.retired else self.down

    @property
    def self_ids(self) -> frozenset[int]:
        """Accounts seen on it."""
        return frozenset(self._seen)

    @property
    def received(self) -> int:
        """Messages that came from it."""
        return self._received + sum(link.source.messages for link in self.links)

    def lose(self, link: UpstreamLink) -> None:
        """``link`` has ended."""
        self.links.remove(link)
        self._received += link.source.messages

    async def ready(self, timeout: float = 10.0) -> None:
        """Wait until it is connected and an account of it is known; ``timeout`` in seconds.

        Raises:
            TimeoutError: it did not come to that in time; the text says why.
            ConnectionClosed: it was closed meanwhile.
        """
        with anyio.move_on_after(timeout):
            await self._ready(patient=True)
            return
        raise TimeoutError(f"{self.name}: {self._why_not(timeout)}")

    async def first_link(self, timeout: float) -> None:
        """As :meth:`ready`, but it waits no more once the token has been refused.

        Raises:
            ConnectFailed: there is no link, or no account is known.
            ConnectionClosed: it was closed meanwhile.
        """
        with anyio.move_on_after(timeout):
            await self._ready(patient=False)
            return
        raise ConnectFailed(self.name, self._why_not(timeout))

    async def _ready(self, *, patient: bool) -> None:
        while not (self.links and self._seen):
            if self.retired:
                raise ConnectionClosed(1001, "the upstream has been closed")
            if self.refused and not patient:
                raise ConnectFailed(self.name, self.trouble, refused=True)
            await self._change.wait()

    def _why_not(self, timeout: float) -> str:
        if self.links:
            return f"connected, but within {timeout:g} s it has not said which account it is; is it a OneBot server?"
        return f"no link within {timeout:g} s: {self.trouble or 'nobody answers'}"

    def tell_trouble(self, cause: str, refused: bool) -> None:
        """A dial has failed, or a link has ended, and why."""
        self.trouble = cause
        self.refused = refused
        self.changed()

    async def aclose(self) -> None:
        """Close its links and dial no more."""
        self.retired = True
        self.relay.upstreams.forget(self)
        for link in list(self.links):
            await link.link.close(1000, "no longer needed")
        if self.scope is not None:
            self.scope.cancel()
        self.down = "absent"
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
        self.liveness = Liveness(0.0, patient=True)
        self.refused = False
        """Whether the upstream turned our token down (NapCat accepts first and says 1403 then)."""
        self._relay = relay
        self._masked = masked
        self._probe = Probe()
        self.source = relay.traffic.source(self)
        """What its messages go into."""
        self.source.account = upstream.self_id or 0

    @property
    def calls(self) -> bool:
        """Whether calls can be sent on it now."""
        return self._calls and self.link.open

    @property
    def account(self) -> int:
        """What stands in for a missing ``self_id``; 0 when unknown."""
        return self.source.account

    def see(self, self_id: int) -> None:
        """An account's first sign on it."""
        self.self_ids.add(self_id)
        if self.upstream.self_id is None:
            self.source.account = self_id if len(self.self_ids) == 1 else 0

    async def run(self, link: Link) -> None:
        """Serve ``link`` until it ends; then every call on it is answered with a failure."""
        self.link = link
        upstream, relay = self.upstream, self._relay
        relay.traffic.hub.check_thread()
        relay.traffic.uplinks.add(self)
        upstream.links.append(self)
        upstream.connects += 1
        upstream.trouble = ""
        upstream.refused = False
        self.liveness = Liveness(time.monotonic(), patient=link.loopback)
        try:
            async with anyio.create_task_group() as tg:
                if upstream.self_id is not None:
                    relay.traffic.see_account(upstream.self_id, self)
                else:
                    tg.start_soon(self._ask_who)
                upstream.changed()
                tg.start_soon(self._watch, link)
                await link.run()
                tg.cancel_scope.cancel()
        finally:
            upstream.lose(self)
            relay.traffic.count_end(link)
            upstream.down = "connecting" if upstream.url and not upstream.retired else "absent"
            relay.traffic.lose_upstream(self)

    def turned_down(self, response: Response) -> bool:
        """Whether ``response`` is NapCat's refusal of our token; it closes without a code after it."""
        if response.retcode == 1403 and response.echo in (None, b"null"):
            self.refused = True
        return self.refused

    @property
    def state(self) -> str:
        """``connected``, ``stalled`` or ``stuck``."""
        if self.liveness.stalled:
            return "stalled"
        return "stuck" if self._probe.stuck else "connected"

    def beat(self, event: Event) -> None:
        """A heartbeat came."""
        self.liveness.beat(interval_of(event.data))
        self.source.gap = self.liveness.gap

    def doubt(self) -> None:
        """Another link of its account has come: this one has to show that it is alive."""
        self.liveness.doubt()

    def answered(self) -> None:
        """An answer came: it carries calls out."""
        if self._probe.answered():
            _log.warning("upstream %s answers calls again", self.upstream.name)

    def suspect(self, now: float) -> None:
        """Calls stay unanswered: ask whether any are carried out."""
        if self.calls and self._probe.wanted(now):
            # Whoever answers, the answer itself is what counts: answered() has seen it.
            self._relay.traffic.api.send_call(encode_call("get_status", None), Unheard(self), self)

    async def _watch(self, link: Link) -> None:
        name = self.upstream.name
        while True:
            await anyio.sleep(LOOK)
            # In this order: what came before the question is no answer to it.
            heard_at, now = link.heard_at, time.monotonic()
            step = self.liveness.look(now, heard_at)
            if step is Step.PING:
                key = os.urandom(4) if self._masked else None
                self.lane.offer_control(frame(b"", 9) if key is None else masked_frame(b"", key, 9))
                link.flush()
            elif step is Step.DEAD:
                link.abort(f"it has been silent for {self.liveness.silent_for:.0f} s and does not answer")
            elif step is Step.STALLED:
                _log.error(
                    "upstream %s has been silent for %.0f s and does not answer, but the connection stands: the"
                    " program is probably frozen. The connection is kept",
                    name,
                    self.liveness.silent_for,
                )
            elif step is Step.BACK:
                _log.warning("upstream %s is heard again, after %.0f s of silence", name, self.liveness.silent_for)
            if self._probe.look(now):
                _log.error("upstream %s is stuck: it answers pings, but no calls. Restart it, or log in again", name)
            if self._probe.stuck:
                self.suspect(now)
            if self.liveness.stalled:
                self.disturb(now)

    def disturb(self, now: float) -> None:
        """It was silent for long: what comes now may be minutes of chat at once, and so may the replies."""
        for self_id in self.self_ids:
            self._relay.traffic.api.pacing.disturb(self_id, now)

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
