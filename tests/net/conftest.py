"""What the tests of the network ring share: a peer whose every frame is seen, scripted servers, short timers."""

from __future__ import annotations

import gc
import json
import logging
import socket
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest
import trustme
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.tls import TLSListener, TLSStream
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import CLIENT, Protocol, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

import napcore.net.drain
import napcore.net.link
import napcore.net.traffic
import napcore.net.upstream
import napcore.net.ws_client
import napcore.net.ws_server
from napcore.core.backoff import Backoff

PATIENCE = 10.0
"""Seconds after which a test that waits for something has failed."""

SILENT = logging.Logger("peer", level=logging.CRITICAL)
"""For websockets' classes in the peers, so that a search through the log finds what napcore wrote."""

GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)
"""What a stream raises when the other side has gone."""


OLD_ANYIO = tuple(map(int, version("anyio").split(".")[:2])) < (4, 16)
"""It loses a connection whose connect is cancelled at the last moment; a relay that ends cancels its dials."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if OLD_ANYIO and item.path.is_relative_to(here):
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))


@pytest.fixture(autouse=OLD_ANYIO)
def lost_connections() -> Iterator[None]:
    """Find them here, not in whatever test comes next."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class Peer:
    """One end of a WebSocket that reads only when it is told to, and shows every frame, control frames too."""

    def __init__(self, stream: ByteStream, protocol: Protocol, request: Request | None = None) -> None:
        self.stream = stream
        self.protocol = protocol
        self.request = request
        self.polite = True
        """Whether it answers pings and closes."""
        self.pings: list[bytes] = []
        """What pings carried that came; they are not among the frames."""
        self._frames: list[Frame] = []
        self._client = protocol.side is CLIENT

    async def frame(self) -> Frame | None:
        """The next frame; None at the end of the connection."""
        with anyio.fail_after(PATIENCE):
            while True:
                for event in self.protocol.events_received():
                    if isinstance(event, Frame) and event.opcode is Opcode.PING:
                        self.pings.append(bytes(event.data))
                    elif isinstance(event, Frame):
                        self._frames.append(event)
                if self._frames:
                    return self._frames.pop(0)
                try:
                    data = await self.stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return None
                self.protocol.receive_data(data)
                for answer in self.protocol.data_to_send():
                    if self.polite:
                        await (self.stream.send(answer) if answer else self.stream.send_eof())

    async def text(self) -> bytes:
        """The next message, which must be a text one."""
        frame = await self.frame()
        assert frame is not None, "the connection ended"
        assert frame.opcode is Opcode.TEXT, frame.opcode
        return bytes(frame.data)

    async def json(self) -> Any:
        """The next message, decoded."""
        return json.loads(await self.text())

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The next ``count`` messages that are no meta events."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            event = await self.json()
            if event.get("post_type") != "meta_event":
                found.append(event)
        return found

    async def closed(self) -> tuple[int, str]:
        """Read on to the close frame; its code and reason."""
        while (frame := await self.frame()) is not None:
            if frame.opcode is Opcode.CLOSE:
                data = bytes(frame.data)
                return int.from_bytes(data[:2], "big"), data[2:].decode()
        raise AssertionError("the connection ended without a close frame")

    async def rest(self) -> list[Frame]:
        """Every frame to the end of the connection."""
        frames = []
        while (frame := await self.frame()) is not None:
            frames.append(frame)
        return frames

    async def send(self, *frames: bytes | tuple[Opcode, bytes] | Frame) -> None:
        """Send text messages, ``(opcode, data)`` frames, or frames of any kind, in one piece."""
        data = b""
        for frame in frames:
            if isinstance(frame, bytes):
                frame = Frame(Opcode.TEXT, frame)
            elif isinstance(frame, tuple):
                frame = Frame(*frame)
            data += frame.serialize(mask=self._client)
        await self.stream.send(data)

    async def call(self, request: Mapping[str, Any] | bytes) -> Any:
        """Send a request and return the next message that is no event."""
        await self.send(request if isinstance(request, bytes) else json.dumps(request).encode())
        while True:
            answer = await self.json()
            if "post_type" not in answer:
                return answer

    def reset(self) -> None:
        """Cut the connection with a RST."""
        raw = self.stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.fixture
def peer_of() -> type[Peer]:
    """``peer_of(stream, protocol)``: the other end of a link."""
    return Peer


