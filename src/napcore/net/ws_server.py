"""Listening: one port for upstreams that dial us and clients that dial us.

h11 reads every head, bounded in size, lines and time. A WebSocket upgrade goes on, byte for byte,
to websockets' server protocol; anything else is answered with a status and a text.
"""

from __future__ import annotations

import errno
import logging
import ssl
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio
import anyio.lowlevel
import h11
from anyio.abc import ByteStream, SocketAttribute, SocketListener
from anyio.streams.tls import TLSStream
from websockets.http11 import Request
from websockets.server import ServerProtocol

from napcore.core.admission import Admitted, Door, Head, Refused, admit, is_local, shown_token
from napcore.core.capacity import Capacity
from napcore.core.policy import stall_limit
from napcore.core.seldom import Seldom
from napcore.core.stats import ListenerStatistics
from napcore.core.throttle import Throttle
from napcore.dispatch import frame
from napcore.errors import ConfigError
from napcore.net.accept import Acceptor, Handshakes
from napcore.net.client import ClientLink
from napcore.net.http_head import HEAD_TIMEOUT, answer, read_head, wants_upgrade
from napcore.net.link import Link
from napcore.net.newcomer import Newcomer
from napcore.net.sockets import UPSTREAM_PATIENCE, bind, watch_peer
from napcore.net.upstream import UpstreamLink
from napcore.net.websocket import CLOSE, SILENT, close_data, peer_address

if TYPE_CHECKING:
    from napcore.net.relay import Relay

__all__ = ("Listener", "open_listener")

TOKEN_LENGTH: Final = 16
"""Characters of a token that guards a port other machines can reach."""

_log = logging.getLogger("napcore.listen")


