"""How a relay ends: in phases, each of them bounded, so that little is lost and nothing hangs.

A relay whose block ends by itself, or that is asked to end (``aclose()``, a first SIGTERM or SIGINT
under ``napcore.run``), is drained: its handlers come to their end; new dials get 503 and new calls are
not sent; calls under way get their answers; upstreams are closed; what waits for clients is written;
clients are closed, a little apart from each other. Where the host is cancelled or fails, or the drain
itself is cancelled or told to hurry, everything is closed at once. Either way what is left then is
counted ``shutdown``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

import anyio

from napcore.net.link import CLOSE_TIMEOUT, Link
from napcore.net.workers import DRAIN_LIMIT

if TYPE_CHECKING:
    from napcore.net.relay import Relay

__all__ = ("STOP", "Stop", "drain")

CALL_LIMIT: Final = 10.0
"""Seconds that handlers have to end and calls under way have to be answered, together."""

FLUSH_LIMIT: Final = 10.0
"""Seconds that clients have to take what waits for them."""

SPREAD: Final = 2.0
"""Seconds over which clients are closed, so that they do not all dial again at once."""

GAP: Final = 0.02
"""Seconds between two of them where that takes less."""

CUT_LIMIT: Final = 1.0
"""Seconds until a connection that was cut is gone."""

LOOK: Final = 0.02
"""Seconds between two looks at whether a phase is over."""

GOING_AWAY: Final = 1001
SERVICE_RESTART: Final = 1012

_log = logging.getLogger("napcore.relay")


class Stop:
    """The wish that a program's relays end: the first time in good order, the second time at once."""

    def __init__(self) -> None:
        self.asked = False
        """Whether they are to end. The program is being cancelled then, and a drain does not heed that."""
        self._hurried = False
        self._scopes: list[anyio.CancelScope] = []

    def hurry(self) -> None:
        """Wait for nobody any more."""
        self._hurried = True
        for scope in self._scopes:
            scope.cancel()

    def scope(self, *, shield: bool) -> anyio.CancelScope:
        """For a block that is left when it is time to hurry."""
        scope = anyio.CancelScope(shield=shield)
        self._scopes.append(scope)
        if self._hurried:
            scope.cancel()
        return scope


STOP: ContextVar[Stop | None] = ContextVar("STOP", default=None)
"""The program's wish to end, under ``napcore.run``."""


async def drain(relay: Relay, *, hurried: bool) -> None:
    """End a relay, within 30 s; ``hurried`` leaves out what waits for others.

    A cancellation makes it hurry, and passes on at its end.
    """
    stop = STOP.get() or Stop()
    patient = stop.asked or not hurried
    began = time.monotonic()
    try:
        if patient:
            with stop.scope(shield=stop.asked):
                # While calls are still sent: a handler may have begun an answer.
                await relay.handlers.drain(min(DRAIN_LIMIT, CALL_LIMIT))
        relay.handlers.close()
        relay.closing = True
        _stop_dialling(relay)
        if patient:
            with stop.scope(shield=stop.asked):
                await _empty(relay, max(0.0, CALL_LIMIT - (time.monotonic() - began)))
    finally:
        relay.closing = True
        relay.handlers.close()
        with anyio.CancelScope(shield=True):
            await _close(relay, stop)


def _stop_dialling(relay: Relay) -> None:
    for upstream in relay.upstreams:
        upstream.retired = True
        if not upstream.links and upstream.scope is not None:
            upstream.scope.cancel()
    for session in relay.traffic.clients.sessions():
        session.retired = True
        if session.link is None and session.scope is not None:
            session.scope.cancel()


async def _empty(relay: Relay, call_limit: float) -> None:
    """The patient phases behind that of the handlers."""
    calls = relay.traffic.calls
    if not await _came_to(lambda: not calls.waiting, call_limit):
        _log.warning("closing: %d calls have got no answer within %g s", calls.waiting, CALL_LIMIT)
    sources = _sources(relay)
    for link in sources:
        link.start_close(GOING_AWAY, "the relay is going away")
    await _gone(sources, CLOSE_TIMEOUT + CUT_LIMIT)
    sinks = _sinks(relay)
    if not await _came_to(lambda: not any(map(_has_news, sinks)), FLUSH_LIMIT):
        for link in filter(_has_news, sinks):
            _log.warning("closing: client %s has not taken all that waits for it within %g s", link.name, FLUSH_LIMIT)
    _drop_rest(relay)
    sinks = _sinks(relay)
    gap = min(GAP, SPREAD / (len(sinks) or 1))
    for link in sinks:
        link.start_close(SERVICE_RESTART, "the relay is restarting")
        await anyio.sleep(gap)


async def _close(relay: Relay, stop: Stop) -> None:
    """What nothing keeps from happening. All of it is over soon when nobody is there any more."""
    for listener in relay.listeners:
        await listener.aclose()
    _drop_rest(relay)
    for subscription in relay.traffic.subscriptions:
        subscription.close()
    sources, sinks = _sources(relay), _sinks(relay)
    for link in sources:
        link.start_close(GOING_AWAY, "the relay is going away")
    for link in sinks:
        link.start_close(SERVICE_RESTART, "the relay is restarting")
    with stop.scope(shield=True):
        await _gone([*sources, *sinks], CLOSE_TIMEOUT)
    for link in (*sources, *sinks):
        link.abort("the relay was closed")
    await _gone([*sources, *sinks], CUT_LIMIT)
    for session in relay.traffic.clients.sessions():
        # Half-written events were put back when their links ended.
        session.settle("shutdown")


def _drop_rest(relay: Relay) -> None:
    # Now, so that nothing goes ahead of a close frame.
    for session in relay.traffic.clients.sessions():
        session.outbox.clear("shutdown")


def _sources(relay: Relay) -> list[Link]:
    return [link.link for upstream in relay.upstreams for link in upstream.links]


def _sinks(relay: Relay) -> list[Link]:
    return [link.link for link in relay.traffic.clients.links]


def _has_news(link: Link) -> bool:
    return link.writer is not None and link.open and len(link.writer.lane) > 0


async def _came_to(condition: Callable[[], bool], limit: float) -> bool:
    for _ in range(round(limit / LOOK)):
        if condition():
            return True
        await anyio.sleep(LOOK)
    return condition()


async def _gone(links: Sequence[Link], limit: float) -> None:
    with anyio.move_on_after(limit):
        for link in links:
            await link.closed.wait()
