"""Row 16a: the upstream stands still, in front of real frameworks and beside an account that has no trouble."""

from __future__ import annotations

import importlib.util
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio

from faults.case import Case
from faults.child import ROOT, Child, python_child, start
from faults.rows.frozen_upstream import LIFETIME, Calls, stop
from faults.stage import LoopLag, ledgers
from faults.table import row
from napcore import Filter
from napcore.testing import RecordingClient
from napcore.testing.percentiles import percentile

FROZEN, CALM = 1444683668, 10002
BACKLOG = 20_000
BOTS = {"nonebot_reverse": "/onebot/v11/ws", "aiocqhttp_bot": "/ws/"}
"""Programs of the end-to-end tests, and where they are dialled."""


@row(
    "16a",
    "an upstream of 190 groups stands still for 3 minutes, then sends 20,000 events; NoneBot2 and aiocqhttp are real",
    "no link closed by us; an account without a backlog is not delayed; every event delivered or counted",
    limit=700,
    alone=True,
)
async def frozen_before_frameworks(case: Case) -> None:
    for needed in ("nonebot", "aiocqhttp"):
        if importlib.util.find_spec(needed) is None:
            case.skip(f"{needed} is not installed: pip install --group e2e")
    frozen_for = 20.0 if case.quick else 180.0
    rate = BACKLOG / 180.0
    async with AsyncExitStack() as stack:
        upstreams = {
            self_id: await stack.enter_async_context(
                start(case, python_child("peers.napcat", "--seed", case.seed, "--self-id", self_id))
            )
            for self_id in (FROZEN, CALM)
        }
        bots = {name: await stack.enter_async_context(framework(case, name)) for name in BOTS}
        recorder = await stack.enter_async_context(RecordingClient(record=False))
        calm = await stack.enter_async_context(RecordingClient(record=False))
        relay = await stack.enter_async_context(case.relay())
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        # What each framework got, and when.
        got: dict[str, list[int]] = {name: [] for name in BOTS}
        ages: list[tuple[float, float]] = []
        delays: list[tuple[float, float]] = []
        for name, (bot, url) in bots.items():
            bot.on_line = _noting(got[name])
            await bot.wait_for("ready", limit=60)
            relay.add_client(name, url, filter=Filter(self_ids={FROZEN}))
        relay.add_client("recorder", await recorder.listen(), filter=Filter(self_ids={FROZEN}))
        relay.add_client("calm", await calm.listen(), filter=Filter(self_ids={CALM}))
        for child in upstreams.values():
            await relay.add_upstream((await child.wait_for("ready", limit=60))["url"]).ready()
        for client in (recorder, calm):
            await client.wait_for(lambda client=client: len(client.meta) > 0, timeout=20)  # type: ignore[misc]
        for bot, _ in bots.values():
            await bot.wait_for("meta", limit=30)
        recorder.on_event = lambda event: ages.append((time.monotonic(), time.time() - event["time"]))
        frozen, other = upstreams[FROZEN], upstreams[CALM]
        other.tell(rate=20.0)
        began = (await other.wait_for("state"))["at"]

        def note_delay(event: dict[str, Any]) -> None:
            now = time.monotonic()
            delays.append((now, now - (began + event["message_id"] / 20.0)))

        calm.on_event = note_delay
        frozen.tell(rate=rate)
        lag, before, during = LoopLag(), Calls(), Calls()
        tasks.start_soon(lag.watch)
        with anyio.move_on_after(10.0):
            await before.make(calm)
        frozen.tell()
        sent_before = (await frozen.wait_for("state", 2))["sent"]
        frozen.freeze()
        await anyio.sleep(frozen_for)
        usual_lag, lag.most, lag.most_work = lag.most, 0.0, 0.0
        thawed = time.monotonic()
        frozen.thaw()
        async with anyio.create_task_group() as callers:
            callers.start_soon(during.make, calm)
            # Whole seconds, so less than 3 is live again.
            await case.until(lambda: ages[-1][0] > thawed and ages[-1][1] < 3.0, "live events again", 2 * LIFETIME)
            drained = time.monotonic() - thawed
            await anyio.sleep(2.0)
            callers.cancel_scope.cancel()
        sent = await stop(frozen)
        case.figure("sent from then on", sent - sent_before, least=frozen_for * rate)
        names = (*BOTS, "recorder")
        await case.until(
            lambda: all(ledgers(relay)[name].received >= sent and ledgers(relay)[name].queued == 0 for name in names),
            "every event delivered or counted",
            LIFETIME,
        )
        await anyio.sleep(3.0)
        for name in names:
            ledger = ledgers(relay)[name]
            lost = sum(ledger.dropped.values())
            had = len(set(got[name])) if name in got else recorder.count
            case.figure(f"{name}: delivered or counted", had + lost, exactly=sent)
            case.check(ledger.dropped.keys() <= {"ttl"}, f"{name} lost {ledger.dropped}")
            case.figure(f"{name}: links", ledger.connects, exactly=1)
            case.check(not ledger.unconfirmed, f"{name}: {ledger.unconfirmed} events unconfirmed")
            if name in got:
                case.figure(f"{name}: doubles", len(got[name]) - len(set(got[name])), exactly=0)
        case.figure("links of upstreams", max(one.connects for one in relay.statistics().upstreams), exactly=1)
        case.note(f"lost as ttl {ledgers(relay)['recorder'].dropped.get('ttl', 0)}")
        case.figure("live again after", drained, " s", most=LIFETIME)
        case.figure("oldest delivered", max(age for at, age in ages if at > thawed), " s", most=LIFETIME + 3.0)
        case.figure("loop held up by work", lag.most_work * 1e3, " ms", most=100.0)
        case.note(f"late by {lag.most * 1e3:.1f} ms, without {usual_lag * 1e3:.1f} ms")
        quiet = [delay for at, delay in delays if at < thawed - frozen_for]
        busy = [delay for at, delay in delays if thawed <= at <= thawed + drained]
        usual = percentile(quiet, 99) or 0.0
        case.figure("other account p99", (percentile(busy, 99) or 0.0) * 1e3, " ms", most=usual * 1e3 + 100.0)
        case.note(f"without {usual * 1e3:.1f} ms")
        usual = percentile(before.took, 99) or 0.0
        case.figure("its API p99", (percentile(during.took, 99) or 0.0) * 1e3, " ms", most=usual * 1e3 + 100.0)
        case.note(f"without {usual * 1e3:.1f} ms")
        case.figure("failed calls", before.failed + during.failed, exactly=0)


def _noting(numbers: list[int]) -> Any:
    def take(line: dict[str, Any]) -> bool:
        if line["line"] != "event":
            return False
        numbers.append(line["message_id"])
        return True

    return take


@asynccontextmanager
async def framework(case: Case, program: str) -> AsyncIterator[tuple[Child, str]]:
    """A bot of the end-to-end tests as a child, and its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        "API_TIMEOUT": "30",
        "BOT_NAME": program,
        "HOST": "127.0.0.1",
        "LOG_LEVEL": "WARNING",
        "PORT": str(port),
    }
    script = ROOT / "tests" / "e2e" / "bots" / f"{program}.py"
    async with start(case, [sys.executable, script], environment) as child:
        yield child, f"ws://127.0.0.1:{port}{BOTS[program]}"
