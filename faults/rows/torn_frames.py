"""Rows 11 and 13: connections that are cut in the middle of a frame, or carry single bytes."""

from __future__ import annotations

from urllib.parse import urlsplit

import anyio

from faults.case import Case
from faults.proxy import FaultProxy
from faults.stage import Numbers, check_gap, ledgers, numbers_of
from faults.table import row
from napcore.testing import RecordingClient, Simulator

WINDOW = 64


def port_of(url: str) -> int:
    """The port in a URL."""
    port = urlsplit(url).port
    assert port is not None
    return port


@row(
    "11",
    "a client's connection is reset in the middle of a frame",
    "no frame is torn or doubled for it, what was on the wire counts as uncertain; the others notice nothing",
    quick=True,
)
async def reset_mid_frame(case: Case) -> None:
    cuts = 12 if case.quick else 100
    async with (
        Simulator(10001, seed=case.seed) as sim,
        RecordingClient() as dialled,
        RecordingClient() as good,
        case.relay() as relay,
    ):
        listener = await relay.listen("127.0.0.1", 0)
        await relay.add_upstream(await sim.listen()).ready()
        relay.add_client("dialling")
        relay.add_client("good", await good.listen())
        numbers = Numbers(sim)
        got: list[int] = []
        broken: list[int | None] = []
        with (
            FaultProxy(listener.port) as towards_us,
            FaultProxy(port_of(await dialled.listen(manners="aiocqhttp"))) as towards_them,
        ):
            relay.add_client("dialled", f"ws://127.0.0.1:{towards_them.port}/onebot/v11/ws")
            await dialled.wait_for(lambda: len(dialled.meta) > 0)
            await good.wait_for(lambda: len(good.meta) > 0)
            async with anyio.create_task_group() as tasks:
                for cut in range(cuts):
                    async with RecordingClient() as bot:
                        link = await bot.connect(f"ws://127.0.0.1:{towards_us.port}/c/dialling")
                        await bot.wait_for(lambda bot=bot: len(bot.meta) > 0)  # type: ignore[misc]
                        # Events are of 1 kB or so, and cut anywhere.
                        towards_us.fault("down", cut_after=case.random.randrange(1, 8000))
                        if cut in (2, 7):
                            towards_them.fault("up", cut_after=case.random.randrange(1, 8000))
                        await numbers.emit(30)
                        await case.until(link.closed.is_set, "the cut")
                        towards_us.fault("down")
                        if cut in (2, 7):
                            await dialled.wait_for(lambda: not dialled.links)
                            towards_them.fault("up")
                        broken.append(link.close_code)
                        got += numbers_of(bot.events)
                tasks.cancel_scope.cancel()
            async with RecordingClient() as bot:
                await bot.connect(f"ws://127.0.0.1:{towards_us.port}/c/dialling")
                await case.until(
                    lambda: all(client.queued == client.unconfirmed == 0 for client in relay.statistics().clients),
                    "everything confirmed",
                    40,
                )
                got += numbers_of(bot.events)
        stats = ledgers(relay)
        check_gap(case, numbers.sent, got, stats["dialling"])
        check_gap(case, numbers.sent, numbers_of(dialled.events), stats["dialled"])
        case.figure("cuts", cuts + 2)
        # 1006 is no close frame at all; anything else is what a client says of a frame it cannot read.
        case.check(set(broken) == {1006}, f"links ended with {set(broken)}")
        case.figure("uncertain a cut", stats["dialling"].dropped.get("uncertain", 0) / cuts, most=WINDOW)
        case.check(stats["dialling"].dropped.keys() <= {"uncertain"}, f"lost: {stats['dialling'].dropped}")
        case.check(numbers_of(good.events) == list(range(numbers.sent)), "the other client did not get everything")
        case.figure("links of the other", stats["good"].connects, exactly=1)


@row(
    "13",
    "a client's connection carries single bytes",
    "within its bounds it is served; a handshake that dribbles is cut at 5 s; the others notice nothing",
)
async def dribble(case: Case) -> None:
    async with (
        Simulator(10001, seed=case.seed) as sim,
        RecordingClient() as slow,
        RecordingClient() as good,
        case.relay() as relay,
    ):
        listener = await relay.listen("127.0.0.1", 0)
        await relay.add_upstream(await sim.listen()).ready()
        relay.add_client("slow")
        relay.add_client("good", await good.listen())
        await good.wait_for(lambda: len(good.meta) > 0)
        numbers = Numbers(sim)
        with FaultProxy(listener.port, receive_buffer=4096) as proxy:
            link = await slow.connect(f"ws://127.0.0.1:{proxy.port}/c/slow")
            await slow.wait_for(lambda: len(slow.meta) > 0)
            proxy.fault("down", dribble=0.0002)
            await numbers.run(50.0, 10.0)
            await case.until(lambda: len(good.events) == numbers.sent, "everything at the good client")
            case.check(link.open, f"its link was closed with {link.close_code}")
            case.figure("events in single bytes", len(slow.events), least=10)
            case.check(numbers_of(slow.events) == sorted(numbers_of(slow.events)), "out of order")
            proxy.fault("down")
            await case.until(lambda: ledgers(relay)["slow"].queued == 0, "the rest", 30)
            # A handshake, byte by byte: some 200 bytes at 20 a second.
            proxy.fault("up", dribble=0.05)
            start = anyio.current_time()
            async with RecordingClient() as other:
                try:
                    await other.connect(f"ws://127.0.0.1:{proxy.port}/c/other", timeout=20)
                    case.check(False, "a handshake of 10 s was waited for")
                except ConnectionError:
                    case.figure("handshake cut after", anyio.current_time() - start, " s", most=6.0, least=4.5)
        case.figure("lost by the good one", sum(ledgers(relay)["good"].dropped.values()), exactly=0)
