"""Row 1: one client stops reading."""

from __future__ import annotations

import statistics
import time

import anyio

from faults.case import Case
from faults.latency import Latency
from faults.stage import ledgers, session_of, waiting_for
from faults.system import resident
from faults.table import row
from napcore import Policy, Relay
from napcore.testing import RecordingClient, Simulator

RATE = 300.0
PHASE = 1.0
PAIRS = range(5, 16)
"""Pairs of phases at least, and at most."""

MAX_BYTES = 1 << 20
SLACK = 2 << 20


@row(
    "1",
    "one client stops reading",
    "the others notice nothing; its drops are counted; it is cut after `write_timeout`, by default never on loopback",
    quick=True,
    alone=True,
)
async def one_stops_reading(case: Case) -> None:
    async with (
        Simulator(10001, seed=case.seed) as sim,
        RecordingClient(record=False) as dialled,
        RecordingClient(record=False) as dialling,
        RecordingClient(record=False, receive_buffer=4096) as bad,
        RecordingClient(record=False, receive_buffer=4096) as timed,
        case.relay() as relay,
        anyio.create_task_group() as tasks,
    ):
        listener = await relay.listen("127.0.0.1", 0)
        relay.add_client("dialled", await dialled.listen())
        relay.add_client("bad", await bad.listen(), policy=Policy(max_bytes=MAX_BYTES, max_events=500))
        relay.add_client("timed", policy=Policy(write_timeout=10.0))
        await relay.add_upstream(await sim.listen()).ready()
        await dialling.connect(f"{listener.url}/c/dialling")
        await timed.connect(f"{listener.url}/c/timed")
        for client in (dialled, dialling, bad, timed):
            await client.wait_for(lambda client=client: len(client.meta) > 0)  # type: ignore[misc]
        (bad_link,) = bad.links
        order: list[int] = []
        bad.on_event = lambda event: order.append(event["message_id"]) if "message_id" in event else None

        lasted: list[float] = []

        async def time_the_cut() -> None:
            link = session_of(relay, "timed").link
            assert link is not None
            start = time.monotonic()
            timed.pause()
            await link.link.closed.wait()
            lasted.append(time.monotonic() - start)

        tasks.start_soon(time_the_cut)
        latency = Latency(sim, dialled, dialling)
        ratios: list[float] = []
        costs: list[int] = []
        while len(ratios) < PAIRS.start or (statistics.median(ratios) > 1.2 and len(ratios) < PAIRS.stop):
            # Which of the two comes first changes, so that a drift of the machine is on neither side.
            found, memory = {}, {}
            for stalled in (False, True) if len(ratios) % 2 else (True, False):
                if stalled:
                    bad.pause()
                else:
                    await _wake(bad, relay)
                found[stalled] = await latency.phase(RATE, PHASE)
                memory[stalled] = resident()
            costs.append(memory[True] - memory[False])
            ratios.append(found[True] / found[False])
        bad.pause()
        # What the kernel takes is soon full.
        await latency.phase(1000.0, 2.0)
        await case.until(lambda: lasted, "the end of the one with write_timeout=10", 15)
        stats = ledgers(relay)
        case.figure("p99 of the others against without", statistics.median(ratios), "x", most=1.2)
        case.note(f"{len(ratios)} pairs of phases, p99 {latency.p99 * 1e3:.2f} ms")
        case.figure(
            "their drops", sum(sum(stats[name].dropped.values()) for name in ("dialled", "dialling")), exactly=0
        )
        case.figure("its drops", sum(stats["bad"].dropped.values()), least=1)
        case.check(stats["bad"].dropped.keys() <= {"oldest", "ttl"}, f"it lost events by {stats['bad'].dropped}")
        case.figure("memory against without", max(costs[1:]) / 2**20, " MiB", most=(MAX_BYTES + SLACK) / 2**20)
        case.figure("cut after", lasted[0] if lasted else 0.0, " s", least=10.0, most=12.5)
        await _wake(bad, relay)
        case.check(bad_link.open, f"the stalled client's link was closed with {bad_link.close_code}")
        case.figure("its links", ledgers(relay)["bad"].connects, exactly=1)
        case.figure("doubles", len(order) - len(set(order)), exactly=0)


async def _wake(client: RecordingClient, relay: Relay) -> None:
    client.resume()
    await client.wait_for(lambda: not waiting_for(relay, "bad"), timeout=20)
