"""Row 16: the upstream stands still, and then everything comes at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import anyio

from faults.case import Case
from faults.child import Child, python_child, start
from faults.stage import LoopLag, ledgers
from faults.table import row
from napcore import Relay
from napcore.testing import RecordingClient
from napcore.testing.percentiles import percentile

RATE = 67.0
LIFETIME = 60.0
"""Seconds a message may be old."""

LATE = 5.0
"""Seconds after which an event is late, and paced."""

BURST = 1.2
"""A second's worth of late events, and a fifth of one that may go at once."""

WINDOW = 64
"""What may be in flight, and comes as the client gets round to reading it."""


class Calls:
    """How long API calls take: ``tasks.start_soon(calls.make, bot)``."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.failed = 0

    async def make(self, bot: RecordingClient) -> None:
        """One after the other, 20 a second."""
        while True:
            start = time.monotonic()
            answer = await bot.call("get_status", timeout=300)
            self.took.append(time.monotonic() - start)
            self.failed += answer["status"] != "ok"
            await anyio.sleep(0.05)


@row(
    "16",
    "the upstream's process stands still for 3 minutes (quick: 20 s), then sends what piled up",
    "links stay; order kept; what is too old is counted as ttl, the rest paced; answers go first; our loop is in time",
    quick=True,
    limit=600,
)
async def frozen(case: Case) -> None:
    frozen_for = 20.0 if case.quick else 180.0
    async with (
        start(case, python_child("peers.napcat", "--seed", case.seed)) as napcat,
        RecordingClient() as bot,
        case.relay() as relay,
        anyio.create_task_group() as tasks,
    ):
        came: list[tuple[int, float, float]] = []

        def note(event: dict[str, Any]) -> None:
            came.append((event["message_id"], time.monotonic(), time.time() - event["time"]))

        bot.on_event = note
        url = (await napcat.wait_for("ready", limit=40))["url"]
        relay.add_client("bot", await bot.listen())
        await relay.add_upstream(url).ready()
        await bot.wait_for(lambda: len(bot.meta) > 0)
        napcat.tell(rate=RATE)
        await bot.received(1)
        lag, before, after = LoopLag(), Calls(), Calls()
        tasks.start_soon(lag.watch)
        with anyio.move_on_after(5.0):
            await before.make(bot)
        usual_lag, lag.most, lag.most_work = lag.most, 0.0, 0.0
        napcat.freeze()
        await anyio.sleep(frozen_for)
        backlog = int(frozen_for * RATE)
        thawed = time.monotonic()
        napcat.thaw()
        async with anyio.create_task_group() as callers:
            callers.start_soon(after.make, bot)
            # Late events are over when the newest event is a fresh one.
            await case.until(lambda: came[-1][1] > thawed and came[-1][2] < 3.0, "live events again", 2 * LIFETIME)
            drained = time.monotonic() - thawed
            await anyio.sleep(2.0)
            callers.cancel_scope.cancel()
        sent = await stop(napcat)
        await case.until(lambda: _all_came(relay, sent), "every event confirmed or counted", LIFETIME)
        ledger = ledgers(relay)["bot"]
        order = [number for number, *_ in came]
        case.figure("backlog", backlog)
        case.figure("drained in", drained, " s", most=LIFETIME)
        # Of those that are older than 5 s; whole seconds are added by "time".
        late = [at for _, at, age in came if at >= thawed and age > LATE + 1.0]
        case.figure("most late events in a second", most_in_a_second(late), most=BURST * 4 * RATE + WINDOW)
        case.figure("loop held up by work", lag.most_work * 1e3, " ms", most=100.0)
        case.note(f"late by {lag.most * 1e3:.1f} ms, without {usual_lag * 1e3:.1f} ms")
        case.figure("API p99", (percentile(after.took, 99) or 0.0) * 1e3, " ms", most=1000.0)
        case.note(f"without {(percentile(before.took, 99) or 0.0) * 1e3:.1f} ms")
        case.figure("failed calls", before.failed + after.failed, exactly=0)
        case.check(order == sorted(set(order)), "events out of order, or doubled")
        case.figure("delivered or counted", len(order) + sum(ledger.dropped.values()), exactly=sent)
        case.check(ledger.dropped.keys() <= {"ttl"}, f"lost: {ledger.dropped}")
        if frozen_for > LIFETIME:
            case.figure("too old", ledger.dropped.get("ttl", 0), least=(frozen_for - LIFETIME - 15) * RATE)
        oldest = max((age for _, at, age in came if at > thawed), default=0.0)
        # What is in flight when it goes stale is a second's events at most; whole seconds are added by "time".
        case.figure("oldest delivered", oldest, " s", most=LIFETIME + 3.0)
        (upstream,) = relay.statistics().upstreams
        case.figure("links of the upstream", upstream.connects, exactly=1)
        case.figure("links of the client", ledger.connects, exactly=1)
        tasks.cancel_scope.cancel()


async def stop(napcat: Child) -> int:
    """End its events; returns how many there were."""
    napcat.tell(rate=0)
    await anyio.sleep(0.5)
    states = len(napcat.said("state"))
    napcat.tell()
    return int((await napcat.wait_for("state", states + 1))["sent"])


def _all_came(relay: Relay, sent: int) -> bool:
    ledger = ledgers(relay)["bot"]
    return ledger.received >= sent and ledger.queued == ledger.unconfirmed == 0


def most_in_a_second(times: Sequence[float]) -> int:
    """The most of ``times``, which never fall, that lie within one second."""
    most = first = 0
    for last, at in enumerate(times):
        while times[first] < at - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most
