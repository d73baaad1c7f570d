"""Peers as a person would write them for speed: ``python -m bench.wire.servers NAME [tls]``.

Each takes WebSockets on a port that it prints. Whoever sends an ``X-Self-ID`` header is the
upstream; its text messages go, byte for byte, to all others. Compression, pings and logging are
off, TCP_NODELAY is on; each uses the fastest way its documentation names.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import ssl
import sys
from collections.abc import Callable, Coroutine
from typing import Any

TEXT = 1
Serve = Callable[[ssl.SSLContext | None], Coroutine[Any, Any, None]]


def ready(port: int) -> None:
    """Tell the harness."""
    sys.stdout.write(f"port {port}\n")
    sys.stdout.flush()


def port_of(server: Any) -> int:
    port: int = next(iter(server.sockets)).getsockname()[1]
    return port


async def serve_websockets(tls: ssl.SSLContext | None, *, broadcasting: bool) -> None:
    from websockets.asyncio.server import broadcast, serve

    clients: set[Any] = set()

    async def handle(socket: Any) -> None:
        if "X-Self-ID" not in socket.request.headers:
            clients.add(socket)
            try:
                await socket.wait_closed()
            finally:
                clients.discard(socket)
            return
        while True:
            message = await socket.recv(decode=False)
            if broadcasting:
                broadcast(clients, message, text=True)
            else:
                for client in clients:
                    await client.send(message, text=True)

    quiet = logging.getLogger("bench.silent")
    quiet.disabled = True
    server = await serve(
        handle, "127.0.0.1", 0, ssl=tls, compression=None, ping_interval=None, max_size=None, logger=quiet
    )
    ready(port_of(server))
    await server.serve_forever()


async def broadcast(tls: ssl.SSLContext | None) -> None:
    await serve_websockets(tls, broadcasting=True)


async def send(tls: ssl.SSLContext | None) -> None:
    await serve_websockets(tls, broadcasting=False)


async def picows(tls: ssl.SSLContext | None) -> None:
    from picows import WSListener, WSMsgType, ws_create_server

    clients: list[Any] = []

    class Client(WSListener):  # type: ignore[misc,unused-ignore]
        def on_ws_connected(self, transport: Any) -> None:
            clients.append(transport)

        def on_ws_disconnected(self, transport: Any) -> None:
            clients.remove(transport)

    class Upstream(WSListener):  # type: ignore[misc,unused-ignore]
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type is WSMsgType.TEXT:
                payload = frame.get_payload_as_bytes()
                payload.decode()  # whether it is UTF-8 is the listener's to check
                for client in clients:
                    client.send(WSMsgType.TEXT, payload)

    def listen(request: Any) -> WSListener:
        return Upstream() if "X-Self-ID" in request.headers else Client()

    server = await ws_create_server(
        listen, "127.0.0.1", 0, ssl=tls, websocket_handshake_timeout=30, max_frame_size=1 << 26
    )
    ready(port_of(server))
    await server.serve_forever()


async def aiohttp(tls: ssl.SSLContext | None) -> None:
    from aiohttp import WSMsgType, web

    clients: set[Any] = set()

    async def handle(request: Any) -> Any:
        socket = web.WebSocketResponse(compress=False, heartbeat=None, max_msg_size=0)
        await socket.prepare(request)
        if "X-Self-ID" not in request.headers:
            clients.add(socket)
            try:
                async for _ in socket:
                    pass
            finally:
                clients.discard(socket)
            return socket
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                for client in clients:
                    await client.send_str(message.data)
        return socket

    app = web.Application()
    app.router.add_route("GET", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    ready(runner.addresses[0][1])
    await asyncio.Event().wait()


async def transport_write(tls: ssl.SSLContext | None) -> None:
    """No library at all: one ``transport.write`` per frame and client."""
    from websockets.speedups import apply_mask

    clients: list[asyncio.Transport] = []

    class Connection(asyncio.Protocol):
        transport: asyncio.Transport
        upstream: bool | None = None
        data = b""

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def connection_lost(self, exc: Exception | None) -> None:
            if self.transport in clients:
                clients.remove(self.transport)

        def data_received(self, data: bytes) -> None:
            if self.upstream:
                self.data = self.take(self.data + data)
            elif self.upstream is None:
                self.data += data
                if b"\r\n\r\n" in self.data:
                    self.welcome()

        def welcome(self) -> None:
            head, self.data = self.data.split(b"\r\n\r\n", 1)
            lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
            headers = {name.strip().lower(): value.strip() for name, _, value in lines}
            joined = headers[b"sec-websocket-key"] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + base64.b64encode(hashlib.sha1(joined).digest()) + b"\r\n\r\n"
            )
            self.upstream = b"x-self-id" in headers
            if not self.upstream:
                clients.append(self.transport)

        def take(self, data: bytes) -> bytes:
            at = 0
            while len(data) - at >= 8:
                size, head = data[at + 1] & 127, 2
                if size == 126:
                    size, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
                elif size == 127:
                    size, head = int.from_bytes(data[at + 2 : at + 10], "big"), 10
                if len(data) - at < head + 4 + size:
                    break
                payload = apply_mask(data[at + head + 4 : at + head + 4 + size], data[at + head : at + head + 4])
                if data[at] & 15 == TEXT:
                    self.forward(payload)
                at += head + 4 + size
            return data[at:]

        def forward(self, payload: bytes) -> None:
            payload.decode()
            size = len(payload)
            head = b"\x81" + (
                bytes((size,))
                if size < 126
                else b"\x7e" + size.to_bytes(2, "big")
                if size < 65536
                else b"\x7f" + size.to_bytes(8, "big")
            )
            frame = head + payload
            for client in clients:
                client.write(frame)

    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, ssl=tls)
    ready(port_of(server))
    await server.serve_forever()


SERVERS: dict[str, tuple[str, Serve]] = {
    "websockets-broadcast": ("asyncio", broadcast),
    "websockets-send": ("asyncio", send),
    "picows": ("asyncio", picows),
    "aiohttp": ("asyncio", aiohttp),
    "asyncio-write": ("asyncio", transport_write),
    "uvloop-write": ("uvloop", transport_write),
}


def certificate() -> ssl.SSLContext:
    """A context with a certificate made on the spot; the driver does not check it."""
    import trustme

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


def main(arguments: list[str]) -> None:
    loop, serve = SERVERS[arguments[0]]
    tls = certificate() if "tls" in arguments[1:] else None
    if loop == "uvloop":
        import uvloop

        uvloop.run(serve(tls))
    else:
        asyncio.run(serve(tls))


if __name__ == "__main__":
    main(sys.argv[1:])