@asynccontextmanager
async def _dial(
    where: Any,
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    *,
    slow: bool = False,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[Peer]:
    url = getattr(where, "url", where) + path
    uri = parse_uri(url)
    protocol = ClientProtocol(uri, max_size=None, logger=SILENT)
    with anyio.fail_after(PATIENCE):
        stream: ByteStream
        if slow:
            raw = socket.socket()
            # Set before the connection is there, or the window has been offered already.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.connect((uri.host, uri.port))
            stream = await SocketStream.from_socket(raw)
        else:
            stream = await anyio.connect_tcp(uri.host, uri.port)
        if ssl_context is not None:
            stream = await TLSStream.wrap(stream, hostname=uri.host, ssl_context=ssl_context, standard_compatible=False)
        try:
            request = protocol.connect()
            request.headers.update(headers or {})
            protocol.send_request(request)
            await stream.send(b"".join(protocol.data_to_send()))
            while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
                protocol.receive_data(await stream.receive())
            if protocol.handshake_exc is not None:
                raise protocol.handshake_exc
        except BaseException:
            await anyio.aclose_forcefully(stream)
            raise
    try:
        yield Peer(stream, protocol)
    finally:
        await anyio.aclose_forcefully(stream)


@pytest.fixture
def dial() -> Callable[..., Any]:
    """``async with dial(listener or url, path, headers, slow=, ssl_context=) as peer``: a client that dials in.

    A slow one has a small receive buffer, so that little hides in the kernel while it does not read.
    """
    return _dial


@pytest.fixture
def decided() -> Callable[..., Awaitable[int]]:
    """``await decided(listener, path, headers)``: 101, or the status it was turned down with."""

    async def decided(listener: Any, path: str = "/", headers: dict[str, str] | None = None) -> int:
        refused: InvalidStatus | None = None
        try:
            async with _dial(listener, path, headers):
                return 101
        except InvalidStatus as error:
            refused = error
        assert refused.response.body
        return refused.response.status_code

    return decided


@pytest.fixture
def exchange() -> Callable[..., Awaitable[bytes]]:
    """``await exchange(listener, data)``: send bytes, return everything that comes back to the end."""

    async def exchange(listener: Any, data: bytes) -> bytes:
        received = b""
        with anyio.fail_after(PATIENCE):
            async with await anyio.connect_tcp("127.0.0.1", listener.port) as stream:
                await stream.send(data)
                async for chunk in stream:
                    received += chunk
        return received

    return exchange


async def _accept(stream: ByteStream, *, early: bytes = b"") -> Peer:
    """Open the WebSocket that is asked for on ``stream``; ``early`` goes out in one piece with the answer."""
    protocol = ServerProtocol(max_size=None, logger=SILENT)
    events: list[Any] = []
    while not events:
        protocol.receive_data(await stream.receive())
        events = protocol.events_received()
    protocol.send_response(protocol.accept(events[0]))
    await stream.send(b"".join(protocol.data_to_send()) + early)
    return Peer(stream, protocol, events[0])


@pytest.fixture
def accept() -> Callable[..., Awaitable[Peer]]:
    """``await accept(stream)`` in a handler of ``serve``: the peer that dialled."""
    return _accept


class Server:
    """A scripted server; ``handler`` has each connection for itself."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.dials = 0
        """Connections so far."""
        self.open = 0
        """Connections now."""
        self.most = 0
        """The most connections at one time."""


@asynccontextmanager
async def _serve(
    handler: Callable[[ByteStream], Awaitable[None]], path: str = "", *, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
    scheme = "ws" if ssl_context is None else "wss"
    server = Server(f"{scheme}://127.0.0.1:{listener.extra(SocketAttribute.local_port)}{path}")

    async def handle(stream: ByteStream) -> None:
        server.dials += 1
        server.open += 1
        server.most = max(server.most, server.open)
        try:
            with suppress(*GONE):
                await handler(stream)
        finally:
            # Counted as gone when the other side has let go of it, not when this side has.
            # TLS has no half-closed state; uvloop says RuntimeError of a connection that was reset.
            with anyio.move_on_after(PATIENCE, shield=True), suppress(*GONE, NotImplementedError, RuntimeError):
                await stream.send_eof()
                while True:
                    await stream.receive()
            server.open -= 1
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)

    if ssl_context is not None:
        listener = TLSListener(listener, ssl_context, standard_compatible=False)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        yield server
        tasks.cancel_scope.cancel()


@pytest.fixture
def serve() -> Callable[..., Any]:
    """``async with serve(handler, path) as server``: something for a relay to dial."""
    return _serve


async def _until(condition: Callable[[], object], timeout: float = PATIENCE) -> None:
    with anyio.move_on_after(timeout):
        while True:
            if condition():
                return
            await anyio.sleep(0.001)
    raise AssertionError("it did not come to that")


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """``await until(condition)``: let everything else run until it holds."""
    return _until


def _message(
    number: int = 0, *, self_id: int | None = 10001, group_id: int | None = 5, **fields: Any
) -> dict[str, Any]:
    event: dict[str, Any] = {"time": 1700000000, "post_type": "message", "message_id": number, "user_id": 7}
    if self_id is not None:
        event["self_id"] = self_id
    if group_id is None:
        event["message_type"] = "private"
    else:
        event |= {"message_type": "group", "group_id": group_id}
    return event | {"raw_message": str(number)} | fields


@pytest.fixture
def message() -> Callable[..., dict[str, Any]]:
    """``message(number, self_id=, group_id=, **fields)``: a small message event."""
    return _message


@pytest.fixture
def quick_redial(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next dial follows at once."""
    monkeypatch.setattr(napcore.net.ws_client, "Backoff", partial(Backoff, base=0.001))


@pytest.fixture
def quick_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Overdue calls and lost events are looked at every 10 ms."""
    monkeypatch.setattr(napcore.net.traffic, "TICK", 0.01)


@pytest.fixture
def quick_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that does not complete the close handshake is cut after 50 ms, and a drain waits 0.1 s for others."""
    monkeypatch.setattr(napcore.net.link, "CLOSE_TIMEOUT", 0.05)
    monkeypatch.setattr(napcore.net.drain, "CLOSE_TIMEOUT", 0.1)
    monkeypatch.setattr(napcore.net.drain, "CALL_LIMIT", 0.1)
    monkeypatch.setattr(napcore.net.drain, "FLUSH_LIMIT", 0.1)


@contextmanager
def _patience(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(napcore.net.upstream, "PATIENCE", seconds)
        yield


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Any]:
    """``with patience(seconds)``: how long an upstream we dialled may be silent."""
    return partial(_patience, monkeypatch)


class Certificates(NamedTuple):
    """Contexts of a server at 127.0.0.1 and of clients that trust it."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    """A server's certificate and what trusts it."""
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(server)
    authority.configure_trust(client)
    return Certificates(server, client)
