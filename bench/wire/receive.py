"""``receive`` in ``python -m bench wire``: from received bytes to messages, in one process, without a socket.

Every peer gets the same masked frames, a client's, in the same pieces, and has to hand out every
message. napcore proves that text is UTF-8, as do all but ``picows, bytes``; where a peer gives text
it has been decoded, which is that proof and more.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from bench import peers
from bench.rounds import Case
from bench.workload import SUBJECT, Aim, Workload
from napcore.dispatch import Reader, masked_frame

WEBSOCKETS, WSPROTO, AIOHTTP = "websockets", "wsproto", "aiohttp"
PICOWS, PICOWS_TEXT = "picows, bytes", "picows, text"
SIZES = {"258 B": (258, 400), "954 B": (954, 200), "170 KB": (170_000, 8), "5 MiB": (5 << 20, 1)}
"""How large messages are, and how many one sample has."""

PIECE = 64 << 10
SMALL = [Aim(WEBSOCKETS, 16, 12), Aim(PICOWS, 5, 3)]
"""Promised of messages of 258 bytes that come one by one."""

Feed = Callable[[Sequence[bytes]], list[Any]]
"""Takes the pieces, returns the messages."""


def texts(size: int, count: int) -> list[bytes]:
    """API calls and events with Chinese in them; the large ones are base64, as pictures come."""
    found = []
    for number in range(count):
        start = f'{{"action":"send_group_msg","echo":"{number}","params":{{"message":"'
        head = f"{start}\u4f60\u597d\uff0c\u4e16\u754c ".encode()
        fill = "\u804a\u5929\u8bb0\u5f55 ok ".encode() if size < 10_000 else b"iVBORw0KGgoAAAANSUhEUg+/"
        body = (fill * (size // len(fill) + 1))[: size - len(head) - 3]
        body = body.decode(errors="ignore").encode()
        found.append(head + body.ljust(size - len(head) - 3) + b'"}}')
    return found


def pieces(data: Sequence[bytes], single: bool) -> list[bytes]:
    """One frame in each, or all of them cut every 64 KiB."""
    if single:
        return list(data)
    joined = b"".join(data)
    return [joined[start : start + PIECE] for start in range(0, len(joined), PIECE)]


def workloads() -> Iterator[Workload]:
    """The rows; their cases work until the next one is asked for."""
    with ExitStack() as connections:
        feeds = contenders(connections)
        for name, (size, count) in SIZES.items():
            for single in (True, False):
                cases = [_case(who, make, size, count, single) for who, make in feeds.items()]
                how = "one frame at a time" if single else "pieces of 64 KiB"
                aims = SMALL if single and size == 258 else ()
                yield Workload("receive", f"{name}, {how}", count, cases, aims=aims)


def _case(name: str, make: Callable[[], Feed], size: int, count: int, single: bool) -> Case:
    def prepare() -> tuple[Feed, list[bytes], list[bytes]]:
        messages = texts(size, count)
        frames = [masked_frame(message, os.urandom(4)) for message in messages]
        return make(), pieces(frames, single), messages

    def check(inputs: tuple[Feed, list[bytes], list[bytes]], found: list[Any]) -> None:
        got = [one.encode() if isinstance(one, str) else bytes(one) for one in found]
        assert got == inputs[2], "other messages than were sent"

    return Case(name, prepare, lambda inputs: inputs[0](inputs[1]), check)


def contenders(connections: ExitStack) -> dict[str, Callable[[], Feed]]:
    """Those that are installed; each call makes a new connection."""
    found: dict[str, Callable[[], Feed]] = {SUBJECT: _napcore, WEBSOCKETS: _websockets}
    if (wsproto := peers.optional("wsproto", "wsproto")) is not None:
        found[WSPROTO] = lambda: _wsproto(wsproto)
    if peers.optional("aiohttp._websocket.reader", "aiohttp") is not None:
        found[AIOHTTP] = _aiohttp
    if (picows := peers.optional("picows", "picows")) is not None:
        connection = _Picows(picows)
        connections.callback(connection.close)
        found[PICOWS] = lambda: connection.feeding(text=False)
        found[PICOWS_TEXT] = lambda: connection.feeding(text=True)
    return found


def _napcore() -> Feed:
    read = Reader(True).feed

    def feed(data: Sequence[bytes]) -> list[Any]:
        found: list[Any] = []
        for piece in data:
            found += read(piece)
        return found

    return feed


def _websockets() -> Feed:
    from websockets.protocol import State
    from websockets.server import ServerProtocol

    protocol: Any = ServerProtocol(state=State.OPEN, max_size=None)

    def feed(data: Sequence[bytes]) -> list[Any]:
        found = []
        for piece in data:
            protocol.receive_data(piece)
            found += [bytes(frame.data).decode() for frame in protocol.events_received()]
        return found

    return feed


def _wsproto(wsproto: Any) -> Feed:
    from wsproto.connection import Connection, ConnectionType

    connection: Any = Connection(ConnectionType.SERVER)

    def feed(data: Sequence[bytes]) -> list[Any]:
        found, parts = [], []
        for piece in data:
            connection.receive_data(piece)
            for event in connection.events():
                # A message that comes in several pieces comes out in as many.
                parts.append(event.data)
                if event.message_finished:
                    found.append("".join(parts))
                    parts = []
        return found

    return feed


def _aiohttp() -> Feed:
    from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader

    class Protocol:
        _reading_paused = False

        def pause_reading(self) -> None:
            """It has to be there."""

    loop: Any = None
    queue = WebSocketDataQueue(Protocol(), 1 << 30, loop=loop)  # type: ignore[arg-type,unused-ignore]
    reader = WebSocketReader(queue, 0, compress=False, decode_text=True)

    def feed(data: Sequence[bytes]) -> list[Any]:
        found = []
        for piece in data:
            reader.feed_data(piece)
            # As read() does, without a coroutine for each.
            found += [message.data for message, _ in queue._buffer]
            queue._buffer.clear()
        return found

    return feed


class _Picows:
    """A real connection of its own, past whose socket bytes are put into its protocol."""

    def __init__(self, picows: Any) -> None:
        self.found: list[Any] = []
        self.take: Callable[[Any], None] = self.found.append
        owner = self

        class Listener(picows.WSListener):  # type: ignore[misc]
            def on_ws_connected(self, transport: Any) -> None:
                owner.protocol = transport.underlying_transport.get_protocol()
                owner.connected.set()

            def on_ws_frame(self, transport: Any, frame: Any) -> None:
                owner.take(frame)

        self.protocol: Any = None
        self.connected = asyncio.Event()
        # Kept, or the connection would go with it.
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self._connect(picows, Listener))

    async def _connect(self, picows: Any, listener: Any) -> None:
        self.server = await picows.ws_create_server(lambda request: listener(), "127.0.0.1", 0, max_frame_size=1 << 26)
        port = self.server.sockets[0].getsockname()[1]
        self.client = await picows.ws_connect(picows.WSListener, f"ws://127.0.0.1:{port}/")
        await self.connected.wait()

    def close(self) -> None:
        async def close() -> None:
            transport, _ = self.client
            transport.disconnect()
            self.server.close()
            await self.server.wait_closed()

        self.loop.run_until_complete(close())
        self.loop.close()

    def feeding(self, *, text: bool) -> Feed:
        def as_bytes(frame: Any) -> None:
            self.found.append(frame.get_payload_as_bytes())

        def as_text(frame: Any) -> None:
            self.found.append(frame.get_payload_as_utf8_text())

        def feed(data: Sequence[bytes]) -> list[Any]:
            self.found = []
            protocol = self.protocol
            for piece in data:
                view = memoryview(piece)
                while view:
                    room = protocol.get_buffer(len(view))
                    size = min(len(room), len(view))
                    room[:size] = view[:size]
                    protocol.buffer_updated(size)
                    view = view[size:]
            return self.found

        self.take = as_text if text else as_bytes
        return feed
