"""Row 3: a client that is too slow."""

from __future__ import annotations

import time
from typing import Any

from faults.case import Case
from faults.stage import Numbers, ledgers
from faults.table import row
from napcore import Policy
from napcore.dispatch import COMPILED
from napcore.testing import RecordingClient, Simulator

RATE = 1500.0 if COMPILED else 500.0
SPEED = 20.0
"""Events a second that it takes."""


@row(
    "3",
    "a client takes 20 events/s of 1,500",
    "order kept, the oldest dropped, nothing delivered past its lifetime",
    quick=True,
    limit=200,
)
async def too_slow(case: Case) -> None:
    seconds = 10.0 if case.quick else 90.0
    lifetime, window = (2.0, 4.0) if case.quick else (60.0, 64.0)
    async with (
        Simulator(10001, seed=case.seed) as sim,
        RecordingClient(record=False, delay=1 / SPEED) as full,
        RecordingClient(record=False, delay=1 / SPEED) as late,
        RecordingClient(record=False) as good,
        case.relay() as relay,
    ):
        numbers = Numbers(sim)
        ages: list[float] = []
        times: list[float] = []
        order: dict[str, list[int]] = {"full": [], "late": [], "good": []}

        def note(name: str) -> Any:
            def take(event: dict[str, Any]) -> None:
                order[name].append(event["message_id"])
                sent = sim.sent_at(event["message_id"])
                if name == "late" and sent is not None:
                    times.append(time.monotonic())
                    ages.append(times[-1] - sent)

            return take

        policies = {
            "full": Policy(max_events=300, max_in_flight=window),
            "late": Policy(max_events="off", max_bytes="off", message_ttl=lifetime, max_in_flight=window),
            "good": Policy(),
        }
        for name, client in (("full", full), ("late", late), ("good", good)):
            relay.add_client(name, await client.listen(), policy=policies[name])
            client.on_event = note(name)
        await relay.add_upstream(await sim.listen()).ready()
        for client in (full, late, good):
            await client.wait_for(lambda client=client: len(client.meta) > 0)  # type: ignore[misc]
        await numbers.run(RATE, seconds)
        await case.until(lambda: ledgers(relay)["good"].confirmed >= numbers.sent, "everything at the good client")
        stats = ledgers(relay)
        case.figure("events/s", numbers.sent / seconds, least=RATE * 0.9)
        case.figure("dropped as oldest", stats["full"].dropped.get("oldest", 0), least=1)
        case.check(stats["full"].dropped.keys() == {"oldest"}, f"the full one lost {stats['full'].dropped}")
        case.figure("dropped as ttl", stats["late"].dropped.get("ttl", 0), least=1)
        case.check(stats["late"].dropped.keys() == {"ttl"}, f"the late one lost {stats['late'].dropped}")
        # Behind the lane there are the window, once in the socket and once in the client's own read-ahead.
        behind = 2 * int(window)
        longest = max(later - earlier for earlier, later in zip(times, times[behind:], strict=False))
        case.note(f"{behind} events took it up to {longest:.2f} s")
        case.figure("oldest delivered", max(ages), " s", most=lifetime + longest + 0.1)
        full.delay = late.delay = 0.0
        for name, got in order.items():
            case.check(got == sorted(set(got)), f"{name}: out of order, or doubled")
        case.figure("lost by the good one", sum(stats["good"].dropped.values()), exactly=0)
