"""Row 42: everything at once, for long."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import anyio

from faults.case import Case
from faults.child import Child, python_child, start
from faults.proxy import Direction, FaultProxy
from faults.stage import ledgers
from faults.system import descriptors, resident
from faults.table import row
from napcore import Policy, Relay

RATE = 67.0
COUNT = 50
MINUTES = 20.0
SAMPLE = 2.0
"""Seconds between two looks at memory."""

SLOPE_MINUTES = 4.0
"""A shorter soak tells nothing of memory: lanes are filling."""


@row(
    "42",
    "20 minutes with 50 clients (good, slow, stalled, flapping) and random faults",
    "the ledger closes, nothing twice; memory, tasks and descriptors stay flat",
    limit=60 * MINUTES + 240,
)
async def soak(case: Case) -> None:
    seconds = 60 * (case.minutes if case.minutes is not None else 0.75 if case.quick else MINUTES)
    async with AsyncExitStack() as stack:
        napcat = await stack.enter_async_context(
            start(case, python_child("peers.napcat", "--seed", case.seed, "--heartbeat", 3))
        )
        url = (await napcat.wait_for("ready", limit=60))["url"]
        relay = await stack.enter_async_context(case.relay())
        listener = await relay.listen("127.0.0.1", 0)
        upstream_port = urlsplit(url).port
        assert upstream_port is not None
        upstream = stack.enter_context(FaultProxy(upstream_port))
        doors = [stack.enter_context(FaultProxy(listener.port)) for _ in range(3)]
        await relay.add_upstream(f"ws://127.0.0.1:{upstream.port}").ready()
        ports = [listener.port, *(door.port for door in doors)]
        options = ("--ports", ",".join(map(str, ports)), "--count", COUNT, "--seed", case.seed)
        crowd = await stack.enter_async_context(start(case, python_child("peers.crowd", *options)))
        for name in (await crowd.wait_for("ready", limit=60))["names"]:
            relay.add_client(name, policy=Policy(max_events=1000))
        await case.until(lambda: _all_linked(relay), "every client linked", 30)
        before = descriptors(), len(anyio.get_running_tasks())
        napcat.tell(rate=RATE)
        faults = _Faults(case, napcat, upstream, doors)
        samples = _Samples()
        end = time.monotonic() + seconds
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(samples.take, seconds)
            while time.monotonic() < end - 10:
                await faults.next()
                await anyio.sleep(case.random.uniform(0.2, 4.0))
                case.ledger(relay)
                if case.failures:
                    break
            faults.over()
            tasks.cancel_scope.cancel()
        # Everybody behaves now: what waits goes out, and what is open is what belongs there.
        crowd.tell(calm=True)
        napcat.tell(rate=0)
        await case.until(lambda: _all_linked(relay), "every client linked, with nothing waiting", 90)
        await anyio.sleep(2.0)
        case.figure("descriptors more", descriptors() - before[0], most=3)
        case.figure("tasks more", len(anyio.get_running_tasks()) - before[1], most=3)
        crowd.tell(report=True)
        told = (await crowd.wait_for("report"))["members"]
        await case.until(lambda: all(one.unconfirmed == 0 for one in ledgers(relay).values()), "all confirmed", 10)
        for name, ledger in ledgers(relay).items():
            lost = sum(ledger.dropped.values())
            certain = lost - ledger.dropped.get("uncertain", 0)
            got, member = told[name]["got"], told[name]
            case.check(
                ledger.received - lost <= got <= ledger.received - certain,
                f"{name} got {got} of {ledger.received} events, of which {lost} are counted as lost {ledger.dropped}",
            )
            case.check(not member["doubled"], f"{name} got {member['doubled']} events twice")
            case.check(not member["disordered"], f"{name} got {member['disordered']} events out of order")
        case.note(f"{seconds / 60:.3g} min, {faults.count} faults: {faults.told()}")
        totals = list(ledgers(relay).values())
        case.figure("events", sum(one.received for one in totals), least=1)
        case.note(f"links {sum(one.connects for one in totals)}")
        samples.judge(case, seconds)
        case.check(relay.failed is None, f"{relay.failed!r}")


def _all_linked(relay: Relay) -> bool:
    sessions = ledgers(relay).values()
    return len(sessions) == COUNT and all(one.state == "connected" and not one.queued for one in sessions)


class _Faults:
    """What happens, one thing after the other, by chance."""

    def __init__(self, case: Case, napcat: Child, upstream: FaultProxy, doors: list[FaultProxy]) -> None:
        self.count = 0
        self._dice = case.random
        self._napcat = napcat
        self._upstream = upstream
        self._doors = doors
        self._kinds: dict[str, int] = {}

    def told(self) -> str:
        """How many of which."""
        return ", ".join(f"{count} {kind}" for kind, count in sorted(self._kinds.items()))

    def over(self) -> None:
        """Nothing is wrong any more."""
        self._napcat.thaw()
        for proxy in (self._upstream, *self._doors):
            proxy.fault("up")
            proxy.fault("down")
            proxy.door("open")

    async def next(self) -> None:
        """One more fault, and its end."""
        dice = self._dice
        door = dice.choice(self._doors)
        proxy = self._upstream if dice.random() < 0.2 else door
        direction: Direction = dice.choice(("up", "down"))
        seconds = dice.uniform(0.2, 3.0)

        def lasting(**fault: Any) -> Callable[[], None]:
            return lambda: proxy.fault(direction, **fault)

        kinds: dict[str, Callable[[], None]] = {
            "freezes": self._napcat.freeze,
            "resets": proxy.reset,
            "ends": proxy.finish,
            "half-closes": lambda: proxy.half_close(direction),
            "stalls": lasting(stall=True),
            "delays": lasting(delay=0.05),
            "dribbles": lasting(dribble=0.001),
            "black holes": lasting(blackhole=True),
            "bit flips": lasting(corrupt=dice.randrange(1, 400)),
            "torn frames": lasting(cut_after=dice.randrange(1, 4000)),
            "refusals": lambda: door.door("refuse"),
            "hung dials": lambda: door.door("hang"),
        }
        kind = dice.choice(list(kinds))
        if kind == "bit flips":
            # TCP would not let them pass; towards a client they would make other events of those that are counted.
            direction = "up"
        self.count += 1
        self._kinds[kind] = self._kinds.get(kind, 0) + 1
        kinds[kind]()
        if kind not in ("resets", "ends", "half-closes"):
            await anyio.sleep(seconds)
        if kind in ("stalls", "delays", "dribbles", "black holes", "bit flips", "torn frames"):
            proxy.fault(direction)
        if kind in ("half-closes", "black holes", "bit flips"):
            # What came through is not a WebSocket any more.
            proxy.reset()
        self._napcat.thaw()
        door.door("open")


class _Samples:
    """Memory over time."""

    def __init__(self) -> None:
        self._found: list[tuple[float, float]] = []

    async def take(self, seconds: float) -> None:
        """Look every now and then."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            await anyio.sleep(SAMPLE)
            self._found.append((time.monotonic() - began, resident() / 2**20))

    def judge(self, case: Case, seconds: float) -> None:
        """What was taken in the last quarter against the second one; the first is for warming up."""
        quarter = len(self._found) // 4
        second, last = self._found[quarter : 2 * quarter], self._found[-quarter:]
        grown = statistics.median(one[1] for one in last) - statistics.median(one[1] for one in second)
        minutes = (last[0][0] - second[0][0]) / 60
        most = 1.0 if seconds >= 60 * SLOPE_MINUTES else None
        case.figure("memory grew by", grown, " MiB", most=most)
        case.note(f"in {minutes:.1f} min, to {statistics.median(one[1] for one in last):.0f} MiB")
