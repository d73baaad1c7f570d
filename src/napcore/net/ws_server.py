"""Listening: one port for upstreams that dial us and clients that dial us.

h11 reads every head, bounded in size, lines and time. A WebSocket upgrade goes on, byte for byte,
to websockets' server protocol; anything else is answered with a status and a text.
"""

from __future__ import annotations

import errno
import logging
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import anyio
import h11
from anyio.abc import ByteStream, SocketAttribute, SocketStream, TaskGroup
from anyio.abc import Listener as StreamListener
from anyio.streams.tls import TLSStream
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.server import ServerProtocol

from napcore.core.admission import Admitted, Door, Head, Refused, admit, is_local
from napcore.core.onebot import MAX_FRAME
from napcore.errors import ConfigError
from napcore.net.client import ClientLink
from napcore.net.link import Link
from napcore.net.sockets import bind
from napcore.net.upstream import UpstreamLink
from napcore.net.websocket import SILENT, head_ends

if TYPE_CHECKING:
    from napcore.net.relay import Relay

__all__ = ("Listener", "open_listener")

HEAD_LIMIT: Final = 16 << 10
"""Bytes of a request head."""

LINE_LIMIT: Final = 64
"""Header lines of a request head."""

HEAD_TIMEOUT: Final = 5.0
"""Seconds for TLS and the whole head, however it dribbles in."""

TOKEN_LENGTH: Final = 16
"""Characters of a token that guards a port other machines can reach."""

_log = logging.getLogger("napcore.listen")


class Listener:
    """A listening port, made by ``Relay.listen``."""

    def __init__(
        self,
        relay: Relay,
        sockets: list[StreamListener[SocketStream]],
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
        self._sockets = sockets
        self._door = door
        self._ssl_context = ssl_context

    async def serve(self) -> None:
        """Accept until it is closed."""
        async with anyio.create_task_group() as tg:
            for socket in self._sockets:
                tg.start_soon(self._serve_socket, socket, tg)

    async def _serve_socket(self, socket: StreamListener[SocketStream], connections: TaskGroup) -> None:
        with suppress(anyio.ClosedResourceError):
            # In a group of its own it would cut every connection when it is closed.
            await socket.serve(self._accept, connections)

    async def aclose(self) -> None:
        """Stop listening. Links that are open stay."""
        for socket in self._sockets:
            await socket.aclose()

    async def _accept(self, stream: SocketStream) -> None:
        """One connection, from its first byte to its end; nothing it does leaves here."""
        peer = _peer(stream)
        try:
            await self._serve_connection(stream)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            _log.debug("connection from %s ended: %r", peer, error)
        except Exception as error:
            self._relay.fail(f"connection from {peer}", error)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)

    async def _serve_connection(self, raw: SocketStream) -> None:
        stream: ByteStream = raw
        with anyio.move_on_after(HEAD_TIMEOUT) as deadline:
            if self._ssl_context is not None:
                try:
                    stream = await TLSStream.wrap(
                        raw, server_side=True, ssl_context=self._ssl_context, standard_compatible=False
                    )
                except ssl.SSLError as error:
                    _log.info("connection from %s: TLS failed: %s", _peer(raw), error.reason or error)
                    return
            head = await _read_head(stream)
        if deadline.cancelled_caught:
            _log.info("connection from %s: no complete request within %g s", _peer(raw), HEAD_TIMEOUT)
            return
        if isinstance(head, Refused):
            await _answer(stream, head)
            return
        if self._relay.closing:
            await _answer(stream, Refused(503, "the relay is shutting down"))
            return
        data, request = head
        decision = self._decide(request)
        if isinstance(decision, Refused):
            _log.warning("connection from %s refused: %d %s", _peer(raw), decision.status, decision.text)
            await _answer(stream, decision)
            return
        protocol = ServerProtocol(max_size=MAX_FRAME, logger=SILENT)
        protocol.receive_data(data)
        events = protocol.events_received()
        if not events or not isinstance(events[0], Request):
            await _answer(stream, Refused(400, "not a WebSocket handshake"))
            return
        early = [event for event in events if isinstance(event, Frame)]
        response = protocol.accept(events[0])
        protocol.send_response(response)
        await stream.send(b"".join(protocol.data_to_send()))
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            _log.info("connection from %s: bad handshake (%d)", _peer(raw), response.status_code)
            return
        if decision.role == "upstream":
            await self._serve_upstream(stream, protocol, early, decision, between_frames=head_ends(data))
        else:
            await self._serve_client(stream, protocol, early, decision, between_frames=head_ends(data))

    def _decide(self, request: h11.Request) -> Admitted | Refused:
        headers: dict[str, list[str]] = {}
        for name, value in request.headers:
            headers.setdefault(name.decode("ascii").lower(), []).append(value.decode("utf-8", "surrogateescape"))
        head = Head(request.target.decode("ascii", "replace"), headers)
        if not _wants_upgrade(headers):
            if "x-self-id" not in headers and head.target.split("?")[0] not in ("/", "/event", "/api"):
                return Refused(404, "nothing here; this port speaks WebSocket")
            return Refused(426, "this port speaks WebSocket; plain HTTP is not built in this release")
        decision = admit(self._door, head, self._relay.traffic.clients.tokens())
        if isinstance(decision, Admitted) and self._relay.traffic.clients.dials(decision.name):
            return Refused(403, f"client {decision.name!r} has a url and is dialled; choose another name")
        return decision

    async def _serve_upstream(
        self,
        stream: ByteStream,
        protocol: ServerProtocol,
        early: list[Frame],
        who: Admitted,
        *,
        between_frames: bool,
    ) -> None:
        relay = self._relay
        upstream = relay.reverse_upstream(who.self_id or 0)
        uplink = UpstreamLink(relay, upstream, masked=False, calls=who.calls)
        link = Link(
            upstream.name, stream, protocol, uplink.lane, uplink.take, early=early, between_frames=between_frames
        )
        link.stall_limit = 600.0 if link.loopback else 10.0
        _log.info("upstream %s: connected", upstream.name)
        await uplink.run(link)
        _log.warning("upstream %s: %s", upstream.name, link.cause)

    async def _serve_client(
        self,
        stream: ByteStream,
        protocol: ServerProtocol,
        early: list[Frame],
        who: Admitted,
        *,
        between_frames: bool,
    ) -> None:
        relay = self._relay
        client = relay.traffic.clients.dial_in(who.name)
        if client is None:
            protocol.send_close(1013, "too many client names")
            await stream.send(b"".join(protocol.data_to_send()))
            return
        try:
            session = relay.traffic.clients.session(client, who.self_id) if who.events else None
            if session is None:
                client_link = self._link_client(
                    ClientLink(relay, client, None, who.self_id), stream, protocol, early, between_frames
                )
                await self._run_client(client_link)
                return
            async with session.takeover:
                if session.link is not None:
                    _log.info("client %s: a new connection takes over", session.label)
                    await session.link.link.close(4001, "another connection of this client took over")
                client_link = self._link_client(
                    ClientLink(relay, client, session, who.self_id), stream, protocol, early, between_frames
                )
            await self._run_client(client_link)
        finally:
            relay.traffic.clients.leave(client)

    def _link_client(
        self,
        client_link: ClientLink,
        stream: ByteStream,
        protocol: ServerProtocol,
        early: list[Frame],
        between_frames: bool,
    ) -> ClientLink:
        session = client_link.session
        name = session.label if session is not None else f"{client_link.client.name} (api)"
        policy = client_link.client.policy
        link = Link(
            name,
            stream,
            protocol,
            client_link.lane,
            client_link.take_requests,
            early=early,
            between_frames=between_frames,
            max_in_flight=policy.window,
        )
        link.stall_limit = policy.stall_limit(link.loopback)
        client_link.connect(link)
        return client_link

    async def _run_client(self, client_link: ClientLink) -> None:
        _log.info("client %s: connected", client_link.link.name)
        await client_link.run()
        _log.info("client %s: %s", client_link.link.name, client_link.link.cause)


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
    sockets: list[StreamListener[SocketStream]] = []
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