class Listener:
    """A listening port, made by ``Relay.listen``."""

    def __init__(
        self,
        relay: Relay,
        sockets: list[SocketListener],
        host: str,
        port: int,
        door: Door,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        self.port = port
        """The port; the one the system chose where 0 was asked for."""
        self.url = f"{'wss' if ssl_context else 'ws'}://{f'[{host}]' if ':' in host else host}:{port}"
        """What to put in a client's or NapCat's settings, without token."""
        self._relay = relay
        self._acceptors = [Acceptor(socket) for socket in sockets]
        self._door = door
        self._ssl_context = ssl_context
        self._handshakes = Handshakes()
        self._throttle = Throttle()
        self._capacity: Capacity[anyio.CancelScope] = Capacity()
        self._turn = anyio.Lock(fast_acquire=True)
        self._accepted = self._cut = 0
        self._refused: dict[int, int] = {}
        self._told_guesses, self._told_full = Seldom(), Seldom()

    async def serve(self) -> None:
        """Accept until it is closed."""
        async with anyio.create_task_group() as tg:
            for acceptor in self._acceptors:
                # In a group of its own it would cut every connection when it is closed.
                tg.start_soon(acceptor.run, self._accept, tg)

    async def aclose(self) -> None:
        """Stop listening. Links that are open stay."""
        for acceptor in self._acceptors:
            await acceptor.aclose()

    async def _accept(self, stream: ByteStream) -> None:
        """One connection, from its first byte to its end; nothing it does leaves here."""
        peer = _peer(stream)
        place = anyio.CancelScope()
        try:
            with place:
                await self._serve_connection(stream, place)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            _log.debug("connection from %s ended: %r", peer, error)
        except Exception as error:
            self._relay.fail(f"connection from {peer}", error)
        finally:
            self._capacity.leave(place)
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)

    async def _serve_connection(self, raw: ByteStream, place: anyio.CancelScope) -> None:
        # Apart from it, so that nothing of the handshake is kept as long as the connection lasts.
        admitted = await self._handshake(raw, place)
        if admitted is None:
            return
        if admitted.who.role == "upstream":
            await self._serve_upstream(admitted.stream, admitted.early, admitted.who)
        else:
            await self._serve_client(admitted.stream, admitted.early, admitted.who)

    async def _handshake(self, raw: ByteStream, place: anyio.CancelScope) -> _Connection | None:
        """Let it in, or answer why not."""
        stream = raw
        self._accepted += 1
        stays, evicted = self._capacity.arrive(place, time.monotonic())
        self._cut += len(evicted)
        for other in evicted:
            other.cancel()
        if not stays:
            self._tell_full(f"connection from {_peer(raw)}: too many that have not said who they are")
            if self._ssl_context is None:
                await self._refuse(raw, Refused(503, "busy; try again", retry_after=1.0))
            return None
        if wait := self._throttle.shut_out(peer_address(raw), time.monotonic()):
            refusal = self._too_many_guesses(peer_address(raw), wait)
            if self._ssl_context is None:
                await self._refuse(raw, refusal)
            return None
        with anyio.move_on_after(HEAD_TIMEOUT) as deadline:
            if self._ssl_context is not None:
                try:
                    stream = await TLSStream.wrap(
                        await _whole(raw), server_side=True, ssl_context=self._ssl_context, standard_compatible=False
                    )
                except ssl.SSLError as error:
                    self._cut += 1
                    _log.info("connection from %s: TLS failed: %s", _peer(raw), error.reason or error)
                    return None
            head = await read_head(stream, self._turn, lambda: self._capacity.heard(place, time.monotonic()))
        if deadline.cancelled_caught:
            _log.info("connection from %s: no complete request within %g s", _peer(raw), HEAD_TIMEOUT)
            if self._ssl_context is not None and stream is raw:
                self._cut += 1
            else:
                await self._refuse(stream, Refused(408, "no complete request in time"))
            return None
        if isinstance(head, Refused):
            await self._refuse(stream, head)
            return None
        if self._relay.closing:
            await self._refuse(stream, Refused(503, "the relay is shutting down", retry_after=5.0))
            return None
        data, request = head
        async with self._turn:
            await anyio.lowlevel.checkpoint()
        decision = self._decide(request, peer_address(raw), place)
        if isinstance(decision, Refused):
            if decision.status not in (429, 503):
                _log.warning("connection from %s refused: %d %s", _peer(raw), decision.status, decision.text)
            await self._refuse(stream, decision)
            return None
        if decision.role == "client" and not self._handshakes.admit():
            await self._refuse(stream, Refused(503, "too many connections at once", retry_after=2.0))
            return None
        protocol = ServerProtocol(logger=SILENT)
        head_data, end, early = data.partition(b"\r\n\r\n")
        # Frames are not for it: they are ours to read.
        protocol.receive_data(head_data + end)
        events = protocol.events_received()
        if not events or not isinstance(events[0], Request):
            await self._refuse(stream, Refused(400, "not a WebSocket handshake"))
            return None
        response = protocol.accept(events[0])
        protocol.send_response(response)
        stream = await _whole(stream)
        await stream.send(b"".join(protocol.data_to_send()))
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            _log.info("connection from %s: bad handshake (%d)", _peer(raw), response.status_code)
            return None
        return _Connection(stream, early, decision)

    async def _refuse(self, stream: ByteStream, refusal: Refused) -> None:
        self._refused[refusal.status] = self._refused.get(refusal.status, 0) + 1
        await answer(stream, refusal)

    def statistics(self) -> ListenerStatistics:
        """A snapshot of its counters."""
        return ListenerStatistics(self.url, self._accepted, self._capacity.links, dict(self._refused), self._cut)

    def _decide(self, request: h11.Request, address: str, place: anyio.CancelScope) -> Admitted | Refused:
        headers: dict[str, list[str]] = {}
        for name, value in request.headers:
            headers.setdefault(name.decode("ascii").lower(), []).append(value.decode("utf-8", "surrogateescape"))
        head = Head(request.target.decode("ascii", "replace"), headers)
        if not wants_upgrade(headers):
            if "x-self-id" not in headers and head.target.split("?")[0] not in ("/", "/event", "/api"):
                return Refused(404, "nothing here; this port speaks WebSocket")
            return Refused(426, "this port speaks WebSocket; plain HTTP is not built in this release")
        clients = self._relay.traffic.clients
        decision = admit(self._door, head, clients.tokens())
        if isinstance(decision, Refused):
            if decision.guess and (wait := self._throttle.wrong(address, shown_token(head) or "", time.monotonic())):
                return self._too_many_guesses(address, wait)
            return decision
        if clients.dials(decision.name):
            return Refused(403, f"client {decision.name!r} has a url and is dialled; choose another name")
        full = self._capacity.link(place, address, upstream=decision.role == "upstream")
        if full is not None:
            self._tell_full(f"connection from {address}: {full}")
            return Refused(503, full, retry_after=5.0)
        return decision

    def _too_many_guesses(self, address: str, wait: float) -> Refused:
        if self._told_guesses.due(time.monotonic()):
            _log.warning(
                "somebody at %s tries one token after another; refused for %.0f s (%d handshakes so far)",
                address or "a local socket",
                wait,
                self._throttle.refused,
            )
        return Refused(429, "too many different wrong tokens; try again later", retry_after=wait)

    def _tell_full(self, what: str) -> None:
        if self._told_full.due(time.monotonic()):
            _log.warning("%s; refused (%d so far)", what, self._capacity.refused)

    async def _serve_upstream(self, stream: ByteStream, early: bytes, who: Admitted) -> None:
        relay = self._relay
        upstream = relay.upstreams.reverse(who.self_id or 0)
        if upstream is None:
            await _turn_away(stream, "too many accounts")
            return
        uplink = UpstreamLink(relay, upstream, masked=False, calls=who.calls)
        link = Link(
            upstream.name,
            stream,
            uplink.lane,
            uplink.source.take,
            client=False,
            early=early,
            source=uplink.source,
        )
        link.stall_limit = stall_limit(link.loopback)
        watch_peer(stream, remote=not link.loopback, patience=UPSTREAM_PATIENCE)
        _log.info("upstream %s: connected", upstream.name)
        await uplink.run(link)
        _log.warning("upstream %s: %s", upstream.name, link.cause)

    async def _serve_client(self, stream: ByteStream, early: bytes, who: Admitted) -> None:
        relay = self._relay
        client = relay.traffic.clients.dial_in(who.name)
        if client is None:
            await _turn_away(stream, "too many client names")
            return
        if who.events and relay.traffic.clients.crowded(client, who.self_id):
            await _turn_away(stream, "too many accounts asked for")
            return
        try:
            session = relay.traffic.clients.session(client, who.self_id) if who.events else None
            if session is None:
                client_link = self._link_client(ClientLink(relay, client, None, who.self_id), stream, early)
                await self._run_client(client_link)
                return
            async with session.takeover:
                if session.link is not None:
                    _log.info("client %s: a new connection takes over", session.label)
                    await session.link.link.close(4001, "another connection of this client took over")
                client_link = self._link_client(ClientLink(relay, client, session, who.self_id), stream, early)
            await self._run_client(client_link)
        finally:
            relay.traffic.clients.leave(client)

    def _link_client(self, client_link: ClientLink, stream: ByteStream, early: bytes) -> ClientLink:
        session = client_link.session
        name = session.label if session is not None else f"{client_link.client.name} (api)"
        policy = client_link.client.policy
        link = Link(
            name,
            stream,
            client_link.lane,
            client_link.take_requests,
            client=False,
            early=early,
            max_in_flight=policy.window,
        )
        link.stall_limit = policy.stall_limit(link.loopback)
        watch_peer(stream, remote=not link.loopback, patience=link.stall_limit)
        client_link.connect(link)
        return client_link

    async def _run_client(self, client_link: ClientLink) -> None:
        _log.info("client %s: connected", client_link.link.name)
        await client_link.run()
        _log.info("client %s: %s", client_link.link.name, client_link.link.cause)


