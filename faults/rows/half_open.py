"""Row 12: a client whose machine is gone without a word."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import anyio

import napcore.net.link
from faults.case import Case
from faults.child import python_child, start
from faults.stage import Numbers, check_gap, ledgers, session_of
from faults.system import dropped_packets
from faults.table import row
from napcore.testing import RecordingClient, Simulator


@row(
    "12",
    "every packet from and to a client is dropped, while events are sent and while nothing is",
    "noticed within 15 s while sending, 40 s idle; the others notice nothing",
    limit=200,
)
async def half_open(case: Case) -> None:
    # To the relay everybody is on another machine: on loopback silence means a bot that is blocked.
    vars(napcore.net.link)["is_loopback"] = lambda stream: False
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_lose, case, 15.0)
        tasks.start_soon(_lose, case, None)


async def _lose(case: Case, sending: float | None) -> None:
    """Lose a client; ``sending`` is how long events are sent meanwhile, None not at all."""
    limit = sending or 41.0
    async with (
        start(case, python_child("peers.bot", "--listen", 0)) as bot,
        Simulator(10001, seed=case.seed) as sim,
        RecordingClient() as good,
        case.relay() as relay,
        anyio.create_task_group() as tasks,
    ):
        url = (await bot.wait_for("ready", limit=40))["url"]
        port = urlsplit(url).port
        assert port is not None
        relay.add_client("bot", url, heartbeat=15.0 if sending else 1000.0)
        relay.add_client("good", await good.listen())
        await relay.add_upstream(await sim.listen()).ready()
        await bot.wait_for("meta")
        await good.wait_for(lambda: len(good.meta) > 0)
        numbers = Numbers(sim)
        await numbers.run(20.0, 1.0)
        await case.until(lambda: ledgers(relay)["bot"].confirmed == numbers.sent, "the first events confirmed")
        link = session_of(relay, "bot").link
        assert link is not None
        began = time.monotonic()
        with dropped_packets(port):
            if sending:
                tasks.start_soon(numbers.run, 20.0, sending + 2.0)
            if await case.until(link.link.closed.is_set, "the end of the dead link", limit + 10):
                took = time.monotonic() - began
                case.figure("noticed while sending" if sending else "noticed while idle", took, " s", most=limit)
        if sending:
            await anyio.sleep(max(0.0, began + sending + 3.0 - time.monotonic()))
        await case.until(lambda: len(good.events) == numbers.sent, "everything at the other client")
        await case.until(lambda: ledgers(relay)["bot"].state == "connected", "the client's next link", 60)
        await case.until(lambda: ledgers(relay)["bot"].queued == 0, "what was held", 40)
        await anyio.sleep(1.5)
        check_gap(case, numbers.sent, [line["id"] for line in bot.said("event")], ledgers(relay)["bot"])
        case.figure("lost by the other one", sum(ledgers(relay)["good"].dropped.values()), exactly=0)
        tasks.cancel_scope.cancel()
