"""What the Autobahn TestSuite talks to: a link that sends back each message it gets.

``echo.py server BACKEND`` listens and says on which port; ``echo.py client BACKEND URL`` asks a
fuzzing server at URL for its cases and takes them one after the other.
"""

from __future__ import annotations

import json
import sys
from functools import partial

import anyio
from anyio.abc import ByteStream, SocketAttribute
from websockets.server import ServerProtocol

import napcore.net.link
from napcore.dispatch import Outbox, Reader, frame, masked_frame
from napcore.net.link import Link
from napcore.net.websocket import SILENT, dial

AGENT = "napcore"
BINARY = 2

# Links have no use for binary messages; half of the cases send some.
napcore.net.link.make_reader = partial(Reader, binary=True)


class Echo:
    """A link and what it sends back."""

    def __init__(self, stream: ByteStream, early: bytes, *, client: bool) -> None:
        self.client = client
        self.last = b""
        self.link = Link("echo", stream, Outbox(), self.take, client=client, early=early)

    def take(self, messages: list[bytes]) -> None:
        for message in messages:
            if isinstance(message, bytearray):
                data = bytes(message)
                made = masked_frame(data, b"abcd", BINARY) if self.client else frame(data, BINARY)
                self.link.lane.offer_control(made)
                self.link.flush()
            else:
                self.last = message
                self.link.send(message)


async def accept(stream: ByteStream) -> None:
    protocol = ServerProtocol(logger=SILENT)
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    head, end, early = data.partition(b"\r\n\r\n")
    protocol.receive_data(head + end)
    (request,) = protocol.events_received()
    protocol.send_response(protocol.accept(request))
    await stream.send(b"".join(protocol.data_to_send()))
    await Echo(stream, early, client=False).link.run()


async def serve() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    sys.stdout.write(f"{listener.extra(SocketAttribute.local_port)}\n")
    sys.stdout.flush()
    await listener.serve(accept)


async def ask(url: str) -> bytes:
    dialled = await dial(url, {})
    echo = Echo(dialled.stream, dialled.early, client=True)
    echo.link.send = lambda message: None
    await echo.link.run()
    return echo.last


async def take_cases(url: str) -> None:
    count = json.loads(await ask(f"{url}/getCaseCount"))
    for number in range(1, count + 1):
        dialled = await dial(f"{url}/runCase?case={number}&agent={AGENT}", {})
        await Echo(dialled.stream, dialled.early, client=True).link.run()
    await ask(f"{url}/updateReports?agent={AGENT}")


def main(role: str, backend: str, *url: str) -> None:
    anyio.run({"server": serve, "client": take_cases}[role], *url, backend=backend)


if __name__ == "__main__":
    main(*sys.argv[1:])
