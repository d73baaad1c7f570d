"""A TCP proxy that breaks connections in the ways a network does; every fault can be switched while it runs.

It has a thread and an event loop of its own, so that it serves tests on any loop, and works on bare sockets:
nothing is buffered but what is being passed on.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

__all__ = ("Direction", "Door", "Fault", "FaultProxy")

Direction = Literal["up", "down"]
"""``up`` is from the one who dialled to the target, ``down`` is back."""

Door = Literal["open", "hang", "refuse"]
"""What happens to who dials: served; accepted and left alone; refused."""

CHUNK: Final = 64 << 10
LOOK: Final = 0.005
"""Seconds between two looks at whether a stall is over."""


@dataclass(frozen=True)
class Fault:
    """What one direction does to the bytes that come. The default passes them on."""

    delay: float = 0.0
    """Seconds that each piece waits."""
    stall: bool = False
    """Nothing is read, so that the sender's buffers fill."""
    blackhole: bool = False
    """Everything is read and nothing passed on."""
    dribble: float = 0.0
    """Seconds between two single bytes."""
    corrupt: int = 0
    """A bit is flipped in the byte this far from now (1: the next one), once on each connection."""
    cut_after: int = 0
    """This many bytes more go through, then the connection is reset: half a frame, then RST."""


class FaultProxy:
    """Listens at :attr:`port` and passes on to ``target`` at 127.0.0.1; a context manager.

    Connections made through it are numbered by :attr:`accepted`; :meth:`reset`, :meth:`finish` and
    :meth:`half_close` act on all that are open.
    """

    def __init__(self, target: int, *, receive_buffer: int | None = None) -> None:
        self.port = 0
        self.accepted = 0
        """Connections so far."""
        self.passed = {"up": 0, "down": 0}
        """Bytes passed on."""
        self._target = target
        self._receive_buffer = receive_buffer
        self._faults: dict[str, Fault] = {"up": Fault(), "down": Fault()}
        self._door: Door = "open"
        self._pairs: set[_Pair] = set()
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._hung: list[socket.socket] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def open(self) -> int:
        """Connections now."""
        return len(self._pairs)

    def fault(self, direction: Direction, **fault: Any) -> None:
        """From now on ``direction`` does this, as :class:`Fault`; without any it passes bytes on again."""
        self._faults[direction] = Fault(**fault)

    def door(self, door: Door) -> None:
        """What becomes of new connections; opening it cuts those that hang."""
        self._do(self._set_door(door))

    def reset(self) -> None:
        """Cut every connection with a RST on both sides."""
        self._do(self._end_all(reset=True))

    def finish(self) -> None:
        """Cut every connection with a FIN on both sides."""
        self._do(self._end_all(reset=False))

    def half_close(self, direction: Direction) -> None:
        """End ``direction`` with a FIN; the other one goes on."""
        self._do(self._half_close(direction))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self) -> None:
        listener = self._listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._receive_buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(256)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._accepting = self._loop.create_task(self._accept(listener))

    async def _shut(self) -> None:
        # Cancel, await, and only then close: a descriptor that is still waited for would take the next one's bytes.
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._accepting = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _close(self) -> None:
        await self._shut()
        await self._end_all(reset=True)
        for one in self._hung:
            one.close()

    async def _set_door(self, door: Door) -> None:
        self._door = door
        if door == "refuse":
            await self._shut()
        elif self._listener is None:
            await self._open()
        if door == "open":
            for one in self._hung:
                one.close()
            self._hung.clear()

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            near, _ = await self._loop.sock_accept(listener)
            self.accepted += 1
            near.setblocking(False)
            if self._door == "hang":
                self._hung.append(near)
                continue
            far = socket.socket()
            far.setblocking(False)
            try:
                await self._loop.sock_connect(far, ("127.0.0.1", self._target))
            except OSError:
                near.close()
                far.close()
                continue
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = _Pair(near, far)
            self._pairs.add(pair)
            pair.pumps = [
                self._loop.create_task(self._pump(pair, "up", near, far)),
                self._loop.create_task(self._pump(pair, "down", far, near)),
            ]
            pair.ending = self._loop.create_task(self._end_when_over(pair))

    async def _pump(self, pair: _Pair, direction: Direction, source: socket.socket, sink: socket.socket) -> None:
        plan = _Plan()
        while True:
            while self._faults[direction].stall:
                await asyncio.sleep(LOOK)
            data = await self._loop.sock_recv(source, 1 if self._faults[direction].dribble else CHUNK)
            # It may have been switched while nothing came.
            while (fault := self._faults[direction]).stall:
                await asyncio.sleep(LOOK)
            if not data:
                with suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)
                return
            if fault.blackhole:
                continue
            data, cut = plan.apply(fault, data)
            if fault.delay:
                await asyncio.sleep(fault.delay)
            self.passed[direction] += len(data)
            if fault.dribble:
                for at in range(len(data)):
                    await self._loop.sock_sendall(sink, data[at : at + 1])
                    await asyncio.sleep(fault.dribble)
            else:
                await self._loop.sock_sendall(sink, data)
            if cut:
                pair.reset = True
                return

    async def _end_when_over(self, pair: _Pair) -> None:
        """Both directions at their end, or one of them broken: the connection is over."""
        try:
            left: set[asyncio.Task[None]] = set(pair.pumps)
            while left and not pair.reset:
                done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
                if any(not one.cancelled() and one.exception() is not None for one in done):
                    pair.reset = True
        finally:
            pair.over = True
            await self._end(pair, reset=pair.reset)

    async def _end_all(self, *, reset: bool) -> None:
        endings = []
        for pair in list(self._pairs):
            pair.reset = reset
            if pair.ending is not None:
                # One that is at it already is not to be interrupted.
                if not pair.over:
                    pair.ending.cancel()
                endings.append(pair.ending)
        await asyncio.gather(*endings, return_exceptions=True)
        for pair in list(self._pairs):
            # Cancelled before it had begun.
            await self._end(pair, reset=reset)

    async def _end(self, pair: _Pair, *, reset: bool) -> None:
        for pump in pair.pumps:
            pump.cancel()
        await asyncio.gather(*pair.pumps, return_exceptions=True)
        for one in (pair.near, pair.far):
            if reset:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
        self._pairs.discard(pair)

    async def _half_close(self, direction: Direction) -> None:
        for pair in list(self._pairs):
            pump = pair.pumps[direction == "down"]
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            with suppress(OSError):
                (pair.far if direction == "up" else pair.near).shutdown(socket.SHUT_WR)


class _Pair:
    """One connection through the proxy: two sockets, two pumps."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near = near
        self.far = far
        self.reset = False
        self.over = False
        """Whether it is being ended."""
        self.pumps: list[asyncio.Task[None]] = []
        self.ending: asyncio.Task[None] | None = None


class _Plan:
    """How far one direction of one connection is on its way to a bit flip or a cut."""

    def __init__(self) -> None:
        self._of: Fault | None = None
        self._seen = 0

    def apply(self, fault: Fault, data: bytes) -> tuple[bytes, bool]:
        """What goes through, and whether the connection is cut then."""
        if fault is not self._of:
            self._of, self._seen = fault, 0
        start, self._seen = self._seen, self._seen + len(data)
        if start < fault.corrupt <= self._seen:
            changed = bytearray(data)
            changed[fault.corrupt - 1 - start] ^= 0x10
            data = bytes(changed)
        if fault.cut_after and self._seen >= fault.cut_after:
            return data[: fault.cut_after - start], True
        return data, False
