"""Dialling out: to upstreams (forward WebSocket) and to clients (reverse WebSocket)."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

import anyio

from napcore.core.admission import is_local
from napcore.core.backoff import Backoff, Lane
from napcore.core.policy import stall_limit
from napcore.net.client import ClientLink, Session
from napcore.net.link import Link
from napcore.net.sockets import UPSTREAM_PATIENCE, watch_peer
from napcore.net.upstream import Upstream, UpstreamLink
from napcore.net.websocket import DialFailed, Dialled, dial, public_url

__all__ = ("dial_session", "dial_upstream")

USER_AGENT = "OneBot/11"

_log = logging.getLogger("napcore.dial")


async def dial_upstream(upstream: Upstream) -> None:
    """Keep a link to an upstream we dial, for ever."""
    assert upstream.url is not None

    async def serve(dialled: Dialled) -> tuple[Lane, str]:
        uplink = UpstreamLink(upstream.relay, upstream, masked=True)
        link = Link(
            upstream.name,
            dialled.stream,
            uplink.lane,
            uplink.source.take,
            client=True,
            early=dialled.early,
            source=uplink.source,
        )
        link.stall_limit = stall_limit(link.loopback)
        watch_peer(dialled.stream, remote=not link.loopback, patience=UPSTREAM_PATIENCE)
        _log.info("upstream %s: connected", upstream.name)
        await uplink.run(link)
        if uplink.refused:
            return Lane.AUTH, "it refused the token (1403)"
        return _lane_after(link), link.cause

    await _keep_linked(
        f"upstream {upstream.name}",
        upstream.url,
        lambda: _authorization(upstream.token) | {"User-Agent": USER_AGENT},
        serve,
        lambda: not upstream.retired and not upstream.relay.closing,
        upstream.ssl_context,
        upstream.tell_trouble,
    )


async def dial_session(session: Session) -> None:
    """Keep a link to a client we dial for one account, for ever.

    One dial at a time, and only after the old link is gone: frameworks keep one link per account
    and lose the new one's API when they overlap.
    """
    client = session.client
    assert client.url is not None
    headers = {
        "X-Self-ID": str(session.self_id),
        "X-Client-Role": "Universal",
        "User-Agent": USER_AGENT,
    } | _authorization(client.token)

    async def serve(dialled: Dialled) -> tuple[Lane, str]:
        session.dialling = False
        client_link = ClientLink(session.relay, client, session, session.self_id)
        link = Link(
            session.label,
            dialled.stream,
            client_link.lane,
            client_link.take_requests,
            client=True,
            early=dialled.early,
            max_in_flight=client.policy.window,
        )
        link.stall_limit = client.policy.stall_limit(link.loopback)
        watch_peer(dialled.stream, remote=not link.loopback, patience=link.stall_limit)
        _log.info("client %s: connected to %s", session.label, public_url(client.url or ""))
        client_link.connect(link)
        try:
            await client_link.run()
        finally:
            session.dialling = True
        return _lane_after(link), link.cause

    session.dialling = True
    try:
        await _keep_linked(
            f"client {session.label}",
            client.url,
            lambda: headers,
            serve,
            lambda: not session.retired and not session.relay.closing,
            client.ssl_context,
        )
    finally:
        session.dialling = False


async def _keep_linked(
    who: str,
    url: str,
    headers: Callable[[], Mapping[str, str]],
    serve: Callable[[Dialled], Awaitable[tuple[Lane, str]]],
    wanted: Callable[[], bool],
    ssl_context: ssl.SSLContext | None,
    tell: Callable[[str, bool], None] | None = None,
) -> None:
    backoff = Backoff(loopback=is_local(urlsplit(url).hostname or ""))
    told: str | None = None
    while True:
        try:
            dialled = await dial(url, headers(), ssl_context=ssl_context)
        except DialFailed as error:
            lane, cause = _lane_of_refusal(error, backoff), error.cause
        else:
            backoff.linked(time.monotonic())
            told = None
            lane, cause = await serve(dialled)
            if not wanted():
                return
        if tell is not None:
            tell(f"{cause}{_CURES[lane]}", lane is Lane.AUTH)
        delay = backoff.delay(time.monotonic(), lane)
        # The same trouble again is not news.
        level = logging.DEBUG if cause == told else logging.WARNING
        told = cause
        _log.log(level, "%s: %s%s; next try in %.1f s", who, cause, _CURES[lane], delay)
        await anyio.sleep(delay)


_CURES: dict[Lane, str] = {
    Lane.LOST: "",
    Lane.BUSY: (
        " (probably the framework still holds our last session, which ends by itself within a minute; or something"
        " else is connected to it for this account: disable NapCat's own entry for it)"
    ),
    Lane.AUTH: (
        " (probably the token is not the one the peer expects; or something else is connected to it for this"
        " account: disable NapCat's own entry for it)"
    ),
}


def _lane_of_refusal(error: DialFailed, backoff: Backoff) -> Lane:
    if error.status == 401:
        return Lane.AUTH
    if error.status == 403:
        return Lane.BUSY if backoff.succeeded else Lane.AUTH
    return Lane.LOST


def _lane_after(link: Link) -> Lane:
    # 1008 right after the handshake is how SnowLuma, LLBot and Koishi refuse a token; NoneBot2 says
    # "Duplicate X-Self-ID" with it where its server can refuse in no other way.
    if link.close_code != 1008:
        return Lane.LOST
    return Lane.BUSY if "duplicate" in link.cause.lower() else Lane.AUTH


def _authorization(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}
