"""Row 6 and the like: a bot whose loop is blocked, which is what SIGSTOP does to it, and more."""

from __future__ import annotations

import anyio

from faults.case import Case
from faults.child import python_child, start
from faults.rows.frozen_upstream import BURST, LATE, LIFETIME, most_in_a_second
from faults.stage import Numbers, check_gap, ledgers
from faults.table import row
from napcore.testing import Simulator


async def asleep(case: Case, rate: float, seconds: float) -> None:
    """Stop a client's process for so long, and look at what it gets when it wakes."""
    async with (
        start(case, python_child("peers.bot", "--listen", 0)) as bot,
        Simulator(10001, seed=case.seed) as sim,
        case.relay() as relay,
        anyio.create_task_group() as tasks,
    ):
        relay.add_client("bot", (await bot.wait_for("ready", limit=40))["url"])
        await relay.add_upstream(await sim.listen()).ready()
        await bot.wait_for("meta")
        numbers = Numbers(sim)
        running = anyio.CancelScope()

        async def emit() -> None:
            with running:
                await numbers.run(rate, 1e9)

        tasks.start_soon(emit)
        await anyio.sleep(3.0)
        bot.freeze()
        await anyio.sleep(seconds)
        before = len(bot.said("event"))
        woken = anyio.current_time()
        bot.thaw()

        # Awake again when what it gets is fresh: a second old at most.
        def fresh() -> bool:
            last = bot.said("event")[-1:]
            return len(bot.said("event")) > before and last[0]["at"] - (sim.sent_at(last[0]["id"]) or 0.0) < 1.0

        await case.until(fresh, "fresh events", 2 * LIFETIME)
        case.figure("fresh again after", anyio.current_time() - woken, " s", most=LIFETIME)
        running.cancel()
        await case.until(
            lambda: ledgers(relay)["bot"].queued == ledgers(relay)["bot"].unconfirmed == 0, "everything confirmed", 60
        )
        await anyio.sleep(0.5)
        events = bot.said("event")
        window = max(64, rate)
        stale = sum(line["at"] - (sim.sent_at(line["id"]) or 0.0) > LIFETIME for line in events)
        case.figure("stale events delivered", stale, most=window)
        late = [line["at"] for line in events[before:] if line["at"] - (sim.sent_at(line["id"]) or 0.0) > LATE]
        case.figure("most late events in a second", most_in_a_second(late), most=BURST * max(50.0, 4 * rate) + window)
        ledger = ledgers(relay)["bot"]
        check_gap(case, numbers.sent, [line["id"] for line in events], ledger)
        case.check(ledger.dropped.keys() <= {"ttl"}, f"lost: {ledger.dropped}")
        case.note(f"dropped as ttl {ledger.dropped.get('ttl', 0)} of {numbers.sent}")
        case.figure("links", ledger.connects, exactly=1)
        tasks.cancel_scope.cancel()


@row("6", "a bot's loop is blocked for 30 s", "its link stays; when it wakes it gets what is fresh, paced", limit=240)
async def blocked(case: Case) -> None:
    await asleep(case, 67.0, 30.0)


@row("6a", "a bot is stopped for 60 s at 13 events/s", "at most what is in flight arrives stale", limit=300)
async def stopped_slow(case: Case) -> None:
    await asleep(case, 13.0, 60.0)


@row("6b", "a bot is stopped for 60 s at 67 events/s", "at most what is in flight arrives stale", limit=300)
async def stopped_fast(case: Case) -> None:
    await asleep(case, 67.0, 60.0)
