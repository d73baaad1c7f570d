"""Rows 4, 5, 10 and 33: clients that come and go, many at once, twice, and when descriptors are short."""

from __future__ import annotations

import gc
import os
import resource
import socket
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import anyio

from faults.case import Case
from faults.stage import Numbers, ledgers, numbers_of, session_of
from faults.system import descriptors, resident
from faults.table import row
from napcore.testing import RecordingClient, Simulator
from napcore.testing.percentiles import percentile

HEAD = (
    b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\n%b\r\n"
)
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


@row("4", "a client comes and is reset every 50 to 300 ms", "no task, descriptor or memory is left of it")
async def flapping(case: Case) -> None:
    rounds = 40 if case.quick else 150
    async with Simulator(10001, seed=case.seed) as sim, RecordingClient(record=False) as good, case.relay() as relay:
        got = array("q")
        good.on_event = lambda event: got.append(event["message_id"])
        listener = await relay.listen("127.0.0.1", 0)
        relay.add_client("flapping")
        relay.add_client("good", await good.listen())
        await relay.add_upstream(await sim.listen()).ready()
        await good.wait_for(lambda: len(good.meta) > 0)
        numbers = Numbers(sim)

        async def flap(times: int) -> None:
            for _ in range(times):
                async with RecordingClient(record=False) as bot:
                    link = await bot.connect(f"{listener.url}/c/flapping")
                    await anyio.sleep(case.random.uniform(0.05, 0.3) / (3 if case.quick else 1))
                    link.abort()
                    await bot.wait_for(lambda bot=bot: not bot.links)  # type: ignore[misc]
            await case.until(lambda: session_of(relay, "flapping").link is None, "the last link's end")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(numbers.run, 50.0, 3600.0)
            await flap(8)
            before = descriptors(), len(anyio.get_running_tasks()), resident()
            await flap(rounds)
            gc.collect()
            after = descriptors(), len(anyio.get_running_tasks()), resident()
            tasks.cancel_scope.cancel()
        case.figure("links", ledgers(relay)["flapping"].connects, least=rounds)
        case.figure("descriptors more", after[0] - before[0], most=0)
        case.figure("tasks more", after[1] - before[1], most=0)
        case.figure("memory more", (after[2] - before[2]) / 2**20, " MiB", most=4.0)
        await case.until(lambda: good.count >= numbers.sent, "every event at the other client")
        case.check(list(got) == list(range(numbers.sent)), "the other client missed something")


@row(
    "5",
    "200 clients come at once, and the upstream with them",
    "the upstream's handshake takes under a second; the others get 101 or a quick 503",
    alone=True,
)
async def storm(case: Case) -> None:
    async with case.relay() as relay, Simulator(10001, seed=case.seed) as sim:
        listener = await relay.listen("127.0.0.1", 0)
        took: list[float] = []
        statuses: list[int] = []

        async def come(number: int) -> None:
            start = time.monotonic()
            async with await anyio.connect_tcp("127.0.0.1", listener.port) as stream:
                await stream.send(HEAD % (b"/c/bot-%d" % number, KEY))
                answer = await stream.receive()
                took.append(time.monotonic() - start)
                statuses.append(int(answer.split()[1]))
                await anyio.sleep(0.5)

        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(come, number)
            start = time.monotonic()
            sim.connect(listener.url)
            await sim.wait_connected(timeout=20)
            upstream_took = time.monotonic() - start
        case.figure("upstream's handshake", upstream_took * 1e3, " ms", most=1000.0)
        case.figure("upstream's refusals", sim.refusals, exactly=0)
        case.figure("let in", statuses.count(101), least=64)
        case.figure("refused with 503", statuses.count(503))
        case.figure("other answers", len(statuses) - statuses.count(101) - statuses.count(503), exactly=0)
        case.figure("handshake p99", (percentile(took, 99) or 0.0) * 1e3, " ms", most=1000.0)


@row("10", "a client of the same name dials a second time", "the old link is gone before the new one gets anything")
async def twice(case: Case) -> None:
    async with Simulator(10001, seed=case.seed) as sim, case.relay() as relay, RecordingClient() as bot:
        listener = await relay.listen("127.0.0.1", 0)
        relay.add_client("bot")
        await relay.add_upstream(await sim.listen()).ready()
        numbers = Numbers(sim)
        most = 0

        def look(event: object) -> None:
            nonlocal most
            open_links = [link for link in relay.traffic.clients.links if not link.link.closed.is_set()]
            most = max(most, sum(link.client.name == "bot" for link in open_links))

        bot.on_event = look
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(numbers.run, 200.0, 3.0)
            for _ in range(10):
                await bot.connect(f"{listener.url}/c/bot")
                await anyio.sleep(0.25)
        await case.until(lambda: ledgers(relay)["bot"].queued == 0, "every event")
        case.figure("links of the name at one time", most, exactly=1)
        case.figure("links left", len(bot.links), exactly=1)
        got = numbers_of(bot.events)
        case.figure("doubles", len(got) - len(set(got)), exactly=0)
        case.check(got == sorted(got), "events came out of order")


@row(
    "33",
    "no more descriptors: 64 more are allowed and 100 dial",
    "the accept loop lives on, tells those it cannot serve, and serves again",
)
async def descriptors_short(case: Case) -> None:
    async with Simulator(10001, seed=case.seed) as sim, RecordingClient() as good, case.relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        await relay.add_upstream(await sim.listen()).ready()
        relay.add_client("good", await good.listen())
        await good.wait_for(lambda: len(good.meta) > 0)
        numbers = Numbers(sim)
        await numbers.emit(10)
        dialled: list[socket.socket] = []
        told = served = 0
        with _allowed(64):
            # Our own ends take descriptors of the same process: at the last, none is left for the other.
            with suppress(OSError):
                while len(dialled) < 100:
                    dialled.append(socket.socket())
            for raw in dialled:
                raw.setblocking(False)
                with suppress(BlockingIOError):
                    raw.connect(("127.0.0.1", listener.port))
            await numbers.emit(10)
            dialled.pop(0).close()
            with anyio.move_on_after(10.0):
                for raw in dialled:
                    with suppress(OSError):
                        raw.send(HEAD % (b"/", b"X: y\r\n"))
                    await anyio.wait_readable(raw)
                    answer = raw.recv(4096)
                    told += answer.startswith(b"HTTP/1.1 503 ")
                    served += answer.startswith(b"HTTP/1.1 400 ")
            await numbers.emit(10)
            for raw in dialled:
                raw.close()
        start = time.monotonic()
        async with RecordingClient() as bot:
            await bot.connect(listener.url)
            await bot.wait_for(lambda: len(bot.meta) > 0)
        case.figure("dialled", len(dialled) + 1, least=40)
        case.figure("told 503", told, least=1)
        case.figure("gone into", served)
        case.figure("left without a word", len(dialled) - told - served, exactly=0)
        case.figure("serves again after", (time.monotonic() - start) * 1e3, " ms", most=2000.0)
        await case.until(lambda: good.count >= 30, "every event at the client that was there")
        case.figure("events at a client meanwhile", good.count, exactly=30)


@contextmanager
def _allowed(more: int) -> Iterator[None]:
    highest = os.open(os.devnull, os.O_RDONLY)
    os.close(highest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