class _Connection(NamedTuple):
    stream: ByteStream
    early: bytes
    who: Admitted


async def open_listener(
    relay: Relay,
    host: str | Sequence[str],
    port: int,
    door: Door,
    ssl_context: ssl.SSLContext | None,
    *,
    allow_anonymous: bool,
) -> Listener:
    """Bind to every address in ``host``, all with the same port.

    ``::1`` is left out where the machine has no IPv6 and another address is there.

    Raises:
        ConfigError: it would listen beyond this machine without a token of 16 characters.
        OSError: an address or the port cannot be had; the text says which and why.
    """
    hosts = [host] if isinstance(host, str) else list(host)
    if not allow_anonymous:
        _check_exposed(hosts, door.token)
    sockets: list[SocketListener] = []
    for name in hosts:
        try:
            bound = await bind(name, port)
        except BaseException as error:
            if isinstance(error, OSError) and name == "::1" and sockets and error.errno != errno.EADDRINUSE:
                continue
            with anyio.CancelScope(shield=True):
                for socket in sockets:
                    await socket.aclose()
            if not isinstance(error, OSError):
                raise
            why = "the port is in use by another program" if error.errno == errno.EADDRINUSE else error.strerror
            raise OSError(error.errno, f"cannot listen on {name}:{port}: {why or error}") from error
        sockets.extend(bound)
        port = port or sockets[0].extra(SocketAttribute.local_port)
    return Listener(relay, sockets, hosts[0], port, door, ssl_context)


def _check_exposed(hosts: Sequence[str], token: str | None) -> None:
    for name in hosts:
        if is_local(name):
            continue
        if token is None or len(token) < TOKEN_LENGTH:
            raise ConfigError(
                f"listening on {name} lets other machines in and needs a token of at least {TOKEN_LENGTH}"
                " characters, or allow_anonymous",
                key="listen.token",
            )


async def _whole(stream: ByteStream) -> ByteStream:
    return await stream.stream() if isinstance(stream, Newcomer) else stream


async def _turn_away(stream: ByteStream, reason: str) -> None:
    await stream.send(frame(close_data(1013, reason), CLOSE))


def _peer(stream: Any) -> str:
    address = stream.extra(SocketAttribute.remote_address, None)
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "a local peer"
