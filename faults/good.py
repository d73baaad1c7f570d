"""A good client among bad ones, and what the bad ones are made with."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import anyio
from anyio.abc import ByteSendStream, Process, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from faults.case import Case
from faults.peers.attacker import upgrade
from napcore import Relay
from napcore.testing.percentiles import percentile

__all__ = ("TOKEN", "Good", "Prober", "attack", "bearer", "connect", "knock", "prober", "status")

TOKEN = "the-listen-token-of-this-row"
RATE = 200
"""Events a second that a good client gets meanwhile."""

EVENT = (
    b'{"time":1,"self_id":10001,"post_type":"message","message_type":"group","group_id":5,"user_id":7,'
    b'"message_id":%d,"raw_message":"a message of the usual length, more or less","message":[]}'
)


class Good:
    """A good client: gets ``RATE`` events a second; whether all came."""

    def __init__(self, relay: Relay, port: int) -> None:
        self.relay = relay
        self.port = port
        self._published: dict[int, float] = {}
        self._number = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Good]:
        """It is linked and served inside the block."""
        head = upgrade(self.port, "/c/good", Authorization=f"Bearer {TOKEN}")
        async with await anyio.connect_tcp("127.0.0.1", self.port) as stream, anyio.create_task_group() as tasks:
            await stream.send(head)
            reader = BufferedByteReceiveStream(stream)
            await reader.receive_until(b"\r\n\r\n", 4096)
            tasks.start_soon(self._read, reader)
            tasks.start_soon(self._publish)
            yield self
            tasks.cancel_scope.cancel()

    @property
    def missing(self) -> int:
        """Events published more than half a second ago that have not come."""
        late = time.perf_counter() - 0.5
        return sum(at < late for at in self._published.values())

    async def _publish(self) -> None:
        start, number = time.perf_counter(), 0
        while True:
            number += 1
            await anyio.sleep(max(0.0, start + number / RATE - time.perf_counter()))
            self._number += 1
            self._published[self._number] = time.perf_counter()
            self.relay.publish(
                b'{"time":1,"self_id":10001,"post_type":"message","message_type":"group","group_id":5,"user_id":7,'
                b'"message_id":%d,"raw_message":"a message of the usual length, more or less","message":[]}'
                % self._number
            )

    async def _read(self, reader: BufferedByteReceiveStream) -> None:
        while True:
            first, size = await reader.receive_exactly(2)
            if size == 126:
                size = int.from_bytes(await reader.receive_exactly(2), "big")
            data = await reader.receive_exactly(size) if size else b""
            if first == 0x89:
                await self._pong(reader, data)
            elif first == 0x81:
                event = json.loads(data)
                if "message_id" in event:
                    del self._published[event["message_id"]]

    async def _pong(self, reader: BufferedByteReceiveStream, data: bytes) -> None:
        stream = reader.receive_stream
        assert isinstance(stream, SocketStream)
        await stream.send(bytes([0x8A, 0x80 | len(data)]) + b"\0\0\0\0" + data)


class Prober:
    """Measures how long the relay takes with a good upstream's events to a good client, both in another process."""

    def __init__(self, output: BufferedByteReceiveStream, input: ByteSendStream) -> None:
        self._output = output
        self._input = input

    async def compare(
        self,
        case: Case,
        name: str,
        attack: AbstractAsyncContextManager[Any],
        seconds: float,
        *,
        spare: float = 1.0,
    ) -> None:
        """Measure for ``seconds`` before an attack and while it lasts, which must be longer; it may change little.

        ``spare`` is how many milliseconds it may add beyond a fifth: one is what a machine with other
        work on it adds by itself. In a hurry, with more of that going on, it is ten more.
        """
        usual, _ = await self.measure(seconds)
        async with attack:
            meanwhile, longest = await self.measure(seconds)
        most = 1.2 * usual + spare + (10.0 if case.quick else 0.0)
        case.figure(f"{name}: p99 of a good client {usual:.3g} ms, then", meanwhile, " ms", most=most)
        case.note(f"longest {longest:.3g} ms")

    async def measure(self, seconds: float) -> tuple[float, float]:
        """The 99th percentile of each half second, the median of those, and the longest, in milliseconds."""
        await self._input.send(f"{seconds}\n".encode())
        delays = json.loads(await self._output.receive_until(b"\n", 1 << 20))
        windows = [delays[at : at + RATE // 2] for at in range(0, len(delays), RATE // 2)]
        return 1000 * statistics.median(percentile(one, 99) or 0.0 for one in windows), 1000 * max(delays)


@asynccontextmanager
async def prober(port: int) -> AsyncIterator[Prober]:
    """A prober, connected inside the block."""
    command = [sys.executable, "-m", "faults.peers.prober", str(port), TOKEN]
    async with child(command) as (output, process):
        assert process.stdin is not None
        yield Prober(output, process.stdin)


@asynccontextmanager
async def child(command: list[str]) -> AsyncIterator[tuple[BufferedByteReceiveStream, Process]]:
    """A process that has said ``ready``; it is killed at the end."""
    process = await anyio.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None)
    assert process.stdout is not None
    output = BufferedByteReceiveStream(process.stdout)
    try:
        await output.receive_until(b"ready\n", 1 << 16)
        yield output, process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()


@asynccontextmanager
async def attack(mode: str, port: int, *options: str, told: dict[str, Any]) -> AsyncIterator[None]:
    """An attacker in a process of its own, at work inside the block; after it, what it tells is in ``told``."""
    command = [sys.executable, "-m", "faults.peers.attacker", mode, str(port), *options]
    async with child(command) as (output, process):
        yield
        told.update(json.loads(await output.receive_until(b"\n", 1 << 16)))
        await process.wait()


async def connect(port: int, head: bytes) -> tuple[int, SocketStream, bytes]:
    """Send a head; the status it is answered with, the connection, and the whole answer."""
    stream = await anyio.connect_tcp("127.0.0.1", port)
    await stream.send(head)
    answer = b""
    with anyio.move_on_after(10):
        while b"\r\n\r\n" not in answer:
            try:
                answer += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                break
    return (int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0), stream, answer


async def status(port: int, head: bytes) -> int:
    """The status a head is answered with; 0 is a cut."""
    code, stream, _ = await connect(port, head)
    await stream.aclose()
    return code


async def knock(port: int, path: str = "/", **headers: str) -> int:
    """The status a handshake is answered with."""
    return await status(port, upgrade(port, path, **headers))


def bearer(token: str) -> str:
    return f"Bearer {token}"
