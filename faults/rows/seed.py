"""The case that napcore began with: a frozen NapCat, a blocked bot, two real frameworks that answer."""

from __future__ import annotations

import importlib.util
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import anyio

from faults.case import Case
from faults.child import python_child, start
from faults.rows.frozen_frameworks import BOTS, framework
from faults.stage import ledgers
from faults.table import row

RATE = 13.0
ASK = 4
"""One message in so many is a question, which both bots answer."""

BLOCKED = "aiocqhttp_bot"
AFTERMATH = 60.0
"""Seconds for which ``send_rate="auto"`` holds messages back."""


@row(
    "seed",
    "190 groups, NoneBot2 and aiocqhttp real and answering; NapCat frozen 3 minutes and released, a bot blocked 30 s",
    "no link closed by us, no message sent faster than the pacing after it, each call answered exactly once",
    limit=600,
)
async def seed(case: Case) -> None:
    for needed in ("nonebot", "aiocqhttp"):
        if importlib.util.find_spec(needed) is None:
            case.skip(f"{needed} is not installed: pip install --group e2e")
    frozen_for, blocked_for, after = (25.0, 12.0, 20.0) if case.quick else (180.0, 30.0, AFTERMATH)
    async with AsyncExitStack() as stack:
        child = python_child("peers.napcat", "--seed", case.seed, "--heartbeat", 3, "--ask", ASK)
        napcat = await stack.enter_async_context(start(case, child))
        bots = {name: await stack.enter_async_context(framework(case, name)) for name in BOTS}
        relay = await stack.enter_async_context(case.relay())
        settled: dict[str, Counter[int]] = {name: Counter() for name in BOTS}
        refused: Counter[str] = Counter()
        for name, (bot, url) in bots.items():
            bot.on_line = _noting(settled[name], refused, name)
            await bot.wait_for("ready", limit=60)
            relay.add_client(name, url)
        await relay.add_upstream((await napcat.wait_for("ready", limit=60))["url"]).ready()
        for bot, _ in bots.values():
            await bot.wait_for("meta", limit=30)
        napcat.tell(rate=RATE)
        await anyio.sleep(10.0)
        before = sum(map(len, settled.values()))
        case.figure("answers in the first 10 s", before, least=20)
        napcat.freeze()
        await anyio.sleep(frozen_for - blocked_for / 2)
        bots[BLOCKED][0].freeze()
        await anyio.sleep(blocked_for / 2)
        states = {upstream.state for upstream in relay.statistics().upstreams}
        napcat.thaw()
        thawed = anyio.current_time()
        await anyio.sleep(blocked_for / 2)
        bots[BLOCKED][0].thaw()
        await anyio.sleep(max(0.0, thawed + after - anyio.current_time()))
        count = len(napcat.said("state"))
        napcat.tell(rate=0, sends=True)
        back = (await napcat.wait_for("state", count + 1))["at"] - (anyio.current_time() - thawed)
        sends = [(at, group) for at, group in (await napcat.wait_for("sends"))["sends"]]
        # What is still held has 20 s to be sent or refused.
        await case.until(lambda: not relay.statistics().calls.pending, "every call answered", 40)
        await anyio.sleep(1.0)
        recovery = [(at, group) for at, group in sends if at >= back]
        case.note(f"upstream called {'/'.join(sorted(states))} before it was released")
        case.figure("messages sent after the release", len(recovery), least=20)
        case.figure("above 20 + 5/s for the account", _above([at for at, _ in recovery], 5.0, 20.0), exactly=0)
        groups: dict[Any, list[float]] = {}
        for at, group in recovery:
            groups.setdefault(group, []).append(at)
        case.figure("above 5 + 1/s for a group", sum(_above(times, 1.0, 5.0) for times in groups.values()), exactly=0)
        for name, found in settled.items():
            case.figure(f"{name}: calls answered", len(found), least=20)
            case.figure(f"{name}: answered twice", sum(times > 1 for times in found.values()), exactly=0)
            case.figure(f"{name}: links", ledgers(relay)[name].connects, exactly=1)
        case.note(f"refused with 1503 {refused['1503']}, failed otherwise {sum(refused.values()) - refused['1503']}")
        calls = relay.statistics().calls
        case.figure("calls never answered", calls.forwarded - calls.answered - calls.late, most=refused.total())
        case.figure("answers to nothing", calls.unknown, exactly=0)
        case.figure("links of the upstream", relay.statistics().upstreams[0].connects, exactly=1)


def _noting(settled: Counter[int], refused: Counter[str], name: str) -> Any:
    def take(line: dict[str, Any]) -> bool:
        if line["line"] in ("answered", "failed"):
            settled[line["message_id"]] += 1
            if line["line"] == "failed":
                refused[str(line["retcode"])] += 1
        return line["line"] in ("answered", "failed", "event")

    return take


def _above(times: list[float], rate: float, burst: float) -> int:
    """Messages beyond ``burst`` and ``rate`` a second, counted from each of them on."""
    worst = 0.0
    for first in range(len(times)):
        for last in range(first, len(times)):
            # A message is on its way for a moment, which may bring two nearer to each other.
            worst = max(worst, last - first + 1 - burst - rate * (times[last] - times[first] + 0.25))
    return max(0, round(worst))
