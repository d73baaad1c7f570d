from __future__ import annotations

import math
import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

import napcore.net.link
import napcore.net.sockets
from napcore.core.onebot import MAX_FRAME
from napcore.dispatch import MAX_FRAGMENTS, Outbox, frame, masked_frame
from napcore.net.link import Link
from napcore.net.websocket import SILENT

URI = parse_uri("ws://127.0.0.1/")


class Wrapped(ByteStream):
    """A stream that can be made to write in small pieces, or not at all for a while."""

    def __init__(
        self, stream: SocketStream, sizes: random.Random | None = None, gate: anyio.Event | None = None
    ) -> None:
        self.stream = stream
        self.sizes = sizes
        self.gate = gate
        self.sends: list[bytes] = []
        self.begun = anyio.Event()

    async def send(self, item: bytes) -> None:
        self.sends.append(bytes(item))
        self.begun.set()
        if self.gate is not None:
            await self.stream.send(item[: len(item) // 2])
            await self.gate.wait()
            item = item[len(item) // 2 :]
        while item:
            size = len(item) if self.sizes is None else self.sizes.choice((1, 7, 300, 20_000))
            await self.stream.send(item[:size])
            item = item[size:]

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self.stream.receive(max_bytes)

    async def send_eof(self) -> None:
        await self.stream.send_eof()

    async def aclose(self) -> None:
        await self.stream.aclose()

    @property
    def extra_attributes(self) -> Any:
        return self.stream.extra_attributes


@pytest.fixture
def linked(peer_of: Any) -> Callable[..., Any]:
    """``async with linked(...) as (link, peer)``: a link that is running, and its peer."""

    @asynccontextmanager
    async def linked(
        lane: Any = None,
        *,
        client: bool = False,
        wrap: Callable[[SocketStream], ByteStream] = lambda stream: stream,
        stall_limit: float = math.inf,
        early: bytes = b"",
        on_messages: Callable[[list[bytes]], None] = lambda messages: None,
        run: bool = True,
    ) -> AsyncIterator[tuple[Link, Any]]:
        listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener, anyio.create_task_group() as tasks:
            (one,) = listener.listeners
            near = await anyio.connect_tcp("127.0.0.1", listener.extra(SocketAttribute.local_port))
            far = await one.accept()
            other: Any = (
                ServerProtocol(state=State.OPEN, max_size=MAX_FRAME, logger=SILENT)
                if client
                else ClientProtocol(URI, state=State.OPEN, max_size=MAX_FRAME, logger=SILENT)
            )
            lane = Outbox() if lane is None else lane
            link = Link("test", wrap(near), lane, on_messages, client=client, early=early, stall_limit=stall_limit)
            async with far:
                if run:
                    tasks.start_soon(link.run)
                yield link, peer_of(far, other)
                tasks.cancel_scope.cancel()

    return linked


def offer(lane: Outbox, *payloads: bytes, wire: Callable[[bytes], bytes] = frame) -> None:
    for payload in payloads:
        lane.offer(wire(payload), 0, lane.received + 1, time.monotonic())


def lane_of(*payloads: bytes, **bounds: Any) -> Outbox:
    lane = Outbox(message_ttl=math.inf, **bounds)
    offer(lane, *payloads)
    return lane


def ledger(lane: Outbox) -> dict[str, Any]:
    assert lane.received == lane.confirmed + lane.unconfirmed + lane.queued + sum(lane.dropped.values())
    return {"confirmed": lane.confirmed, "queued": lane.queued, **lane.dropped}


@pytest.mark.parametrize(
    "wrap", [lambda stream: stream, partial(Wrapped, sizes=random.Random(2))], ids=["socket", "stream"]
)
async def test_frames_stay_whole_and_in_order_through_partial_writes(linked: Any, wrap: Any) -> None:
    dice = random.Random(1)
    payloads = [b"%d %s" % (number, b"x" * dice.choice((0, 10, 900, 70_000))) for number in range(300)]
    lane = lane_of(max_bytes=math.inf)
    async with linked(lane, wrap=wrap) as (link, peer):
        for number, payload in enumerate(payloads):
            offer(lane, payload)
            link.flush()
            if number % 10 == 0:
                link.send(b"control %d" % number)
                await anyio.lowlevel.checkpoint()
        texts = [await peer.text() for _ in range(330)]
    assert [text for text in texts if not text.startswith(b"control")] == payloads
    assert [text for text in texts if text.startswith(b"control")] == [b"control %d" % n for n in range(0, 300, 10)]
    found = ledger(lane)
    assert (found["confirmed"] + found.get("uncertain", 0), found["queued"]) == (300, 0)


async def test_what_waits_is_written_in_one_piece(linked: Any) -> None:
    async with linked(lane_of(*(b"%d" % number for number in range(50))), wrap=Wrapped) as (link, peer):
        assert [await peer.text() for _ in range(50)] == [b"%d" % number for number in range(50)]
    assert len(link._stream.sends) == 1


async def test_answers_and_pongs_overtake_queued_events(linked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(napcore.net.link, "CHUNK", 64)
    gate = anyio.Event()
    lane = lane_of(*(b"%d" % number * 40 for number in range(10)))
    async with linked(lane, wrap=partial(Wrapped, gate=gate)) as (link, peer):
        await link._stream.begun.wait()
        await peer.send((Opcode.PING, b"are you there"))
        with anyio.fail_after(5):
            while not lane.control_queued:
                await anyio.lowlevel.checkpoint()
        link.send(b"answer")
        gate.set()
        frames = [await peer.frame() for _ in range(12)]
    assert [(frame.opcode.name, bytes(frame.data)[:40]) for frame in frames] == [
        ("TEXT", b"0" * 40),
        ("PONG", b"are you there"),
        ("TEXT", b"answer"),
        *(("TEXT", b"%d" % number * 40) for number in range(1, 10)),
    ]


async def test_a_write_that_stalls_cuts_the_link_and_nothing_follows_the_torn_frame(linked: Any) -> None:
    lane = lane_of(b"a" * 100)
    async with (
        linked(lane, wrap=partial(Wrapped, gate=anyio.Event()), stall_limit=0.05) as (link, peer),
        anyio.create_task_group() as tasks,
    ):
        await link._stream.begun.wait()
        offer(lane, b"b" * 100)
        link.send(b"control")

        async def keep_flushing() -> None:
            while not link.closed.is_set():
                link.flush()
                await anyio.lowlevel.checkpoint()

        tasks.start_soon(keep_flushing)
        assert await peer.rest() == []
        await link.closed.wait()
    assert link.cause == "it took nothing for 0.05 s while events were waiting"
    assert len(link._stream.sends) == 1
    assert not link.open
    assert ledger(lane) == {"confirmed": 0, "queued": 1, "uncertain": 1}
    assert lane.late == 1


async def test_each_slice_of_a_large_frame_counts_as_progress(linked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(napcore.net.sockets, "SLICE", 1000)

    class Slow(Wrapped):
        async def send(self, item: bytes) -> None:
            await anyio.sleep(0.02)
            await super().send(item)

    async with linked(lane_of(b"x" * 20_000), wrap=Slow, stall_limit=0.3) as (link, peer):
        assert await peer.text() == b"x" * 20_000
        assert link.open
    assert [len(sent) for sent in link._stream.sends] == [1000] * 20 + [4 + 10], "the frame, and a ping"


async def test_cancelling_a_link_in_the_middle_of_a_write_passes_and_closes(linked: Any) -> None:
    lane = lane_of(b"a" * 100, b"b" * 100_000)
    async with linked(lane, wrap=partial(Wrapped, gate=anyio.Event()), run=False) as (link, peer):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(link.run)
                await link._stream.begun.wait()
                scope.cancel()
        assert scope.cancelled_caught
        assert link.closed.is_set()
        assert await peer.rest() == []
    assert ledger(lane) == {"confirmed": 0, "queued": 1, "uncertain": 1}


@pytest.mark.parametrize("error", [anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError])
async def test_a_peer_that_goes_during_a_write_ends_the_link(linked: Any, error: type[Exception]) -> None:
    class Gone(Wrapped):
        async def send(self, item: bytes) -> None:
            raise error

    lane = lane_of(b"event")
    async with linked(lane, wrap=Gone) as (link, _):
        await link.closed.wait()
    assert link.cause == "connection lost while writing"
    assert ledger(lane) == {"confirmed": 0, "queued": 0, "uncertain": 1}


async def test_the_close_frame_goes_ahead_of_queued_events_and_is_the_last(
    linked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(napcore.net.link, "CHUNK", 64)
    gate = anyio.Event()
    lane = lane_of(*(b"%d" % number * 40 for number in range(10)))
    async with linked(lane, wrap=partial(Wrapped, gate=gate)) as (link, peer):
        await link._stream.begun.wait()
        link.send(b"before")
        link.start_close(4001, "enough")
        link.send(b"after")
        link.flush()
        gate.set()
        frames = await peer.rest()
        await link.closed.wait()
    assert [(frame.opcode.name, bytes(frame.data)[2:] or b"") for frame in frames] == [
        ("TEXT", b"0" * 38),
        ("TEXT", b"fore"),
        ("CLOSE", b"enough"),
    ]
    assert ledger(lane) == {"confirmed": 1, "queued": 9}
    assert link.cause == "closed with 4001: enough"
    assert link.close_code == 4001


async def test_a_close_reason_is_cut_to_what_a_close_frame_holds(linked: Any) -> None:
    async with linked() as (link, peer):
        link.start_close(1012, "重" * 200)
        assert await peer.closed() == (1012, "重" * 41)


async def test_a_peer_that_closes_gets_its_code_back(linked: Any) -> None:
    async with linked() as (link, peer):
        await peer.send((Opcode.CLOSE, (4000).to_bytes(2, "big") + b"bye"))
        assert await peer.closed() == (4000, "bye")
        await link.closed.wait()
        assert (link.close_code, link.open) == (4000, False)
        assert "4000" in link.cause
        assert "bye" in link.cause


@pytest.mark.usefixtures("quick_close")
async def test_a_peer_that_ignores_the_close_handshake_is_cut(linked: Any) -> None:
    async with linked() as (link, peer):
        peer.polite = False
        await link.close(1001, "going away")
        assert link.closed.is_set()
        assert await peer.closed() == (1001, "going away")
        assert await peer.frame() is None


@pytest.mark.usefixtures("quick_close")
async def test_closing_is_carried_through_when_it_is_cancelled(linked: Any) -> None:
    async with linked() as (link, peer):
        peer.polite = False
        with anyio.CancelScope() as scope:
            scope.cancel()
            await link.close(1001, "going away")
        assert link.closed.is_set()
        await link.close(1000, "again")
        assert link.cause == "closed with 1001: going away"


@pytest.mark.usefixtures("quick_close")
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\xff" + (MAX_FRAME + 1).to_bytes(8, "big") + b"1234", 1009),
        (b"\x81\xff" + (1 << 62).to_bytes(8, "big") + b"1234", 1009),
        (b"\x01\x80\0\0\0\0" + b"\0\x80\0\0\0\0" * 5000, 1009),
        (b"\x81\x02hi", 1002),
        (b"\xc1\x80\0\0\0\0", 1002),
        (b"\x83\x80\0\0\0\0", 1002),
        (b"\x80\x80\0\0\0\0", 1002),
        (b"\x88\x81\0\0\0\0\x01", 1002),
        (b"\x81\x82\0\0\0\0x\xff", 1007),
        (b"\x01\x81\0\0\0\0\xe6" + b"\0\x81\0\0\0\0\xb1" + b"\0\x81\0\0\0\0x", 1007),
    ],
    ids=[
        *("oversized", "endless", "fragments", "unmasked", "rsv", "opcode", "stray continuation", "close of one byte"),
        *("not UTF-8", "not UTF-8 over frames"),
    ],
)
async def test_frames_against_the_rules_end_the_link_with_a_code(linked: Any, data: bytes, code: int) -> None:
    messages: list[bytes] = []
    async with linked(on_messages=messages.extend) as (link, peer):
        await peer.stream.send(data)
        assert (await peer.closed())[0] == code
        await link.closed.wait()
        assert f"closed with {code}" in link.cause
    assert messages == []


async def test_the_close_code_arrives_though_the_peer_is_still_sending(linked: Any) -> None:
    async with linked() as (link, peer), anyio.create_task_group() as tasks:
        peer.polite = False

        async def send() -> None:
            await peer.stream.send(b"\x81\xff" + (MAX_FRAME + 1).to_bytes(8, "big") + b"1234")
            with suppress(anyio.BrokenResourceError):
                for _ in range(MAX_FRAME // 100_000):
                    await peer.stream.send(b"x" * 100_000)

        tasks.start_soon(send)
        assert (await peer.closed())[0] == 1009
        await link.closed.wait()


async def test_as_many_fragments_as_allowed_are_one_message(linked: Any) -> None:
    messages: list[bytes] = []
    async with linked(on_messages=messages.extend) as (_, peer):
        parts = [Frame(Opcode.TEXT, b"a", False), *(Frame(Opcode.CONT, b"b", False) for _ in range(MAX_FRAGMENTS - 2))]
        await peer.send(*parts, (Opcode.PING, b""), Frame(Opcode.CONT, "é".encode()))
        assert (await peer.frame()).opcode is Opcode.PONG
        await peer.send(b"next", (Opcode.PING, b""))
        await peer.frame()
    assert messages == [b"a" + b"b" * (MAX_FRAGMENTS - 2) + "é".encode(), b"next"]


async def test_messages_of_one_read_are_handed_on_together_and_binary_ones_left_out(linked: Any) -> None:
    reads: list[list[bytes]] = []
    async with linked(on_messages=reads.append) as (link, peer):
        await peer.send(b"1", (Opcode.BINARY, b"no"), b"2", Frame(Opcode.BINARY, b"n", False), Frame(Opcode.CONT, b"o"))
        await peer.send((Opcode.PING, b""))
        await peer.frame()
        assert (sum(reads, []), link.binary) == ([b"1", b"2"], 2)


async def test_a_flood_of_pings_from_a_peer_that_does_not_read_costs_no_memory(linked: Any) -> None:
    gate = anyio.Event()
    lane = Outbox()
    async with linked(lane, wrap=partial(Wrapped, gate=gate)) as (link, peer):
        await peer.send(*((Opcode.PING, b"%0100d" % number) for number in range(3_000)))
        with anyio.fail_after(10):
            while link._late_pong is None or int(link._late_pong) < 2_999:
                assert lane.control_queued <= 2 * napcore.net.link.PONGS
                await anyio.lowlevel.checkpoint()
        gate.set()
        pongs = [0]
        while pongs[-1] < 2_999:
            frame = await peer.frame()
            assert frame.opcode is Opcode.PONG
            pongs.append(int(frame.data))
        assert pongs == sorted(pongs)
        assert len(pongs) < 100
        assert link.open


async def test_a_lane_that_overflowed_closes_the_link_with_1013(linked: Any) -> None:
    lane = lane_of(max_events=2, overflow="disconnect")
    offer(lane, b"1", b"2", b"3")
    async with linked(lane) as (link, peer):
        assert await peer.closed() == (1013, "too slow: the queue overflowed")
        await link.closed.wait()
    assert ledger(lane) == {"confirmed": 0, "queued": 0, "disconnect": 3}
    assert lane.close_code == 0


@pytest.mark.parametrize("client", [False, True])
async def test_messages_come_whole_however_the_bytes_are_cut(linked: Any, client: bool) -> None:
    dice = random.Random(11)
    reads: list[list[bytes]] = []
    expected, frames = [], []
    for number in range(300):
        text = b"%d " % number * dice.choice((1, 10, 60, 300, 30_000))
        kind = dice.randrange(6)
        if kind == 0:
            frames += [Frame(Opcode.TEXT, text[:3], False), Frame(Opcode.PONG, b"x"), Frame(Opcode.CONT, text[3:])]
        elif kind == 1:
            frames += [Frame(Opcode.BINARY, b"no"), Frame(Opcode.TEXT, text)]
        else:
            frames.append(Frame(Opcode.TEXT, text))
        expected.append(text)
    data = b"".join(frame.serialize(mask=not client) for frame in frames)
    async with linked(client=client, on_messages=reads.append) as (link, peer):
        at = 0
        while at < len(data):
            size = dice.choice((1, 2, 5, 1000, 20_000, 65_536))
            await peer.stream.send(data[at : at + size])
            at += size
            await anyio.lowlevel.checkpoint()
        with anyio.fail_after(10):
            while sum(map(len, reads)) < len(expected):
                await anyio.lowlevel.checkpoint()
        assert link.open
    assert sum(reads, []) == expected


async def test_pongs_between_and_within_other_frames(linked: Any) -> None:
    """However the peer's bytes are cut, each of its messages comes whole and each of its pongs counts."""
    messages: list[bytes] = []
    lane = lane_of(*(b"%d" % number for number in range(300)), max_events=math.inf)
    async with linked(lane, on_messages=messages.extend) as (link, peer):
        peer.polite = False
        dice = random.Random(3)
        sent: list[bytes] = []
        for _ in range(40):
            while not peer.pings:
                peer.protocol.receive_data(await peer.stream.receive())
                for frame in peer.protocol.events_received():
                    if frame.opcode is Opcode.PING:
                        peer.pings.append(bytes(frame.data))
            pong = Frame(Opcode.PONG, peer.pings.pop(0)).serialize(mask=True)
            text = b"%d" % len(sent) * dice.choice((1, 20, 200))
            sent.append(text)
            data = Frame(Opcode.TEXT, text).serialize(mask=True)
            where = dice.randrange(len(data) + 1)
            # Half of a frame, then the other half and the pong; or the pong alone.
            for piece in dice.choice(((data[:where], data[where:] + pong), (data, pong), (pong + data,))):
                if piece:
                    await peer.stream.send(piece)
                    await anyio.wait_all_tasks_blocked()
            offer(lane, *(b"x" for _ in range(64)))
            link.flush()
            if not lane.queued:
                break
        assert messages == sent
        assert lane.confirmed >= 64 * (len(sent) - 1)


async def test_a_reset_ends_the_link_without_a_word(linked: Any) -> None:
    async with linked() as (link, peer):
        peer.reset()
        await peer.stream.aclose()
        await link.closed.wait()
        assert link.close_code is None
        assert link.cause == "connection lost"


async def test_towards_a_server_every_frame_is_masked(linked: Any) -> None:
    lane = Outbox(message_ttl=math.inf)
    offer(lane, b"event", wire=lambda data: masked_frame(data, b"abcd"))
    async with linked(lane, client=True) as (link, peer):
        link.send(b"call")
        assert sorted([await peer.text(), await peer.text()]) == [b"call", b"event"]
        link.start_close(1000, "done")
        assert await peer.closed() == (1000, "done")


async def test_frames_that_came_with_the_handshake_come_first(linked: Any) -> None:
    messages: list[bytes] = []
    early = b"".join(Frame(Opcode.TEXT, text).serialize(mask=True) for text in (b"1", b"2"))
    async with linked(early=early, on_messages=messages.extend) as (_, peer):
        await peer.send(b"3", (Opcode.PING, b""))
        await peer.frame()
    assert messages == [b"1", b"2", b"3"]


async def test_what_is_sent_before_it_runs_goes_out_first(linked: Any) -> None:
    async with linked(lane_of(b"event"), run=False) as (link, peer), anyio.create_task_group() as tasks:
        link.send(b"lifecycle")
        link.flush()
        tasks.start_soon(link.run)
        assert [await peer.text(), await peer.text()] == [b"lifecycle", b"event"]
        link.abort("over")
        await link.closed.wait()
        assert link.cause == "over"


async def test_a_link_aborted_before_it_runs_never_runs(linked: Any) -> None:
    lane = lane_of(b"event")
    async with linked(lane, run=False) as (link, peer):
        link.abort("gone already")
        await link.run()
        assert await peer.rest() == []
    assert ledger(lane) == {"confirmed": 0, "queued": 1}


async def test_little_hides_in_the_send_buffer(linked: Any) -> None:
    async with linked() as (link, _):
        raw = link._stream.extra(SocketAttribute.raw_socket)
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 512 << 10
