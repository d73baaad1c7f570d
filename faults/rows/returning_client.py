"""Rows 7, 8 and 9: clients that go away and come back."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import anyio

from faults.case import Case
from faults.child import Child, python_child, start
from faults.stage import Numbers, check_gap, ledgers, numbers_of, session_of
from faults.table import row
from napcore import Policy, Relay
from napcore.testing import RecordingClient, Simulator

RATE = 200.0
WINDOW = 200
"""The in-flight window at this rate: what the last second brought."""


@row(
    "7",
    "a client's process is killed",
    "another in its place has a link within 1 s, and what was held meanwhile",
    quick=True,
)
async def killed(case: Case) -> None:
    async with Simulator(10001, seed=case.seed) as sim, case.relay() as relay, AsyncExitStack() as stack:
        await relay.add_upstream(await sim.listen()).ready()
        children: dict[str, Child] = {}
        # Three, each killed once: a link that was up for less than 30 s is dialled more slowly the second time.
        for name in ("one", "two", "three"):
            child = await stack.enter_async_context(start(case, python_child("peers.bot", "--listen", 0)))
            children[name] = child
            relay.add_client(name, (await child.wait_for("ready", limit=40))["url"])
        for child in children.values():
            await child.wait_for("meta")
        numbers = Numbers(sim)
        waits = []
        followers = {name: await stack.enter_async_context(RecordingClient()) for name in children}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(numbers.run, RATE, 6.0)
            for name, child in children.items():
                await anyio.sleep(0.5)
                port = urlsplit(child.said("ready")[0]["url"]).port
                assert port is not None
                child.kill()
                died = time.monotonic()
                follower = followers[name]
                await follower.listen(port=port, manners="aiocqhttp")
                await follower.wait_for(lambda follower=follower: len(follower.meta) > 0)  # type: ignore[misc]
                waits.append(time.monotonic() - died)
        await case.until(
            lambda: all(client.queued == client.unconfirmed == 0 for client in relay.statistics().clients),
            "everything confirmed",
        )
        case.figure("back after", max(waits), " s", most=1.0)
        uncertain = 0
        for name, child in children.items():
            await case.until(lambda child=child: child.ended, "the end of the child's output")  # type: ignore[misc]
            had = [line["id"] for line in child.said("event")]
            ledger = ledgers(relay)[name]
            check_gap(case, numbers.sent, had + numbers_of(followers[name].events), ledger)
            uncertain = max(uncertain, ledger.dropped.get("uncertain", 0))
            case.check(ledger.dropped.keys() <= {"uncertain"}, f"{name} lost {ledger.dropped}")
        case.figure("uncertain", uncertain, most=WINDOW)


@row(
    "8",
    "a client is cut and comes back while its events are held",
    "lifecycle first, then what was held, nothing twice; what was on the wire counts as uncertain",
    quick=True,
)
async def returns_in_time(case: Case) -> None:
    cycles = 4 if case.quick else 20
    async with Simulator(10001, seed=case.seed) as sim, case.relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        relay.add_client("bot")
        await relay.add_upstream(await sim.listen()).ready()
        numbers = Numbers(sim)
        got: list[int] = []
        early = uncertain = 0
        ends = [0]
        for cycle in range(cycles + 1):
            async with RecordingClient() as bot:
                first: list[int] = []

                def note(event: dict[str, Any], bot: RecordingClient = bot, first: list[int] = first) -> None:
                    if not first:
                        first.append(len(bot.meta))

                bot.on_event = note
                await bot.connect(f"{listener.url}/c/bot")
                await bot.wait_for(lambda bot=bot: len(bot.meta) > 0)  # type: ignore[misc]
                # Long enough for what was held, which is paced.
                await case.until(lambda: not session_of(relay, "bot").outbox.queued, "what was held", 30)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(numbers.run, RATE, 0.6)
                    await anyio.sleep(0.2 + 0.2 * case.random.random())
                    if cycle < cycles:
                        ends.append(numbers.sent)
                        bot.links[0].abort()
                        await bot.wait_for(lambda bot=bot: not bot.links)  # type: ignore[misc]
                if cycle == cycles:
                    await case.until(lambda: ledgers(relay)["bot"].queued == 0, "the last events", 30)
                    await bot.wait_for(lambda bot=bot: numbers.sent - 1 in numbers_of(bot.events[-1:]))  # type: ignore[misc]
                early += first == [0]
                got += numbers_of(bot.events)
            before, uncertain = uncertain, ledgers(relay)["bot"].dropped.get("uncertain", 0)
            case.check(uncertain - before <= WINDOW, f"{uncertain - before} events uncertain after one cut")
        ledger = ledgers(relay)["bot"]
        check_gap(case, numbers.sent, got, ledger)
        case.figure("cuts", cycles)
        case.figure("events before lifecycle", early, exactly=0)
        case.figure("uncertain a cut", uncertain / cycles, most=WINDOW)
        case.check(ledger.dropped.keys() <= {"uncertain"}, f"lost: {ledger.dropped}")


@row(
    "9",
    "a client comes back after more than its lane holds",
    "the newest are there, the gap is counted as oldest and reported",
)
async def returns_late(case: Case) -> None:
    async with Simulator(10001, seed=case.seed) as sim, case.relay() as relay, RecordingClient() as bot:
        listener = await relay.listen("127.0.0.1", 0)
        relay.add_client("bot", policy=Policy(max_events=500))
        await relay.add_upstream(await sim.listen()).ready()
        numbers = Numbers(sim)
        # Its session begins with its first link.
        link = await bot.connect(f"{listener.url}/c/bot")
        await bot.wait_for(lambda: len(bot.meta) > 0)
        link.abort()
        await case.until(lambda: session_of(relay, "bot").link is None, "the link's end")
        await numbers.emit(3000)
        await case.until(lambda: _received(relay) == 3000, "everything at the relay")
        await bot.connect(f"{listener.url}/c/bot")
        await case.until(lambda: ledgers(relay)["bot"].confirmed >= 500, "what was held", 40)
        ledger = ledgers(relay)["bot"]
        case.figure("counted as oldest", ledger.dropped.get("oldest", 0), exactly=2500)
        case.check(numbers_of(bot.events) == list(range(2500, 3000)), "not the newest 500 in order")
        check_gap(case, 3000, numbers_of(bot.events), ledger)


def _received(relay: Relay) -> int:
    return ledgers(relay)["bot"].received