async def _read_head(stream: ByteStream) -> tuple[bytes, h11.Request] | Refused:
    """The raw bytes up to the end of the head, and the head as h11 read it."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
    data = bytearray()
    while True:
        chunk = await stream.receive(HEAD_LIMIT)
        data += chunk
        try:
            connection.receive_data(chunk)
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            return Refused(error.error_status_hint, str(error))
        if isinstance(event, h11.Request):
            if len(event.headers) > LINE_LIMIT:
                return Refused(431, "too many header lines")
            if len(data) - len(connection.trailing_data[0]) > HEAD_LIMIT:
                return Refused(431, "the head is too large")
            return bytes(data), event
        if event is not h11.NEED_DATA or len(data) > HEAD_LIMIT:
            return Refused(400, "not a request")


async def _answer(stream: ByteStream, refusal: Refused) -> None:
    body = (refusal.text + "\n").encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    if refusal.status == 426:
        headers.append(("Upgrade", "websocket"))
    if refusal.status == 503:
        headers.append(("Retry-After", "5"))
    if refusal.status == 401:
        headers.append(("WWW-Authenticate", "Bearer"))
    try:
        reason = HTTPStatus(refusal.status).phrase
    except ValueError:
        reason = "Refused"
    lines = [f"HTTP/1.1 {refusal.status} {reason}", *(f"{name}: {value}" for name, value in headers), "", ""]
    with anyio.move_on_after(HEAD_TIMEOUT):
        await stream.send("\r\n".join(lines).encode("ascii") + body)


def _wants_upgrade(headers: Mapping[str, list[str]]) -> bool:
    return any(value.strip().lower() == "websocket" for value in headers.get("upgrade", ()))


def _peer(stream: Any) -> str:
    address = stream.extra(SocketAttribute.remote_address, None)
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "a local peer"
